"""pipeline/report/tracking.py against real MLflow on SQLite, from real processes that are really killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from pipeline.report.tracking import _started, metric_name

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
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    """Its stderr, once it has ended with this code."""
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return err


def journals(root: Path) -> list[Path]:
    walked = os.walk(root / ".state/mlflow")  # not a glob, which stumbles over folders that the uploader removes
    return sorted(Path(at) / name for at, _, names in walked for name in names if name.endswith(".jsonl"))


def all_sent(root: Path) -> None:
    """Wait until every journal is, and the uploader gone."""
    deadline = time.monotonic() + 60
    while journals(root) or uploaders(root):
        assert time.monotonic() < deadline, journals(root)
        time.sleep(0.05)


def uploaders(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if (
            process.info["status"] != psutil.STATUS_ZOMBIE
            and str(root.resolve()) in (process.info["cmdline"] or [])[-1:]
        ):
            found.append(process)
    return found


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
        """
    names = ["train_gan", "train_classifier@real"]
    # MLFLOW_RUN_ID would put both stages into one run that does not even exist.
    started = [
        start_stage(root, body.format(name=name), experiment="both", script=f"{k}.py", MLFLOW_RUN_ID="0" * 32)
        for k, name in enumerate(names)
    ]
    for process in started:
        assert finish(process) == ""
    all_sent(root)
    shutil.copyfile(root / "mlflow.db", root / "new.db")  # before other tests add runs of their own names
    return root


@pytest.fixture
def fresh(store: Path, tmp_path: Path) -> Path:
    """A folder with a database of its own; to create one takes MLflow seconds."""
    shutil.copyfile(store / "new.db", tmp_path / "mlflow.db")
    return tmp_path


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


def test_a_run_holds_params_finals_seconds_and_pictures(store: Path) -> None:
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
    assert [item.path for item in client(store).list_artifacts(run.info.run_id, "samples")] == ["samples/grid.png"]
    assert run.info.artifact_uri.startswith((store / "mlruns").as_uri())
    assert (store / "mlruns" / run.info.run_id / "artifacts/samples/grid.png").read_bytes() == b"first"


def test_the_parent_holds_the_finals_of_cached_stages_too(store: Path) -> None:
    body = """
        (root / "curve.png").write_bytes(b"png")
        with stage_run("compare", {}, root=root) as run:
            finals = {"train_gan": {"fd": 3.0}, "compare": {"difference": 0.125},
                      "train_classifier@real": {"test/macro_f1": 0.625, "odd": float("nan")}}
            run.execution(finals, [root / "curve.png"], {"split": {"seed": 42}})
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
    for process in waiting.values():
        process.communicate(timeout=60)
        assert process.returncode != 0
    all_sent(store)
    for name in signals:
        assert the_run(store, name).info.status == "KILLED"
        assert the_run(store, name).data.metrics["loss"] == 0.5
    assert the_run(store, "fails").info.status == "FAILED"
    assert the_run(store, "failing").info.status == "FAILED"  # the parent: nothing can follow


def test_parents_of_dead_processes_are_ended_and_no_others(store: Path) -> None:
    mlflow = client(store)
    experiment = mlflow.get_experiment_by_name("leafsynth").experiment_id
    here = {"leafsynth.host": socket.gethostname(), "leafsynth.role": "pipeline"}
    dead = {"leafsynth.pid": str(os.getpid()), "leafsynth.started": "1"}  # the id lives on, in another process
    living = {"leafsynth.pid": str(os.getpid()), "leafsynth.started": _started(os.getpid())}
    killed = mlflow.create_run(experiment, tags={**here, **dead}).info.run_id
    child = mlflow.create_run(experiment, tags={"mlflow.parentRunId": killed}).info.run_id
    mlflow.set_terminated(child, "KILLED")
    busy = mlflow.create_run(experiment, tags={**here, **living}).info.run_id
    away = mlflow.create_run(experiment, tags={**here, **dead, "leafsynth.host": "elsewhere"}).info.run_id
    fine = mlflow.create_run(experiment, tags={**here, **dead}).info.run_id

    # By hand, without any dvc: also a new execution, and a run without parent.
    finish(start_stage(store, "with stage_run('by_hand', {}, root=root): pass"))
    assert the_run(store, "by_hand").info.status == "FINISHED"  # it waits for that, since nobody comes behind it
    assert "mlflow.parentRunId" not in the_run(store, "by_hand").data.tags
    all_sent(store)
    statuses = [mlflow.get_run(run).info.status for run in (killed, busy, away, fine)]
    assert statuses == ["KILLED", "RUNNING", "RUNNING", "FINISHED"]


DVC = """
import subprocess, sys
for name in sys.argv[1:]:
    subprocess.run(f"{sys.executable} stage.py {name}; exit $?", shell=True, check=True)
