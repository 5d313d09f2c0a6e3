"""Networks by name: a model's config to its G and D. A new family is a new function in the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from pipeline import InputError
from pipeline.gan.networks import Discriminator, Generator
from pipeline.gan.slides import SlidesDiscriminator, SlidesGenerator


def _dcgan(config: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    shape = {key: config[key] for key in ("img_resolution", "transitional")} | {"num_classes": len(config["classes"])}
    G = Generator(
        z_dim=config["z_dim"], base_channels=config["G_channels"], conditioning=config["G_conditioning"], **shape
    )
    D = Discriminator(
        base_channels=config["D_channels"],
        conditioning=config["D_conditioning"],
        spectral_norm=config["spectral_norm"],
        **shape,
    )
    return G, D


def _slides(config: dict[str, Any], *, conditional: bool) -> tuple[nn.Module, nn.Module]:
    shape = {key: config[key] for key in ("img_resolution", "transitional")} | {"num_classes": len(config["classes"])}
    G = SlidesGenerator(z_dim=config["z_dim"], conditional=conditional, **shape)
    return G, SlidesDiscriminator(conditional=conditional, **shape)


# name in params.yaml -> function of a config
NETWORKS: dict[str, Callable[[dict[str, Any]], tuple[nn.Module, nn.Module]]] = {
    "dcgan": _dcgan,
    "slides_conditional": partial(_slides, conditional=True),
    "slides_unconditional": partial(_slides, conditional=False),
}
# What a config says of the networks, beside the classes
SHAPE = (
    "network",
    "img_resolution",
    "z_dim",
    "G_channels",
    "D_channels",
    "G_conditioning",
    "D_conditioning",
    "spectral_norm",
    "transitional",
)


def build(config: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """G and D of a config (`classes` and `SHAPE`), with fresh weights."""
    return NETWORKS[config["network"]](config)


def check_freeze_D(D: nn.Module, freeze_D: int, *, stage: str) -> None:
    """Refuse to freeze more layers than there are.

    Args:
        D: Of `build`.
        freeze_D: Layers, from the image down.
        stage: Section of params.yaml, for the message.

    Raises:
        InputError: D has fewer.
    """
    if freeze_D > len(D.convs):
        raise InputError(
            f"{stage}.freeze_D: expected at most D's {len(D.convs)} layers, got {freeze_D}; set it in params.yaml."
        )


def count_parameters(network: nn.Module) -> int:
    """As Keras counts: trainable weights and the running statistics of batch norm."""
    statistics = (
        buffer.numel() for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))
    )
    return sum(parameter.numel() for parameter in network.parameters()) + sum(statistics)
