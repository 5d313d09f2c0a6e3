"""The commands that start the ranks, and what ranks do together: in a real gloo group of two."""

import itertools
import os
import stat
import subprocess
import sys

import pytest

from pipeline import InputError
from pipeline.gan.distributed import LAUNCHERS, ranks


def test_without_torchrun_there_is_one_rank(monkeypatch):
    for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(key, raising=False)
    assert ranks() == (0, 1, 0)
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks() == (5, 8, 1)


def test_slurm_starts_one_torchrun_a_node_that_meet_at_the_first(tmp_path, monkeypatch):
    """With stand-ins for Slurm's own programs: what they are asked is what is tested."""
    for name, says in [("srun", ""), ("scontrol", "echo node07; echo node08")]:
        (tmp_path / name).write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for key, value in [("NUM_NODES", "2"), ("NODELIST", "node[07-08]"), ("ID", "4711")]:
        monkeypatch.setenv(f"SLURM_JOB_{key}", value)
    command = LAUNCHERS["slurm"](["stages.train_gan"], 4)
    assert command[0] == "srun" and command[-2:] == ["-m", "stages.train_gan"]
    options = dict(itertools.pairwise(command))
    assert options["--nodes"] == options["--ntasks"] == options["--nnodes"] == "2"
    assert options["--ntasks-per-node"] == "1" and options["--nproc-per-node"] == "4"
    assert options["--rdzv-endpoint"] == "node07:29500" and options["--rdzv-id"] == "4711"


def test_slurm_outside_of_a_job_is_one_sentence(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    with pytest.raises(InputError, match=r"train_gan\.launcher: expected to run inside a Slurm job"):
        LAUNCHERS["slurm"](["stages.train_gan"], 1)


TOGETHER = """
import os, sys, torch
from pipeline.gan.batch_norm import BatchNorm2d
from pipeline.gan.distributed import agree, average, process_group
with process_group("cpu") as ranks:
    assert average(torch.tensor(float(ranks.rank))).item() == 0.5
    assert agree(ranks.rank == 0, "cpu") and not agree(ranks.rank == 1, "cpu")
    torch.manual_seed(0)
    x = torch.randn(8, 3, 4, 4)
    weight = torch.randn(8, 3, 4, 4)
    plain, shared = torch.nn.BatchNorm2d(3), BatchNorm2d(3)
    whole = x.clone().requires_grad_()
    (plain(whole) * weight).mean().backward()
    mine = slice(4 * ranks.rank, 4 * ranks.rank + 4)
    part = x[mine].clone().requires_grad_()
    out = shared(part)
    (out * weight[mine]).mean().backward()
    torch.testing.assert_close(out, torch.nn.functional.batch_norm(x, None, None, training=True)[mine])
    torch.testing.assert_close(part.grad / 2, whole.grad[mine], rtol=1e-4, atol=1e-7)  # the mean is over half as many
    torch.testing.assert_close(shared.running_mean, plain.running_mean)
    torch.testing.assert_close(shared.running_var, plain.running_var)
    both = average(shared.weight.grad.clone())
    torch.testing.assert_close(both, plain.weight.grad, rtol=1e-4, atol=1e-6)
"""


def test_ranks_agree_average_and_share_their_batch_norm(tmp_path):
    (tmp_path / "together.py").write_text(TOGETHER)
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline.gan.distributed", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(tmp_path / "together.py")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_exit_code_is_that_of_the_rank_that_failed(tmp_path):
    (tmp_path / "fails.py").write_text("import sys; print('key: expected, found.', file=sys.stderr); sys.exit(3)")
    command = [sys.executable, "-m", "pipeline.gan.distributed", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(tmp_path / "fails.py")], capture_output=True, text=True, cwd=os.getcwd())
    assert done.returncode == 3
    assert "key: expected, found." in done.stderr and "Traceback" not in done.stderr
