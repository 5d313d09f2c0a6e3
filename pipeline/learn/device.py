"""What makes training give the same bytes again: seeds of torch's global generator, deterministic kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.images.seeding import stream_state


def seed_layers(seed: int, purpose: str, *index: int) -> None:
    """Put torch's global generators at the start of the stream (seed, purpose, index).

    Weight initialisation and dropout can draw from nowhere else. Called before each such draw, what a step
    draws depends on its number alone, not on whether there was an evaluation before it.
    """
    torch.manual_seed(stream_state(seed, purpose, *index))


@contextmanager
def reproducible() -> Iterator[None]:
    """Deterministic kernels inside the block; the global generators and settings are as before after it.

    On a GPU some layers have no deterministic kernel, or need CUBLAS_WORKSPACE_CONFIG=:4096:8 in the
    environment: torch warns there, and goes on.
    """
    before = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    with torch.random.fork_rng():
        torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which loads torch's compiler
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(before[0])
            torch.backends.cudnn.benchmark = before[1]
