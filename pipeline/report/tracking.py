"""MLflow: a run a stage, and one parent run per pipeline execution that holds every stage's final metrics.

MLflow never runs inside a stage. `stage_run` starts a small process of its own, the recorder, which owns
every MLflow call, and feeds it JSON lines through a pipe. So the stage pays neither for MLflow's import (1 to
3 s, which now overlap with the stage's work) nor for a slow server, MLflow cannot touch the stage's random
state, and when the stage dies by any signal, SIGKILL included, the pipe ends and the recorder marks the run
KILLED.

What is one execution (its stages share a parent run):
  `DVC_EXP_NAME` where set (`dvc exp run`), else the `dvc` process above the stage (`dvc repro`),
  else none: a stage run by hand is a run without parent.

Where: `MLFLOW_TRACKING_URI`, else `mlflow.db` in `DVC_ROOT` or the given root, pictures in `mlruns/` beside
it (`DVC_ROOT`, because `dvc exp run --temp` works in a copy that is deleted). Experiment:
`MLFLOW_EXPERIMENT_NAME`, else `leafsynth`. `MLFLOW_RUN_ID` is ignored: it would put every stage into one run.

Names: curves are called what `history.csv` calls them, so that arms overlay in the UI; final metrics are
`metric_name(stage, metric)` on the stage's run and on the parent alike. The stage's duration is `seconds`,
here only, because an output that held it would change from run to run.

Tracking never fails a stage: what goes wrong is one sentence on stderr that begins with "MLflow:".
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

EXPERIMENT = "leafsynth"
FLUSH_SECONDS = 3.0  # curves reach MLflow this often, so that a long training can be watched
PROBE_SECONDS = 3.0  # how long a server may take to answer the one question whether it is there
DRAIN_SECONDS = 30.0  # how long a finished stage waits for the recorder
BATCH = 1000  # MLflow's limit of metrics in one log_batch; params and tags: 100
LONGEST_NAME = 250  # MLflow's limit of a metric's name

# A client's patience with a server that dies half-way: about 3 s a call, where MLflow's default is 4 minutes.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


def metric_name(stage: str, metric: str) -> str:
    """The one name of a stage's metric: `stage/metric[/class]`, legal in MLflow.

    MLflow takes word characters, `.`, `-`, space and `/`. So `train_classifier@classic` is spelled
    `train_classifier.classic`, and anything else that it refuses becomes `_`.
    """
    return _legal(f"{stage}/{metric}")


def _quietly(method: Callable[..., None]) -> Callable[..., None]:
    """Tracking must not kill a stage: an exception becomes a note."""

    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            method(*args, **kwargs)
        except Exception as error:
            _note(f"{_one_line(error)}; this is not tracked.")

    return guarded


class StageRun:
    """The MLflow run of one stage, as the stage sees it. Every method returns at once and none raises."""

    def __init__(self, name: str, feed: _Feed) -> None:
        self._name = name
        self._feed = feed
        self._left_out: set[str] = set()

    @_quietly
    def report(self, metrics: dict[str, float], step: int) -> None:
        """Points of curves at a step. NaN and infinity are left out: MLflow stores 0 and 1.8e308 for them."""
        self._feed.send("points", metrics=self._finite(metrics), step=int(step), time=_now_ms())

    @_quietly
    def finals(self, metrics: dict[str, float]) -> None:
        """Final metrics of the stage, keyed as in its metrics.json (without the stage)."""
        named = {metric_name(self._name, key): value for key, value in metrics.items()}
        self._feed.send("points", metrics=self._finite(named), step=0, time=_now_ms())

    @_quietly
    def picture(self, path: Path, name: str | None = None) -> None:
        """A file to look at. It is copied now, so the stage may move or overwrite it afterwards.

        Args:
            path: The file.
            name: Its name in the run, folders allowed (`samples/000100.png`); None means the file's own.
        """
        self._feed.send_file("picture", Path(path), name or Path(path).name)

    @_quietly
    def input_dataset(self, name: str, digest: str) -> None:
        """A data set that the stage read, by DVC's digest (`<md5>` or `<md5>.dir`); nothing is loaded."""
        self._feed.send("dataset", name=name, digest=digest)

    def _finite(self, metrics: dict[str, float]) -> dict[str, float]:
        """Metrics by legal name, the ones that are no finite number left out with a note, once a name."""
        kept = {}
        for key, value in metrics.items():
            number = _as_float(value)
            if math.isfinite(number):
                kept[_legal(key)] = number
            elif key not in self._left_out:
                self._left_out.add(key)
                _note(f"{key} of {self._name} is {value}; such values are left out of the run.")
        return kept


