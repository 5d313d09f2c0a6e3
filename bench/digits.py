"""Does the engine learn what a class looks like? Real digits, a classifier that has seen synthetic ones alone.

    python -m bench.digits

scikit-learn's own `load_digits` (1,797 images of 8x8 px, 10 classes), 80/20 stratified, seed 42. A conditional
DCGAN is trained on the 80%, enlarged to 16 px since at 8 px D would be a single convolution; a classifier is
trained on its samples alone, at 8 px again (classification accuracy score, Ravuri and Vinyals 2019), and tested
on the real 20%. Beside it the same classifier trained on the real 80%. Settings were chosen on a fifth of the
80% (`--tune` measures on that); the 20% are for the figures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import describe

SETTINGS: dict[str, Any] = {
    "total_kimg": 160.0, "batch_size": 16, "z_dim": 64, "G_channels": 48, "D_channels": 48, "G_lr": 5e-4, "D_lr": 2e-3,
    "betas": (0.0, 0.9), "loss": "hinge", "r1_gamma": 0.5, "r1_interval": 16, "augmentation": [],
    "flips": [], "ema_half_life_kimg": 10.0, "ema_rampup": 0.05, "preview_kimg": 16.0,
}  # fmt: skip
DRAWN = 1000  # synthetic images a class
SIDE, ENLARGED = 8, 16  # px


def enlarge(images: np.ndarray) -> np.ndarray:
    """(N, 8, 8, 3) uint8 to the GAN's resolution, bilinear."""
    import torch

    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    larger = torch.nn.functional.interpolate(pixels, (ENLARGED, ENLARGED), mode="bilinear", align_corners=False)
    return larger.round().byte().permute(0, 2, 3, 1).numpy()


def reduce(images: np.ndarray) -> np.ndarray:
    """Back to (N, 8, 8, 3), by averaging."""
    factor = ENLARGED // SIDE
    return images.reshape(len(images), SIDE, factor, SIDE, factor, 3).mean(axis=(2, 4))


def load(tune: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train and test images (N, 8, 8, 3) uint8 and labels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.repeat(np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None], 3, axis=3)
    x, x_test, y, y_test = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=42
    )
    if tune:
        x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=42)
    return x, x_test, y, y_test


def accuracy(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    """Of a support vector classifier, scikit-learn's own choice for these digits."""
    from sklearn.svm import SVC

    def flat(images: np.ndarray) -> np.ndarray:
        return images[..., 0].reshape(len(images), -1) / 255

    return float(SVC(C=10, gamma="scale").fit(flat(x), y).score(flat(x_test), y_test))


def run(seed: int, x: np.ndarray, y: np.ndarray, changes: dict[str, Any], device: str) -> tuple[Any, Any, float]:
    """Synthetic images, their labels, and the seconds of training."""
    from pipeline.gan.checkpoint import load_model
    from pipeline.gan.sampling import sample
    from pipeline.gan.training_loop import train

    names = [str(k) for k in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        images = {name: enlarge(x[y == k]) for k, name in enumerate(names)}
        train(images, names, Path(folder) / "model", seed=seed, device=device, **{**SETTINGS, **changes})
        seconds = time.monotonic() - began
        model = load_model(Path(folder) / "model", device)
    drawn = [
        np.stack([image for _, image, _ in sample(model.G_ema, k, name, list(range(DRAWN)), seed=seed, device=device)])
        for k, name in enumerate(names)
    ]
    return reduce(np.concatenate(drawn)), np.repeat(np.arange(10), DRAWN), seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.digits", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tune", action="store_true", help="hold a fifth of train out instead of looking at test")
    parser.add_argument("--set", type=json.loads, default={}, help='other settings, as JSON: {"loss": "hinge"}')
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()

    x, x_test, y, y_test = load(arguments.tune)
    real = accuracy(x, y, x_test, y_test)
    print(f"trained on {len(x)} real digits: {real:.4f} accuracy on {len(x_test)} held out")
    synthetic, seconds = [], []
    for seed in range(arguments.seeds):
        drawn, labels, spent = run(seed, x, y, arguments.set, arguments.device)
        synthetic.append(accuracy(drawn, labels, x_test, y_test))
        seconds.append(spent)
        print(f"seed {seed}: trained on {len(drawn)} synthetic digits alone: {synthetic[-1]:.4f} accuracy, "
              f"{spent:.0f} s of GAN training", flush=True)  # fmt: skip
    mean, low = np.mean(synthetic), np.min(synthetic)
    print(f"synthetic only: mean {mean:.4f}, lowest {low:.4f}; real: {real:.4f}")
    if arguments.json:
        figures = {"accuracy_real": round(real, 4), "accuracy_synthetic_only": [round(a, 4) for a in synthetic],
                   "mean": round(float(mean), 4), "training_seconds": [round(s, 1) for s in seconds],
                   "settings": {**SETTINGS, **arguments.set}, "drawn_per_class": DRAWN}  # fmt: skip
        arguments.json.write_text(json.dumps({**describe(arguments.device), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
