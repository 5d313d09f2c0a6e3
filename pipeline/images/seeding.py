"""Random streams addressed by (seed, purpose, index), so that no draw depends on what was drawn before it.

A draw's place in a batch, the number of workers or a resumed run can then not change it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def seed_sequence(seed: int, purpose: str, *index: int) -> np.random.SeedSequence:
    """The stream of one purpose (a word such as "latents") at one index (image, step, class)."""
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *index])


def stream_state(seed: int, purpose: str, *index: int) -> int:
    """What a torch generator is seeded with to stand at the beginning of (seed, purpose, index)."""
    return int(seed_sequence(seed, purpose, *index).generate_state(1, np.uint64)[0] >> 1)


def numpy_rng(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A NumPy generator on the stream of (seed, purpose, index)."""
    return np.random.default_rng(seed_sequence(seed, purpose, *index))


def torch_generator(seed: int, purpose: str, *index: int, device: str = "cpu") -> torch.Generator:
    """A torch generator on the stream of (seed, purpose, index)."""
    import torch

    return torch.Generator(device=device).manual_seed(stream_state(seed, purpose, *index))
