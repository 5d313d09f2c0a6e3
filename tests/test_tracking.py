"""pipeline/report/tracking.py against real MLflow on SQLite, from real processes that are really killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline.report.tracking import metric_name

REPO = Path(__file__).resolve().parents[1]
POINTS = 1200  # more than one log_batch takes


def start_stage(root: Path, body: str, *, experiment: str | None = None, script: str = "stage.py", **env: str):
    """A process that runs `body` as a stage's code; `root` is given to it."""
    head = "from pathlib import Path\nimport os, sys, time\nfrom pipeline.report.tracking import *\n"
    path = root / script
    path.write_text(f"{head}root = Path({str(root)!r})\n{textwrap.dedent(body)}", encoding="utf-8")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
    clean |= {"PYTHONPATH": str(REPO), **env}
    if experiment:
        clean["DVC_EXP_NAME"] = experiment
    return subprocess.Popen(
        [sys.executable, str(path)],
        cwd=root,
        env=clean,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    """Its stderr, once it has ended with this code."""
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return err


def client(root: Path):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{root}/mlflow.db")


def runs(root: Path, name: str) -> list:
    mlflow = client(root)
    experiment = mlflow.get_experiment_by_name("leafsynth")
    return [run for run in mlflow.search_runs([experiment.experiment_id]) if run.info.run_name == name]


def the_run(root: Path, name: str):
    (run,) = runs(root, name)
    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose mlflow.db was created by two stages of one execution that started at once."""
    root = tmp_path_factory.mktemp("tracked")
    body = f"""
        with stage_run({{name!r}}, {{{{"total_kimg": 2, "arms": {{{{"real": {{{{"sampling": "natural"}}}}}}}},
                                      "budgets": [4, 16], "target": None}}}}, root=root) as run:
            for step in range({POINTS}):
                run.report({{{{"train_loss": 1.0 / (step + 1), "val_loss": step}}}}, step)
            picture = root / {{name!r}}
            picture.write_bytes(b"first")
            run.picture(picture, "samples/grid.png")
            picture.write_bytes(b"second")  # the stage goes on; the run has the picture of that moment
            run.finals({{{{"test/accuracy": 0.5, "test/recall/feuille_saine": 0.25}}}})
            run.input_dataset("data/split", "d41d8cd98f00b204e9800998ecf8427e.dir")
        """
    names = ["train_gan", "train_classifier@real"]
    # MLFLOW_RUN_ID would put both stages into one run that does not even exist.
    started = [
        start_stage(root, body.format(name=name), experiment="both", script=f"{k}.py", MLFLOW_RUN_ID="0" * 32)
        for k, name in enumerate(names)
    ]
    for process in started:
        assert finish(process) == ""
    return root


def test_two_stages_that_create_the_database_at_once_share_one_parent(store: Path) -> None:
    parent = the_run(store, "both")
    for name in ("train_gan", "train_classifier@real"):
        run = the_run(store, name)
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == "RUNNING"  # no stage has said that the execution is over


def test_curves_are_complete_and_logged_once(store: Path) -> None:
    run = the_run(store, "train_classifier@real")
    history = client(store).get_metric_history(run.info.run_id, "val_loss")
    assert sorted((point.step, point.value) for point in history) == [(step, step) for step in range(POINTS)]


def test_a_run_holds_params_finals_seconds_pictures_and_data(store: Path) -> None:
    run = the_run(store, "train_classifier@real")
    assert run.data.params == {
        "total_kimg": "2",
        "arms.real.sampling": "natural",
        "budgets": "[4, 16]",
        "target": "null",
    }
    assert run.data.metrics["train_classifier.real/test/accuracy"] == 0.5
    assert run.data.metrics["train_classifier.real/test/recall/feuille_saine"] == 0.25
    assert 0 < run.data.metrics["seconds"] < 60
    assert run.inputs.dataset_inputs[0].dataset.digest == "d41d8cd98f00b204e9800998ecf8427e.dir"
    assert [item.path for item in client(store).list_artifacts(run.info.run_id, "samples")] == ["samples/grid.png"]
    assert run.info.artifact_uri.startswith((store / "mlruns").as_uri())
    assert (store / "mlruns" / run.info.run_id / "artifacts/samples/grid.png").read_bytes() == b"first"


def test_the_parent_holds_the_finals_of_cached_stages_too(store: Path) -> None:
    body = """
        (root / "curve.png").write_bytes(b"png")
        with stage_run("compare", {}, root=root):
            finals = {"train_gan": {"fd": 3.0}, "compare": {"difference": 0.125},
                      "train_classifier@real": {"test/macro_f1": 0.625, "odd": float("nan")}}
            log_execution(finals, root=root, pictures=[root / "curve.png"], params={"split": {"seed": 42}})
        """
    err = finish(start_stage(store, body, experiment="cached"))
    assert err.count("\n") == 1 and "train_classifier.real/odd" in err  # NaN is said, not stored as 0
    parent = the_run(store, "cached")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {
        "train_gan/fd": 3.0,
        "train_classifier.real/test/macro_f1": 0.625,
        "compare/difference": 0.125,
    }
    assert parent.data.params == {"split.seed": "42"}
    assert parent.data.tags["leafsynth.from_cache"] == "train_gan train_classifier@real"
    assert [item.path for item in client(store).list_artifacts(parent.info.run_id)] == ["curve.png"]
    assert the_run(store, "compare").data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_how_a_stage_ends_is_how_its_run_ends(store: Path) -> None:
    """An exception: FAILED; any signal, also one that no handler sees: KILLED, with the curves up to then."""
    fails = """
        with stage_run("fails", {}, root=root) as run:
            raise ValueError("the stage's own words")
        """
    waits = """
        with stage_run({name!r}, {{}}, root=root) as run:
            run.report({{"loss": 0.5}}, 7)
            time.sleep(0.2)
            print("ready", flush=True)
            time.sleep(60)
        """
    failing = start_stage(store, fails, experiment="failing", script="fails.py")
    signals = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL, "SIGINT": signal.SIGINT}
    waiting = {n: start_stage(store, waits.format(name=n), experiment=n + "ed", script=f"{n}.py") for n in signals}
    for name, process in waiting.items():
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signals[name])
    assert "ValueError: the stage's own words" in finish(failing, 1)
    assert the_run(store, "fails").info.status == "FAILED"
    assert the_run(store, "failing").info.status == "FAILED"  # the parent: nothing can follow
    for name, process in waiting.items():
        process.communicate(timeout=60)
        assert process.returncode != 0
        for _ in range(300):  # the recorder outlives a stage that was killed
            found = runs(store, name)
            if found and found[0].info.status != "RUNNING":
                break
            time.sleep(0.1)
        assert the_run(store, name).info.status == "KILLED"
        assert the_run(store, name).data.metrics["loss"] == 0.5


def test_a_new_execution_ends_the_runs_of_dead_processes_and_no_others(store: Path) -> None:
    mlflow = client(store)
    experiment = mlflow.get_experiment_by_name("leafsynth").experiment_id
    here = {"leafsynth.host": socket.gethostname(), "leafsynth.role": "stage"}
    dead = {
        "leafsynth.pid": str(os.getpid()),
        "leafsynth.started": "1",
    }  # the id lives on, in another process
    living = {"leafsynth.pid": str(os.getpid()), "leafsynth.started": _started_of_this_process()}
    parent = mlflow.create_run(experiment, tags={**here, **dead, "leafsynth.role": "pipeline"}).info.run_id
    gone = mlflow.create_run(experiment, tags={**here, **dead, "mlflow.parentRunId": parent}).info.run_id
    busy = mlflow.create_run(experiment, tags={**here, **living}).info.run_id
    away = mlflow.create_run(experiment, tags={**here, **dead, "leafsynth.host": "elsewhere"}).info.run_id
    fine = mlflow.create_run(experiment, tags={**here, **dead, "leafsynth.role": "pipeline"}).info.run_id

    # By hand, without any dvc: also a new execution, and a run without parent.
    finish(start_stage(store, "with stage_run('by_hand', {}, root=root): pass"))

    statuses = [mlflow.get_run(run).info.status for run in (gone, parent, busy, away, fine)]
    assert statuses == ["KILLED", "KILLED", "RUNNING", "RUNNING", "FINISHED"]
    assert "mlflow.parentRunId" not in the_run(store, "by_hand").data.tags


def _started_of_this_process() -> str:
    from pipeline.report.tracking import _started

    return _started(os.getpid())


def test_stages_below_one_dvc_process_share_a_parent_and_dvc_root_has_the_database(store: Path) -> None:
    """A stand-in for dvc: a script of that name which runs two stages, in a copy of the repository."""
    copy = store / ".dvc" / "tmp" / "exps" / "copy"
    copy.mkdir(parents=True)
    (copy / "stage.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom pipeline.report.tracking import stage_run\n"
        "with stage_run(sys.argv[1], {}, root=Path.cwd()): pass\n"
    )
    (copy / "dvc").write_text(
        "import subprocess, sys\n"
        "for name in ('first', 'second'):\n"
        "    subprocess.run(f'{sys.executable} stage.py {name}; exit $?', shell=True, check=True)\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
    env |= {"PYTHONPATH": str(REPO), "DVC_ROOT": str(store)}
    subprocess.run([sys.executable, "dvc", "repro"], cwd=copy, env=env, check=True, timeout=60)
    first, second = the_run(store, "first"), the_run(store, "second")
    assert first.data.tags["mlflow.parentRunId"] == second.data.tags["mlflow.parentRunId"]
    parent = client(store).get_run(first.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["leafsynth.role"] == "pipeline"
    assert not list(copy.glob("ml*"))


def test_a_server_that_is_down_costs_a_sentence_and_little_time(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    body = """
        with stage_run("train_gan", {}, root=root) as run:
            for step in range(5000):
                run.report({"loss": step}, step)
            run.finals({"fd": 1.0})
            log_execution({"train_gan": {"fd": 1.0}}, root=root)
        print("outputs are written")
        """
    begun = time.monotonic()
    process = start_stage(tmp_path, body, MLFLOW_TRACKING_URI=f"http://user:secret@127.0.0.1:{port}")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "outputs are written\n")
    assert err == f"MLflow: http://127.0.0.1:{port} is not reachable; this run is not tracked.\n"
    assert time.monotonic() - begun < 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage.py"]


def test_no_fault_of_tracking_reaches_the_stage(tmp_path: Path) -> None:
    body = """
        with stage_run("split", {"odd": {1: object()}}, root=root / "absent") as run:
            run.report({"loss": "no number"}, 0)
            run.picture(root / "absent.png")
        log_execution({"split": {"a": None}}, root=root / "absent")
        with stage_run("split", {}, root=root) as run:
            run.report(None, "no step")
            run.picture(root / "absent.png")
        """
    process = start_stage(tmp_path, body, MLFLOW_TRACKING_URI="nonsense://")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert all(line.startswith("MLflow: ") for line in err.splitlines()) and err


def test_the_stage_never_imports_mlflow_nor_draws_a_random_number(tmp_path: Path) -> None:
    body = """
        import random
        random.seed(3)
        before = random.getstate()
        with stage_run("split", {}, root=root) as run:
            run.report({"loss": 1.0}, 0)
        assert random.getstate() == before
        print(*[m for m in ("mlflow", "numpy", "pandas", "sqlalchemy") if m in sys.modules])
        """
    process = start_stage(tmp_path, body, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "\n"), err


@pytest.mark.parametrize(
    ("stage", "metric", "name"),
    [
        ("train_classifier@classic", "test/macro_f1", "train_classifier.classic/test/macro_f1"),
        ("compare", "test/recall/feuille_malade.2", "compare/test/recall/feuille_malade.2"),
        ("compare", "recall/锈病", "compare/recall/锈病"),
        ("assess", "fd(resnet) = 50%", "assess/fd_resnet_ _ 50_"),
        ("assess", "a//b/../c", "assess/a/b/_/c"),
    ],
)
def test_metric_names(stage: str, metric: str, name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert metric_name(stage, metric) == name
    _validate_metric_name(metric_name(stage, metric))


def test_long_metric_names_stay_different() -> None:
    first, second = metric_name("assess", "x" * 400 + "1"), metric_name("assess", "x" * 400 + "2")
    assert len(first) == len(second) == 250 and first != second
