"""What each stage took of this machine's processor: noted beside the outputs, for another run would take other seconds.

A stage that DVC takes from its cache keeps the note of the run that made it, where there is one; of one that was killed
and went on, the last process alone is noted.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.params import Params

COSTS = Path(".state/costs")


def note_cost(name: str) -> None:
    """Keep the CPU-seconds of this process and of those that it has started."""
    _note(name, _used())


@contextmanager
def noted(name: str) -> Iterator[None]:
    """Keep the CPU-seconds of what is done inside."""
    before = _used()
    yield
    _note(name, _used() - before)


def costs_sentence(params: Params, metrics: Mapping[str, float]) -> str | None:
    """What the synthetic images cost beside all training recipes; None where a stage has left no note.

    Args:
        params: Of the run.
        metrics: Contents of metrics.json, for what more work on the photos alone gave.
    """
    gans = ["train_gan", *(f"specialise_gan@{name}" for name in params.classes), "generate"]
    gans += [f"repeat_gan@{seed}" for seed in params.repeat_gan.seeds]
    parts = {"gan": gans, "filter": ["filter_synthetic"], "arms": ["train_classifier"]}
    try:
        cost = {
            part: sum(float((COSTS / name).read_text(encoding="utf-8")) for name in names)
            for part, names in parts.items()
        }
    except (OSError, ValueError):
        return None
    whose = "The GAN" if len(params.repeat_gan.seeds) == 0 else f"The {1 + len(params.repeat_gan.seeds)} GANs"
    return (
        f"{whose} and the images took {cost['gan']:.0f} seconds of processor time here, the filter "
        f"{cost['filter']:.0f}; all {len(params.arms)} recipes together {cost['arms']:.0f}."
        + _of_more_work(params, metrics)
    )


def _of_more_work(params: Params, metrics: Mapping[str, float]) -> str:
    """What seconds spent on the photos alone gave; "" where that was not tried."""
    gain = "classic_long/test/macro_f1_minus_classic"
    try:
        seconds = float((COSTS / "train_classifier@classic_long").read_text(encoding="utf-8"))
        mean, lower, upper = (metrics[f"{gain}{end}"] for end in ("", "_lower", "_upper"))
    except (OSError, ValueError, KeyError):
        return ""
    return (
        f" Seconds could be spent on the photos alone: `classic_long`, with {params.arms['classic_long'].effort} times "
        f"the views or steps, took {seconds:.0f} and gained {mean:+.3f} macro-F1 ({lower:+.3f} to {upper:+.3f}) on "
        "`classic`."
    )


def _used() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(of.ru_utime + of.ru_stime for of in used)


def _note(name: str, seconds: float) -> None:
    COSTS.mkdir(parents=True, exist_ok=True)
    (COSTS / name).write_text(f"{seconds:.1f}\n", encoding="utf-8")
