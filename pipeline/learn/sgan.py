"""The semi-supervised GAN of Salimans et al. 2016, beside the same discriminator trained on the labels alone.

The comparison asks what unlabelled images are worth. Both methods get, for each seed, the same labelled
images, the same labelled batches, initial weights of D, flips, optimiser, steps, averaging and choice of the
checkpoint on val; the baseline lacks the unlabelled images and G, and nothing else (Oliver et al. 2018:
baselines are usually reported too low). G is no generator for export: one that helps D is a bad one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.images.seeding import numpy_rng, torch_generator
from pipeline.images.store import Store
from pipeline.learn.batches import check_stores
from pipeline.learn.device import reproducible, seed_layers
from pipeline.learn.sgan_losses import feature_matching_loss, labelled_loss, unlabelled_loss
from pipeline.learn.sgan_networks import Discriminator, Generator
from pipeline.learn.trained import BestOnVal, PixelInput, Trained, from_state, to_pixels, to_state
from pipeline.resume import TrainingState, fingerprint

ADAM_BETAS = (0.5, 0.999)
AVERAGE_DECAY = 0.99  # of D's averaged weights, a step; the average starts from the first steps without lag
DECAY_FROM = 2 / 3  # of the steps: from here on the rate falls to nothing


class SganResult(NamedTuple):
    """Outcome of `train_sgan`.

    Attributes:
        trained: One a seed and method, seeds in order, `sgan` before `supervised`.
        counts: "labelled/<class>" to the number of labelled images of it, the same for every seed.
    """

    trained: list[Trained]
    counts: dict[str, int]


class _Pool(NamedTuple):
    """What one seed's trainings draw from; train only."""

    images: Tensor  # (N, 3, R, R) float32 in [-1, 1]: all of train, unlabelled
    labels: Tensor  # (N,) int64, looked up at labelled rows only
    labelled_rows: np.ndarray  # rows whose label may be seen
    batch_size: int
    seed: int

    def draw(self, purpose: str, rows: np.ndarray, step: int) -> tuple[Tensor, np.ndarray]:
        """A batch of some rows, drawn with replacement and flipped at random; and its rows."""
        rng = numpy_rng(self.seed, purpose, step)
        drawn = rows[rng.integers(len(rows), size=self.batch_size)]
        images = self.images[torch.from_numpy(drawn).to(self.images.device)]
        for dim in (2, 3):  # a leaf has no up or down
            flipped = torch.from_numpy(rng.random(self.batch_size) < 0.5).to(images.device)
            images = torch.where(flipped[:, None, None, None], images.flip(dim), images)
        return images, drawn

    def labelled_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(B, 3, R, R) images and their (B,) labels."""
        images, rows = self.draw("labelled batch", self.labelled_rows, step)
        return images, self.labels[torch.from_numpy(rows).to(self.labels.device)]

    def unlabelled_batch(self, step: int) -> Tensor:
        """(B, 3, R, R) images out of all of train, the labelled ones among them, as in the paper."""
        return self.draw("unlabelled batch", np.arange(len(self.images)), step)[0]


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
    steps: int,
    batch_size: int,
    lr: float,
    z_dim: int,
    img_resolution: int,
    channels: int = 16,
    dropout: float = 0.1,
    eval_every: int,
    device: str = "cpu",
    report: Callable[[dict[str, float], int], None] | None = None,
    state_dir: str | Path | None = None,
) -> SganResult:
    """Train the SGAN and its supervised-only baseline, each once a seed.

    Args:
        train: All training images; the labels of all but the labelled ones stay unseen.
        val: Images to choose the checkpoint on.
        label_budget: Labelled images a class.
        seeds: Each draws its own labelled images.
        steps: Optimiser steps of D, for both methods.
        batch_size: Images of each kind a step: labelled, unlabelled, generated.
        lr: Adam's learning rate.
        z_dim: Length of G's noise.
        img_resolution: Side that the networks see, pixels; images are averaged down to it.
        channels: Width of both networks: channels of the map nearest to the image.
        dropout: Of D, after each halving of the resolution. The paper's 0.5 (and 0.2 on the input) is for 100
            times as many steps: after some hundred, both methods were better with 0.1 on val.
        eval_every: Steps between two evaluations on val; the last step is evaluated always.
        device: cpu or cuda.
        report: Called with losses and val figures of a seed, and the step.
        state_dir: Where a killed training is gone on from, to be deleted when its outcome is in place; None:
            no state is kept.

    Raises:
        InputError: The images cannot be trained on; a saved state is damaged or another's; the disk is full.
        Interrupted: Ctrl-C or SIGTERM came, and the state is saved in `state_dir`.
    """
    settings = {k: v for k, v in locals().items() if k not in ("train", "val", "report", "state_dir")}
    check_stores(train, val)
    num_classes = len(train.classes)
    scale = PixelInput((0.5,) * 3, (0.5,) * 3, img_resolution).to(device)  # pixels to [-1, 1]
    chunks = np.array_split(train.images, len(train.labels) // 64 + 1)  # as floats at full size they would fill memory
    images = torch.cat([scale(to_pixels(chunk, device)) for chunk in chunks])
    key = ""
    if state_dir is not None:
        arrays = [train.images, train.labels, val.images, val.labels]
        key = fingerprint(arrays, {**settings, "classes": train.classes})

    with reproducible(), TrainingState(state_dir, key) as state:
        finished: list[dict[str, Any]] = []  # a seed and method each, as `to_state` gives them
        running: dict[str, Any] | None = None  # what the first that is not finished goes on from
        saved = state.load()
        if saved is not None:
            finished, running = saved["finished"], saved["running"]
            print(f"{state.name}: going on from {saved['position']}", flush=True)

        trained, rows = [], np.array([], dtype=np.int64)
        for seed in seeds:
            rows = labelled_rows(train.labels, num_classes=num_classes, label_budget=label_budget, seed=seed)
            pool = _Pool(images, torch.from_numpy(train.labels).to(device), rows, batch_size, seed)
            for name, new_method in METHODS.items():
                seed_layers(seed, "initial weights")
                D = Discriminator(num_classes, channels=channels, dropout=dropout)
                D.to(device, memory_format=torch.channels_last)
                averaged = nn.Sequential(scale, copy.deepcopy(D)).eval()  # what is evaluated, chosen and returned
                if len(trained) < len(finished):
                    trained.append(from_state(finished[len(trained)], averaged))
                    continue
                method = new_method(D, pool, lr, z_dim, channels)
                opt_D = torch.optim.Adam(D.parameters(), lr, betas=ADAM_BETAS)
                best, history, optimiser_steps, first_step = BestOnVal(), [], 0, 1
                sums: dict[str, list[Tensor]] = {}
                parts = {"D": D, "opt_D": opt_D, "averaged": averaged, "best": best, **method.parts}
                if running is not None:
                    for part_name, part in parts.items():
                        part.load_state_dict(running[part_name])
                    history, optimiser_steps = running["history"], running["optimiser_steps"]
                    sums = {k: [value.to(device) for value in values] for k, values in running["sums"].items()}
                    first_step, running = running["step"] + 1, None

                steps_left = range(first_step, steps + 1)
                for step in tqdm(
                    steps_left, f"{name}, seed {seed}", total=steps, initial=first_step - 1, disable=None, leave=False
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
                            report({f"{name}/{k}/seed_{seed}": v for k, v in row.items() if k != "step"}, step)
                    if state.due():
                        so_far = {"step": step, "optimiser_steps": optimiser_steps, "history": history, "sums": sums}
                        so_far |= {part_name: part.state_dict() for part_name, part in parts.items()}
                        position = f"step {step} of {steps} of {name}, seed {seed}"
                        state.save({"finished": finished, "running": so_far}, position)

                best.restore(averaged)
                trained.append(Trained(seed, averaged, history, best.step, optimiser_steps, name))
                finished.append(to_state(trained[-1]))
                if state.due():
                    state.save({"finished": finished, "running": None}, f"the end of {name}, seed {seed}")
    counts = np.bincount(train.labels[rows], minlength=num_classes)
    return SganResult(trained, {f"labelled/{name}": int(counts[k]) for k, name in enumerate(train.classes)})


class Supervised:
    """The baseline: D on the labelled images alone."""

    def __init__(self, D: Discriminator, pool: _Pool, lr: float, z_dim: int, channels: int) -> None:
        self.D, self.pool = D, pool
        self.optimisers: list[torch.optim.Optimizer] = []
        self.parts: dict[str, Any] = {}  # what has a state, beside D and its optimiser

    def d_loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """What D minimises, and its parts."""
        images, labels = self.pool.labelled_batch(step)
        loss = labelled_loss(self.D(images), labels)
        return loss, {"train_loss": loss}

    def after_d_step(self, step: int) -> dict[str, Tensor]:
        """Nothing else learns."""
        return {}


class Sgan:
    """D on labelled, unlabelled and generated images; G by feature matching."""

    def __init__(self, D: Discriminator, pool: _Pool, lr: float, z_dim: int, channels: int) -> None:
        self.D, self.pool = D, pool
        device = pool.images.device
        self.G = Generator(z_dim, pool.images.shape[-1], channels=channels)
        self.G.to(device, memory_format=torch.channels_last)
        self.opt_G = torch.optim.Adam(self.G.parameters(), lr, betas=ADAM_BETAS)
        self.optimisers = [self.opt_G]
        self.parts = {"G": self.G, "opt_G": self.opt_G}

    def d_loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """What D minimises, and its parts."""
        images, labels = self.pool.labelled_batch(step)
        with torch.no_grad():
            fakes = self.G(self._z("z of D", step))
        # one pass for all three: without batch normalisation they do not mix
        logits = self.D(torch.cat([images, self.pool.unlabelled_batch(step), fakes]))
        labelled_logits, real_logits, fake_logits = logits.chunk(3)
        labelled = labelled_loss(labelled_logits, labels)
        unlabelled = unlabelled_loss(real_logits, fake_logits)
        return labelled + unlabelled, {"train_loss": labelled, "d_loss": unlabelled}

    def after_d_step(self, step: int) -> dict[str, Tensor]:
        """One step of G, D held fixed."""
        self.D.requires_grad_(False)
        with torch.no_grad():
            features_real = self.D.features(self.pool.unlabelled_batch(step))
        loss = feature_matching_loss(features_real, self.D.features(self.G(self._z("z of G", step))))
        self.opt_G.zero_grad()
        loss.backward()
        self.opt_G.step()
        self.D.requires_grad_(True)
        return {"g_loss": loss}

    def _z(self, purpose: str, step: int) -> Tensor:
        z = self.G.draw_z(self.pool.batch_size, torch_generator(self.pool.seed, purpose, step))
        return z.to(self.pool.images.device)


# name in predictions.csv -> what D minimises, and what else learns
METHODS: dict[str, type[Sgan] | type[Supervised]] = {"sgan": Sgan, "supervised": Supervised}


def learning_rate_factor(step: int, steps: int) -> float:
    """1 for the first two thirds of the steps, then falling in a line; above 0 at the last step (steps from 1)."""
    return min(1.0, (steps - step + 1) / (steps - DECAY_FROM * steps + 1))


@torch.no_grad()
def _average(averaged: nn.Module, D: nn.Module, decay: float) -> None:
    for mean, parameter in zip(averaged.parameters(), D.parameters(), strict=True):
        mean.lerp_(parameter, 1 - decay)  # decay * mean + (1 - decay) * parameter