@contextmanager
def stage_run(name: str, params: dict, *, root: Path) -> Iterator[StageRun]:
    """Track the stage inside the `with` as one run, a new one each time.

    The run ends FINISHED, FAILED when an exception leaves the block, or KILLED on Ctrl-C or a signal; the
    exception goes on.

    Args:
        name: The DVC stage, such as `train_classifier@classic`.
        params: Its section of params.yaml; nested keys are joined with dots.
        root: The repository, where `mlflow.db` lies unless `DVC_ROOT` or `MLFLOW_TRACKING_URI` say otherwise.
    """
    global _active
    begun = time.monotonic()
    feed = _Feed(name, params, root)
    outer, _active = _active, feed
    status = "FINISHED"
    try:
        yield StageRun(name, feed)
    except BaseException as error:
        status = _status_of(error)
        raise
    finally:
        _active = outer
        feed.close(status, time.monotonic() - begun)


def log_execution(
    finals: dict[str, dict[str, float]],
    *,
    root: Path,
    pictures: Sequence[Path] = (),
    params: dict | None = None,
) -> None:
    """Put every stage's final metrics onto the execution's parent run, and end that run.

    Called by the last stage, within its `stage_run` or not. It is told the metrics of stages that DVC took
    from its cache too, so that two executions compare in the UI whatever was re-run; the parent's tag
    `leafsynth.from_cache` lists them. A stage run by hand makes a parent of its own.

    Args:
        finals: Stage name -> metric name without the stage -> value.
        root: As in `stage_run`.
        pictures: Files to look at.
        params: All of params.yaml, or what of it should stand on the parent.
    """
    feed = _active or _Feed(None, {}, root)
    _send_execution(feed, finals, pictures, params or {})
    if feed is not _active:
        feed.close("FINISHED", None)


# --- in the stage's process ---------------------------------------------------------------------------------


class _Feed:
    """The stage's end of the pipe to the recorder. A thread writes, so that the stage never waits for it."""

    def __init__(self, name: str | None, params: dict, root: Path) -> None:
        self._queue: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        self._spool: Path | None = None
        self._files = 0
        self._process: subprocess.Popen | None = None
        self._start(name, params, root)

    @_quietly
    def _start(self, name: str | None, params: dict, root: Path) -> None:
        anchor = Path(os.environ.get("DVC_ROOT") or root).resolve()
        start = {
            "name": name,
            "params": _flat(params),
            "anchor": str(anchor),
            "time": _now_ms(),
            "process": _process_tags(os.getpid()),
            "execution": _execution(anchor),
        }
        code = "import sys; sys.path.insert(0, sys.argv[1]); import pipeline.report.tracking as t; t._record()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(Path(__file__).resolve().parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=anchor,  # a relative sqlite:///… and MLflow's ./mlruns belong here
            env=_recorder_environment(),
            start_new_session=True,  # Ctrl-C is for the stage; the recorder learns of it through the pipe
        )
        self._writer = threading.Thread(target=self._write, daemon=True, name="mlflow-feed")
        self._writer.start()
        self.send("start", **start)

    @_quietly
    def send(self, kind: str, **message: Any) -> None:
        if self._process is not None:
            self._queue.put({"kind": kind, **message})

    @_quietly
    def send_file(self, kind: str, path: Path, name: str) -> None:
        if self._process is None:
            return
        if self._spool is None:
            self._spool = Path(tempfile.mkdtemp(prefix="leafsynth-mlflow-"))
        name = _legal(name)
        copy = self._spool / str(self._files) / name  # numbered: the same name may come again before it is logged
        self._files += 1
        copy.parent.mkdir(parents=True)
        shutil.copyfile(path, copy)
        self.send(kind, path=str(copy), name=name, spool=str(self._spool))

    @_quietly
    def close(self, status: str, seconds: float | None) -> None:
        if self._process is None:
            return
        self.send("end", status=status, seconds=seconds)
        self._queue.put(None)
        deadline = time.monotonic() + DRAIN_SECONDS
        self._writer.join(DRAIN_SECONDS)
        try:
            code = self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _note(f"still busy after {DRAIN_SECONDS:.0f} s; it is left to finish on its own.")
            return
        if self._spool is not None:
            shutil.rmtree(self._spool, ignore_errors=True)
        if code:
            _note(f"the recorder ended with code {code}; this run is not wholly tracked.")

    def _write(self) -> None:
        """Thread: queue -> pipe. A recorder that gave up (server down) breaks the pipe: no news here."""
        pipe = self._process.stdin
        for message in iter(self._queue.get, None):
            with suppress(OSError, TypeError, ValueError):
                pipe.write(json.dumps(message, default=str).encode() + b"\n")
                if self._queue.empty():
                    pipe.flush()
        with suppress(OSError):
            pipe.close()


