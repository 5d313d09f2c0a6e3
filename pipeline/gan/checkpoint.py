"""What a trained GAN leaves on disk, and what a running one leaves to be resumed from.

A model folder holds `G_ema.safetensors`, `D.safetensors` and `config.json`. A state folder holds
`state.pt`, keyed by a fingerprint of everything the result depends on, outside DVC's outputs because
DVC wipes those before a run.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from pipeline import InputError
from pipeline.gan.networks import Discriminator, Generator


class Model(NamedTuple):
    """A trained conditional GAN.

    Attributes:
        G_ema: The averaged generator, in eval mode.
        D: Its discriminator, in eval mode.
        config: `classes` (the names its labels index), `trained_on` (the classes it may be asked for),
            `img_resolution`, `z_dim`, `G_channels`, `D_channels`.
    """

    G_ema: Generator
    D: Discriminator
    config: dict[str, Any]


def build(config: dict[str, Any]) -> tuple[Generator, Discriminator]:
    """Networks of a config, with fresh weights."""
    shape = {"num_classes": len(config["classes"]), "img_resolution": config["img_resolution"]}
    G = Generator(z_dim=config["z_dim"], base_channels=config["G_channels"], **shape)
    D = Discriminator(base_channels=config["D_channels"], **shape)
    return G, D


def _tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def save_model(folder: str | Path, G_ema: Generator, D: Discriminator, config: dict[str, Any]) -> None:
    """Write a model folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_tensors(G_ema), folder / "G_ema.safetensors")
    save_file(_tensors(D), folder / "D.safetensors")
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def load_model(folder: str | Path, device: str = "cpu") -> Model:
    """Read a model folder.

    Raises:
        InputError: A file is missing, damaged, or belongs to another network.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        G, D = build(config)
        G.load_state_dict(load_file(folder / "G_ema.safetensors"))
        D.load_state_dict(load_file(folder / "D.safetensors"))
    except Exception as error:  # safetensors, json and torch raise types of their own for damaged files
        raise InputError(
            f"{folder}: expected a trained GAN (config.json, G_ema.safetensors, D.safetensors), "
            f"could not read it ({type(error).__name__}: {str(error).splitlines()[0]}); run `dvc repro`."
        ) from error
    return Model(G.to(device).eval(), D.to(device).eval(), config)


def generator_sha256(folder: str | Path) -> str:
    """The hash by which a synthetic image names the generator it came from."""
    return hashlib.sha256((Path(folder) / "G_ema.safetensors").read_bytes()).hexdigest()


def fingerprint(images: np.ndarray, labels: np.ndarray, settings: dict[str, Any]) -> str:
    """A short hash of everything a training's result depends on: data, parameters, torch's version."""
    digest = hashlib.sha256(np.ascontiguousarray(images).tobytes())
    digest.update(np.ascontiguousarray(labels).tobytes())
    digest.update(json.dumps({"torch": torch.__version__, **settings}, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write beside, then rename: a kill in between leaves the earlier state whole."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "state.tmp")
    os.replace(folder / "state.tmp", folder / "state.pt")


def load_state(folder: Path, device: str) -> dict[str, Any] | None:
    """The last state saved, or None where there is none.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / "state.pt"
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # pickle, zip and torch errors of many types
        raise InputError(
            f"{path}: expected a training state to go on from, found a damaged file; delete {folder} to start over."
        ) from error
