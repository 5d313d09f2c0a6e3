"""How long to train what, so that `dvc repro` ends in a given time on this machine with a set of this size.

A few seconds of real training steps give the machine's speed. From the goal are taken what does not depend on
the budget (starts of stages, decoding, drawing, predicting); what is left is shared out between the trainings.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pipeline.params import Params

MOST_THREADS = 8  # small networks gain nothing from more
RESOLUTIONS = (32, 64, 128, 256)
GOAL_MINUTES = {"cpu": 20.0, "cuda": 45.0}

# What `leafsynth init` writes, as it stands for the rendered sample in the shipped params.yaml.
SAMPLE: dict[str, Any] = {
    "threads": 2,
    "classes": ["healthy", "rust", "scab", "blight"],
    "data.raw_dir": "data/sample",
    "data.rendered": ["sample"],
    "label_budgets": [2, 5, 10],
    "split.img_resolution": 64,
    "split.groups_csv": None,
    "split.group_pattern": None,
    "train_extractor.steps": 300,
    "train_extractor.eval_every": 50,
    "train_gan.total_kimg": 36,
    "train_gan.ema_half_life_kimg": 2,
    "train_gan.preview_kimg": 3,
    "specialise_gan.total_kimg": 1.6,
    "specialise_gan.ema_half_life_kimg": 0.4,
    "specialise_gan.preview_kimg": 0.8,
    "generate.target": "largest",
    "filter_synthetic.when_starving": "fill",
    "filter_synthetic.views": 3,
    "assess.views": 1,
    "train_classifier.steps": 100,
    "train_classifier.eval_every": 25,
    "study_minority.total_kimg": 36,
    "train_sgan.steps": 80,
    "train_sgan.eval_every": 40,
}

# Shares of the time that is free for training. The joint GAN carries all that is synthetic; the classifier is that of
# all arms and all mixtures of the sweep.
SHARES = {"train_gan": 0.32, "specialise_gan": 0.08, "train_classifier": 0.42, "train_sgan": 0.18}
# More than this only makes hundreds of images be learnt by heart: kimg (a class for the second), steps.
MOST = {"train_gan": 600.0, "specialise_gan": 40.0, "train_classifier": 2000, "train_sgan": 4000}
LEAST = {"train_gan": 2.0, "specialise_gan": 0.2, "train_classifier": 80, "train_sgan": 60}
BUDGETS = (5, 10, 20)  # labelled images a class
SGAN_STEPS_WANTED = 300  # with fewer, of three label budgets the middle one is given up

# Seconds, measured once on two shared cores; their order of magnitude is what counts.
STAGE_START = 6.0  # interpreter, imports, DVC and MLflow of one stage
FILE = 0.003  # one image written, hashed and linked
DECODED_PIXEL = 25e-9  # one pixel decoded, hashed and resized, on one core
LOOK_96, LOOK_128 = 0.0035, 0.0065  # one image seen by EfficientNet-Lite0 at that size
VIEWS = {"filter_synthetic": 3, "assess": 1}  # augmented views of each photo for a probe's regression
MOST_VIEWED = 2000  # train photos
FORWARD = 1 / 3  # a forward pass as a share of a training step of the classifier
SGAN_FORWARD = 0.15  # three forward passes, of the SGAN and of its baselines, as a share of a step of all
# Of the GANs' extractor, for each of a downstream classifier from scratch: it must know the classes. By one that hardly
# does a blurred checkpoint looks best (bench/results).
EXTRACTOR_STEPS = 3
CANDIDATES = 3  # that the filter looks at for each image that it keeps
DRAWING_SPEED = 5.0  # images drawn by G in the time of one image of its training
OVERHEAD = 1.45  # augmentation, penalties, previews, tracking on top of the bare steps
SAFETY = 0.85  # of the goal that is planned for


class Speed(NamedTuple):
    """Training images a second: of the GAN, of the downstream classifier, of the SGAN with its baselines."""

    gan: float
    classifier: float
    sgan: float


class Budget(NamedTuple):
    """What to write into params.yaml, and where the time goes.

    Attributes:
        changes: Dotted key to value.
        minutes: Part of the run to the minutes it is expected to take.
    """

    changes: dict[str, Any]
    minutes: dict[str, float]


def choose_device(device: str) -> str:
    """`device` of params.yaml with `auto` resolved: cpu or cuda."""
    import torch

    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def choose_threads() -> int:
    """CPU threads for every stage: as many as this process may use cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def choose_resolution(median_side: int, device: str) -> tuple[int, str]:
    """The GAN's resolution for photos of this size (px, shorter side) on this device, and why."""
    if device == "cuda":
        wanted, why = (128, "a GPU") if median_side >= 96 else (64, f"a GPU, but photos of {median_side} px")
    else:
        wanted, why = 64, "no GPU"
    largest = max((r for r in RESOLUTIONS if r <= median_side), default=RESOLUTIONS[0])
    if wanted > largest:
        return largest, f"photos of {median_side} px hold no more"
    return wanted, why


