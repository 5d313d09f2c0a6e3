"""The networks of the slides, at 256 px, with their sizes: the baseline that the field's tutorials draw.

Counted as Keras does, with the running statistics of batch norm, and for 10 classes and z of 128:
conditional G 34,566,743 and D 3,978,165 parameters, unconditional G 34,512,995 and D 921,025.
Their recipe: loss `nonsaturating`, Adam at 2e-4 with betas (0.5, 0.999), no penalty.
"""

from __future__ import annotations

import torch
from torch import nn

from pipeline import InputError
from pipeline.gan.batch_norm import BatchNorm2d
from pipeline.gan.conditioning import LabelChannel, Unlabelled

IMG_RESOLUTION = 256  # px
START = 32  # px, of G's first map
LEAK = 0.2
DROPOUT = 0.25


def _check_resolution(img_resolution: int) -> None:
    if img_resolution != IMG_RESOLUTION:
        raise InputError(
            f"split.img_resolution: expected {IMG_RESOLUTION} for the networks of the slides, got {img_resolution}; "
            "set it in params.yaml, or set train_gan.network to dcgan."
        )


class Same(nn.Module):
    """Zero padding so that a stride of 2 halves the side, whatever the kernel ("same" in Keras)."""

    def __init__(self, kernel_size: int, stride: int):
        super().__init__()
        total = kernel_size - stride  # for sides that the stride divides
        self.padding = (total // 2, total - total // 2) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x (N, C, H, W)."""
        return nn.functional.pad(x, self.padding)


class SlidesGenerator(nn.Module):
    """Dense to 32x32, the label as one more channel there (conditional), three transposed convolutions up.

    Args:
        z_dim: Length of the latent vector.
        num_classes: How many classes the labels name.
        img_resolution: 256.
        conditional: Whether the label is seen.
        transitional: Whether it can be faded in.
    """

    def __init__(
        self, *, z_dim: int, num_classes: int, img_resolution: int, conditional: bool, transitional: bool = False
    ):
        super().__init__()
        _check_resolution(img_resolution)
        self.z_dim, self.num_classes, self.img_resolution = z_dim, num_classes, img_resolution
        self.dense = nn.Linear(z_dim, START * START * 256)
        # The conditional one has no batch norm here, the unconditional one has
        self.start = nn.LeakyReLU(LEAK) if conditional else nn.Sequential(BatchNorm2d(256), nn.ReLU())
        label = LabelChannel if conditional else Unlabelled
        self.label_map = label(num_classes, START, transitional)
        layers: list[nn.Module] = []
        for w_in, w_out in [(256 + label.extra, 128), (128, 64), (64, 32)]:
            layers += [nn.ConvTranspose2d(w_in, w_out, 4, 2, 1), BatchNorm2d(w_out), nn.ReLU()]
        self.up = nn.Sequential(*layers, Same(8, 1), nn.Conv2d(32, 3, 8), nn.Tanh())

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: z (N, z_dim) float32 ~ N(0, 1); labels (N,) int64. Returns (N, 3, 256, 256) in [-1, 1]."""
        x = self.start(self.dense(z).view(-1, 256, START, START))  # (N, 256, 32, 32)
        return self.up(self.label_map(x, labels))


class SlidesDiscriminator(nn.Module):
    """The label as a fourth channel of the image (conditional), three strided convolutions down, a dense logit.

    Args:
        num_classes: How many classes the labels name.
        img_resolution: 256.
        conditional: Whether the label is seen.
        transitional: Whether it can be faded in.

    Attributes:
        convs: From the image down; FreezeD keeps the first of them.
    """

    def __init__(self, *, num_classes: int, img_resolution: int, conditional: bool, transitional: bool = False):
        super().__init__()
        _check_resolution(img_resolution)
        label = LabelChannel if conditional else Unlabelled
        self.label_image = label(num_classes, img_resolution, transitional)
        kernels = (4, 3, 3) if conditional else (4, 4, 4)
        widths = (3 + label.extra, 64, 128, 256)
        self.convs = nn.ModuleList(
            nn.Sequential(Same(kernel, 2), nn.Conv2d(w_in, w_out, kernel, 2), nn.LeakyReLU(LEAK), nn.Dropout(DROPOUT))
            for kernel, w_in, w_out in zip(kernels, widths, widths[1:], strict=False)
        )
        self.to_logit = nn.Linear(256 * (img_resolution // 8) ** 2, 1)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: images (N, 3, 256, 256) in [-1, 1]; labels (N,) int64. Returns (N,) logits."""
        x = self.label_image(images, labels)
        for conv in self.convs:
            x = conv(x)  # (N, C, r, r)
        return self.to_logit(x.flatten(1)).flatten()
