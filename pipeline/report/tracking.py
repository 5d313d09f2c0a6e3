"""MLflow: a run a stage, and one parent run per pipeline execution that holds every stage's final metrics.

MLflow never runs inside a stage. A stage writes what it has to tell into a file of its own, its journal, and one small
process, the uploader, sends what journals hold and then deletes them. The stage that finds no uploader at work starts
one; it stays for as long as stages, or the `dvc` above them, may have more to tell. So a stage pays neither for the
import of MLflow nor for a slow server, MLflow cannot touch its random state, and what cannot be sent now waits on the
disk: the next execution sends it, or `leafsynth sync`. A stage that died by any signal, SIGKILL included, has left a
journal without an end, whose run the uploader marks KILLED.

All that an uploader knows stands in the journals and in MLflow, where a run is found by its journal's name. So one that
was killed is replaced by another, which sends again whatever is not deleted: MLflow drops a point that it has.

What is one execution (its stages share a parent run):
  `DVC_EXP_NAME` where set (`dvc exp run`), else the `dvc` process above the stage (`dvc repro`),
  else none: a stage run by hand is a run without parent.

Where: `MLFLOW_TRACKING_URI`, else `mlflow.db` in `DVC_ROOT` or the given root, pictures in `mlruns/` beside
it (`DVC_ROOT`, because `dvc exp run --temp` works in a copy that is deleted). Experiment:
`MLFLOW_EXPERIMENT_NAME`, else `leafsynth`. `MLFLOW_RUN_ID` is ignored: it would put every stage into one run.

Names: curves are called what `history.csv` calls them, so that arms overlay in the UI; final metrics are
`metric_name(stage, metric)` on the stage's run and on the parent alike. The stage's duration is `seconds`,
here only, because an output that held it would change from run to run.

Tracking never fails a stage: what goes wrong is one sentence on stderr that begins with "MLflow:", said once an
execution.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from pipeline.machine import collect_less
from pipeline.report.checkout import commit

EXPERIMENT = "leafsynth"
DEFAULT_STORE = "mlflow.db"
JOURNALS = Path(".state/mlflow")  # a folder a store
POLL_SECONDS = 0.2  # how often the uploader looks into the journals
FLUSH_SECONDS = 3.0  # curves reach MLflow this often, so that a long training can be watched
RETRY_SECONDS = 30.0  # how often at the least the uploader tries a store that fails
LINGER_SECONDS = 60.0  # how long it stays without any journal while a `dvc` lives, whose next stage may bring one
OTHER_HOST_SECONDS = 86400.0  # a stage of another machine is taken for dead when it has been silent for so long
WAIT_SECONDS = 30.0  # how long the last stage waits until all is sent
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


# --- in the stage's process ---------------------------------------------------------------------------------


class StageRun:
    """The MLflow run of one stage, as the stage sees it. Every method returns at once and none raises."""

    def __init__(self, name: str, params: dict, root: Path) -> None:
        self._name = name
        self._left_out: set[str] = set()
        self._file: int | None = None  # None: there is no journal, or it takes no more
        self._files = 0
        self._is_last = False
        self._begin(params, root)

    @_quietly
    def report(self, metrics: dict[str, float], step: int) -> None:
        """Points of curves at a step. NaN and infinity are left out: MLflow stores 0 and 1.8e308 for them."""
        self._write("points", metrics=self._finite(metrics), step=int(step))

    @_quietly
    def finals(self, metrics: dict[str, float]) -> None:
        """Final metrics of the stage, keyed as in its metrics.json (without the stage)."""
        named = {metric_name(self._name, key): value for key, value in metrics.items()}
        self._write("points", metrics=self._finite(named), step=0)

    @_quietly
    def picture(self, path: Path, name: str | None = None) -> None:
        """A file to look at. It is copied now, so the stage may move or overwrite it afterwards.

        Args:
            path: The file.
            name: Its name in the run, folders allowed (`samples/000100.png`); None means the file's own.
        """
        self._copy("picture", Path(path), name or Path(path).name)

    @_quietly
    def execution(self, finals: dict[str, dict[str, float]], pictures: Sequence[Path], params: dict) -> None:
        """Put every stage's final metrics onto the execution's parent run, and end that run.

        For the last stage. It is told the metrics of stages that DVC took from its cache too, so that two executions
        compare in the UI whatever was re-run; the parent's tag `leafsynth.from_cache` lists them. A stage run by hand
        makes a parent of its own.

        Args:
            finals: Stage name -> metric name without the stage -> value.
            pictures: Files to look at.
            params: All of params.yaml, or what of it should stand on the parent.
        """
        metrics = {metric_name(stage, key): value for stage, of in finals.items() for key, value in of.items()}
        self._is_last = True
        self._write("execution", stages=list(finals), metrics=self._finite(metrics), params=_flat(params))
        for path in pictures:
            self._copy("execution_picture", Path(path), Path(path).name)

    def _finite(self, metrics: dict[str, float]) -> dict[str, float]:
        """Metrics by legal name; those that are no finite number are left out, with a note on the first."""
        kept = {_legal(key): float(value) for key, value in metrics.items() if _is_finite(value)}
        if left_out := sorted(key for key, value in metrics.items() if not _is_finite(value)):
            if not self._left_out.issuperset(left_out):
                _note(f"{len(left_out)} metrics of {self._name} are no finite numbers and left out, as {left_out[0]}.")
            self._left_out.update(left_out)
        return kept

    @_quietly
    def _begin(self, params: dict, root: Path) -> None:
        anchor = Path(os.environ.get("DVC_ROOT") or root).resolve()
        self._anchor, self._place = anchor, anchor / JOURNALS / _store()
        name = _legal(self._name).replace("/", "_")
        self._journal = self._place / f"{time.time_ns()}-{os.getpid()}-{name}.jsonl"  # in the order of starting
        execution = _execution(anchor)
        self._execution = None if execution is None else execution["leafsynth.execution"]
        self._place.mkdir(parents=True, exist_ok=True)
        partial = self._journal.with_suffix(".partial")
        try:
            self._file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._write(
                "start",
                name=self._name,
                params=_flat(params),
                process=_process_tags(os.getpid()),
                execution=execution,
                experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT,
                commit=commit(anchor),
            )
            os.replace(partial, self._journal)  # the uploader never meets one without a beginning
        except OSError:
            self._file = None
            raise
        _start_uploader(anchor, self._place)

    def _write(self, kind: str, **message: Any) -> None:
        if self._file is None:
            return
        line = json.dumps({"kind": kind, "time": _now_ms(), **message}, default=str).encode() + b"\n"
        try:
            if os.write(self._file, line) < len(line):
                raise OSError("the disk is full")
        except OSError:
            self._file = None  # what follows half a line could not be read
            raise

    def _copy(self, kind: str, path: Path, name: str) -> None:
        if self._file is None:
            return
        copy = _files_of(self._journal) / str(self._files) / _legal(name)  # numbered: the same name may come again
        self._files += 1
        copy.parent.mkdir(parents=True)
        shutil.copyfile(path, copy)
        self._write(kind, path=str(copy.relative_to(self._place)), name=_legal(name))

    @_quietly
    def _end(self, status: str, seconds: float) -> None:
        self._write("end", status=status, seconds=seconds)
        if self._file is None:
            return
        os.close(self._file)
        self._file = None
        why = _complaint(self._place, "trouble")
        if status == "FINISHED" and (self._is_last or self._execution is None):
            # No stage comes behind this one, in whose time the uploader could work
            why = _wait(self._journal.exists, self._anchor, self._place, WAIT_SECONDS)
        why = why or _complaint(self._place, "refused")
        this, said = self._execution or self._journal.stem, self._place / "said"
        if why and not (said.exists() and said.read_text(encoding="utf-8") == this):
            said.write_text(this, encoding="utf-8")
            _note(why)


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
    begun = time.monotonic()
    run = StageRun(name, params, root)
    status = "FINISHED"
    try:
        yield run
    except BaseException as error:
        status = _status_of(error)
        raise
    finally:
        run._end(status, time.monotonic() - begun)


def sync(root: Path) -> tuple[int, int, str]:
    """Send what journals hold, but for what stages at work have yet to say.

    Args:
        root: The repository.

    Returns:
        How many runs were sent, how many wait, and why, or None where the stages are at work.
    """
    root = root.resolve()
    place = root / JOURNALS / _store()
    found = _journals(place)
    (place / "trouble").unlink(missing_ok=True)  # it may be over
    why = _wait(lambda: any(not _Journal(path).lives() for path in _journals(place)), root, place, math.inf)
    left = _journals(place)
    return len(set(found) - set(left)), len(left), why


def _wait(waits: Callable[[], bool], anchor: Path, place: Path, seconds: float) -> str | None:
    """Let an uploader work as long as something waits; None, or why it still does."""
    deadline, started = time.monotonic() + seconds, None
    while waits():
        if (why := _complaint(place, "trouble")) is not None:
            return why
        if started is None:
            started = _start_uploader(anchor, place)  # None: there is one
        elif started.poll() is not None and not _is_uploading(place) and waits():
            return f"the uploader has ended, as {place / 'log'} may tell; `leafsynth sync` starts another."
        if time.monotonic() > deadline:
            return f"still sending after {seconds:.0f} s; if that is cut off, `leafsynth sync` sends the rest."
        time.sleep(0.1)
    return None


def _complaint(place: Path, name: str) -> str | None:
    """What the uploader complains of: its `trouble` with the store, or what MLflow `refused`."""
    try:
        return (place / name).read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None


def _status_of(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "KILLED"
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return "FINISHED"
        # 128 + signal is how a handler that leaves by sys.exit says which signal it was.
        return "KILLED" if isinstance(error.code, int) and error.code > 128 else "FAILED"
    return "FAILED"


def _execution(anchor: Path) -> dict[str, str] | None:
    """Tags of the pipeline execution that this stage belongs to, or None when it was run by hand."""
    process = _dvc_process()
    tags = _process_tags(process) if process else {}
    name = os.environ.get("DVC_EXP_NAME")
    if name:
        identity = ["exp", name, os.environ.get("DVC_EXP_BASELINE_REV", ""), socket.gethostname(), str(anchor)]
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


def _start_uploader(anchor: Path, place: Path) -> subprocess.Popen | None:
    """See that an uploader is at work; the one that had to be started.

    The journal stands before this asks, and an uploader looks once more after it has let go of its lock: one of the
    two sees the other. Of two that are started at once the second leaves.
    """
    if _is_uploading(place):
        return None
    for name in ("trouble", "refused"):  # of an earlier one
        (place / name).unlink(missing_ok=True)
    env = {**PATIENCE, "MLFLOW_DISABLE_TELEMETRY": "true", **os.environ}
    env.pop("MLFLOW_RUN_ID", None)  # it overrides the run that one asks for (mlflow #15713)
    env["OMP_NUM_THREADS"] = env["OPENBLAS_NUM_THREADS"] = "1"  # no thread pools beside a training
    code = "import sys; sys.path.insert(0, sys.argv[1]); from pipeline.report.tracking import _stay; _stay(sys.argv[2])"
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # MLflow's own may hold a password
    try:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(Path(__file__).resolve().parents[2]), str(anchor)],
            stdin=subprocess.DEVNULL,  # no pipe of the stage's, on whose end DVC would wait
            stdout=log,
            stderr=log,
            cwd=anchor,  # a relative sqlite:///… and MLflow's ./mlruns belong here
            env=env,
            start_new_session=True,  # Ctrl-C is for the stage
        )
    finally:
        os.close(log)


def _is_uploading(place: Path) -> bool:
    lock = FileLock(place / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


# --- in the uploader's process ------------------------------------------------------------------------------


def _stay(anchor: str) -> None:
    """The uploader: send until nobody is left who could have more to tell."""
    collect_less()
    for name in ("SIGTERM", "SIGHUP"):  # whoever stops everything wants to see how the stages ended
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    place = Path(anchor) / JOURNALS / _store()
    uploader = _Uploader(Path(anchor), place)
    while _journals(place) and not uploader.failures:
        try:
            with FileLock(place / "lock", timeout=1):
                uploader.work()
        except Timeout:
            return  # another is at work


class _Point(NamedTuple):
    key: str
    value: float
    time: int
    step: int


class _Journal:
    """A journal, and how far it is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            line = file.readline()
        self.start = _parsed(line)
        self.end: dict | None = None
        self.run: str | None = None
        self.parent: str | None = None
        self.closes_parent = False
        self.points: list[_Point] = []
        self.flushed = 0.0
        self._offset = len(line)

    def lives(self) -> bool:
        """Whether its stage may write more."""
        if self.start is None:
            return False
        process = self.start["process"]
        if process["leafsynth.host"] != socket.gethostname():  # of a shared disk; or it was a container, now gone
            return time.time() - self.path.stat().st_mtime < OTHER_HOST_SECONDS
        return _lives(process)

    def news(self) -> Iterator[dict]:
        """What was written since; a message on which the caller fails comes again."""
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # of a stage that writes it now, or was killed at it
                    return
                if message := _parsed(line):
                    yield message
                self._offset += len(line)


