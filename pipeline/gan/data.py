"""Where a training's images lie: on the device as uint8 where they fit, else drawn from their files.

Both draw the class uniformly and then the image uniformly within it, and give the same batch for the same
step, so that where the data lies changes no result on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pipeline.gan.draws import Draws

DEVICE_SHARE = 0.5  # of the free memory that the images may take; the rest is the networks'


class DeviceData:
    """All images on the device; a batch costs one gather there.

    Args:
        images: Class name to (N_k, R, R, 3) uint8.
        labels: The label of each, in the same order.
        device: cpu or cuda.
    """

    def __init__(self, images: Mapping[str, np.ndarray], labels: Sequence[int], device: str):
        together = np.concatenate(list(images.values()))  # (N, R, R, 3): as it lies, this is torch's channels_last
        self.images = torch.from_numpy(together).to(device)
        self.counts = torch.tensor([len(array) for array in images.values()], device=device)
        self.starts = self.counts.cumsum(0) - self.counts
        self.labels = torch.tensor(labels, device=device)

    def batch(self, step: int, seed: int, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, R, R) uint8 and (N,) int64 of one step; `draws` stands at its stream."""
        which = draws.integers(0, len(self.labels))
        within = (draws.uniform() * self.counts[which]).long()
        return self.images[self.starts[which] + within].permute(0, 3, 1, 2), self.labels[which]


class StreamedData:
    """Images stay in their arrays, which may be mapped from files larger than memory.

    Args:
        images: Class name to (N_k, R, R, 3) uint8, such as `np.load(…, mmap_mode="r")`.
        labels: The label of each, in the same order.
        draws: On the CPU, since rows are looked up there.
        device: cpu or cuda.
    """

    def __init__(self, images: Mapping[str, np.ndarray], labels: Sequence[int], draws: Draws, device: str):
        self.arrays = list(images.values())
        self.counts = torch.tensor([len(array) for array in self.arrays])
        self.labels = torch.tensor(labels)
        self.draws, self.device = draws, device

    def batch(self, step: int, seed: int, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, R, R) uint8 and (N,) int64 of one step; the copy to the device is not waited for."""
        draws = draws if draws.device == "cpu" else self.draws
        if draws is self.draws:
            draws.start(seed, step)
        which = draws.integers(0, len(self.labels))
        within = (draws.uniform() * self.counts[which]).long()
        picked = zip(which.tolist(), within.tolist(), strict=True)
        batch = torch.from_numpy(np.stack([self.arrays[k][i] for k, i in picked]))
        labels = self.labels[which]
        if self.device == "cuda":
            batch, labels = (host.pin_memory().to("cuda", non_blocking=True) for host in (batch, labels))
        return batch.permute(0, 3, 1, 2), labels


def place_data(
    images: Mapping[str, np.ndarray], labels: Sequence[int], *, draws: Draws, device: str, free_bytes: int
) -> DeviceData | StreamedData:
    """On the device where the images take at most `DEVICE_SHARE` of what is free there, else streamed.

    Args:
        images: Class name to (N_k, R, R, 3) uint8.
        labels: The label of each, in the same order.
        draws: On the CPU; used only where images are streamed to a GPU.
        device: cpu or cuda.
        free_bytes: On the device.
    """
    if sum(array.nbytes for array in images.values()) <= DEVICE_SHARE * free_bytes:
        return DeviceData(images, labels, device)
    return StreamedData(images, labels, draws, device)
