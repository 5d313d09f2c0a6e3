"""What a figure was measured on; names no host."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe(device: str) -> dict[str, object]:
    """Device, cores, and the versions that matter."""
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16_in_hardware": bool(device == "cuda" or torch.cpu._is_avx512_bf16_supported()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
