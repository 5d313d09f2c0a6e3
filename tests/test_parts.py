"""A stage of several parts, as a real process: what each part leaves, and what is left when one of them is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
STAGE = '''
"""train_classifier: parts."""
import sys, time
from pathlib import Path
from stages._entry import Stage, main

def run(stage: Stage) -> None:
    assert stage._run is None
    for arm in ("real", "classic"):
        with stage.part(arm, {"sampling": arm}) as part:
            assert (part.name, part.item) == (f"train_classifier@{arm}", arm)
            print(part.state_dir.exists(), flush=True)
            part.report({"val_loss": 0.5}, 3)
            with part.fresh(f"results/classifier/{arm}") as out:
                (out / "curve.png").write_bytes(arm.encode())
            part.finals({"test/macro_f1": 0.25})
            part.picture(f"results/classifier/{arm}/curve.png", "curve.png")
            part.state_dir.mkdir(parents=True, exist_ok=True)
            if arm == "classic" and Path("slow").exists():
                print("ready", flush=True)
                time.sleep(60)

main(__doc__, run, tracked=False)
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copyfile(REPO / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "dvc.yaml").write_text("stages: {train_classifier: {deps: [params.yaml], params: [threads]}}\n")
    (tmp_path / "stage.py").write_text(STAGE)
    return tmp_path


def start(project: Path) -> subprocess.Popen:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))} | {"PYTHONPATH": str(REPO)}
    return subprocess.Popen(
        [sys.executable, "stage.py"], cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def tracked(project: Path) -> dict:
    """Stage name to its MLflow run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("leafsynth")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_each_part_has_its_own_numbers_and_run_and_the_stage_has_none(project: Path) -> None:
    process = start(project)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == "", err
    runs = tracked(project)
    assert set(runs) == {"train_classifier@real", "train_classifier@classic"}
    for arm in ("real", "classic"):
        name = f"train_classifier@{arm}"
        assert json.loads((project / f"results/metrics/{name}.json").read_text()) == {"test/macro_f1": 0.25}
        assert runs[name].info.status == "FINISHED"
        assert runs[name].data.params == {"sampling": arm}
        metrics = runs[name].data.metrics
        assert metrics[f"train_classifier.{arm}/test/macro_f1"] == 0.25 and metrics["val_loss"] == 0.5
        picture = project / "mlruns" / runs[name].info.run_id / "artifacts/curve.png"
        assert picture.read_bytes() == arm.encode()
    assert not (project / ".state/train_classifier").exists()


def test_a_part_that_is_stopped_leaves_the_state_of_those_that_are_done(project: Path) -> None:
    (project / "slow").touch()
    process = start(project)
    for line in iter(process.stdout.readline, "ready\n"):
        assert line == "False\n", process.communicate()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert err == "train_classifier@classic: interrupted; `dvc repro` goes on from what is saved.\n"
    assert {path.name for path in (project / ".state/train_classifier").iterdir()} == {
        "train_classifier@real",
        "train_classifier@classic",
    }
    for _ in range(300):
        runs = tracked(project)
        if len(runs) == 2 and runs["train_classifier@classic"].info.status != "RUNNING":
            break
        time.sleep(0.1)
    assert {name: run.info.status for name, run in runs.items()} == {
        "train_classifier@real": "FINISHED",
        "train_classifier@classic": "KILLED",
    }
    (project / "slow").unlink()
    out, _ = start(project).communicate(timeout=120)
    said = [line for line in out.splitlines() if "removed, for params.yaml" not in line]
    assert said == ["True", "True"]
    assert not (project / ".state/train_classifier").exists()
