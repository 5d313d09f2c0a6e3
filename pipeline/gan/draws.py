"""The random numbers of one step: drawn for the whole batch, handed out for this rank's rows.

All ranks draw the same and take different rows, so a training on several processes sees the same batches as
one on a single process.
"""

from __future__ import annotations

import torch

from pipeline.gan.distributed import ALONE, Ranks
from pipeline.images.seeding import stream_state


class Draws:
    """A generator addressed by the step's number; a resumed training needs no generator's state.

    Args:
        batch_size: Images a step, over all ranks.
        ranks: Which rows are ours.
        device: Where the numbers are drawn.
    """

    def __init__(self, batch_size: int, ranks: Ranks = ALONE, device: str = "cpu"):
        self.batch_size, self.device = batch_size, device
        share = batch_size // ranks.world_size
        self.rows = slice(ranks.rank * share, (ranks.rank + 1) * share)
        self.generator = torch.Generator(device=device)

    def start(self, seed: int, step: int) -> None:
        """To the beginning of the step's stream."""
        self.generator.manual_seed(stream_state(seed, "step", step))

    def normal(self, *shape: int) -> torch.Tensor:
        """(rows, *shape) float32 ~ N(0, 1)."""
        return torch.randn(self.batch_size, *shape, generator=self.generator, device=self.device)[self.rows]

    def uniform(self, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """(rows,) float32 in [low, high)."""
        numbers = torch.rand(self.batch_size, generator=self.generator, device=self.device)[self.rows]
        return numbers if (low, high) == (0.0, 1.0) else low + (high - low) * numbers

    def integers(self, low: int, high: int) -> torch.Tensor:
        """(rows,) int64 in [low, high)."""
        return torch.randint(low, high, (self.batch_size,), generator=self.generator, device=self.device)[self.rows]
