"""The downstream classifier: the instrument that says whether an arm's training data help.

Every arm gets the same network, the same initial weights per seed, the same number of optimiser steps and the
same schedule; only its images, its sampling and its augmentation are its own. Equal epochs instead would hand
an arm with more images more steps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from pipeline import InputError
from pipeline.features.pixels import to_pixels
from pipeline.images.store import Store
from pipeline.images.transforms import build_policy
from pipeline.learn.batches import batch_rows, check_stores
from pipeline.learn.classifier_model import build_classifier
from pipeline.learn.device import reproducible, seed_layers
from pipeline.learn.trained import BestOnVal, Trained, from_state, to_state
from pipeline.resume import TrainingState, fingerprint

# name in params.yaml -> function of (parameters, lr, weight decay)
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p, lr, decay: torch.optim.SGD(p, lr, momentum=0.9, weight_decay=decay, nesterov=True),
    "adamw": lambda p, lr, decay: torch.optim.AdamW(p, lr, weight_decay=decay),
}
WARMUP_SHARE = 0.2  # of the steps, in which the rate rises to lr before it falls to nothing


def train_classifier(
    train: Store,
    val: Store,
    *,
    model: str,
    weights: str | None = None,
    input_size: int | None = None,
    seeds: list[int],
    steps: int,
    batch_size: int,
    optimiser: str = "sgd",
    lr: float,
    weight_decay: float,
    label_smoothing: float = 0.1,
    eval_every: int,
    sampling: str = "natural",
    augment: str = "none",
    freeze_norms: bool = False,
    head_rate: float = 1.0,
    device: str = "cpu",
    report: Callable[[dict[str, float], int], None] | None = None,
    state_dir: str | Path | None = None,
    method: str = "",
) -> list[Trained]:
    """Train one classifier a seed; of each, the weights with the best val macro-F1 are kept.

    Args:
        train: The arm's images.
        val: Real images to choose the checkpoint on.
        model: Name of a torchvision classifier.
        weights: None, a torchvision weights name, or a local file (see `build_classifier`).
        input_size: Side that the network sees, pixels; None: the images' own.
        seeds: One training each.
        steps: Optimiser steps, whatever the number of images.
        batch_size: Images a step.
        optimiser: A key of OPTIMISERS.
        lr: Highest learning rate of the one-cycle schedule (Smith & Topin 2018).
        weight_decay: Of the optimiser.
        label_smoothing: Share of the target spread over all classes, 0 to 1.
        eval_every: Steps between two evaluations on val; the last step is evaluated always.
        sampling: natural (as the images come) or balanced (classes uniform).
        augment: Name of a policy of `images/transforms.py`.
        freeze_norms: Batch norms keep the statistics that their weights came with, as finetuning on few images wants.
        head_rate: The last layer's learning rate over that of the others.
        device: cpu or cuda.
        report: Called with losses and val figures of a seed, and the step.
        state_dir: Where a killed training is gone on from, to be deleted when its outcome is in place; None:
            no state is kept.
        method: Name of this training among several in one stage: in messages, and of a folder of its own in
            `state_dir`; "": it is the only one.

    Returns:
        One `Trained` a seed, in the order of `seeds`.

    Raises:
        InputError: Bad names, weights or images; a saved state that is damaged or another's; a full disk.
        Interrupted: Ctrl-C or SIGTERM came, and the state is saved in `state_dir`.
    """
    settings = {k: v for k, v in locals().items() if k not in ("train", "val", "report", "state_dir", "method")}
    check_stores(train, val)
    if optimiser not in OPTIMISERS:
        raise InputError(
            f"optimiser: expected one of {sorted(OPTIMISERS)}, found '{optimiser}'; mend it in params.yaml."
        )
    img_resolution = train.images.shape[1]
    policy = build_policy(augment, img_resolution)

    key, place, stage = "", None, None
    if state_dir is not None:
        key, place, stage = _fingerprint(train, val, settings), Path(state_dir) / method, Path(state_dir).name
    of_method = f", set {method}" if method else ""

    def new_network() -> nn.Module:
        return build_classifier(
            model,
            num_classes=len(train.classes),
            weights=weights,
            input_size=input_size,
            img_resolution=img_resolution,
        ).to(device)

    with reproducible(), TrainingState(place, key, name=stage) as state:
        finished: list[dict[str, Any]] = []  # seeds, as `to_state` gives them
        running: dict[str, Any] | None = None  # what the next seed goes on from
        saved = state.load()
        if saved is not None:
            finished, running = saved["finished"], saved["running"]
            print(f"{state.name}: going on from {saved['position']}", flush=True)
        trained = [from_state(kept, new_network()) for kept in finished]

        for seed in seeds[len(finished) :]:
            seed_layers(seed, "initial weights")
            network = new_network()
            norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)] if freeze_norms else []
            groups = _groups(network, lr, head_rate)
            opt = OPTIMISERS[optimiser](groups, lr, weight_decay)
            # total_steps of 1 leaves the schedule nothing to divide by
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                opt,
                [group["lr"] for group in groups],
                total_steps=max(steps, 2),
                pct_start=WARMUP_SHARE,
                cycle_momentum=False,
            )
            best, history, losses, right, optimiser_steps, first_step = BestOnVal(), [], [], [], 0, 1
            parts = {"network": network, "opt": opt, "schedule": schedule, "best": best}
            if running is not None:
                for name, part in parts.items():
                    part.load_state_dict(running[name])
                history = running["history"]
                losses, right = ([value.to(device) for value in running[kept]] for kept in ("losses", "right"))
                optimiser_steps, first_step = running["optimiser_steps"], running["step"] + 1
                running = None

            steps_left = range(first_step, steps + 1)
            for step in tqdm(
                steps_left,
                f"classifier, seed {seed}{of_method}",
                total=steps,
                initial=first_step - 1,
                disable=None,
                leave=False,
            ):
                rows = batch_rows(train.labels, sampling=sampling, batch_size=batch_size, seed=seed, step=step)
                batch = np.stack([policy(train.images[row], seed, step, i) for i, row in enumerate(rows)])
                labels = torch.from_numpy(train.labels[rows]).to(device)
                # All that a step draws is addressed by (seed, step): no generator's state need be saved.
                seed_layers(seed, "dropout", step)
                for norm in norms:  # every look at val puts the whole network back into training
                    norm.eval()
                logits = _logits(network, to_pixels(batch, device))
                loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
                opt.zero_grad()
                loss.backward()
                opt.step()
                schedule.step()
                optimiser_steps += 1
                losses.append(loss.detach())
                right.append((logits.detach().argmax(dim=1) == labels).float().mean())
                if step % eval_every == 0 or step == steps:
                    row = {"step": step, "train_loss": float(torch.stack(losses).mean())}
                    row["train_accuracy"] = float(torch.stack(right).mean())
                    row |= best.offer(step, network, val)
                    history.append(row)
                    losses.clear()
                    right.clear()
                    if report is not None:
                        report({f"{k}/seed_{seed}": v for k, v in row.items() if k != "step"}, step)
                if state.due():
                    so_far = {"step": step, "optimiser_steps": optimiser_steps, "history": history}
                    so_far |= {"losses": losses, "right": right}
                    so_far |= {name: part.state_dict() for name, part in parts.items()}
                    state.save(
                        {"finished": finished, "running": so_far}, f"step {step} of {steps} of seed {seed}{of_method}"
                    )

            best.restore(network)
            trained.append(Trained(seed, network.eval(), history, best.step, optimiser_steps, method))
            finished.append(to_state(trained[-1]))
            # The last seed's end always: a stage may train several sets in turn, and a kill in a later one
            # must not take an earlier one with it.
            if state.due() or len(finished) == len(seeds):
                state.save({"finished": finished, "running": None}, f"the end of seed {seed}{of_method}")
    return trained


def _groups(network: nn.Module, lr: float, head_rate: float) -> list[dict[str, Any]]:
    """Parameters with their highest rate; one group where all have the same."""
    if head_rate == 1:
        return [{"params": list(network.parameters()), "lr": lr}]
    head = list([m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1].parameters())
    body = [p for p in network.parameters() if not any(p is own for own in head)]
    return [{"params": body, "lr": lr}, {"params": head, "lr": lr * head_rate}]


def _fingerprint(train: Store, val: Store, settings: dict[str, Any]) -> str:
    arrays = [train.images, train.labels, val.images, val.labels]
    if settings["weights"] is not None and Path(settings["weights"]).is_file():
        arrays.append(np.fromfile(settings["weights"], np.uint8))  # another file may come under the same name
    return fingerprint(arrays, {**settings, "classes": train.classes})


def _logits(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    output = network(pixels)
    if isinstance(output, torch.Tensor):
        return output
    return output.logits  # googlenet and inception come with side heads in training