def _parsed(line: bytes) -> dict | None:
    with suppress(ValueError):
        return json.loads(line)
    return None


class _Uploader:
    """Every MLflow call there is.

    Attributes:
        failures: How many times in a row the store has failed.
    """

    def __init__(self, anchor: Path, place: Path) -> None:
        self.failures = 0
        self._anchor, self._place = anchor, place
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{anchor}/{DEFAULT_STORE}"
        self._client: Any = None
        self._journals: dict[Path, _Journal] = {}
        self._experiments: dict[str, str] = {}
        self._executions: dict[str, dict[str, str]] = {}

    def work(self) -> None:
        """Send until all is sent, or cannot be, and nobody lives who could have more to tell."""
        next_try, busy_at = 0.0, time.monotonic()
        while True:
            now = time.monotonic()
            dvc_lives = any(_lives(tags) for tags in self._executions.values())
            if now >= next_try:
                try:
                    self._send_all()
                    if self._journals:
                        busy_at = now
                    elif not dvc_lives or now - busy_at > LINGER_SECONDS:
                        return self._end_parents()
                    if self.failures:
                        (self._place / "trouble").unlink(missing_ok=True)
                    self.failures = 0
                except Exception as error:
                    self.failures += 1
                    why = f"{self._uri}: {_one_line(error)}"
                    self._complain("trouble", f"{why}; runs wait in {JOURNALS}, and `leafsynth sync` sends them.")
                    next_try = now + min(RETRY_SECONDS, 2**self.failures)
            if self.failures and not dvc_lives and not any(j.lives() for j in self._journals.values()):
                return None
            time.sleep(POLL_SECONDS)

    def _complain(self, name: str, text: str) -> None:
        """To whichever stage ends next, and says it; see `_complaint`."""
        text = _without_password(text)
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)
        with suppress(OSError):
            (self._place / name).write_text(text, encoding="utf-8")

    def _try(self, call: Callable[..., None], *args: Any) -> None:
        """What MLflow will never take is left out; after any other failure the same is tried again."""
        try:
            call(*args)
        except Exception as error:
            if getattr(error, "get_http_status_code", int)() not in (400, 404):
                raise
            self._complain("refused", f"{_one_line(error)}; this is not tracked.")

    # journals

    def _send_all(self) -> None:
        paths = _journals(self._place)
        for path in paths:  # all of them before the first call: whose stages live is asked while the store fails
            if path not in self._journals:
                self._journals[path] = journal = _Journal(path)
                if journal.start is not None and (execution := journal.start["execution"]) is not None:
                    self._executions[execution["leafsynth.execution"]] = execution
        for path in self._journals.keys() - set(paths):  # somebody cleared them away
            del self._journals[path]
        if paths and self._client is None:
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(self._uri, registry_uri=self._uri)
        for path in paths:
            self._send(self._journals[path])

    def _send(self, journal: _Journal) -> None:
        lives = journal.lives()  # asked before reading, so that nothing is written in between
        if journal.start is not None:
            if journal.run is None:
                self._begin(journal, journal.start)
            for message in journal.news():
                self._take(journal, message)
        if journal.end is not None or not lives:
            self._end(journal)
            journal.path.unlink(missing_ok=True)
            shutil.rmtree(_files_of(journal.path), ignore_errors=True)
            del self._journals[journal.path]
        elif time.monotonic() - journal.flushed >= FLUSH_SECONDS:
            self._flush(journal)

    def _begin(self, journal: _Journal, start: dict) -> None:
        """Find or create the run, and its parent's."""
        if start["execution"] is not None:
            journal.parent = self._parent(start, start["execution"])
        tags = {
            **start["process"],
            "leafsynth.role": "stage",
            "leafsynth.stage": start["name"],
            "leafsynth.journal": journal.path.stem,
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": f"stages/{start['name'].partition('@')[0]}.py",
        }
        if journal.parent is not None:
            tags["mlflow.parentRunId"] = journal.parent
        journal.run = self._find_or_create("leafsynth.journal", tags, start, start["name"])
        self._try(self._log_params, journal.run, start["params"])

    def _take(self, journal: _Journal, message: dict) -> None:
        kind = message["kind"]
        if kind == "points":
            points = message["metrics"].items()
            journal.points += [_Point(key, value, message["time"], message["step"]) for key, value in points]
            if len(journal.points) >= BATCH:
                self._flush(journal)
        elif kind == "picture":
            self._try(self._log_picture, journal.run, message)
        elif kind == "execution":
            self._log_execution(journal, message)
        elif kind == "execution_picture":
            self._try(self._log_picture, journal.parent, message)
        elif kind == "end":
            journal.end = message

    def _flush(self, journal: _Journal) -> None:
        self._try(self._log_points, journal.run, journal.points)
        journal.points, journal.flushed = [], time.monotonic()

    def _end(self, journal: _Journal) -> None:
        if journal.run is None:
            why = f"{journal.path.name}: expected the journal of a stage, found something else"
            return self._complain("refused", f"{why}; this is not tracked.")
        # A stage that died is taken to have died at its last word.
        end = journal.end or {"status": "KILLED", "time": int(journal.path.stat().st_mtime * 1000)}
        if "seconds" in end:
            journal.points.append(_Point("seconds", end["seconds"], end["time"], 0))
        self._flush(journal)
        self._try(self._client.set_terminated, journal.run, end["status"], end["time"])
        # A stage that failed is the end of the execution: DVC runs nothing that depends on it.
        if journal.parent is not None and (journal.closes_parent or end["status"] != "FINISHED"):
            self._try(self._client.set_terminated, journal.parent, end["status"], end["time"])
        return None

    # runs

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is not None:
                self._experiments[name] = found.experiment_id
            else:
                # A server knows where its artifacts go; a local store is told, because its default is relative.
                remote = self._uri.startswith(("http", "databricks"))
                place = None if remote else (self._anchor / "mlruns").as_uri()
                self._experiments[name] = self._client.create_experiment(name, place)
        return self._experiments[name]

    def _parent(self, start: dict, execution: dict[str, str]) -> str:
        begun = time.strftime("pipeline %Y-%m-%d %H:%M:%S", time.localtime(start["time"] / 1000))
        tags = {**execution, "leafsynth.role": "pipeline"}
        return self._find_or_create("leafsynth.execution", tags, start, execution.get("leafsynth.dvc_exp") or begun)

    def _find_or_create(self, key: str, tags: dict[str, str], start: dict, name: str) -> str:
        """The run that has the tag `key`, as an uploader before this one may have created it."""
        experiment = self._experiment(start["experiment"])
        if found := self._search(f"tags.`{key}` = '{tags[key]}'"):
            return found[0].info.run_id
        if start["commit"] is not None:
            tags = {**tags, "mlflow.source.git.commit": start["commit"]}
        return self._client.create_run(experiment, start["time"], tags, name).info.run_id

    def _log_params(self, run: str, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(run).data.params  # logging another value raises: a parent can be met again
        new = [Param(key, value) for key, value in params.items() if key not in known]
        for first in range(0, len(new), 100):
            self._client.log_batch(run, params=new[first : first + 100])

    def _log_points(self, run: str, points: list[_Point]) -> None:
        from mlflow.entities import Metric

        for first in range(0, len(points), BATCH):
            self._client.log_batch(run, metrics=[Metric(*point) for point in points[first : first + BATCH]])

    def _log_picture(self, run: str, message: dict) -> None:
        path = self._place / message["path"]
        if path.is_file():  # else it was sent before
            self._client.log_artifact(run, str(path), message["name"].rpartition("/")[0] or None)

    def _log_execution(self, journal: _Journal, message: dict) -> None:
        if journal.parent is None:  # by hand
            execution = {**journal.start["process"], "leafsynth.execution": journal.path.stem}
            journal.parent = self._parent(journal.start, execution)
        journal.closes_parent = True
        self._try(self._log_params, journal.parent, message["params"])
        points = [_Point(key, value, message["time"], 0) for key, value in message["metrics"].items()]
        self._try(self._log_points, journal.parent, points)
        ran = {run.data.tags.get("leafsynth.stage") for run in self._children(journal.parent)}
        cached = [stage for stage in message["stages"] if stage not in ran]
        self._client.set_tag(journal.parent, "leafsynth.from_cache", " ".join(cached)[:5000])

    def _end_parents(self) -> None:
        """End parents whose `dvc` is gone: it was asked for some stages only, or was killed with all the rest."""
        if self._client is None:
            return
        here = f"tags.`leafsynth.role` = 'pipeline' and tags.`leafsynth.host` = '{socket.gethostname()}'"
        for parent in self._search(f"attributes.status = 'RUNNING' and {here}"):
            statuses = {child.info.status for child in self._children(parent.info.run_id)}
            status = next((s for s in ("RUNNING", "FAILED", "KILLED") if s in statuses), "FINISHED")
            if status != "RUNNING" and not _lives(parent.data.tags):
                self._client.set_terminated(parent.info.run_id, status)

    def _children(self, parent: str) -> list:
        return self._search(f"tags.`mlflow.parentRunId` = '{parent}'")

    def _search(self, condition: str) -> list:
        return list(self._client.search_runs(list(self._experiments.values()), condition, max_results=1000))


# --- on both sides ------------------------------------------------------------------------------------------


def _note(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        print(f"MLflow: {_without_password(text)}", file=sys.stderr, flush=True)


def _store() -> str:
    """The folder of the store's journals, so that what was meant for a server does not end up on the disk."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    return re.sub(r"[^\w.-]+", "_", _without_password(uri))[-100:]


def _journals(place: Path) -> list[Path]:
    return sorted(place.glob("*.jsonl"))


def _files_of(journal: Path) -> Path:
    """Where the copies of a journal's pictures lie."""
    return journal.with_suffix(".files")


def _one_line(error: BaseException) -> str:
    """What it began with: what SQLAlchemy or requests wrap around that is long and says little."""
    while (within := error.__cause__ or error.__context__) is not None:
        error = within
    lines = str(error).strip().splitlines()
    text = lines[0].rstrip(".") if lines else ""
    return f"{type(error).__name__}: {text}"[:200]


def _without_password(text: str) -> str:
    return re.sub(r"(://)[^/@\s]*@", r"\1", text)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _is_finite(value: Any) -> bool:
    with suppress(TypeError, ValueError):
        return math.isfinite(float(value))
    return False


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