_active: _Feed | None = None  # of the stage that runs in this process


@_quietly
def _send_execution(feed: _Feed, finals: dict[str, dict[str, float]], pictures: Sequence[Path], params: dict) -> None:
    metrics, left_out = {}, []
    for stage, values in finals.items():
        for key, value in values.items():
            name, number = metric_name(stage, key), _as_float(value)
            if math.isfinite(number):
                metrics[name] = number
            else:
                left_out.append(name)
    if left_out:
        _note(f"{len(left_out)} final metrics are no finite numbers and left out, the first {left_out[0]}.")
    feed.send("execution", stages=list(finals), metrics=metrics, params=_flat(params), time=_now_ms())
    for path in pictures:
        feed.send_file("execution_picture", Path(path), Path(path).name)


def _status_of(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "KILLED"
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return "FINISHED"
        # 128 + signal is how a handler that leaves by sys.exit says which signal it was.
        return "KILLED" if isinstance(error.code, int) and error.code > 128 else "FAILED"
    return "FAILED"


def _recorder_environment() -> dict[str, str]:
    env = {**PATIENCE, "MLFLOW_DISABLE_TELEMETRY": "true", **os.environ}
    env.pop("MLFLOW_RUN_ID", None)  # it overrides the run that one asks for (mlflow #15713)
    env["OMP_NUM_THREADS"] = env["OPENBLAS_NUM_THREADS"] = "1"  # no thread pools beside a training
    return env


def _execution(anchor: Path) -> dict[str, str] | None:
    """Tags of the pipeline execution that this stage belongs to, or None when it was run by hand."""
    process = _dvc_process()
    tags = _process_tags(process) if process else {}
    name = os.environ.get("DVC_EXP_NAME")
    if name:
        identity = [
            "exp",
            name,
            os.environ.get("DVC_EXP_BASELINE_REV", ""),
            socket.gethostname(),
            str(anchor),
        ]
        tags["leafsynth.dvc_exp"] = name
    elif process:
        identity = ["dvc", *tags.values()]
    else:
        return None
    # Hashed, because MLflow's search language has no escape for quotes.
    return {**tags, "leafsynth.execution": hashlib.sha1("\n".join(identity).encode()).hexdigest()}


def _dvc_process() -> int | None:
    """The nearest `dvc` above this process, or under `DVC_STAGE` whatever runs DVC's Python API."""
    try:
        import psutil
    except ImportError:
        return None
    runner = None
    for process in psutil.Process().parents():
        try:
            command, name = process.cmdline(), process.name()
        except psutil.Error:
            continue
        if any(Path(word).name in ("dvc", "dvc.exe") for word in command[:4]):  # dvc, python -m dvc, python …/bin/dvc
            return process.pid
        if runner is None and not re.fullmatch(r"(ba|da|z|k|fi)?sh|cmd\.exe", name):
            runner = process.pid
    return runner if "DVC_STAGE" in os.environ else None


# --- in the recorder's process ------------------------------------------------------------------------------


def _record() -> None:
    """The recorder: read messages until the pipe ends, log them, end the run."""
    global _notes
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # it ends when the stage does
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _notes = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the chatter of MLflow and alembic goes nowhere

    stage = os.getppid()
    inbox: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(inbox,), daemon=True).start()
    start = inbox.get()
    recorder = None if start is None else _recorder(start)
    if recorder is not None:
        recorder.follow(inbox, lambda: os.getppid() == stage)
    # All is committed. Taking 1,600 modules apart would cost the waiting stage 0.8 s, and Python aborts when
    # the thread still holds stdin.
    os._exit(0)


