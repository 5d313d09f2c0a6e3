"""The loop as tutorials write it: eager, fp32, NCHW, PNG files through a DataLoader, `.item()` at every step.

Same networks, same batch, same optimiser as the engine's; what differs is how it is driven. Also the same
numbers on request: with `stream` it takes its draws from where the engine takes them, so that the losses of
both can be laid side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import relu
from torch.utils.data import DataLoader, Dataset

from pipeline.gan.architectures import build
from pipeline.gan.augment import augment
from pipeline.gan.draws import Draws


class PngFolder(Dataset):
    """`<class>/<n>.png` to a float tensor in [-1, 1] and a label."""

    def __init__(self, folder: Path):
        self.files = sorted(folder.glob("*/*.png"))
        self.classes = sorted({file.parent.name for file in self.files})

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        file = self.files[index]
        pixels = np.asarray(Image.open(file).convert("RGB"))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1, self.classes.index(
            file.parent.name
        )


def write_pngs(images: dict[str, np.ndarray], folder: Path) -> None:
    """What the DataLoader reads."""
    for name, array in images.items():
        (folder / name).mkdir(parents=True)
        for k, pixels in enumerate(array):
            Image.fromarray(pixels).save(folder / name / f"{k:05d}.png")


def hinge_step(
    G: torch.nn.Module,
    D: torch.nn.Module,
    G_opt: torch.optim.Optimizer,
    D_opt: torch.optim.Optimizer,
    reals: torch.Tensor,
    real_labels: torch.Tensor,
    fake_labels: torch.Tensor,
    z: torch.Tensor,
    augmented: Any,
) -> tuple[float, float]:
    """D on reals, D on fakes, then G, as in PyTorch's own DCGAN example: (D_loss, G_loss)."""
    fakes = G(z, fake_labels)
    D.zero_grad()
    seen_reals, seen_fakes = augmented(reals), augmented(fakes.detach())
    D_loss = relu(1 - D(seen_reals, real_labels)).mean() + relu(1 + D(seen_fakes, fake_labels)).mean()
    D_loss.backward()
    D_opt.step()
    G.zero_grad()
    G_loss = -D(augmented(fakes), fake_labels).mean()
    G_loss.backward()
    G_opt.step()
    return D_loss.item(), G_loss.item()


def train(folder: Path, config: dict[str, Any], *, steps: int, batch_size: int, lr: float, augmentation: list[str],
          device: str, workers: int) -> tuple[float, int]:  # fmt: skip
    """Seconds and images of `steps` steps, after two that warm up."""
    torch.manual_seed(0)
    G, D = (network.to(device).train() for network in build(config))
    G_opt, D_opt = (torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9)) for network in (G, D))
    loader = DataLoader(
        PngFolder(folder), batch_size, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip

    def forever() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from loader

    draws, p = Draws(batch_size, device=device), torch.tensor(1.0, device=device)
    batches, began = forever(), 0.0
    for step in range(steps + 2):
        if step == 2:
            began = time.perf_counter()
        draws.start(0, step)
        reals, labels = (part.to(device) for part in next(batches))
        fake_labels = torch.randint(len(config["classes"]), (batch_size,), device=device)
        z = torch.randn(batch_size, config["z_dim"], device=device)
        hinge_step(G, D, G_opt, D_opt, reals, labels, fake_labels, z,
                   lambda images: augment(images, augmentation, draws, p))  # fmt: skip
    return time.perf_counter() - began, steps * batch_size
