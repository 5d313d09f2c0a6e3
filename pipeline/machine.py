"""What bytes depend on beside params.yaml, data and code: the CPU or GPU, and the packages' versions.

Sums of floats come out differently where another instruction set or blocking adds them up in another order, so results
of two machines are not comparable to the last digit, and small trainings carry last digits far. The number of threads
is no such thing: it stands in params.yaml, and `fix_threads` holds every stage to it whatever the machine has.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib.metadata
import json
import os
import platform
from functools import cache
from pathlib import Path

from pipeline import InputError

CPUINFO = Path("/proc/cpuinfo")
RECORD = "machine.json"
# Whose versions make a result
PACKAGES = (
    "albumentations",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scikit-learn",
    "scipy",
    "torch",
    "torchvision",
)


SPINS = 3000  # some 10 microseconds; beside busy neighbours 1.1 times the processor time (bench/results)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h; the last is 32 MiB at most


def fix_threads(number: int) -> None:
    """Make every library of this process, and of those that it starts, compute by so many threads.

    By the environment, which the libraries read when they are imported: call it before.
    """
    for name in ("OMP", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = str(number)
    # Else a runtime may take fewer where fewer cores are free, and sum up in another order
    os.environ["OMP_DYNAMIC"] = os.environ["MKL_DYNAMIC"] = "FALSE"
    os.environ.pop("OMP_THREAD_LIMIT", None)
    # A thread that waits sleeps: spinning, it takes a neighbour's core. But not at once, where that can be said (GNU's
    # OpenMP, of torch's packages for Linux): to fall asleep and wake a thousand times costs more than a training step.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    # NumPy's takes no more than there are cores, whatever one asks for: one, then, is the number to be had anywhere
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"  # pictures are worked on side by side, each by one thread


def keep_memory() -> None:
    """Keep what is freed for what is asked for next, instead of giving it back to the system.

    Of each layer's output the system would else take the pages back and zero them again for the next: looking at a
    picture takes a third less time so. By glibc's own switches (`man mallopt`); elsewhere nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for switch, size in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 << 20)):
            mallopt(switch, size)


def collect_less() -> None:
    """Look for unreachable cycles less often while this process grows, and no more when it ends.

    Through all that torch and its like bring Python would look a hundred times while they are imported, and again when
    it leaves: a third of the time of a stage that has little to do.
    """
    gc.set_threshold(10_000)  # 700 else
    atexit.register(gc.freeze)


def cpu_says(field: str) -> str | None:
    """What Linux tells of the first CPU ("model name", "vendor_id"); None where it does not."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(field):
                return line.split(":", 1)[1].strip()
    return None


def cpu_model() -> str:
    """The CPU's own name, and the numbers that tell its kind where a virtual machine hides that name."""
    numbers = [f"{field.removeprefix('cpu ')} {says}" for field in ("cpu family", "model\t", "stepping")
               if (says := cpu_says(field))]  # fmt: skip
    name = cpu_says("model name") or platform.processor() or platform.machine()
    return f"{name} ({', '.join(' '.join(number.split()) for number in numbers)})" if numbers else name


@cache
def versions() -> dict[str, str]:
    """Installed packages by name; one that is not there is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a GPU box trains without albumentations
            continue
    return found


def describe(device: str) -> dict[str, object]:
    """The record of this machine.

    Args:
        device: What the stage computes on: cpu or cuda.
    """
    import torch

    record: dict[str, object] = {"cpu": cpu_model(), "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    if device == "cuda":
        record |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return record | {"packages": versions()}


def write_record(folder: str | Path, device: str) -> None:
    """Put this machine's record into a folder of results."""
    text = json.dumps(describe(device), indent=2, sort_keys=True, ensure_ascii=False)
    (Path(folder) / RECORD).write_text(text + "\n", encoding="utf-8")


def one_machine(folders: dict[str, str | Path]) -> dict[str, object]:
    """The record that all of these results share.

    Args:
        folders: Stage to the folder with its results.

    Raises:
        InputError: Two of them come from machines or packages that give other bytes, or one has no record.
    """
    records = {}
    for stage, folder in folders.items():
        path = Path(folder) / RECORD
        if not path.is_file():
            raise InputError(f"{path}: expected the record of the machine, found none; `dvc repro --force {stage}`.")
        records[stage] = json.loads(path.read_text(encoding="utf-8"))
    first = next(iter(records))
    for stage, record in records.items():
        for key, ours, theirs in _differences(records[first], record):
            raise InputError(
                f"results: expected all that is compared from one kind of machine, found {first} computed with {key} "
                f"{ours} and {stage} with {theirs}; run those of one kind again: `dvc repro --force --single-item "
                "STAGE ...`, or `dvc repro --force`."
            )
    return records[first]


def in_words(record: dict) -> str:
    """A record on one line."""
    on = " with ".join(str(record[key]) for key in ("gpu", "cpu") if key in record)
    return f"{on}, {', '.join(f'{name} {version}' for name, version in record['packages'].items())}"


def _differences(a: dict, b: dict, prefix: str = "") -> list[tuple[str, object, object]]:
    found = []
    for key in sorted(a.keys() | b.keys()):
        one, other = a.get(key), b.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _differences(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append((f"{prefix}{key}", one, other))
    return found