def measure_images_per_second(
    params: Params, *, num_classes: int, img_resolution: int, device: str, threads: int
) -> Speed:
    """Time a few real training steps on noise, by so many threads of a CPU: some 10 seconds."""
    import torch

    from pipeline.features.backbones import create_network
    from pipeline.gan.architectures import build
    from pipeline.gan.precision import autocast_dtype
    from pipeline.learn import sgan_networks

    section = params.train_gan
    batch = section.batch_size
    dtype = autocast_dtype(device, section.precision)
    config = section.model_dump() | {"classes": list(range(num_classes)), "img_resolution": img_resolution}
    networks = build({**config, "transitional": section.transition_kimg is not None})
    G, D = (network.to(device, memory_format=torch.channels_last) for network in networks)
    reals = torch.rand(batch, 3, img_resolution, img_resolution, device=device)
    z, labels = torch.randn(batch, section.z_dim, device=device), torch.zeros(batch, dtype=torch.long, device=device)

    def gan_step() -> None:
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            fakes = G(z, labels).float()
            D(torch.cat([reals, fakes.detach()]), torch.cat([labels, labels])).float().mean().backward()
            D.requires_grad_(False)
            D(fakes, labels).float().mean().backward()
        D.requires_grad_(True)

    classifier = create_network(params.train_classifier.model, num_classes)
    classifier = classifier.to(device, memory_format=torch.channels_last)
    images = torch.rand(params.train_classifier.batch_size, 3, img_resolution, img_resolution, device=device)

    def classifier_step() -> None:
        logits = classifier(images)
        (logits if torch.is_tensor(logits) else logits[0]).mean().backward()

    sgan = params.train_sgan
    critic = sgan_networks.Discriminator(num_classes, channels=sgan.channels, dropout=sgan.tuning[0].dropout)
    critic = critic.to(device, memory_format=torch.channels_last)
    forger = sgan_networks.Generator(sgan.z_dim, sgan.img_resolution, channels=sgan.channels)
    forger = forger.to(device, memory_format=torch.channels_last)
    noise = torch.randn(sgan.batch_size, sgan.z_dim, device=device)
    small = torch.rand(sgan.batch_size, 3, sgan.img_resolution, sgan.img_resolution, device=device)

    def sgan_step() -> None:
        """One of the SGAN (labelled, unlabelled, generated; then G) and one of each baseline (labelled)."""
        with torch.no_grad():
            forged = forger(noise)
            critic.features(small)
            critic(small)  # its average's, for the consistency
        for shown in (small, small, forged, small, small):
            critic(shown).mean().backward()
        critic.requires_grad_(False)
        critic.features(forger(noise)).mean().backward()
        critic.requires_grad_(True)

    return Speed(
        gan=batch / (_seconds(gan_step, device, threads) * OVERHEAD),
        classifier=len(images) / (_seconds(classifier_step, device, threads) * OVERHEAD),
        sgan=sgan.batch_size / (_seconds(sgan_step, device, threads) * OVERHEAD),
    )


