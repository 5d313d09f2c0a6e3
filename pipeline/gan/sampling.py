"""Images from a generator, each named by (seed, class, index) and the same whatever it is drawn with.

Batches are fixed: image i is row i % BATCH of batch i // BATCH, and that batch is always drawn whole. On the
CPU it is drawn by one thread; who wants more speed draws several batches at a time. So the number of images
asked for, of threads and of processes cannot reach the pixels, on one machine and one version of torch.

Float32 on purpose: bfloat16 is about a third faster on CPUs that have it, but moves pixels by several levels.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from pipeline.gan.conditioning import Unlabelled
from pipeline.gan.networks import Generator
from pipeline.images.seeding import torch_generator

BATCH = 16  # larger ones are no faster on a CPU, and a preview would draw more than it shows


def latents(seed: int, class_name: str, indices: list[int], z_dim: int) -> torch.Tensor:
    """(len(indices), z_dim) float32 ~ N(0, 1); row i depends on indices[i] alone."""
    rows = [torch.randn(z_dim, generator=torch_generator(seed, f"latents:{class_name}", i)) for i in indices]
    return torch.stack(rows)


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """(N, 3, H, W) float in [-1, 1] to (N, H, W, 3) uint8."""
    scaled = (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def to_float(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) uint8 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def fold_norms(G: Generator, label: int) -> None:
    """Move what the batch norms of a trained G do for one label into the convolutions before them, in place.

    In eval mode a norm is s x + t a channel, so norm(W * x) = (s W) * x + t: a third of G's time saved, and
    pixels within rounding of what they were.
    """
    for conv, norm in zip(G.convs, G.norms, strict=True):
        norm.double()
        zeros = conv.weight.new_zeros(1, conv.out_channels, 1, 1, dtype=torch.float64)
        labels = torch.tensor([label], device=zeros.device)
        t = norm(zeros, labels)[0, :, 0, 0]  # norm(0)
        s = norm(zeros + 1, labels)[0, :, 0, 0] - t  # norm(1) - norm(0)
        conv.weight = nn.Parameter((conv.weight * s[None, :, None, None]).float())  # (C_in, C_out, 4, 4)
        conv.bias = nn.Parameter(t.float())
    G.norms = nn.ModuleList(Unlabelled(0, 0, False) for _ in G.norms)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes by one thread; a thread started inside must set its own number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Sampler:
    """Draws the batches of one class; several threads may share it, each with torch set to one thread.

    Args:
        G: In eval mode, on `device`; copied, so it may be trained on.
        label: The class as G counts it.
        class_name: The class as the latents' stream is named.
        seed: Of the whole set.
        truncation: Factor on z; below 1 trades variety for typical leaves.
        D: If given, in eval mode, on `device`: scores each image.
        device: Where G and D are.
    """

    @torch.no_grad()
    def __init__(
        self,
        G: nn.Module,
        label: int,
        class_name: str,
        *,
        seed: int,
        truncation: float = 1.0,
        D: nn.Module | None = None,
        device: str = "cpu",
    ):
        self.z_dim, self.class_name, self.seed, self.truncation = G.z_dim, class_name, seed, truncation
        self.labels = torch.full((BATCH,), label, device=device)
        self.G = copy.deepcopy(G)
        if isinstance(self.G, Generator):  # the slides' networks are drawn as they are
            fold_norms(self.G, label)
        self.G.to(memory_format=torch.channels_last)
        self.D = None if D is None else copy.deepcopy(D).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def draw(self, batch: int) -> np.ndarray:
        """Images batch * BATCH and following: (BATCH, H, W, 3) uint8."""
        indices = list(range(batch * BATCH, (batch + 1) * BATCH))
        z = latents(self.seed, self.class_name, indices, self.z_dim).to(self.labels.device) * self.truncation
        return to_uint8(self.G(z, self.labels))

    @torch.inference_mode()
    def score(self, images: np.ndarray) -> np.ndarray:
        """D's logits of a batch as written, after rounding to 8 bits: (BATCH,) float32; NaN without a D."""
        if self.D is None:
            return np.full(BATCH, np.nan, np.float32)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.labels.device)  # (N, 3, H, W) uint8
        return self.D(to_float(pixels), self.labels).float().cpu().numpy()


def sample(
    G: nn.Module,
    label: int,
    class_name: str,
    indices: list[int],
    *,
    seed: int,
    truncation: float = 1.0,
    D: nn.Module | None = None,
    device: str = "cpu",
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Draw images of one class, see `Sampler`.

    Args:
        G: In eval mode, on `device`.
        label: The class as G counts it.
        class_name: The class as the latents' stream is named.
        indices: Which images of the class; fastest where those of one batch stand together.
        seed: Of the whole set.
        truncation: Factor on z.
        D: If given, also scores each image.
        device: Where G and D are.

    Yields:
        (index, (H, W, 3) uint8 image, D's logit or NaN), in the order of `indices`.
    """
    sampler = Sampler(G, label, class_name, seed=seed, truncation=truncation, D=D, device=device)
    for batch, wanted in itertools.groupby(indices, key=lambda index: index // BATCH):
        with one_thread():  # not around the yield: the caller's own work keeps its threads
            images = sampler.draw(batch)
            logits = sampler.score(images)
        for index in wanted:
            yield index, images[index % BATCH], float(logits[index % BATCH])