"""  # a stand-in: a script of that name which runs stages one after another


def run_dvc(folder: Path, stage: str, *names: str, **env: str) -> tuple[str, float]:
    """Its stderr, and the seconds until it had ended and let go of its pipes."""
    head = "import sys, time\nfrom pathlib import Path\nfrom pipeline.report.tracking import stage_run\n"
    (folder / "stage.py").write_text(head + textwrap.dedent(stage), encoding="utf-8")
    (folder / "dvc").write_text(DVC)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "dvc", *names],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(REPO), **env},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr, time.monotonic() - begun


def test_stages_below_one_dvc_process_share_a_parent_and_an_uploader_and_dvc_root_has_the_database(store: Path) -> None:
    """In a copy of the repository, as `dvc exp run --temp` works in."""
    copy = store / ".dvc" / "tmp" / "exps" / "copy"
    copy.mkdir(parents=True)
    stage = "with stage_run(sys.argv[1], {}, root=Path.cwd()): pass"
    run_dvc(copy, stage, "first", "second", "third", DVC_ROOT=str(store))
    deadline = time.monotonic() + 15
    while len(uploaders(store)) > 1:  # one for all of them: a second, started before the first had its lock, leaves
        assert time.monotonic() < deadline
        time.sleep(0.05)
    all_sent(store)
    parents = {the_run(store, name).data.tags["mlflow.parentRunId"] for name in ("first", "second", "third")}
    parent = client(store).get_run(parents.pop())
    assert parents == set()
    assert parent.data.tags["leafsynth.role"] == "pipeline"
    assert parent.info.status == "FINISHED"
    assert not list(copy.glob("ml*")) and not (copy / ".state").exists()


def test_the_last_stage_of_an_execution_waits_until_all_is_sent(store: Path) -> None:
    stage = """
        with stage_run(sys.argv[1], {}, root=Path.cwd()) as run:
            run.report({"loss": 0.5}, 1)
            if sys.argv[1] == "last":
                run.execution({"one": {"a": 1.0}}, [], {})
        """
    run_dvc(store, stage, "one", "two", "last")
    assert journals(store) == []
    assert [the_run(store, name).info.status for name in ("one", "two", "last")] == ["FINISHED"] * 3
    parent = client(store).get_run(the_run(store, "last").data.tags["mlflow.parentRunId"])
    assert (parent.info.status, parent.data.metrics) == ("FINISHED", {"one/a": 1.0})
    assert parent.data.tags["leafsynth.from_cache"] == ""


def test_curves_can_be_watched_while_the_stage_runs(store: Path) -> None:
    body = """
        with stage_run("watched", {}, root=root) as run:
            run.report({"loss": 0.25}, 1)
            time.sleep(60)
        """
    process = start_stage(store, body)
    try:
        deadline = time.monotonic() + 40
        while not (found := runs(store, "watched")) or found[0].data.metrics.get("loss") != 0.25:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert found[0].info.status == "RUNNING"
    finally:
        process.kill()
        process.communicate()
    all_sent(store)


def test_an_uploader_that_is_killed_is_replaced_and_nothing_is_lost_or_doubled(store: Path) -> None:
    body = """
        with stage_run("outlives", {"a": 1}, root=root) as run:
            for step in range(50):
                run.report({"loss": step}, step)
            picture = root / "outlives.png"
            picture.write_bytes(b"png")
            run.picture(picture)
            print("ready", flush=True)
            sys.stdin.readline()
            run.report({"loss": 50}, 50)
        """
    process = start_stage(store, body)
    assert process.stdout.readline() == "ready\n"
    while not (found := runs(store, "outlives")) or "loss" not in found[0].data.metrics:
        time.sleep(0.1)
    for uploader in uploaders(store):
        uploader.kill()
    process.stdin.write("go on\n")
    process.stdin.flush()
    assert finish(process) == ""
    all_sent(store)
    run = the_run(store, "outlives")
    assert (run.info.status, run.data.params) == ("FINISHED", {"a": "1"})
    history = client(store).get_metric_history(run.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(step, step) for step in range(51)]
    assert [item.path for item in client(store).list_artifacts(run.info.run_id)] == ["outlives.png"]


def test_a_store_that_is_locked_costs_nothing_and_loses_nothing(fresh: Path) -> None:
    """Said once an execution; what waits is sent by `leafsynth sync` when the store is there again."""
    with sqlite3.connect(fresh / "mlflow.db") as other:
        other.execute("begin exclusive")
        stage = """
            with stage_run(sys.argv[1], {}, root=Path.cwd()) as run:
                run.report({"loss": 0.5}, 1)
                while sys.argv[1] == "two" and not list(Path(".state").rglob("trouble")):
                    time.sleep(0.1)  # a stage that lasts until the uploader has tried
                if sys.argv[1] == "three":
                    run.execution({"one": {"a": 1.0}}, [], {})
            """
        err, _ = run_dvc(fresh, stage, "one", "two", "three", "four", "five")
        said = f"sqlite:///{fresh}/mlflow.db: OperationalError: database is locked"
        assert err == f"MLflow: {said}; runs wait in .state/mlflow, and `leafsynth sync` sends them.\n"
        assert len(journals(fresh)) == 5
        while uploaders(fresh):  # it gives up by itself, once dvc is gone
            time.sleep(0.1)
        other.rollback()
    for name in ("params.yaml", "dvc.yaml"):
        (fresh / name).touch()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))} | {"PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "pipeline.cli", "sync"]
    said = subprocess.run(command, cwd=fresh, env=env, capture_output=True, text=True, timeout=90)
    assert (said.returncode, said.stdout, said.stderr) == (0, "Sent to MLflow: 5 runs.\n", "")
    assert journals(fresh) == []
    names = ("one", "two", "three", "four", "five")
    assert [the_run(fresh, name).info.status for name in names] == ["FINISHED"] * 5
    again = subprocess.run(command, cwd=fresh, env=env, capture_output=True, text=True, timeout=90)
    assert (again.returncode, again.stdout, again.stderr) == (0, "Sent to MLflow: 0 runs.\n", "")


def test_a_store_that_is_read_only_is_said(fresh: Path) -> None:
    uri = f"sqlite:///file:{fresh}/mlflow.db?mode=ro&uri=true"
    err = finish(start_stage(fresh, "with stage_run('kept', {}, root=root): pass", MLFLOW_TRACKING_URI=uri))
    assert err.count("\n") == 1 and "OperationalError: attempt to write a readonly database;" in err, err
    assert len(journals(fresh)) == 1
    # meant for that store, it is not sent to another
    finish(start_stage(fresh, "with stage_run('third', {}, root=root): pass"))
    assert len(journals(fresh)) == 1 and runs(fresh, "kept") == []


def test_a_server_that_is_down_costs_a_sentence_and_little_time(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    body = """
        with stage_run("train_gan", {}, root=root) as run:
            for step in range(5000):
                run.report({"loss": step}, step)
            run.finals({"fd": 1.0})
            run.execution({"train_gan": {"fd": 1.0}}, [], {})
        print("outputs are written")
        """
    begun = time.monotonic()
    process = start_stage(tmp_path, body, MLFLOW_TRACKING_URI=f"http://user:secret@127.0.0.1:{port}")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "outputs are written\n")
    assert err.startswith(f"MLflow: http://127.0.0.1:{port}: ConnectionRefusedError: ") and err.count("\n") == 1, err
    assert time.monotonic() - begun < 30
    assert len(journals(tmp_path)) == 1
    for path in (tmp_path / ".state").rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes(), path


def test_a_full_disk_is_said_once_and_ends_the_run_only(tmp_path: Path) -> None:
    body = """
        with stage_run("split", {}, root=root) as run:
            os.dup2(os.open("/dev/full", os.O_WRONLY), run._file)
            for step in range(100):
                run.report({"loss": step}, step)
        print("done")
        """
    process = start_stage(tmp_path, body)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "done\n")
    assert err.count("\n") == 1 and "No space left on device" in err


def test_no_fault_of_tracking_reaches_the_stage(tmp_path: Path) -> None:
    body = """
        with stage_run("split", {"odd": {1: object()}}, root=root / "absent") as run:
            run.report({"loss": "no number"}, 0)
            run.picture(root / "absent.png")
            run.execution({"split": {"a": None}}, [root / "absent.png"], {})
        (root / ".state").rmdir() if (root / ".state").exists() else None
        (root / ".state").write_text("in the way")
        with stage_run("split", {}, root=root) as run:
            run.report(None, "no step")
            run.picture(root / "absent.png")
        """
    process = start_stage(tmp_path, body, MLFLOW_TRACKING_URI="nonsense://")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert all(line.startswith("MLflow: ") for line in err.splitlines()) and err


def test_what_mlflow_refuses_is_said_and_keeps_nobody_waiting(fresh: Path) -> None:
    """Points of a run that was deleted in the UI while its stage ran."""
    body = """
        with stage_run("deleted", {}, root=root) as run:
            print("ready", flush=True)
            sys.stdin.readline()
            run.report({"loss": 0.5}, 0)
        """
    process = start_stage(fresh, body)
    assert process.stdout.readline() == "ready\n"
    while not (found := runs(fresh, "deleted")):
        time.sleep(0.1)
    client(fresh).delete_run(found[0].info.run_id)
    process.stdin.write("go on\n")
    process.stdin.flush()
    err = finish(process)
    assert err.count("\n") == 1 and "must be in the 'active' state" in err and "this is not tracked" in err
    assert journals(fresh) == []


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
