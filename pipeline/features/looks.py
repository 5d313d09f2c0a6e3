"""Features of a frozen network, each picture's computed once, and kept where a stage is killed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pipeline.features.penultimate import penultimate_features
from pipeline.features.pixels import PREDICT_BATCH
from pipeline.resume import TrainingState, fingerprint


class Looks:
    """Features of a frozen network, each picture's computed once, and kept where a stage is killed.

    Several sets of one stage hold the same photos, and seeds the same images without augmentation.

    Args:
        network: Of `build_classifier`, in eval mode.
        state_dir: Of the stage; None: nothing is kept.
        identity: What the features depend on beside the pixels.
        name: For the progress bar.
    """

    _kept: dict[str, dict[bytes, np.ndarray]] = {}  # noqa: RUF012 - of this process, by fingerprint

    def __init__(self, network: nn.Module, state_dir: str | Path | None, identity: Sequence, *, name: str):
        self.network, self.name = network, name
        self.key = fingerprint([], {"features of": list(identity)})
        self.rows = self._kept.setdefault(self.key, {})
        self.place = None if state_dir is None else Path(state_dir) / "features"
        self.stage = None if state_dir is None else Path(state_dir).name

    @classmethod
    def of(
        cls,
        network: nn.Module,
        model: str,
        weights: str,
        input_size: int | None,
        *,
        device: str,
        state_dir: str | Path | None,
        name: str = "",
    ) -> Looks:
        """Through a pretrained network of that name, weights and size, whoever has built it and for what."""
        return cls(network, state_dir, [model, weights, input_size, device], name=name)

    def at(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 to (N, F) float64."""
        keys = [hashlib.sha256(image.tobytes()).digest() for image in images]
        with TrainingState(self.place, self.key, name=self.stage) as state:
            if not self.rows and (saved := state.load()) is not None:
                self.rows |= zip(map(bytes.fromhex, saved["keys"]), saved["features"].numpy(), strict=True)
                print(f"{state.name}: going on from {saved['position']}", flush=True)
            unseen = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self.rows}
            waiting = sorted(unseen.values())
            blocks = range(0, len(waiting), PREDICT_BATCH)
            for start in tqdm(blocks, f"features {self.name}".strip(), disable=None, leave=False):
                rows = waiting[start : start + PREDICT_BATCH]
                # Always a whole batch: a convolution's last bits may depend on its size
                padded = np.concatenate([images[rows], images[rows[-1:]].repeat(PREDICT_BATCH - len(rows), axis=0)])
                features = penultimate_features(self.network, padded)[: len(rows)]
                self.rows |= {keys[i]: row for i, row in zip(rows, features, strict=True)}
                if state.due():
                    state.save(
                        {"keys": [key.hex() for key in self.rows],
                         "features": torch.from_numpy(np.stack(list(self.rows.values())))},
                        f"{len(self.rows)} pictures looked at",
                    )  # fmt: skip
        return np.stack([self.rows[key] for key in keys]).astype(np.float64)
