"""In which precision the networks compute: bfloat16 where the hardware is faster in it.

That a CPU has bfloat16 instructions does not make it so: Intel's without a matrix unit (AMX), or with one that is not
to be had in a virtual machine, have half the float32 rate in bfloat16, AMD's have about double (bench/results). What
is chosen must be the same in every process on a machine, for a training goes on in another one after a kill and must
end with the same bytes; so the CPU is asked what it is, and nothing is timed.
"""

from __future__ import annotations

import platform

import torch

from pipeline.machine import cpu_says


def autocast_dtype(device: str, precision: str) -> torch.dtype | None:
    """bfloat16 where it is asked for, or where `auto` knows it to be faster; None for float32."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device == "cuda" else cpu_is_faster_in_bf16()
        return torch.bfloat16 if fast else None
    return {"bf16": torch.bfloat16, "fp32": None}[precision]


def cpu_is_faster_in_bf16() -> bool:
    """Whether the CPU has a matrix unit for bfloat16, or AMD's instructions for it."""
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and cpu_vendor() == "AuthenticAMD"


def cpu_vendor() -> str:
    """As the CPU names it: GenuineIntel, AuthenticAMD; where Linux does not tell, what Python knows."""
    known = next((name for name in ("AuthenticAMD", "GenuineIntel") if name in platform.processor()), "")
    return cpu_says("vendor_id") or known
