"""What a busy neighbour costs a training on two threads, whose waiting threads spin or sleep.

    python -m bench.shared_machine

Steps of the shipped GAN's networks on the CPU, each time in a process of its own: alone, and beside two processes that
only count, with torch's threads as OpenMP has them by default, sleeping at once (`OMP_WAIT_POLICY=PASSIVE`), and
spinning so many times first (GNU's `GOMP_SPINCOUNT`; stages set pipeline/machine.py's SPINS). All are run in turn,
several times; the figure is processor time, which a neighbour would not change if threads that wait for each other
did not work at it, and beside it the seconds alone, which sleeping at once costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

RESULT = Path(__file__).parent / "results" / "shared_machine_cpu.json"
THREADS, NEIGHBOURS, STEPS, REPEATS = 2, 2, 20, 5
POLICIES = {"default": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
POLICIES |= {f"spins_{number}": {"GOMP_SPINCOUNT": str(number)} for number in (300, 1000, 3000, 10000)}


def worker() -> None:
    """Print seconds and processor seconds of some training steps."""
    import torch

    from pipeline.gan.architectures import build

    config = {
        "classes": ["a", "b"], "trained_on": ["a", "b"], "network": "dcgan", "img_resolution": 64, "z_dim": 64,
        "G_channels": 32, "D_channels": 32, "G_conditioning": "batch_norm", "D_conditioning": "projection",
        "spectral_norm": True, "transitional": False,
    }  # fmt: skip
    torch.manual_seed(0)
    G, D = build(config)
    optimizer = torch.optim.Adam([*G.parameters(), *D.parameters()], lr=1e-5)

    def step() -> None:
        z, labels = torch.randn(16, 64), torch.randint(0, 2, (16,))
        optimizer.zero_grad()
        D(G(z, labels), labels).mean().backward()
        optimizer.step()

    step()
    begun, busy = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        step()
    print(json.dumps({"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - busy}))


def measure(policy: dict[str, str], neighbours: int) -> dict[str, float]:
    """One run, beside so many processes that compute without end."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "MKL_"))}
    env = {**clean, "OMP_NUM_THREADS": str(THREADS), **policy}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbours)]
    try:
        command = [sys.executable, "-m", "bench.shared_machine", "worker"]
        return json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    from bench.machine import describe

    load, runs = os.getloadavg()[0], {}
    for _ in range(REPEATS):
        for name, policy in POLICIES.items():
            for place, neighbours in (("alone", 0), ("beside", NEIGHBOURS)):
                runs.setdefault((name, place), []).append(measure(policy, neighbours))
    figures = {}
    for name in POLICIES:
        figures[name] = {
            f"{key}_{place}": [round(run[key], 2) for run in runs[name, place]]
            for place in ("alone", "beside")
            for key in ("cpu_seconds", "seconds")
        }
        pairs = zip(runs[name, "alone"], runs[name, "beside"], strict=True)
        figures[name]["times_the_cpu_seconds"] = round(median(b["cpu_seconds"] / a["cpu_seconds"] for a, b in pairs), 2)
    record = {
        "machine": describe("cpu") | {"threads": THREADS},
        "other_work_at_the_start": f"load average {load:.1f}",
        "neighbours": NEIGHBOURS,
        "steps": STEPS,
        **figures,
    }
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    worker() if sys.argv[1:] == ["worker"] else main()
