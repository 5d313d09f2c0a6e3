"""Whether a training fits into memory: known before it starts, since a CPU process that takes too much is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline import InputError
from pipeline.gan.architectures import build

# Of the weights: themselves, gradients, Adam's two moments; G once more as its average
COPIES_OF_WEIGHTS = 5
# Over what autograd keeps, for gradients, batches, augmentation and the kernels' workspaces. A CPU was seen to take
# 1.6 to 1.8 times that at 64 px in fp32; tests/test_memory.py holds the estimate between it and twice it
WORKING_SHARE = 2.0
FITTING = 0.7  # of a batch that did not fit, where it took all the memory before it failed
CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_bytes(device: str) -> int:
    """What a process can still take: of the GPU, or of the machine and of the container around it."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines()) if (
        Path("/proc/meminfo").is_file()
    ) else {}  # fmt: skip
    free = int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else 2**62
    for limit, usage in CGROUP_FILES:
        if Path(limit).is_file() and Path(usage).is_file():
            most = Path(limit).read_text().strip()
            if most.isdecimal():
                free = min(free, int(most) - int(Path(usage).read_text()))
    return max(free, 0)


def _kept_for_backward(network: nn.Module, *inputs: torch.Tensor) -> int:
    """Bytes that autograd keeps for the backward pass; on the meta device, so nothing is computed."""
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # a storage's address names it only while it lives

    def note(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(*inputs)
    return sum(kept.values())


def step_bytes(config: dict[str, Any]) -> tuple[int, int]:
    """Memory of a training step in fp32: (whatever the batch, for each image of it)."""
    with torch.device("meta"):  # spectral norm keeps nothing an image, and takes a second to set up here
        G, D = build({**config, "spectral_norm": False})
    side = config["img_resolution"]

    def kept(batch: int) -> int:
        labels = torch.zeros(batch, dtype=torch.long, device="meta")
        images = torch.empty(batch, 3, side, side, device="meta", requires_grad=True)
        # D sees reals and fakes together while G's activations wait for its own step
        of_D = _kept_for_backward(D.train(), images, labels)
        return _kept_for_backward(G.train(), torch.empty(batch, config["z_dim"], device="meta"), labels) + 2 * of_D

    weights = sum(p.numel() * p.element_size() for network in (G, D) for p in network.parameters())
    each = (kept(4) - kept(2)) / 2  # the difference leaves weights out
    return weights * COPIES_OF_WEIGHTS, int(each * WORKING_SHARE)


def largest_batch(config: dict[str, Any], free: int) -> int:
    """Images a step that fit into `free` bytes; 0 where not even the networks do."""
    fixed, each = step_bytes(config)
    return max(0, (free - fixed) // each)


def check_batch(config: dict[str, Any], batch_size: int, free: int, *, stage: str) -> None:
    """Refuse a batch that will not fit.

    Args:
        config: Of the networks, see `architectures.build`.
        batch_size: Images a step on this device.
        free: Bytes.
        stage: Section of params.yaml, for the message.

    Raises:
        InputError: Names the largest batch that fits.
    """
    most = largest_batch(config, free)
    if batch_size > most:
        raise InputError(
            f"{stage}.batch_size: expected at most {most}, which is what {free / 1e9:.1f} GB of free memory hold at "
            f"{config['img_resolution']} px, got {batch_size}; lower it, or the channels, in params.yaml."
        )


@contextmanager
def named_when_out_of_memory(batch_size: int, device: str, *, stage: str) -> Iterator[None]:
    """Where the estimate was too low: what the batch took so far says how many images would have fitted.

    Raises:
        InputError: Instead of the allocator's error.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        taken = torch.cuda.max_memory_allocated() if device == "cuda" else 0
        share = min(1.0, taken / torch.cuda.mem_get_info()[1]) if taken else 0.5
        most = max(1, min(batch_size - 1, int(batch_size * share * FITTING)))
        raise InputError(
            f"{stage}.batch_size: expected at most about {most}, ran out of memory with {batch_size}; lower it, or the "
            "channels, in params.yaml."
        ) from error
