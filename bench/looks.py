"""How many pictures at once a frozen network is best shown: milliseconds and page faults a picture, by batch and side.

python -m bench.looks
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import numpy as np

from pipeline.machine import fix_threads, keep_memory

THREADS, PICTURES = 2, 192
RESULT = Path(__file__).parent / "results" / "looks_cpu.json"


def main() -> None:
    fix_threads(THREADS)  # as a stage does, before torch is imported
    keep_memory()
    from bench.machine import describe
    from pipeline.features.looks import Looks
    from pipeline.learn.classifier_model import build_classifier

    rows, rng = [], np.random.default_rng(0)
    for side in (224, 128):
        for batch in (8, 16, 32, 64):
            network = build_classifier("tf_efficientnet_lite0", num_classes=4, weights="packaged", input_size=side,
                                       img_resolution=side)  # fmt: skip
            looks, pictures = Looks(network), rng.integers(0, 255, (PICTURES, side, side, 3), dtype=np.uint8)
            looks._features(pictures[:batch])  # plans and allocates
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            for at in range(0, PICTURES, batch):
                looks._features(pictures[at : at + batch])
            seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
            rows.append({"side": side, "batch": batch, "ms": round(seconds / PICTURES * 1000, 1),
                         "page_faults": round((after.ru_minflt - before.ru_minflt) / PICTURES)})  # fmt: skip
            print(rows[-1], flush=True)
    record = {"machine": describe("cpu"), "threads": THREADS, "pictures": PICTURES, "looks": rows}
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