def _recorder(start: dict) -> _Recorder | None:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{start['anchor']}/mlflow.db"
    if not _reachable(uri):
        _note(f"{uri} is not reachable; this run is not tracked.")
        return None
    try:
        return _Recorder(uri, start)
    except ImportError as error:
        _note(f"{_one_line(error)}; this run is not tracked (pip install mlflow).")
    except Exception as error:
        _note(f"{uri}: {_one_line(error)}; this run is not tracked.")
    return None


def _read(inbox: queue.SimpleQueue[dict | None]) -> None:
    """Thread: pipe -> queue, None at the end; a line cut off by a killed stage is dropped."""
    for line in sys.stdin.buffer:
        with suppress(ValueError):
            inbox.put(json.loads(line))
    inbox.put(None)


def _import_client() -> type:
    """MlflowClient, imported without the packages that only mlflow's models and data sets use.

    mlflow-skinny promises to work without them, and it saves a third of the recorder's 2 s of processor time,
    which every stage pays.
    """
    spared = ("numpy", "pandas", "scipy")
    for name in spared:
        sys.modules[name] = None  # type: ignore[assignment]  # `import numpy` now raises ImportError
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        for name in [*spared, *(name for name in sys.modules if name.partition(".")[0] == "mlflow")]:
            del sys.modules[name]
        from mlflow.tracking import MlflowClient
    return MlflowClient


class _Point(NamedTuple):
    key: str
    value: float
    time: int
    step: int