def _seconds(step: Callable[[], None], device: str, threads: int, span: float = 3.0) -> float:
    """Seconds of a step: the fastest of several, with all threads and with one.

    Where other programs keep the cores busy, threads wait for each other and a step with all of them can take
    30 times as long as with one; that load says little about the hours to come.
    """
    import torch

    before = torch.get_num_threads()
    fastest = float("inf")
    try:
        for number in {threads, 1} if device == "cpu" else {threads}:
            torch.set_num_threads(number)
            step()  # the first step plans and allocates
            start = time.perf_counter()
            while time.perf_counter() - start < span / 2:
                began = time.perf_counter()
                step()
                if device == "cuda":
                    torch.cuda.synchronize()
                fastest = min(fastest, time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return fastest


def choose_budget(
    params: Params,
    *,
    class_counts: dict[str, int],
    median_size: tuple[int, int],
    speed: Speed,
    goal_minutes: float,
) -> Budget:
    """Share out the time.

    Args:
        params: Of params.yaml: batch sizes, seeds, arms and shares of the split are left as they are.
        class_counts: Readable images a class.
        median_size: Width and height of the photos, px.
        speed: Of this machine at the chosen resolution.
        goal_minutes: What `dvc repro` should take.
    """
    goal = goal_minutes * 60 * SAFETY
    total, largest, smallest = sum(class_counts.values()), max(class_counts.values()), min(class_counts.values())
    num_classes = len(class_counts)
    rest = 1 - params.split.test_share
    train_share, val_images = rest * (1 - params.split.val_share), total * rest * params.split.val_share
    drawn = num_classes * largest * train_share
    classifier, sgan = params.train_classifier, params.train_sgan

    # Groups make shares uneven, hence the tenth less
    available = max(1, int(smallest * train_share * 0.9))
    possible = [n for n in BUDGETS if n <= available] or [available]
    mixtures = 1 + len(params.sweep_mixture.ratios)  # none is one too
    runs = (len(params.arms) + mixtures) * len(classifier.seeds)
    sgan_runs_a_budget = len(sgan.tuning) + len(sgan.seeds) - 1  # settings are tried with the first seed

    def predicting(looks: int, label_budgets: list[int]) -> float:
        """Seconds of predicting test once and val at every look, in every run."""
        images = looks * val_images + total * params.split.test_share
        sgan_runs = len(label_budgets) * sgan_runs_a_budget
        return images * (runs * FORWARD / speed.classifier + sgan_runs * SGAN_FORWARD / speed.sgan)

    # With many thousands of images to predict, first fewer looks at val, then fewer label budgets
    plans = [(looks, possible) for looks in (6, 4, 3)]
    plans += [(looks, possible[-number:]) for number in range(len(possible), 0, -1) for looks in (3, 2)]
    looks, label_budgets = next((plan for plan in plans if predicting(*plan) < 0.15 * goal), plans[-1])

    few = total * train_share <= MOST_VIEWED  # many photos are views enough
    probes = [stage for stage in VIEWS if getattr(params, stage).kind == "probe"]
    views = {stage: number if few and stage in probes else 0 for stage, number in VIEWS.items()}
    # What the budget does not change
    decode = DECODED_PIXEL * median_size[0] * median_size[1] / min(8, os.cpu_count() or 1)
    spent = {
        "starting stages": STAGE_START * (9 + num_classes + len(params.arms) + len(label_budgets)),
        "split": total * (decode + FILE),
        "generate": drawn * (1 / (speed.gan * DRAWING_SPEED) + 2 * FILE),
        "filter_synthetic": CANDIDATES * drawn * (1 / (speed.gan * DRAWING_SPEED) + LOOK_96)
        + (1 + views["filter_synthetic"]) * total * LOOK_96
        + 2 * drawn * FILE,
        "sweep_mixture": total * train_share * max(params.sweep_mixture.ratios) / (speed.gan * DRAWING_SPEED),
        "assess": (1 + views["assess"]) * (drawn + total) * LOOK_128,
        "predicting": predicting(looks, label_budgets),
    }
    free = max(goal - sum(spent.values()), 0.35 * goal)

    def within(stage: str, amount: float) -> float:
        return min(max(amount, LEAST[stage]), MOST[stage])

    joint_kimg = _two_digits(within("train_gan", SHARES["train_gan"] * free * speed.gan / 1000))
    class_kimg = SHARES["specialise_gan"] * free * speed.gan / 1000 / num_classes
    class_kimg = _two_digits(within("specialise_gan", min(class_kimg, joint_kimg / 4)))
    # Beside these runs a classifier of train to choose the GANs' checkpoints by
    images_a_step = runs * classifier.batch_size + EXTRACTOR_STEPS * params.train_extractor.batch_size
    steps = SHARES["train_classifier"] * free * speed.classifier / images_a_step
    steps = _two_digits(within("train_classifier", steps))
    extractor_steps = EXTRACTOR_STEPS * int(min(max(steps, 100), 600))

    def sgan_steps_of(label_budgets: list[int]) -> float:
        return SHARES["train_sgan"] * free * speed.sgan / (len(label_budgets) * sgan_runs_a_budget * sgan.batch_size)

    if len(label_budgets) > 2 and sgan_steps_of(label_budgets) < SGAN_STEPS_WANTED:
        label_budgets = [label_budgets[0], label_budgets[-1]]  # two points that say something, not three that don't
    sgan_runs = len(label_budgets) * sgan_runs_a_budget
    sgan_steps = _two_digits(within("train_sgan", sgan_steps_of(label_budgets)))

    spent["train_extractor"] = extractor_steps * params.train_extractor.batch_size / speed.classifier
    spent["train_gan"] = joint_kimg * 1000 / speed.gan
    spent["specialise_gan"] = num_classes * class_kimg * 1000 / speed.gan
    of_a_run = steps * classifier.batch_size / speed.classifier
    spent["train_classifier"] = len(params.arms) * len(classifier.seeds) * of_a_run
    spent["sweep_mixture"] += mixtures * len(classifier.seeds) * of_a_run
    spent["train_sgan"] = sgan_runs * sgan_steps * sgan.batch_size / speed.sgan
    changes = {
        "label_budgets": label_budgets,
        "train_extractor.steps": extractor_steps,
        "train_extractor.eval_every": extractor_steps // 6,
        "train_gan.total_kimg": joint_kimg,
        # 10 kimg at batch 32 (Karras et al. 2020), but no more than a twelfth of the training
        "train_gan.ema_half_life_kimg": _two_digits(min(10 * params.train_gan.batch_size / 32, joint_kimg / 12)),
        "train_gan.preview_kimg": _two_digits(joint_kimg / 12),
        "specialise_gan.total_kimg": class_kimg,
        "specialise_gan.ema_half_life_kimg": _two_digits(min(2.0, class_kimg * 0.4)),
        "specialise_gan.preview_kimg": _two_digits(class_kimg / 2),
        "generate.target": "largest",
        **{f"{stage}.views": views[stage] for stage in probes},
        "filter_synthetic.when_starving": "fill",  # the other arms' verdict is not held up by a weak GAN
        "train_classifier.steps": int(steps),
        "train_classifier.eval_every": max(1, -(-int(steps) // looks)),
        "study_minority.total_kimg": joint_kimg,  # whoever asks for such studies has them on top of the goal
        "train_sgan.steps": int(sgan_steps),
        "train_sgan.eval_every": max(1, -(-int(sgan_steps) // looks)),
    }
    return Budget(changes, {part: seconds / 60 for part, seconds in spent.items()})


def _two_digits(number: float) -> float | int:
    """Rounded to two significant digits; whole numbers as int, so that params.yaml reads well."""
    rounded = float(f"{number:.2g}")
    return int(rounded) if rounded == int(rounded) else rounded
