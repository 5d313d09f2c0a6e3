"""What fidelity costs at the size of published evaluations: KID and PRDC of 10,000 x 10,000 images.

    python -m bench.fidelity

Features are 2,048 numbers an image, skewed and correlated as a network's are, so that no answer is trivial. Time is
that of the metrics alone; peak memory is the whole process's, features included. On a machine that others use too,
wall time says how busy it was: CPU seconds say what the work is. Goals: 60 s and 4 GB on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import describe
from pipeline.measure.fidelity import kernel_distance
from pipeline.measure.prdc import prdc

GOAL_SECONDS, GOAL_GIB = 60.0, 4.0
RANK = 64  # of what correlates the features


def features(n: int, dim: int, shift: float, seed: int) -> np.ndarray:
    """(n, dim) float32, nothing below 0."""
    rng = np.random.default_rng([0, seed])
    mix = np.random.default_rng(1).normal(size=(RANK, dim)).astype(np.float32) / np.float32(np.sqrt(RANK))
    made = rng.standard_normal((n, RANK), dtype=np.float32) @ mix
    made += rng.standard_normal((n, dim), dtype=np.float32) * np.float32(0.3)
    made += np.float32(shift)
    return np.maximum(made, 0, out=made)


def peak_gib() -> float:
    """The process's largest resident size so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage's begins at that of the process which started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {
        "wall_seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_gib_so_far": round(peak_gib(), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fidelity", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--images", type=int, default=10_000, help="of each of the two sets (default 10000)")
    parser.add_argument("--dim", type=int, default=2048, help="features an image (default 2048)")
    parser.add_argument("--subset-size", type=int, default=1000, help="of KID (default 1000)")
    parser.add_argument("--subsets", type=int, default=50, help="of KID (default 50)")
    parser.add_argument("--k", type=int, default=5, help="nearest neighbour of PRDC (default 5)")
    parser.add_argument("--json", type=Path, help="write the record here")
    arguments = parser.parse_args()

    load = [os.getloadavg()[0]]
    real, fake = (features(arguments.images, arguments.dim, 0.04 * i, i) for i in range(2))
    parts: dict[str, dict[str, float]] = {}
    kid, parts["kid"] = timed(lambda: kernel_distance(
        real, fake, subset_size=arguments.subset_size, num_subsets=arguments.subsets
    ))  # fmt: skip
    figures, parts["prdc"] = timed(lambda: prdc(real, fake, k=arguments.k))
    load.append(os.getloadavg()[0])
    peak = peak_gib()

    record = {
        **describe("cpu"), "images": arguments.images, "dim": arguments.dim, "subset_size": arguments.subset_size,
        "subsets": arguments.subsets, "k": arguments.k, "parts": parts,
        "wall_seconds": round(sum(part["wall_seconds"] for part in parts.values()), 2),
        "cpu_seconds": round(sum(part["cpu_seconds"] for part in parts.values()), 2),
        "peak_gib": round(peak, 3), "goal": {"wall_seconds": GOAL_SECONDS, "peak_gib": GOAL_GIB},
        "load_average_before_and_after": [round(x, 2) for x in load],
        "figures": {name: round(value, 6) for name, value in {"kid": kid, **figures}.items()},
    }  # fmt: skip
    for name, part in parts.items():
        print(f"{name}: {part['wall_seconds']:.1f} s ({part['cpu_seconds']:.1f} s of CPU)")
    print(", ".join(f"{name} {value:.4g}" for name, value in record["figures"].items()))
    print(f"together {record['wall_seconds']:.1f} s (goal {GOAL_SECONDS:.0f}), {record['cpu_seconds']:.1f} s of CPU; "
          f"peak {peak:.2f} GiB (goal {GOAL_GIB:.0f}); load average before, after: {load}")  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
