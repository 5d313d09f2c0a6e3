"""In which precision the networks compute: bfloat16 where the hardware is faster in it.

That a CPU has bfloat16 instructions does not make it so: without a matrix unit behind them, some have half the
float32 rate in bfloat16. So `auto` times a product of two matrices in both.
"""

from __future__ import annotations

import time
from functools import lru_cache

import torch

SIDE = 768  # of the square matrices: some milliseconds a product, and larger than the caches next to a core
TRIES = 5  # the fastest counts, since whatever else runs on the machine only slows
LEAST_GAIN = 1.3  # rates are either about double or about half, so that a busy machine does not change the answer


def autocast_dtype(device: str, precision: str) -> torch.dtype | None:
    """bfloat16 where it is asked for, or where `auto` finds it faster; None for float32."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device == "cuda" else cpu_is_faster_in_bf16()
        return torch.bfloat16 if fast else None
    return {"bf16": torch.bfloat16, "fp32": None}[precision]


@lru_cache
def cpu_is_faster_in_bf16() -> bool:
    """By a product of two matrices, once a process; False without asking where the CPU has no such instructions."""
    if not torch.cpu._is_avx512_bf16_supported():
        return False
    return product_seconds(torch.float32) > LEAST_GAIN * product_seconds(torch.bfloat16)


def product_seconds(dtype: torch.dtype, side: int = SIDE) -> float:
    """Seconds of the fastest of some products of two (side, side) matrices."""
    a = torch.full((side, side), 0.5, dtype=dtype)
    seconds = []
    for _ in range(TRIES + 1):  # the first one chooses its kernel
        began = time.perf_counter()
        torch.mm(a, a)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