class _Recorder:
    """Every MLflow call there is. Raises only while it is built; afterwards a failing call is a note."""

    def __init__(self, uri: str, start: dict) -> None:
        from filelock import FileLock

        MlflowClient = _import_client()
        self._uri = uri
        self._start = start
        self._points: list[_Point] = []
        self._spools: set[str] = set()
        self._off = False
        self._parent: str | None = None
        self._run: str | None = None
        self._closes_parent = False

        mlruns = Path(start["anchor"]) / "mlruns"
        mlruns.mkdir(exist_ok=True)
        # Two processes that create the database at once crash, and would each create a parent run.
        with FileLock(mlruns / ".lock", timeout=60):
            self._client = MlflowClient(uri, registry_uri=uri)
            self._experiment = self._find_or_create_experiment(mlruns)
            execution = start["execution"]
            if execution is not None:
                self._parent = self._find_parent(execution["leafsynth.execution"])
            if self._parent is None:  # a new execution begins
                self._sweep()
                if execution is not None:
                    self._parent = self._create_parent(execution)
        if start["name"] is not None:
            self._run = self._create_stage_run(start)

    def follow(self, inbox: queue.SimpleQueue[dict | None], stage_lives: Callable[[], bool]) -> None:
        """Log messages until the stage says how it ended, or is gone without a word: KILLED."""
        end: dict = {"status": "KILLED", "seconds": None}
        flushed = time.monotonic()
        while True:
            try:
                message = inbox.get(timeout=FLUSH_SECONDS)
            except queue.Empty:
                if not stage_lives():  # a forked worker may hold the pipe open after the stage's death
                    break
                message = {"kind": "nothing"}
            if message is None:
                break
            if message["kind"] == "end":
                end = message
                break
            self._try(self._handle, message)
            if len(self._points) >= BATCH or time.monotonic() - flushed >= FLUSH_SECONDS:
                self._try(self._flush)
                flushed = time.monotonic()
        if end["seconds"] is not None and self._run is not None:
            self._points.append(_Point("seconds", end["seconds"], _now_ms(), 0))
        self._try(self._flush)
        self._try(self._end, end["status"])
        for spool in self._spools:
            shutil.rmtree(spool, ignore_errors=True)

    def _try(self, call: Callable[..., None], *args: Any) -> None:
        if self._off:
            return
        try:
            call(*args)
        except Exception as error:
            self._off = not _reachable(self._uri)
            what = "the rest of this run" if self._off else "this"
            _note(f"{_one_line(error)}; {what} is not tracked.")

    # messages

    def _handle(self, message: dict) -> None:
        kind = message["kind"]
        if kind == "points":
            points = message["metrics"].items()
            self._points += [_Point(key, value, message["time"], message["step"]) for key, value in points]
        elif kind == "picture":
            self._log_picture(self._run, message)
        elif kind == "execution_picture":
            self._log_picture(self._parent, message)
        elif kind == "dataset":
            self._log_dataset(message)
        elif kind == "execution":
            self._log_execution(message)

    def _flush(self) -> None:
        points, self._points = self._points, []
        self._log_points(self._run, points)

    def _log_points(self, run: str | None, points: list[_Point]) -> None:
        from mlflow.entities import Metric

        for first in range(0, len(points) if run else 0, BATCH):
            self._client.log_batch(run, metrics=[Metric(*point) for point in points[first : first + BATCH]])

    def _log_picture(self, run: str | None, message: dict) -> None:
        self._spools.add(message["spool"])
        if run is not None:
            folder = message["name"].rpartition("/")[0]
            self._client.log_artifact(run, message["path"], folder or None)
        Path(message["path"]).unlink()

    def _log_dataset(self, message: dict) -> None:
        from mlflow.entities import Dataset, DatasetInput

        # What mlflow.data.MetaDataset makes, without its import.
        dataset = Dataset(message["name"], message["digest"][:36], "dvc", json.dumps({"uri": message["name"]}))
        self._client.log_inputs(self._run, [DatasetInput(dataset)])

    def _log_execution(self, message: dict) -> None:
        if self._parent is None:
            self._parent = self._create_parent(self._start["process"])
        self._closes_parent = True
        self._log_params(self._parent, message["params"])
        points = [_Point(key, value, message["time"], 0) for key, value in message["metrics"].items()]
        self._log_points(self._parent, points)
        ran = {run.data.tags.get("leafsynth.stage") for run in self._children(self._parent)}
        cached = [stage for stage in message["stages"] if stage not in ran]
        self._client.set_tag(self._parent, "leafsynth.from_cache", " ".join(cached)[:5000])

    def _end(self, status: str) -> None:
        if self._run is not None:
            self._client.set_terminated(self._run, status)
        # A stage that failed is the end of the execution: DVC runs nothing that depends on it.
        if self._parent is not None and (self._closes_parent or status != "FINISHED"):
            self._client.set_terminated(self._parent, status)

    # runs

    def _find_or_create_experiment(self, mlruns: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            # A server knows where its artifacts go; a local store is told, because its default is relative.
            remote = self._uri.startswith(("http", "databricks"))
            try:
                return self._client.create_experiment(name, None if remote else mlruns.as_uri())
            except Exception:  # somebody on another machine was quicker
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        return experiment.experiment_id

    def _find_parent(self, execution: str) -> str | None:
        found = self._search(f"tags.`leafsynth.execution` = '{execution}' and tags.`leafsynth.role` = 'pipeline'")
        return found[0].info.run_id if found else None

    def _create_parent(self, execution: dict[str, str]) -> str:
        name = execution.get("leafsynth.dvc_exp") or time.strftime("pipeline %Y-%m-%d %H:%M:%S")
        tags = {**execution, **self._commit(), "leafsynth.role": "pipeline"}
        return self._client.create_run(self._experiment, self._start["time"], tags, name).info.run_id

    def _create_stage_run(self, start: dict) -> str:
        stage = start["name"].partition("@")[0]
        tags = {
            **start["process"],
            **self._commit(),
            "leafsynth.role": "stage",
            "leafsynth.stage": start["name"],
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": f"stages/{stage}.py",
        }
        if self._parent is not None:
            tags["mlflow.parentRunId"] = self._parent
        run = self._client.create_run(self._experiment, start["time"], tags, start["name"]).info.run_id
        self._try(self._log_params, run, start["params"])
        return run

    def _log_params(self, run: str, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(run).data.params  # logging another value raises: a parent can be met again
        new = [Param(key, value) for key, value in params.items() if key not in known]
        for first in range(0, len(new), 100):
            self._client.log_batch(run, params=new[first : first + 100])

    def _sweep(self) -> None:
        """End the runs that say RUNNING but whose process is gone (the whole machine went down, say)."""
        running = self._search(f"attributes.status = 'RUNNING' and tags.`leafsynth.host` = '{socket.gethostname()}'")
        dead = [run for run in running if not _lives(run.data.tags)]
        # Stages first, because how a parent ended is seen on its stages.
        for run in sorted(dead, key=lambda run: run.data.tags.get("leafsynth.role") == "pipeline"):
            status = "KILLED"
            if run.data.tags.get("leafsynth.role") == "pipeline":
                stages = {child.info.status for child in self._children(run.info.run_id)}
                status = next((s for s in ("FAILED", "KILLED", "RUNNING") if s in stages), "FINISHED")
            if status != "RUNNING":
                self._client.set_terminated(run.info.run_id, status)

    def _children(self, parent: str) -> list:
        return self._search(f"tags.`mlflow.parentRunId` = '{parent}'")

    def _search(self, condition: str) -> list:
        return list(self._client.search_runs([self._experiment], condition, max_results=1000))

    def _commit(self) -> dict[str, str]:
        """Tag with the commit that is checked out, which MLflow shows as the run's version."""
        try:
            command = ["git", "rev-parse", "HEAD"]
            git = subprocess.run(command, cwd=self._start["anchor"], capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            return {}
        return {"mlflow.source.git.commit": git.stdout.strip()} if git.returncode == 0 else {}


def _reachable(uri: str) -> bool:
    """Whether a server answers at all within `PROBE_SECONDS`; other stores are taken for reachable."""
    if not uri.startswith(("http://", "https://")):
        return True
    import ssl
    import urllib.error
    import urllib.request

    answers = []

    def ask() -> None:
        try:
            urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            answers.append("401, 404: somebody is there")
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                answers.append("a certificate that MLflow may be told to accept")
        except (OSError, ValueError):
            pass
        else:
            answers.append("healthy")

    # In a thread, because the look-up of a name has no time limit.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS + 0.5)
    return bool(answers)


# --- on both sides ------------------------------------------------------------------------------------------


_notes: TextIO | None = None  # where notes go; None means stderr


def _note(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        print(f"MLflow: {_without_password(text)}", file=_notes or sys.stderr, flush=True)


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0].rstrip(".") if lines else ""
    return f"{type(error).__name__}: {text}"[:300]


def _without_password(text: str) -> str:
    return re.sub(r"(://)[^/@\s]*@", r"\1", text)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _legal(name: str) -> str:
    """A name that MLflow takes for a metric, a param or an artifact; see `metric_name`."""
    name = re.sub(r"[^\w./\- ]", "_", name.replace("@", "."))
    parts = [part if part not in (".", "..") else "_" for part in name.split("/") if part]
    name = "/".join(parts) or "_"
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9]}-{hashlib.sha1(name.encode()).hexdigest()[:8]}"
    return name


def _flat(params: dict, prefix: str = "") -> dict[str, str]:
    """Nested params by dotted name; lists and scalars as JSON, plain strings as they are."""
    flat = {}
    for key, value in params.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            flat[_legal(f"{prefix}{key}")] = text
    return flat


def _process_tags(pid: int) -> dict[str, str]:
    """Which process a run belongs to. A start time goes with the id, because ids come round again."""
    return {
        "leafsynth.host": socket.gethostname(),
        "leafsynth.pid": str(pid),
        "leafsynth.started": _started(pid) or "",
    }


def _lives(tags: dict[str, str]) -> bool:
    return "leafsynth.pid" in tags and _started(int(tags["leafsynth.pid"])) == tags.get("leafsynth.started")


def _started(pid: int) -> str | None:
    """When a process started, None where there is none. Linux: ticks since boot, which no clock can shift."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        fields = stat.rpartition(b")")[2].split()  # from the third field on: the second may hold spaces
        return None if fields[0] == b"Z" else fields[19].decode()
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return None
