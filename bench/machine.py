"""What a figure was measured on; names no host."""

from __future__ import annotations

import os
import platform


def describe(device: str) -> dict[str, object]:
    """Device, cores, and the versions that matter."""
    import torch

    from pipeline.gan.precision import autocast_dtype
    from pipeline.machine import cpu_model

    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "faster_in_bf16": autocast_dtype(device, "auto") is not None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
