"""The downstream classifier by its kind: what an arm is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.images.store import Store
from pipeline.learn.classifier import train_classifier
from pipeline.learn.probe import STRENGTHS, train_probe
from pipeline.learn.trained import Trained

# Of the settings those that a probe, which is fitted and not trained, knows nothing of
OF_A_TRAINING = ("steps", "batch_size", "optimiser", "lr", "weight_decay", "label_smoothing", "eval_every")
HEAD_RATE = 5.0  # of the last layer, which is new, over that of the rest


def with_effort(settings: Mapping[str, Any], effort: int) -> dict[str, Any]:
    """A judge's settings for an arm that gets so many times the work: views of a probe, steps of a training.

    Args:
        settings: See `train_judge`.
        effort: 1 for most arms.
    """
    return {**settings, **{key: effort * settings[key] for key in ("views", "steps", "eval_every") if key in settings}}


def train_judge(
    train: Store,
    val: Store,
    *,
    kind: str,
    views: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    state_dir: str | Path | None = None,
    looks_dir: str | Path | None = None,
    **settings: Any,
) -> list[Trained]:
    """Train one classifier a seed, of the given kind.

    Args:
        train: The arm's images.
        val: Real images to choose the checkpoint or the strength on.
        kind: `scratch`, weights drawn anew; `finetune`, pretrained weights trained on, batch norm's statistics as they
            are; `probe`, a frozen pretrained network and a logistic regression on its features.
        views: Of a probe, see `train_probe`.
        strengths: The same.
        state_dir: Where a killed training goes on from, see `train_classifier`.
        looks_dir: See `train_probe`, which needs no more than this to go on.
        settings: Further arguments of `train_classifier`, or of `train_probe`, which passes over those of a training.
    """
    if kind == "probe":
        own = {key: value for key, value in settings.items() if key not in OF_A_TRAINING}
        return train_probe(train, val, views=views, strengths=strengths, looks_dir=looks_dir, **own)
    tuned = {"freeze_norms": True, "head_rate": HEAD_RATE} if kind == "finetune" else {}
    return train_classifier(train, val, state_dir=state_dir, **tuned, **settings)
