"""Batch norm over the whole batch, however many ranks share it; plain, and by class.

torch's own SyncBatchNorm works on GPUs alone; this one gives several CPU processes the weights of one, too.
"""

from __future__ import annotations

import torch
import torch.distributed.nn.functional as reduce  # its all_reduce has a gradient
from torch import nn

from pipeline.gan.conditioning import LabelEmbedding
from pipeline.gan.distributed import world_size


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose batch, in training, is that of all ranks together."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x (N, C, H, W). Returns the same shape and dtype."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        wide = x.float()
        sums = torch.stack([wide.sum(dim=(0, 2, 3)), wide.square().sum(dim=(0, 2, 3))])  # (2, C)
        count = x.numel() / x.shape[1] * world_size()
        mean, square = reduce.all_reduce(sums) / count
        var = square - mean.square()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        scale = (var + self.eps).rsqrt()
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


class UnconditionalBatchNorm2d(BatchNorm2d):
    """Called like a conditional one."""

    def __init__(self, num_features: int, num_classes: int, transitional: bool = False):
        super().__init__(num_features)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: x (N, C, H, W); labels are ignored."""
        return super().forward(x)


CLASS_STD = 0.3  # of the gains' and biases' start


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gain and bias are looked up by class (Dumoulin et al. 2017, eq. 4).

    They start spread out, not at 1 and 0: an optimiser's step moves them by its rate, and at 2e-4 a training
    of a few thousand steps would be over before the classes had come apart.
    """

    def __init__(self, num_features: int, num_classes: int, transitional: bool = False):
        super().__init__()
        self.norm = BatchNorm2d(num_features, affine=False)
        self.gain = LabelEmbedding(num_classes, num_features, transitional)
        self.bias = LabelEmbedding(num_classes, num_features, transitional)
        nn.init.normal_(self.gain.weight, 1.0, CLASS_STD)
        nn.init.normal_(self.bias.weight, 0.0, CLASS_STD)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: x (N, C, H, W); labels (N,) int64."""
        gain = self.gain(labels)[:, :, None, None]  # (N, C, 1, 1)
        bias = self.bias(labels)[:, :, None, None]  # (N, C, 1, 1)
        return torch.addcmul(bias.to(x.dtype), self.norm(x), gain.to(x.dtype))
