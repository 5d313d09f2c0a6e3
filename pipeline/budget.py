"""How long to train what, so that `dvc repro` ends in a given time on this machine with a set of this size.

A few seconds of real training steps give the machine's speed. From the goal are taken what does not depend on
the budget (starts of stages, decoding, drawing, looking at each image once); what is left is shared out between the
trainings.
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
JUDGE_SIZE = 224  # px, what the pretrained network was made for; smaller photos are kept at their own size
# What a frozen judge does, from the most telling (bench/results) to the cheapest: the side that it sees (px), augmented
# views of each image, mixtures that the sweep tries. The first that leaves the rest of the run enough is taken.
RATIOS = ([0.25, 0.5, 1, 2, 3], [0.5, 1, 2], [0.5, 1], [1])
LOOKS = [(224, 3, 0), (224, 2, 0), (224, 2, 1), (224, 1, 1), (128, 3, 1), (128, 2, 1), (128, 1, 1), (128, 1, 2),
         (128, 1, 3), (96, 1, 3), (64, 1, 3)]  # fmt: skip
# The judge and, beside it, one of another kind. On a CPU trainings of a large network would take the time of all else.
JUDGES: dict[str, dict[str, Any]] = {
    "cpu": {
        "train_classifier.kind": "probe",
        "second_judge.kind": "scratch",
        "second_judge.model": "test_resnet",
        "second_judge.weights": None,
        "second_judge.input_size": 64,
        "second_judge.views": 0,
    },
    "cuda": {
        "train_classifier.kind": "finetune",
        "second_judge.kind": "probe",
        "second_judge.model": "tf_efficientnet_lite0",
        "second_judge.weights": "packaged",
        "second_judge.input_size": JUDGE_SIZE,
        "second_judge.views": LOOKS[0][1],  # or `classic` would be `balanced` to it
    },
}

# What `leafsynth init` writes, as it stands for the rendered sample in the shipped params.yaml.
SAMPLE: dict[str, Any] = {
    "threads": 2,
    "classes": ["healthy", "rust", "scab", "blight"],
    "data.raw_dir": "data/sample",
    "data.rendered": ["sample"],
    "label_budgets": [2, 5, 10],
    "split.img_resolution": 64,
    "split.photo_resolution": 128,
    "split.test_share": 0.75,
    "split.val_share": 0.5,
    "split.groups_csv": None,
    "split.group_pattern": None,
    "train_extractor.steps": 200,
    "train_extractor.eval_every": 50,
    "train_gan.total_kimg": 34,
    "train_gan.ema_half_life_kimg": 1.5,
    "train_gan.preview_kimg": 4.25,
    "specialise_gan.total_kimg": 2.5,
    "specialise_gan.ema_half_life_kimg": 0.5,
    "specialise_gan.preview_kimg": 1.25,
    "generate.target": "2x",
    "filter_synthetic.when_starving": "fill",
    "repeat_gan.seeds": [],
    **JUDGES["cpu"],
    "train_classifier.input_size": 128,
    "train_classifier.views": 1,
    "filter_synthetic.input_size": 64,
    "assess.input_size": 128,
    "train_classifier.steps": 300,
    "train_classifier.eval_every": 50,
    "second_judge.steps": 120,
    "second_judge.eval_every": 24,
    "sweep_mixture.ratios": [0.5, 1],
    "study_minority.total_kimg": 30,
    "train_sgan.steps": 80,
    "train_sgan.eval_every": 40,
}

# The sample has few leaves to learn from and many to measure on; photographs are too few for that.
OF_PHOTOS: dict[str, float] = {"split.test_share": 0.3, "split.val_share": 0.2}

# Shares of the time that is free for training. The joint GAN carries all that is synthetic. A judge that is no probe is
# trained for all arms and all mixtures of the sweep. With less than some 3,000 images a training the small network of
# the second judge knows too little for its word to count (bench/results).
SHARES = {
    "probe": {"train_gan": 0.45, "specialise_gan": 0.12, "train_extractor": 0.1, "second_judge": 0.17,
              "train_sgan": 0.16},
    "finetune": {"train_gan": 0.32, "specialise_gan": 0.08, "train_extractor": 0.05, "train_classifier": 0.4,
                 "train_sgan": 0.15},
}  # fmt: skip
# More than this only makes hundreds of images be learnt by heart: kimg (a class for the second), steps. With less the
# extractor hardly knows the classes, and a blurred checkpoint looks best; and a finetuned network has not learned what
# it is shown: of 25 photos of tea a class and as many synthetic ones .02 after 150 steps, .62 after 300 (bench/results)
MOST = {"train_gan": 600.0, "specialise_gan": 40.0, "train_extractor": 1200, "train_classifier": 600,
        "second_judge": 600, "train_sgan": 4000}  # fmt: skip
LEAST = {"train_gan": 2.0, "specialise_gan": 0.2, "train_extractor": 150, "train_classifier": 300, "second_judge": 120,
         "train_sgan": 60}  # fmt: skip
BUDGETS = (5, 10, 20)  # labelled images a class
SGAN_ON_FEATURES = 0.04  # its share there
SGAN_STEPS_WANTED = 300  # with fewer, of three label budgets the middle one is given up
# Several GANs, one for each classifier seed, where each gets about what the sample's gets; else one: blurs tell nothing
ENOUGH_KIMG = 30
MOST_LOOKING = 0.3  # of the goal

# Seconds, measured once on two shared cores; their order of magnitude is what counts.
STAGE_START = 3.5  # interpreter, imports and DVC of one stage
FILE = 0.003  # one image written, hashed and linked
DECODED_PIXEL = 25e-9  # one pixel decoded, hashed and resized, on one core
PAIR, MOST_PAIRING = 3e-5, 40.0  # a synthetic or real image held against one of train by pixels; `assess` samples
KEYPOINTS, MOST_KEYPOINTS = 0.008, 400  # of a picture, found and matched; of synthetic ones no more are looked at
FITTED = 5e-5  # an image and class of a regression, at all strengths
FORWARD = 1 / 3  # a forward pass as a share of a training step of the classifier
FEATURES = 1280  # of a frozen network's photo: those of Lite0
SGAN_FORWARD = 0.15  # three forward passes, of the SGAN and of its baselines, as a share of a step of all
CANDIDATES = 2  # that the filter looks at for each image that it keeps
DRAWING_SPEED = 5.0  # images drawn by G in the time of one image of its training
OVERHEAD = 1.45  # augmentation, penalties, previews, tracking on top of the bare steps
SAFETY = 0.85  # of the goal that is planned for
_LOOK_SIZE = 128  # px at which looking is timed


class Speed(NamedTuple):
    """Images a second: in training of the GAN, of a classifier, of the SGAN with its baselines; and as looked at.

    Attributes:
        gan: Of its training.
        classifier: Of the training of a network from scratch at the GANs' resolution.
        sgan: Of its training and that of its baselines.
        look: Through the judge's network, at 128 px.
    """

    gan: float
    classifier: float
    sgan: float
    look: float


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

    classifier = create_network(params.train_extractor.model, num_classes)
    classifier = classifier.to(device, memory_format=torch.channels_last)
    images = torch.rand(params.train_extractor.batch_size, 3, img_resolution, img_resolution, device=device)

    def classifier_step() -> None:
        logits = classifier(images)
        (logits if torch.is_tensor(logits) else logits[0]).mean().backward()

    judge = create_network(params.train_classifier.model, num_classes)
    judge = judge.to(device, memory_format=torch.channels_last).eval()
    pictures = torch.rand(16, 3, _LOOK_SIZE, _LOOK_SIZE, device=device).to(memory_format=torch.channels_last)

    def look() -> None:
        with torch.no_grad():
            judge(pictures)

    sgan = params.train_sgan
    dropout = sgan.tuning[0].dropout
    if sgan.space == "features":
        critic = sgan_networks.FeatureDiscriminator(FEATURES, num_classes, units=sgan.units, dropout=dropout)
        forger = sgan_networks.FeatureGenerator(sgan.z_dim, FEATURES, units=sgan.units)
        small = torch.rand(sgan.batch_size, FEATURES, device=device)
    else:
        critic = sgan_networks.Discriminator(num_classes, channels=sgan.channels, dropout=dropout)
        forger = sgan_networks.Generator(sgan.z_dim, sgan.img_resolution, channels=sgan.channels)
        small = torch.rand(sgan.batch_size, 3, sgan.img_resolution, sgan.img_resolution, device=device)
    critic, forger = (network.to(device, memory_format=torch.channels_last) for network in (critic, forger))
    noise = torch.randn(sgan.batch_size, sgan.z_dim, device=device)

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
        look=len(pictures) / _seconds(look, device, threads),
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


def of_photos(params: Params) -> Params:
    """Params for photographs: the sample's shares of the split are replaced, others are a user's own and stay."""
    shares = {key.removeprefix("split."): share for key, share in OF_PHOTOS.items()}
    as_the_sample = all(getattr(params.split, name) == SAMPLE[f"split.{name}"] for name in shares)
    if params.data.raw_dir != SAMPLE["data.raw_dir"] or not as_the_sample:
        return params
    return params.model_copy(update={"split": params.split.model_copy(update=shares)})


def choose_budget(
    params: Params,
    *,
    class_counts: dict[str, int],
    median_size: tuple[int, int],
    speed: Speed,
    goal_minutes: float,
    device: str = "cpu",
) -> Budget:
    """Share out the time.

    Args:
        params: Of params.yaml: batch sizes, seeds, arms and shares of the split are left as they are.
        class_counts: Readable images a class.
        median_size: Width and height of the photos, px.
        speed: Of this machine at the chosen resolution.
        goal_minutes: What `dvc repro` should take.
        device: cpu or cuda, which says what kind of judge there is time for.
    """
    of_set = {"class_counts": class_counts, "median_size": median_size, "speed": speed}
    several = len(params.train_classifier.seeds)
    if several >= len(params.second_judge.seeds):
        planned = _shared_out(params, **of_set, goal_minutes=goal_minutes, device=device, gans=several)
        if planned.changes["train_gan.total_kimg"] >= ENOUGH_KIMG:
            return planned
    return _shared_out(params, **of_set, goal_minutes=goal_minutes, device=device, gans=1)


def _shared_out(
    params: Params,
    *,
    class_counts: dict[str, int],
    median_size: tuple[int, int],
    speed: Speed,
    goal_minutes: float,
    device: str,
    gans: int,
) -> Budget:
    """`choose_budget` with so many GANs."""
    judges = JUDGES[device]
    kind = judges["train_classifier.kind"]
    goal = goal_minutes * 60 * SAFETY
    total, largest, smallest = sum(class_counts.values()), max(class_counts.values()), min(class_counts.values())
    num_classes, num_arms, seeds = len(class_counts), len(params.arms), len(params.train_classifier.seeds)
    rest = 1 - params.split.test_share
    train_share, val_images = rest * (1 - params.split.val_share), total * rest * params.split.val_share
    train, test_images = total * train_share, total * params.split.test_share
    drawn = num_classes * largest * train_share
    sgan = params.train_sgan

    # Groups make shares uneven, hence the tenth less
    available = max(1, int(smallest * train_share * 0.9))
    possible = [n for n in BUDGETS if n <= available] or [available]
    sgan_runs_a_budget = len(sgan.tuning) + len(sgan.seeds) - 1  # settings are tried with the first seed
    second_runs = 4 * len(params.second_judge.seeds)  # the controls and the candidate
    arms = params.arms.values()
    augmented = sum(arm.augment != "none" for arm in arms)
    longer = sum(arm.effort for arm in arms) - num_arms
    shares_of_photos = params.sweep_mixture.photo_shares

    # Of a frozen judge: each picture once, each view of it once a seed; three stores of train's photos (whole, masked,
    # small), what two GAN arms add to them, and what the sweep does. Then the regressions.
    def of_arms(size: int, views: int) -> float:
        seen = 2 * gans * drawn + 3 * train + 2 * (val_images + test_images)
        seen += views * seeds * (2 * (drawn - train) + (3 + longer) * train)
        plain = num_arms - augmented + (gans - 1) * sum(a.train != "data/arrays/train" for a in arms)
        fitted = drawn * (plain + augmented * seeds * (1 + views) + longer * seeds * views)
        return seen * (size / _LOOK_SIZE) ** 2 / speed.look + fitted * num_classes * FITTED

    def of_sweep(size: int, views: int, ratios: list[float]) -> float:
        seen = train * (max(ratios) * (gans + views * seeds) + sum(shares_of_photos) * views * seeds)
        fitted = train * (sum(1 + ratio for ratio in ratios) + sum(shares_of_photos)) * seeds * (1 + views)
        return seen * (size / _LOOK_SIZE) ** 2 / speed.look + fitted * num_classes * FITTED

    def affordable(size: int, views: int, tried: int) -> bool:
        return of_arms(size, views) + of_sweep(size, views, RATIOS[tried]) < MOST_LOOKING * goal

    size, views, tried = LOOKS[0] if kind != "probe" else next((look for look in LOOKS if affordable(*look)), LOOKS[-1])
    ratios = RATIOS[tried]
    mixtures = 1 + len(ratios) + len(shares_of_photos)  # none is one too
    runs = (num_arms + longer + mixtures) * seeds

    def predicting(looks: int, label_budgets: list[int]) -> float:
        """Seconds of predicting test once and val at every look, in every training."""
        images = looks * val_images + test_images
        sgan_runs = len(label_budgets) * sgan_runs_a_budget
        trained = second_runs if kind == "probe" else runs
        return images * (trained * FORWARD / speed.classifier + sgan_runs * SGAN_FORWARD / speed.sgan)

    # With many thousands of images to predict, first fewer looks at val, then fewer label budgets
    plans = [(looks, possible) for looks in (6, 4, 3)]
    plans += [(looks, possible[-number:]) for number in range(len(possible), 0, -1) for looks in (3, 2)]
    looks, label_budgets = next((plan for plan in plans if predicting(*plan) < 0.15 * goal), plans[-1])

    # What the budget does not change
    decode = DECODED_PIXEL * median_size[0] * median_size[1] / min(8, os.cpu_count() or 1)
    drawing = 1 / (speed.gan * DRAWING_SPEED)
    small = min(size, _LOOK_SIZE)  # of filter and assess, which see what the GANs see
    seen = (small / _LOOK_SIZE) ** 2 / speed.look
    spent = {
        "starting stages": STAGE_START * (13 + num_classes),
        "split": total * (decode + 2 * FILE),
        "generate": drawn * (drawing + 2 * FILE),
        "filter_synthetic": (CANDIDATES * drawn + (1 + views) * train) * seen
        + drawn * (CANDIDATES * drawing + 2 * FILE),
        "assess": (2 * drawn + 2 * train) * seen
        + min(PAIR * (drawn + rest * total) * train, MOST_PAIRING)
        + KEYPOINTS * (rest * total + min(drawn, MOST_KEYPOINTS)),
        "repeat_gan": 0.0,
        "sweep_mixture": gans * train * max(ratios) * drawing,
        "predicting": predicting(looks, label_budgets),
    }
    if gans > 1:
        looked = (CANDIDATES * drawn + train) * seen
        spent["repeat_gan"] = (gans - 1) * (
            STAGE_START + looked + drawn * ((1 + CANDIDATES) * drawing + 2 * FILE) + train * 2 * FILE
        )
    if kind == "probe":
        spent["train_classifier"] = of_arms(size, views)
        spent["sweep_mixture"] += of_sweep(size, views, ratios)
    free = max(goal - sum(spent.values()), 0.35 * goal)
    shares = dict(SHARES[kind])
    if sgan.space == "features":  # networks so small need no such share
        shares["train_gan"] += shares["train_sgan"] - SGAN_ON_FEATURES
        shares["train_sgan"] = SGAN_ON_FEATURES

    def within(stage: str, amount: float) -> float:
        return min(max(amount, LEAST[stage]), MOST[stage])

    def steps_of(stage: str, trainings: float, batch_size: int) -> int:
        return int(_two_digits(within(stage, shares[stage] * free * speed.classifier / (trainings * batch_size))))

    joint_kimg = _two_digits(within("train_gan", shares["train_gan"] * free * speed.gan / 1000 / gans))
    class_kimg = shares["specialise_gan"] * free * speed.gan / 1000 / num_classes / gans
    class_kimg = _two_digits(within("specialise_gan", min(class_kimg, joint_kimg / 4)))
    extractor_steps = steps_of("train_extractor", 1, params.train_extractor.batch_size)

    def sgan_steps_of(label_budgets: list[int]) -> float:
        return shares["train_sgan"] * free * speed.sgan / (len(label_budgets) * sgan_runs_a_budget * sgan.batch_size)

    if len(label_budgets) > 2 and sgan_steps_of(label_budgets) < SGAN_STEPS_WANTED:
        label_budgets = [label_budgets[0], label_budgets[-1]]  # two points that say something, not three that don't
    sgan_runs = len(label_budgets) * sgan_runs_a_budget
    sgan_steps = _two_digits(within("train_sgan", sgan_steps_of(label_budgets)))

    spent["train_extractor"] = extractor_steps * params.train_extractor.batch_size / speed.classifier
    spent["train_gan"] = joint_kimg * 1000 / speed.gan
    spent["specialise_gan"] = num_classes * class_kimg * 1000 / speed.gan
    spent["repeat_gan"] += (gans - 1) * (spent["train_gan"] + spent["specialise_gan"])
    spent["train_sgan"] = sgan_runs * sgan_steps * sgan.batch_size / speed.sgan
    if sgan.space == "features":
        sgan_size, labelled = sgan.input_size or size, sum(label_budgets) * num_classes * len(sgan.seeds)
        looked = total * (sgan_size != size) + sgan.augmented_views * labelled  # the judge has seen the photos as large
        spent["train_sgan"] += looked * (sgan_size / _LOOK_SIZE) ** 2 / speed.look
    # Most photos are not enlarged in the store: the network does so where it must
    photo = max(min(JUDGE_SIZE, *median_size), 32)
    changes = {
        "label_budgets": label_budgets,
        "split.photo_resolution": photo,
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
        "filter_synthetic.when_starving": "fill",  # the other arms' verdict is not held up by a weak GAN
        "repeat_gan.seeds": [params.train_gan.seed + n for n in range(1, gans)],
        **judges,
        "train_classifier.input_size": size,
        "train_classifier.views": views,
        "filter_synthetic.input_size": 64,
        "assess.input_size": small,
        "sweep_mixture.ratios": ratios,
        "study_minority.total_kimg": joint_kimg,  # whoever asks for such studies has them on top of the goal
        "train_sgan.steps": int(sgan_steps),
        "train_sgan.eval_every": max(1, -(-int(sgan_steps) // looks)),
    }
    trained = [("second_judge", second_runs)] if kind == "probe" else [("train_classifier", runs)]
    for stage, trainings in trained:
        batch_size = getattr(params, stage).batch_size
        # trained at the judge's size by a network of several times the work
        slower = 1.0 if stage == "second_judge" else FORWARD * speed.classifier / speed.look * (size / _LOOK_SIZE) ** 2
        steps = steps_of(stage, trainings * max(slower, 1.0), batch_size)
        changes |= {f"{stage}.steps": steps, f"{stage}.eval_every": max(1, -(-steps // looks))}
        seconds = steps * batch_size * max(slower, 1.0) / speed.classifier
        spent[stage] = seconds * (second_runs if stage == "second_judge" else (num_arms + longer) * seeds)
        if stage == "train_classifier":
            spent["sweep_mixture"] += seconds * mixtures * seeds
    return Budget(changes, {part: seconds / 60 for part, seconds in spent.items()})


def _two_digits(number: float) -> float | int:
    """Rounded to two significant digits; whole numbers as int, so that params.yaml reads well."""
    rounded = float(f"{number:.2g}")
    return int(rounded) if rounded == int(rounded) else rounded
