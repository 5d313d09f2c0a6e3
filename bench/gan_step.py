"""How fast a training step is: the engine beside a textbook loop, in one run, on the same networks and batch.

    python -m bench.gan_step                    # 64 px, batch 64, ngf = ndf = 64: the figure that is claimed
    python -m bench.gan_step --sweep            # and how it goes with resolution, batch and number of classes

The textbook loop (bench/textbook.py) is eager, fp32, NCHW, reads PNG files through a DataLoader and calls
`.item()` at every step. The engine is `pipeline.gan.training_loop.train`, as the stage calls it, without score.
Both are timed in turns, `--repeats` times, over the same number of images; reported are medians, and the ratio
of every pair. FLOPs are counted by torch for the textbook's step; their share is of the rate that a
large matrix product reaches on this machine in the precision the engine uses.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import textbook
from bench.machine import describe

LR = 2e-4
AUGMENTATION = ["translation", "cutout"]


def leaves(num_classes: int, resolution: int, count: int) -> dict[str, np.ndarray]:
    """Noise that PNG can compress somewhat, as photographs can: class to (N, R, R, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (num_classes, count, resolution // 4, resolution // 4, 3))
    grain = rng.integers(-8, 9, (num_classes, count, resolution, resolution, 3))
    fine = coarse.repeat(4, axis=2).repeat(4, axis=3) + grain
    return {f"class{k}": images.clip(0, 255).astype(np.uint8) for k, images in enumerate(fine)}


def config_of(num_classes: int, resolution: int, channels: int) -> dict[str, Any]:
    """What `architectures.build` takes; the engine's defaults."""
    return {
        "classes": [f"class{k}" for k in range(num_classes)], "img_resolution": resolution, "network": "dcgan",
        "z_dim": 100, "G_channels": channels, "D_channels": channels, "G_conditioning": "batch_norm",
        "D_conditioning": "projection", "spectral_norm": True, "transitional": False,
    }  # fmt: skip


def engine(
    images: dict[str, np.ndarray], *, steps: int, batch_size: int, channels: int, precision: str, device: str
) -> tuple[float, int]:
    """Seconds and images of `steps` steps: a training of twice as many less one of as many.

    Their difference leaves out what comes once: networks, the first step's plans, the samples at the end.
    """
    from pipeline.gan.training_loop import train

    def seconds(number: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            train(
                images, list(images), folder, seed=0, total_kimg=number * batch_size / 1000, batch_size=batch_size,
                z_dim=100, G_channels=channels, D_channels=channels, G_lr=LR, D_lr=LR, betas=(0.0, 0.9), loss="hinge",
                r1_gamma=0.0, r1_interval=16, augmentation=AUGMENTATION, flips=[], ema_half_life_kimg=2.0,
                ema_rampup=0.05, preview_kimg=1e6, precision=precision, device=device,
            )  # fmt: skip
            if device == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - began

    return seconds(2 * steps) - seconds(steps), steps * batch_size


def matrix_rate(dtype: torch.dtype, device: str, seconds: float = 1.5) -> float:
    """FLOP/s of a product of two square matrices."""
    side = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = 0.0
    a @ b
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * side**3 / (time.perf_counter() - began))
    return best


def flops_an_image(config: dict[str, Any], batch_size: int) -> float:
    """Of one step that computes nothing it throws away: D's weight gradients in G's step are left out."""
    from torch.utils.flop_counter import FlopCounterMode

    from pipeline.gan.architectures import build

    G, D = build(config)
    labels, z = torch.zeros(batch_size, dtype=torch.long), torch.randn(batch_size, config["z_dim"])
    with FlopCounterMode(display=False) as counter:
        fakes = G(z, labels)
        D(torch.cat([fakes.detach(), fakes.detach()]), torch.cat([labels, labels])).sum().backward()
        D.requires_grad_(False)
        D(fakes, labels).sum().backward()
    return counter.get_total_flops() / batch_size


def compare(resolution: int, batch_size: int, num_classes: int, channels: int, arguments: argparse.Namespace) -> dict:
    """One row: images/s of both, in turns."""
    device = arguments.device
    from pipeline.gan.precision import autocast_dtype

    dtype = autocast_dtype(device, arguments.precision) or torch.float32
    images = leaves(num_classes, resolution, max(64, 256 // num_classes))
    config = config_of(num_classes, resolution, channels)
    steps = max(arguments.steps * 64 * 64 * 64 // (batch_size * resolution**2), 2)
    rates: dict[str, list[float]] = {"textbook": [], "engine": []}
    with tempfile.TemporaryDirectory() as folder:
        textbook.write_pngs(images, Path(folder))
        for _ in range(arguments.repeats):
            seconds, shown = textbook.train(
                Path(folder), config, steps=steps, batch_size=batch_size, lr=LR, augmentation=AUGMENTATION,
                device=device, workers=arguments.workers,
            )  # fmt: skip
            rates["textbook"].append(shown / seconds)
            seconds, shown = engine(
                images, steps=steps, batch_size=batch_size, channels=channels, precision=arguments.precision,
                device=device,
            )  # fmt: skip
            rates["engine"].append(shown / seconds)
    ratios = [e / t for e, t in zip(rates["engine"], rates["textbook"], strict=True)]
    flops = flops_an_image(config, batch_size) * float(np.median(rates["engine"]))
    most = matrix_rate(dtype, device)
    row = {
        "resolution": resolution, "batch_size": batch_size, "num_classes": num_classes, "channels": channels,
        "precision": str(dtype).removeprefix("torch."), "steps": steps,
        "textbook_images_per_s": [round(r, 1) for r in rates["textbook"]],
        "engine_images_per_s": [round(r, 1) for r in rates["engine"]],
        "ratio": [round(r, 2) for r in ratios], "ratio_median": round(float(np.median(ratios)), 2),
        "engine_tflops": round(flops / 1e12, 3), "matrix_tflops": round(most / 1e12, 3),
        "share_of_matrix_rate": round(flops / most, 3),
    }  # fmt: skip
    if device == "cuda":
        row["peak_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    print(f"{resolution:4d} px, batch {batch_size:3d}, {num_classes:2d} classes, {channels} channels: textbook "
          f"{np.median(rates['textbook']):7.1f} img/s, engine {np.median(rates['engine']):7.1f} ({row['precision']}), "
          f"ratio {row['ratio_median']:.2f} {row['ratio']}, {row['share_of_matrix_rate']:.0%} of the matrix rate",
          flush=True)  # fmt: skip
    return row


def peak_memory_mb(num_classes: int, resolution: int, batch_size: int, channels: int, precision: str) -> float:
    """Of the engine in a process of its own, on a CPU: its largest resident size."""
    code = (
        f"from bench import gan_step as b; b.engine(b.leaves({num_classes}, {resolution}, 64), steps=3, "
        f"batch_size={batch_size}, channels={channels}, precision='{precision}', device='cpu'); print(b.resident_mb())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def resident_mb() -> float:
    """Largest so far, of this process; getrusage's figure would begin at that of the process that started it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gan_step", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--steps", type=int, default=10, help="at 64 px and batch 64; others get as many pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0, help="of the textbook's DataLoader")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sweep", action="store_true", help="resolutions 32 to 256, batches, numbers of classes")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    rows = [compare(64, 64, 4, arguments.channels, arguments)]
    if arguments.sweep:
        small = max(8, arguments.channels // 2)
        rows += [compare(resolution, 16, 4, small, arguments) for resolution in (32, 64, 128, 256)]
        rows += [compare(64, batch_size, 4, small, arguments) for batch_size in (8, 32, 64)]
        rows += [compare(64, 16, num_classes, small, arguments) for num_classes in (2, 16, 64)]
        if arguments.device == "cpu":
            for row in rows:
                row["peak_memory_mb"] = round(
                    peak_memory_mb(
                        row["num_classes"], row["resolution"], row["batch_size"], row["channels"], arguments.precision
                    )
                )
    if arguments.json:
        arguments.json.write_text(json.dumps({**describe(arguments.device), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
