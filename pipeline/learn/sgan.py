"""The semi-supervised GAN of Salimans et al. 2016, beside the same discriminator trained on the labels alone.

The comparison asks what unlabelled images are worth. All methods get, for each seed, the same labelled images,
the same labelled batches, initial weights of D, optimiser, steps, averaging, choice of the checkpoint on val, and
the same number of settings to choose from on val (Oliver et al. 2018: baselines are usually reported too low).
`supervised` lacks the unlabelled images and G, and nothing else. `supervised_classic` lacks them too, and has its
images augmented by the downstream classifier's classic policy where the other two have flips alone: what a few
lines of code give without any unlabelled image.

All of it happens in the space of small images, or in that of a frozen network's features (`sgan_spaces.py`): the same
losses, batches, choices and steps.

For benches: `sgan_classic` has that policy on labelled and unlabelled images alike, and so differs from
`supervised_classic` as `sgan` does from `supervised`. `consistency` has the unlabelled images by the consistency term
alone, under the same views: what `sgan` has beyond it is the GAN's merit.
G is no generator for export: one that helps D is a bad one.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.features.looks import Looks
from pipeline.images.seeding import numpy_rng, torch_generator
from pipeline.images.store import Store
from pipeline.learn.batches import check_stores
from pipeline.learn.device import reproducible, seed_layers
from pipeline.learn.sgan_losses import consistency_loss, feature_matching_loss, labelled_loss, unlabelled_loss
from pipeline.learn.sgan_spaces import Features, Pixels
from pipeline.learn.sgan_tuning import Run, Tried, chosen_setting, next_run
from pipeline.learn.trained import BestOnVal, Trained, from_state, to_state
from pipeline.resume import TrainingState, fingerprint

ADAM_BETAS = (0.5, 0.999)
AVERAGE_DECAY = 0.99  # of D's averaged weights, a step; the average starts from the first steps without lag
CONSISTENCY_FROM = 1 / 3  # of the steps: until here its weight rises, since at first nothing is worth agreeing on
DECAY_FROM = 2 / 3  # of the steps: from here on the rate falls to nothing


class SganResult(NamedTuple):
    """Outcome of `train_sgan`.

    Attributes:
        trained: One a seed and method, seeds in order, methods in the order of `methods`.
        counts: "labelled/<class>" to the number of labelled images of it, the same for every seed.
        tried: Every method's settings with their scores on val, as many for each.
        rows: Seed to the rows of train whose labels were seen.
    """

    trained: list[Trained]
    counts: dict[str, int]
    tried: list[Tried]
    rows: dict[int, np.ndarray]


class _Pool(NamedTuple):
    """What one seed's trainings draw from; train only."""

    space: Pixels | Features
    labels: Tensor  # (N,) int64, looked up at labelled rows only
    labelled_rows: np.ndarray  # rows whose label may be seen
    batch_size: int
    seed: int

    def rows(self, purpose: str, of: np.ndarray, step: int) -> tuple[np.ndarray, np.random.Generator]:
        """Rows of a batch, drawn with replacement; and what draws go on with."""
        rng = numpy_rng(self.seed, purpose, step)
        return of[rng.integers(len(of), size=self.batch_size)], rng

    def labelled_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """B images (or vectors) and their (B,) labels."""
        rows, rng = self.rows("labelled batch", self.labelled_rows, step)
        return self.space.drawn(rows, rng), self.labels[torch.from_numpy(rows).to(self.labels.device)]

    def classic_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The images of `labelled_batch`, augmented by the classic policy and not by flips."""
        rows, _ = self.rows("labelled batch", self.labelled_rows, step)
        return self.space.classic(rows, self.seed, step), self.labels[torch.from_numpy(rows).to(self.labels.device)]

    def unlabelled_batch(self, step: int) -> Tensor:
        """B images out of all of train, the labelled ones among them, as in the paper."""
        return self.space.drawn(*self.rows("unlabelled batch", np.arange(len(self.space.reals)), step))

    def classic_unlabelled_batch(self, step: int) -> Tensor:
        """The images of `unlabelled_batch`, augmented so."""
        rows, _ = self.rows("unlabelled batch", np.arange(len(self.space.reals)), step)
        return self.space.classic(rows, self.seed, step, 1)  # not the draws of the labelled images

    def seen(self, images: Tensor, step: int) -> Tensor:
        """Unlabelled images as D sees them, while its averaged self sees them as they are: the same ones twice."""
        return self.space.view(images, numpy_rng(self.seed, "view", step))


def labelled_rows(labels: np.ndarray, *, num_classes: int, label_budget: int, seed: int) -> np.ndarray:
    """Rows whose labels may be seen: `label_budget` of each class, or all of a class that has fewer.

    Args:
        labels: (N,) class indices.
        num_classes: K.
        label_budget: Labelled images a class.
        seed: Seed of the run; a larger budget keeps the images of a smaller one.

    Returns:
        Row numbers, ascending.
    """
    rows = [
        numpy_rng(seed, "labelled", k).permutation(np.flatnonzero(labels == k))[:label_budget]
        for k in range(num_classes)
    ]
    return np.sort(np.concatenate(rows))


def train_sgan(
    train: Store,
    val: Store,
    *,
    label_budget: int,
    seeds: list[int],
    tuning: list[dict[str, float]],
    steps: int,
    batch_size: int,
    z_dim: int,
    space: str = "pixels",
    img_resolution: int = 32,
    channels: int = 16,
    units: int = 256,
    augmented_views: int = 8,
    looks: Looks | None = None,
    unlabelled_weight: float = 1.0,
    consistency_weight: float = 0.0,
    consistency_confidence: float = 0.0,
    views: str = "none",
    flips: list[str] | tuple[str, ...] = ("horizontal", "vertical"),
    augment: str = "classic",
    methods: list[str] | None = None,
    eval_every: int,
    device: str = "cpu",
    report: Callable[[dict[str, float], int], None] | None = None,
    state_dir: str | Path | None = None,
) -> SganResult:
    """Train the SGAN and its supervised-only baselines, each with every setting once, and with the best once a seed.

    Args:
        train: All training images; the labels of all but the labelled ones stay unseen.
        val: Images to choose the checkpoint and the setting on.
        label_budget: Labelled images a class.
        seeds: Each draws its own labelled images; settings are tried with the first.
        tuning: Settings that every method tries: `lr`, Adam's learning rate; `dropout`, of D after each halving of
            the resolution, or of its hidden layer; `input_noise`, the standard deviation of Gaussian noise on D's
            input in training, images spanning [-1, 1] and features having a deviation of 1. The paper's dropout of
            0.5 (and 0.2 on the input) is for 100 times as many steps.
        steps: Optimiser steps of D, for every method.
        batch_size: Images of each kind a step: labelled, unlabelled, generated.
        z_dim: Length of G's noise.
        space: What the networks see and G draws: pixels, or features of a frozen network.
        img_resolution: Of pixels: side that the networks see; images are averaged down to it.
        channels: Of pixels: width of both networks, channels of the map nearest to the image.
        units: Of features: width of both networks' hidden layers.
        augmented_views: Of features: views of each labelled image that `supervised_classic` draws from.
        looks: Of features: the frozen network.
        unlabelled_weight: Of the loss on unlabelled and generated images; the paper's is 1.
        consistency_weight: Of D's agreement with its averaged self on unlabelled images, after its rise; 0: none.
        consistency_confidence: They agree on images of which the averaged self is as sure as this, 0 to 1; 0: on all.
        views: Key of VIEWS in `sgan_views.py`: how D sees the unlabelled images that its averaged self sees as they
            are. Labelled images are no part of it, so that `sgan` and `supervised` have the same. Of pixels alone.
        flips: Mirrorings that labelled and unlabelled images get at random: horizontal, vertical.
        augment: Policy of `images/transforms.py` that `supervised_classic` gets in place of the flips.
        methods: Keys of METHODS; None: those that the pipeline compares.
        eval_every: Steps between two evaluations on val; the last step is evaluated always.
        device: cpu or cuda.
        report: Called with losses and val figures of a seed, and the step.
        state_dir: Where a killed training is gone on from, to be deleted when its outcome is in place; None:
            no state is kept.

    Raises:
        InputError: The images cannot be trained on; a saved state is damaged or another's; the disk is full.
        Interrupted: Ctrl-C or SIGTERM came, and the state is saved in `state_dir`.
    """
    settings = {k: v for k, v in locals().items() if k not in ("train", "val", "report", "state_dir", "looks")}
    check_stores(train, val)
    methods = list(COMPARED) if methods is None else methods
    num_classes = len(train.classes)
    labels = torch.from_numpy(train.labels).to(device)
    rows = {
        seed: labelled_rows(train.labels, num_classes=num_classes, label_budget=label_budget, seed=seed)
        for seed in seeds
    }
    key = ""
    if state_dir is not None:
        arrays = [train.images, train.labels, val.images, val.labels]
        eye = None if looks is None else looks.key
        key = fingerprint(arrays, {**settings, "classes": train.classes, "features of": eye})

    shared: dict[str, Any] = {"flips": flips, "augment": augment, "device": device}
    with reproducible():
        seen: Pixels | Features
        if space == "features":
            assert looks is not None
            seen = Features.of(train, looks=looks, rows=rows, units=units, augmented_views=augmented_views, **shared)
        else:
            seen = Pixels.of(train, img_resolution=img_resolution, channels=channels, views=views, **shared)

    with reproducible(), TrainingState(state_dir, key) as state:
        finished: list[dict[str, Any]] = []  # trainings in the order of `next_run`, as `to_state` gives them
        running: dict[str, Any] | None = None  # what the first that is not finished goes on from
        saved = state.load()
        if saved is not None:
            finished, running = saved["finished"], saved["running"]
            print(f"{state.name}: going on from {saved['position']}", flush=True)

        trained: dict[Run, Trained] = {}
        while run := next_run(
            {run: _score(t) for run, t in trained.items()}, methods=methods, seeds=seeds, settings=len(tuning)
        ):
            name, seed, setting = run.method, run.seed, tuning[run.setting]
            lr = setting["lr"]
            pool = _Pool(seen, labels, rows[seed], batch_size, seed)
            seed_layers(seed, "initial weights")
            D = seen.discriminator(num_classes, dropout=setting["dropout"], input_noise=setting["input_noise"])
            D.to(device, memory_format=torch.channels_last)
            averaged = nn.Sequential(seen.front, copy.deepcopy(D)).eval()  # what is evaluated, chosen and returned
            if len(trained) < len(finished):
                trained[run] = from_state(finished[len(trained)], averaged)
                continue
            method = METHODS[name](
                D,
                pool,
                lr=lr,
                z_dim=z_dim,
                unlabelled_weight=unlabelled_weight,
                consistency_weight=consistency_weight,
                consistency_confidence=consistency_confidence,
                averaged=averaged[1],
                steps=steps,
            )
            opt_D = torch.optim.Adam(D.parameters(), lr, betas=ADAM_BETAS, fused=True)
            best, history, optimiser_steps, first_step = BestOnVal(), [], 0, 1
            sums: dict[str, list[Tensor]] = {}
            parts = {"D": D, "opt_D": opt_D, "averaged": averaged, "best": best, **method.parts}
            if running is not None:
                for part_name, part in parts.items():
                    part.load_state_dict(running[part_name])
                history, optimiser_steps = running["history"], running["optimiser_steps"]
                sums = {k: [value.to(device) for value in values] for k, values in running["sums"].items()}
                first_step, running = running["step"] + 1, None

            words = f"{name}, seed {seed}, setting {run.setting + 1} of {len(tuning)}"
            for step in tqdm(
                range(first_step, steps + 1), words, total=steps, initial=first_step - 1, disable=None, leave=False
            ):
                for optimiser in (opt_D, *method.optimisers):
                    for group in optimiser.param_groups:
                        group["lr"] = lr * learning_rate_factor(step, steps)
                # All that a step draws is addressed by (seed, step): no generator's state need be saved.
                seed_layers(seed, "dropout", step)
                loss, losses = method.d_loss(step)
                opt_D.zero_grad()
                loss.backward()
                opt_D.step()
                optimiser_steps += 1
                losses = losses | method.after_d_step(step)
                _average(averaged[1], D, min(AVERAGE_DECAY, (1 + step) / (10 + step)))
                for k, value in losses.items():
                    sums.setdefault(k, []).append(value.detach())
                if step % eval_every == 0 or step == steps:
                    row = {"step": step} | {k: float(torch.stack(values).mean()) for k, values in sums.items()}
                    row |= best.offer(step, averaged, val)
                    history.append(row)
                    sums.clear()
                    if report is not None:
                        of = f"seed_{seed}" + (f"/setting_{run.setting}" if len(tuning) > 1 else "")
                        report({f"{name}/{k}/{of}": v for k, v in row.items() if k != "step"}, step)
                if state.due():
                    so_far = {"step": step, "optimiser_steps": optimiser_steps, "history": history, "sums": sums}
                    so_far |= {part_name: part.state_dict() for part_name, part in parts.items()}
                    state.save({"finished": finished, "running": so_far}, f"step {step} of {steps} of {words}")

            best.restore(averaged)
            trained[run] = Trained(seed, averaged, history, best.step, optimiser_steps, name)
            finished.append(to_state(trained[run]))
            if state.due():
                state.save({"finished": finished, "running": None}, f"the end of {words}")
        # A kill in what a stage does next must not take a whole label budget with it
        state.save({"finished": finished, "running": None}, f"the end of {label_budget} labels a class")

    scores = {run: _score(t) for run, t in trained.items()}
    chosen = {name: chosen_setting(scores, name, seeds[0]) for name in methods}
    tried = [
        Tried(
            run.method,
            tuning[run.setting],
            t.best_step,
            scores[run][0],
            -scores[run][1],
            chosen[run.method] == run.setting,
        )
        for run, t in trained.items()
        if run.seed == seeds[0]
    ]
    counts = np.bincount(train.labels[rows[seeds[-1]]], minlength=num_classes)
    return SganResult(
        [trained[Run(name, seed, chosen[name])] for seed in seeds for name in methods],
        {f"labelled/{name}": int(counts[k]) for k, name in enumerate(train.classes)},
        tried,
        rows,
    )


def _score(trained: Trained) -> tuple[float, float]:
    """On val, of the weights that were kept: what settings are chosen by."""
    row = next(row for row in trained.history if row["step"] == trained.best_step)
    return row["val_macro_f1"], -row["val_loss"]


class Supervised:
    """The baseline: D on the labelled images alone."""

    def __init__(self, D: nn.Module, pool: _Pool, **of_sgan: Any) -> None:
        self.D, self.pool = D, pool
        self.labelled_batch = pool.labelled_batch
        self.optimisers: list[torch.optim.Optimizer] = []
        self.parts: dict[str, Any] = {}  # what has a state, beside D and its optimiser

    def d_loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """What D minimises, and its parts."""
        images, labels = self.labelled_batch(step)
        loss = labelled_loss(self.D(images), labels)
        return loss, {"train_loss": loss}

    def after_d_step(self, step: int) -> dict[str, Tensor]:
        """Nothing else learns."""
        return {}


class SupervisedClassic(Supervised):
    """D on the labelled images alone, under the classic policy."""

    def __init__(self, D: nn.Module, pool: _Pool, **of_sgan: Any) -> None:
        super().__init__(D, pool)
        self.labelled_batch = pool.classic_batch


class Sgan:
    """D on labelled, unlabelled and generated images; G by feature matching."""

    def __init__(
        self,
        D: nn.Module,
        pool: _Pool,
        *,
        lr: float,
        z_dim: int,
        unlabelled_weight: float,
        consistency_weight: float,
        consistency_confidence: float,
        averaged: nn.Module,
        steps: int,
    ) -> None:
        self.D, self.pool, self.unlabelled_weight = D, pool, unlabelled_weight
        self.consistency_weight, self.averaged, self.steps = consistency_weight, averaged, steps
        self.consistency_confidence = consistency_confidence
        self.labelled_batch, self.unlabelled_batch = pool.labelled_batch, pool.unlabelled_batch
        self.device = pool.space.reals.device
        self.G = pool.space.generator(z_dim)
        self.G.to(self.device, memory_format=torch.channels_last)
        self.opt_G = torch.optim.Adam(self.G.parameters(), lr, betas=ADAM_BETAS, fused=True)
        self.optimisers = [self.opt_G]
        self.parts = {"G": self.G, "opt_G": self.opt_G}

    def d_loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """What D minimises, and its parts."""
        images, labels = self.labelled_batch(step)
        with torch.no_grad():
            fakes = self.G(self._z("z of D", step))
        reals = self.unlabelled_batch(step)
        shown = torch.cat([images, self.pool.seen(reals, step), fakes])
        # one pass for all three: without batch normalisation they do not mix
        labelled_logits, real_logits, fake_logits = self.D(shown).chunk(3)
        labelled = labelled_loss(labelled_logits, labels)
        unlabelled = unlabelled_loss(real_logits, fake_logits)
        loss = labelled + self.unlabelled_weight * unlabelled
        losses = {"train_loss": labelled, "d_loss": unlabelled}
        if self.consistency_weight > 0:
            with torch.no_grad():
                averaged_logits = self.averaged(reals)
            losses["consistency"] = consistency_loss(real_logits, averaged_logits, self.consistency_confidence)
            loss = loss + self.consistency_weight * consistency_rise(step, self.steps) * losses["consistency"]
        return loss, losses

    def after_d_step(self, step: int) -> dict[str, Tensor]:
        """One step of G, D held fixed; what it is to match are the reals as D has just seen them."""
        self.D.requires_grad_(False)
        with torch.no_grad():
            features_real = self.D.features(self.pool.seen(self.unlabelled_batch(step), step))
        loss = feature_matching_loss(features_real, self.D.features(self.G(self._z("z of G", step))))
        self.opt_G.zero_grad()
        loss.backward()
        self.opt_G.step()
        self.D.requires_grad_(True)
        return {"g_loss": loss}

    def _z(self, purpose: str, step: int) -> Tensor:
        z = self.G.draw_z(self.pool.batch_size, torch_generator(self.pool.seed, purpose, step))
        return z.to(self.device)


class Consistency(Supervised):
    """D on the labelled images, and in agreement with its averaged self on all of train: no GAN."""

    def __init__(
        self,
        D: nn.Module,
        pool: _Pool,
        *,
        consistency_weight: float,
        consistency_confidence: float,
        averaged: nn.Module,
        steps: int,
        **of_sgan: Any,
    ) -> None:
        super().__init__(D, pool)
        self.consistency_weight, self.averaged, self.steps = consistency_weight, averaged, steps
        self.consistency_confidence = consistency_confidence

    def d_loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """What D minimises, and its parts."""
        images, labels = self.labelled_batch(step)
        reals = self.pool.unlabelled_batch(step)
        labelled_logits, real_logits = self.D(torch.cat([images, self.pool.seen(reals, step)])).chunk(2)
        with torch.no_grad():
            averaged_logits = self.averaged(reals)
        labelled = labelled_loss(labelled_logits, labels)
        consistency = consistency_loss(real_logits, averaged_logits, self.consistency_confidence)
        loss = labelled + self.consistency_weight * consistency_rise(step, self.steps) * consistency
        return loss, {"train_loss": labelled, "consistency": consistency}


class SganClassic(Sgan):
    """The same, with labelled and unlabelled images under the classic policy."""

    def __init__(self, D: nn.Module, pool: _Pool, **settings: Any) -> None:
        super().__init__(D, pool, **settings)
        self.labelled_batch = pool.classic_batch
        # both steps of D and G look at one batch: the policy is slow
        self.unlabelled_batch = functools.lru_cache(maxsize=1)(pool.classic_unlabelled_batch)


# name in predictions.csv -> what D minimises, and what else learns
METHODS: dict[str, type[Sgan] | type[Supervised]] = {
    "sgan": Sgan,
    "supervised": Supervised,
    "supervised_classic": SupervisedClassic,
    "sgan_classic": SganClassic,
    "consistency": Consistency,
}
COMPARED = ("sgan", "supervised", "supervised_classic")  # by the pipeline; benches may add the others


def consistency_rise(step: int, steps: int) -> float:
    """Share of the consistency's weight at a step: from e^-5 to 1 in the first third (Laine & Aila 2017, section 3)."""
    return math.exp(-5 * (1 - min(1.0, step / max(1.0, CONSISTENCY_FROM * steps))) ** 2)


def learning_rate_factor(step: int, steps: int) -> float:
    """1 for the first two thirds of the steps, then falling in a line; above 0 at the last step (steps from 1)."""
    return min(1.0, (steps - step + 1) / (steps - DECAY_FROM * steps + 1))


@torch.no_grad()
def _average(averaged: nn.Module, D: nn.Module, decay: float) -> None:
    for mean, parameter in zip(averaged.parameters(), D.parameters(), strict=True):
        mean.lerp_(parameter, 1 - decay)  # decay * mean + (1 - decay) * parameter
