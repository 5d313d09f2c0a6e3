"""What a frozen network sees in pictures, each looked at once: by all arms, seeds and stages of a run, and the next.

Arms share their real photos, and a photo its augmented views: of all that the judge has to do looking is nearly all.
Rows are kept by what they were computed from, never by a name, so that a kept one is what would come out again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from pipeline.features.folded import folded
from pipeline.features.penultimate import penultimate_features
from pipeline.features.pixels import PREDICT_BATCH, to_pixels
from pipeline.images.transforms import Policy, build_policy
from pipeline.resume import fingerprint

MOST_BYTES = 2_000_000_000  # that are kept; beyond it the oldest go
BLOCK = 32 * PREDICT_BATCH  # pictures that a kill can cost
# At once. Of more at 224 px a layer's output is larger than what glibc can be made to keep (32 MiB, see
# `machine.keep_memory`): on a CPU twice the time a picture, half of it the system's, which zeroes pages.
BATCH = {"cpu": 16, "cuda": PREDICT_BATCH}


class Looks:
    """Features of one frozen network.

    Args:
        network: (N, 3, H, W) uint8 pixels in; its last layer is left out, see `penultimate_features`.
        folder: Where rows are kept; None: in this process alone.
        name: For the progress bar.
    """

    _kept: dict[str, dict[bytes, np.ndarray]] = {}  # noqa: RUF012 - of this process, by network

    def __init__(self, network: nn.Module, folder: str | Path | None = None, *, name: str = "") -> None:
        self.network, self.name = network.eval(), name
        self.device = next(network.parameters()).device
        self._folded: nn.Module | None = None
        last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
        state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(f"{last}.")}
        shape = re.sub(r"out_features=\d+", "", str(network))  # nor has the number of classes
        made = {"network": shape, "device": str(self.device), "batch": BATCH[self.device.type]}
        # By the weights, not by where they came from; the last layer has no say
        self.key = fingerprint((np.atleast_1d(tensor.cpu().numpy()) for tensor in state.values()), made)
        self.folder = None if folder is None else Path(folder) / self.key
        if self.key not in self._kept:
            self._kept[self.key] = {}
            self._read()
        self.rows = self._kept[self.key]

    def at(self, images: np.ndarray, *, keep: bool = True) -> np.ndarray:
        """(N, H, W, 3) uint8 to (N, F) float32; what is not to be kept is looked at again when it comes again."""
        return self._look(_digests(images), lambda i: images[i], keep)

    def augmented(self, images: np.ndarray, augment: str, seed: int, view: int) -> np.ndarray:
        """A view of each image as a policy draws it: (N, H, W, 3) uint8 to (N, F) float32.

        What is drawn depends on the image, the policy, the seed and the view, not on the set around the image.

        Args:
            images: As of `at`.
            augment: Name of a policy, see `images/transforms.py`.
            seed: Of the draw.
            view: Number of the view.
        """
        policy: list[Policy] = []  # albumentations takes seconds to import: not where all is known

        def draw(i: int) -> np.ndarray:
            policy.extend([] if policy else [build_policy(augment, images.shape[1])])
            return policy[0](images[i], seed, view, int.from_bytes(digests[i][:4], "big"))

        digests = _digests(images)
        drawn = f"{augment}/{seed}/{view}".encode()
        return self._look([hashlib.sha256(digest + drawn).digest() for digest in digests], draw, True)

    def _look(self, keys: Sequence[bytes], picture: Callable[[int], np.ndarray], keep: bool) -> np.ndarray:
        unseen = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self.rows}
        waiting = sorted(unseen.values())
        known = {key: self.rows[key] for key in keys if key in self.rows}
        quiet, batch = True if len(waiting) <= PREDICT_BATCH else None, BATCH[self.device.type]
        with tqdm(total=len(waiting), unit="img", desc=f"looking {self.name}".strip(), disable=quiet) as bar:
            for start in range(0, len(waiting), BLOCK):
                fresh: dict[bytes, np.ndarray] = {}
                block = waiting[start : start + BLOCK]
                try:
                    for at in range(0, len(block), batch):
                        rows = block[at : at + batch]
                        pictures = np.stack([picture(i) for i in rows])
                        # Always a whole batch: a convolution's last bits may depend on its size
                        whole = np.concatenate([pictures, pictures[-1:].repeat(batch - len(rows), axis=0)])
                        features = self._features(whole)[: len(rows)]
                        fresh |= {keys[i]: row for i, row in zip(rows, features, strict=True)}
                        bar.update(len(rows))
                finally:  # Ctrl-C, SIGTERM: what was seen is not looked at again
                    if keep:
                        self._write(fresh)
                        self.rows |= fresh
                known |= fresh
        return np.stack([known[key] for key in keys])

    def _features(self, pictures: np.ndarray) -> np.ndarray:
        if self._folded is None:
            self._folded = folded(self.network, to_pixels(pictures[:1], self.device))
        return penultimate_features(self._folded, pictures)

    def _read(self) -> None:
        for path in sorted(self.folder.glob("*.npz")) if self.folder is not None else []:
            with np.load(path, allow_pickle=False) as saved:
                self._kept[self.key] |= zip(map(bytes, saved["keys"]), saved["features"], strict=True)

    def _write(self, fresh: dict[bytes, np.ndarray]) -> None:
        if self.folder is None or not fresh:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{next(iter(fresh)).hex()}.npz"
        partial = path.with_suffix(f".{os.getpid()}")
        with open(partial, "wb") as f:
            np.savez(f, keys=np.array([list(key) for key in fresh], np.uint8), features=np.stack(list(fresh.values())))
        os.replace(partial, path)
        _forget(self.folder.parent)


def _digests(images: np.ndarray) -> list[bytes]:
    return [hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest() for image in images]


def _forget(folder: Path) -> None:
    """The oldest of what all networks have seen, where it is too much."""
    found = sorted(
        ((path.stat().st_mtime_ns, path.stat().st_size, path) for path in folder.rglob("*.npz")), reverse=True
    )
    total = 0
    for _, size, path in found:
        total += size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)
