"""What a figure was measured on; names no host."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe(device: str) -> dict[str, object]:
    """Device, cores, and the versions that matter."""
    import torch

    from pipeline.gan.precision import autocast_dtype

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "faster_in_bf16": autocast_dtype(device, "auto") is not None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
