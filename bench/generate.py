"""How many images a second reach the disk: drawn, scored by D, encoded, written, with manifests and stores.

    python -m bench.generate

The networks are those of params.yaml's train_gan at its CPU defaults, untrained, with weights scaled so that
the pictures have contrast: what they show changes the encoder's work alone. The set goes through
`write_balanced_set`, as in the stage. Beside it, in turn, the loop that one writes first: forward a batch,
score it, `Image.save` one by one; it writes no manifest and no stores.

ext4 is slow to make files where many were deleted in the last minutes (20 to 40 times, by the size of that
crowd), so nothing is deleted before the end; wait a while between two runs, or point --folder elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.utils import parametrize

from bench.machine import describe
from pipeline.gan.architectures import build
from pipeline.gan.balanced_set import write_balanced_set
from pipeline.gan.checkpoint import load_model, save_model
from pipeline.gan.sampling import BATCH, Sampler, one_thread, to_uint8
from pipeline.images.png import encode_png
from pipeline.images.row_file import RowFile
from pipeline.images.store import Store

CLASSES = ["healthy", "rust", "scab", "blight"]
NETWORKS: dict[str, Any] = {
    "network": "dcgan", "z_dim": 100, "G_channels": 24, "D_channels": 24, "G_conditioning": "batch_norm",
    "D_conditioning": "projection", "spectral_norm": True, "transitional": False,
}  # fmt: skip
CONTRAST = 8  # factor on the weights of an untrained G
PLAIN_BATCH = 64
SPLIT_BATCHES = 40


def save_models(folder: Path, resolution: int) -> None:
    """One model folder a class."""
    torch.manual_seed(0)
    config = {**NETWORKS, "classes": CLASSES, "trained_on": CLASSES, "img_resolution": resolution}
    G, D = build(config)
    with torch.no_grad():
        for module in G.modules():
            if isinstance(module, nn.ConvTranspose2d):
                module.weight.mul_(CONTRAST)
    for name in CLASSES:
        save_model(folder / name, G, D, config)


def ours(root: Path, out: Path, resolution: int, images: int, workers: int, device: str) -> None:
    """The stage's way, on a train split of one photo a class."""
    photos = np.zeros((len(CLASSES), resolution, resolution, 3), np.uint8)
    for name in CLASSES:
        (root / "train" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(photos[0]).save(root / "train" / name / "photo.png")
    store = Store(photos, np.arange(len(CLASSES)), ["photo.png"] * len(CLASSES), CLASSES)
    places = [out / name for name in ("synthetic", "augmented", "arrays_synthetic", "arrays_augmented")]
    write_balanced_set(
        store, root / "train", root / "models", *places, target=images // len(CLASSES), seed=0, truncation=1.0,
        device=device, workers=workers,
    )  # fmt: skip


@torch.no_grad()
def plain(root: Path, out: Path, images: int, device: str) -> None:
    """The loop that one writes first."""
    for label, name in enumerate(CLASSES):
        model = load_model(root / "models" / name, device)
        (out / name).mkdir(parents=True)
        for first in range(0, images // len(CLASSES), PLAIN_BATCH):
            n = min(PLAIN_BATCH, images // len(CLASSES) - first)
            labels = torch.full((n,), label, device=device)
            drawn = model.G_ema(torch.randn(n, NETWORKS["z_dim"], device=device), labels)
            model.D(drawn, labels).cpu()
            for index, image in enumerate(to_uint8(drawn), first):
                Image.fromarray(np.ascontiguousarray(image)).save(out / name / f"{index:06d}.png")


def split(root: Path, out: Path, resolution: int, device: str) -> dict[str, float]:
    """Median milliseconds an image of one worker, part by part."""
    model = load_model(root / "models" / CLASSES[0], device)
    out.mkdir(parents=True)
    pixels = RowFile(out / "pixels.npy", (SPLIT_BATCHES * BATCH, resolution, resolution, 3), np.uint8)
    pixels.create()
    sampler = Sampler(model.G_ema, 0, CLASSES[0], seed=0, D=model.D, device=device)
    spent: dict[str, list[float]] = {part: [] for part in ("draw", "score", "encode", "write")}

    def clocked(part: str, work: Callable, *args: Any) -> Any:
        began = time.perf_counter()
        result = work(*args)
        spent[part].append((time.perf_counter() - began) / BATCH * 1000)
        return result

    def write(batch: int, images: np.ndarray, files: list[bytes]) -> None:
        for index, data in enumerate(files):
            (out / f"{batch}_{index}.png").write_bytes(data)
        pixels.write(batch * BATCH, images)

    with one_thread(), parametrize.cached():
        for batch in range(SPLIT_BATCHES):
            images = clocked("draw", sampler.draw, batch)
            clocked("score", sampler.score, images)
            files = clocked("encode", encode_png, images)
            clocked("write", write, batch, images, files)
    return {part: round(float(np.median(times)), 4) for part, times in spent.items()}


def spread(numbers: list[float], digits: int = 0) -> dict[str, float]:
    """Lowest, median and highest."""
    return {name: round(float(f(numbers)), digits) for name, f in
            [("min", np.min), ("median", np.median), ("max", np.max)]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.generate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--images", type=int, default=4000, help="of all four classes together (default 4000)")
    parser.add_argument("--workers", type=int, default=torch.get_num_threads(), help="threads (default: one a core)")
    parser.add_argument("--resolution", type=int, default=64, help="px (default 64)")
    parser.add_argument("--repeats", type=int, default=5, help="of every way, in turn (default 5)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--folder", type=Path, help="where temporary files go (default: the system's place)")
    parser.add_argument("--json", type=Path, help="write the record here")
    arguments = parser.parse_args()
    images = arguments.images - arguments.images % len(CLASSES)
    resolution, device = arguments.resolution, arguments.device

    machine = describe(device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    load = [os.getloadavg()[0]]
    torch.use_deterministic_algorithms(True, warn_only=True)  # as the stage sets it
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        root = Path(folder)
        save_models(root / "models", resolution)
        ways: dict[str, Callable[[Path], None]] = {
            "plain_one_thread": lambda out: plain(root, out, images, device),
            "plain_all_threads": lambda out: plain(root, out, images, device),
            "one_worker": lambda out: ours(root, out, resolution, images, 1, device),
            "workers": lambda out: ours(root, out, resolution, images, arguments.workers, device),
        }
        split(root, root / "warm_up", resolution, device)
        per_second: dict[str, list[float]] = {way: [] for way in ways}
        cpu_ms: dict[str, list[float]] = {way: [] for way in ways}
        for repeat in range(arguments.repeats):
            for way, work in ways.items():
                with one_thread() if way == "plain_one_thread" else nullcontext():
                    began, cpu = time.perf_counter(), time.process_time()
                    work(root / f"{way}{repeat}")
                    per_second[way].append(images / (time.perf_counter() - began))
                    cpu_ms[way].append((time.process_time() - cpu) / images * 1000)
            print("  ".join(f"{way} {numbers[-1]:.0f}/s" for way, numbers in per_second.items()), flush=True)
        parts = split(root, root / "split", resolution, device)
        ours_bytes = np.mean([path.stat().st_size for path in (root / "workers0/synthetic").rglob("*.png")])
        plain_bytes = np.mean([path.stat().st_size for path in (root / "plain_one_thread0").rglob("*.png")])
    load.append(os.getloadavg()[0])

    ratio = [a / b for a, b in zip(per_second["workers"], per_second["plain_one_thread"], strict=True)]
    record = {
        **machine, "images": images, "resolution": resolution, "workers": arguments.workers, "networks": NETWORKS,
        "load_average_before_and_after": [round(x, 2) for x in load],
        "images_per_second": {way: spread(numbers) for way, numbers in per_second.items()},
        "cpu_ms_per_image": {way: spread(numbers, 3) for way, numbers in cpu_ms.items()},
        "workers_over_plain_one_thread": spread(ratio, 2),
        "one_worker_ms_per_image": parts,
        "png_bytes": {"ours": round(float(ours_bytes)), "pillow": round(float(plain_bytes))},
    }  # fmt: skip
    for way, numbers in record["images_per_second"].items():
        print(f"{way}: {numbers['median']:.0f} images/s (min {numbers['min']:.0f}, max {numbers['max']:.0f})")
    print(f"{arguments.workers} workers over the plain loop on one thread: {record['workers_over_plain_one_thread']}")
    print("one worker, ms an image:", ", ".join(f"{part} {ms}" for part, ms in parts.items()))
    print(f"bytes a PNG: {ours_bytes:.0f}, Pillow's {plain_bytes:.0f}; load average before, after: {load}")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
