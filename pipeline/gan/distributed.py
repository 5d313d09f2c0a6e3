"""One training on several processes: started by torchrun, each with its share of every batch.

Without torchrun there is one rank, and nothing here does anything. The launchers turn a stage's own command
into the one that starts its ranks; the ranks find each other through the environment that torchrun sets.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist

from pipeline import InputError

BACKENDS = {"cuda": "nccl", "cpu": "gloo"}
RENDEZVOUS_PORT = 29500


class Ranks(NamedTuple):
    """Who this process is among those that train together.

    Attributes:
        rank: 0 to world_size - 1; rank 0 alone writes files.
        world_size: How many there are.
        local_rank: Number on this machine, which is also the number of its GPU.
    """

    rank: int
    world_size: int
    local_rank: int


ALONE = Ranks(0, 1, 0)


def ranks() -> Ranks:
    """As torchrun's environment says; one rank without it."""
    return Ranks(*(int(os.environ.get(key, default)) for key, default in
                   [("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)]))  # fmt: skip


@contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """The ranks can talk to each other inside the block: by NCCL between GPUs, by gloo between CPUs."""
    mine = ranks()
    if mine.world_size == 1:
        yield mine
        return
    if device == "cuda":
        torch.cuda.set_device(mine.local_rank)
    else:
        # Its share of those that params.yaml gives to one process, not of the cores that this machine has
        torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    dist.init_process_group(BACKENDS[device])
    try:
        yield mine
        dist.barrier()  # nobody leaves while rank 0 still writes
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """Ranks that talk to each other now."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def barrier() -> None:
    """Wait for the other ranks."""
    if world_size() > 1:
        dist.barrier()


def average(tensor: torch.Tensor) -> torch.Tensor:
    """The mean over the ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
        tensor /= world_size()
    return tensor


def agree(flag: bool, device: str) -> bool:
    """What rank 0 says."""
    if world_size() == 1:
        return flag
    said = torch.tensor([float(flag)], device=device)
    dist.broadcast(said, 0)
    return bool(said.item())


def _torchrun(num_processes: int) -> list[str]:
    # this module as a program is torchrun, less its own report on a rank that has ended with a sentence
    return [sys.executable, "-m", "pipeline.gan.distributed", "--nproc-per-node", str(num_processes)]


def torchrun_command(stage: list[str], num_processes: int) -> list[str]:
    """All ranks on this machine."""
    return [*_torchrun(num_processes), "--standalone", "-m", *stage]


def slurm_command(stage: list[str], num_processes: int) -> list[str]:
    """As many ranks on each node of the job that this is run in.

    Raises:
        InputError: This is not run inside a Slurm job.
    """
    nodes, list_of_nodes = os.environ.get("SLURM_JOB_NUM_NODES"), os.environ.get("SLURM_JOB_NODELIST")
    if nodes is None or list_of_nodes is None or shutil.which("srun") is None:
        raise InputError(
            "train_gan.launcher: expected to run inside a Slurm job for 'slurm', found no SLURM_JOB_NODELIST or no "
            "srun; use sbatch or salloc, or set it to torchrun."
        )
    hosts = subprocess.run(
        ["scontrol", "show", "hostnames", list_of_nodes], check=True, capture_output=True, text=True
    ).stdout.split()
    return [
        "srun", "--nodes", nodes, "--ntasks", nodes, "--ntasks-per-node", "1",
        *_torchrun(num_processes), "--nnodes", nodes, "--rdzv-id", os.environ.get("SLURM_JOB_ID", "leafsynth"),
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{hosts[0]}:{RENDEZVOUS_PORT}", "-m", *stage,
    ]  # fmt: skip


def no_command(stage: list[str], num_processes: int) -> None:
    """The stage itself."""


# name in params.yaml -> the command that starts the ranks of a stage
LAUNCHERS: dict[str, Callable[[list[str], int], list[str] | None]] = {
    "none": no_command,
    "torchrun": torchrun_command,
    "slurm": slurm_command,
}


def main(arguments: list[str]) -> int:
    """torchrun; the exit code is that of the first rank to fail."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    try:
        run.run(run.parse_args(arguments))
    except ChildFailedError as error:
        return max(1, min(failure.exitcode for failure in error.failures.values()))
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
