"""What bytes depend on beside params.yaml and data: held fixed where it can be, recorded where it can't."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pipeline import InputError, machine


def test_threads_are_those_asked_for_whatever_the_environment_says():
    code = (
        "from pipeline.machine import fix_threads; fix_threads(3); import torch, numpy, threadpoolctl, json; "
        "print(json.dumps([torch.get_num_threads(), *((p['internal_api'], p['num_threads']) for p in "
        "threadpoolctl.threadpool_info())]))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1", "OMP_DYNAMIC": "TRUE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    of_torch, *pools = json.loads(done.stdout)
    assert of_torch == 3
    assert {api: number for api, number in pools} == {"openmp": 3, "openblas": 1}


def test_threads_that_wait_spin_for_a_moment_only():
    """As the OpenMP that torch loads says itself."""
    code = "from pipeline.machine import fix_threads; fix_threads(2); import torch"
    environment = {
        **os.environ,
        "OMP_DISPLAY_ENV": "verbose",
        "OMP_WAIT_POLICY": "ACTIVE",
        "GOMP_SPINCOUNT": "99999999",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert f"GOMP_SPINCOUNT = '{machine.SPINS}'" in done.stderr


def test_results_of_one_machine_are_one_record(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        machine.write_record(tmp_path / name, "cpu")
    record = machine.one_machine({name: tmp_path / name for name in "ab"})
    assert record["packages"]["torch"] and record["cpu"]
    assert machine.cpu_model() in machine.in_words(record) and "torch" in machine.in_words(record)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cpu": "a CPU of another kind"}, "found real computed with cpu .* and classic with a CPU of another kind"),
        ({"gpu": "a GPU", "cuda": "13"}, "computed with cuda None and classic with 13"),
        ({"packages": {"torch": "2.99"}}, "computed with packages.torch .* and classic with 2.99"),
    ],
)
def test_results_of_two_are_not_held_against_each_other(tmp_path, change, said):
    for name in ("real", "classic"):
        (tmp_path / name).mkdir()
        machine.write_record(tmp_path / name, "cpu")
    path = tmp_path / "classic" / machine.RECORD
    record = json.loads(path.read_text())
    changed = {**record, **change, "packages": {**record["packages"], **change.get("packages", {})}}
    path.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=said):
        machine.one_machine({name: tmp_path / name for name in ("real", "classic")})
    path.unlink()
    with pytest.raises(InputError, match="expected the record of the machine, found none"):
        machine.one_machine({name: tmp_path / name for name in ("real", "classic")})


def test_a_cpu_without_a_name_of_its_own_is_told_by_its_numbers(tmp_path, monkeypatch):
    """A virtual machine may call every generation "AMD EPYC"."""
    names = []
    for model in (1, 17):
        path = tmp_path / f"cpuinfo{model}"
        path.write_text(f"vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\n")
        monkeypatch.setattr(machine, "CPUINFO", path)
        names.append(machine.cpu_model())
    assert names == ["AMD EPYC (family 25, model 1)", "AMD EPYC (family 25, model 17)"]


def test_memory_that_was_freed_is_taken_again_without_the_system():
    """Arrays of a layer's size, several at a time: page faults are what it costs where they are given back."""
    code = """
import resource, sys
import numpy as np
if sys.argv[1] == "kept":
    from pipeline.machine import keep_memory
    keep_memory()
def work(times):
    for _ in range(times):
        arrays = [np.ones(12 << 20, np.uint8) for _ in range(8)]
        del arrays
work(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work(5)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "given")
    }
    assert faults["given"] > 1000 and faults["kept"] < 0.1 * faults["given"], faults


def test_a_process_that_grows_is_searched_for_cycles_less_often_and_not_at_its_end():
    code = """
import atexit, gc, sys
atexit.register(lambda: print(sum(of["collections"] for of in gc.get_stats()), gc.get_freeze_count() > 100_000))
if sys.argv[1] == "less":
    from pipeline.machine import collect_less
    collect_less()
kept = [[] for _ in range(200_000)]
"""
    said = {
        how: subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, check=True
        ).stdout.split()
        for how in ("less", "usual")
    }
    assert [said["less"][1], said["usual"][1]] == ["True", "False"]
    assert int(said["less"][0]) < 0.2 * int(said["usual"][0]), said
