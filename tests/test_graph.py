"""The graph, the folders and the imports are those of the design, and cannot drift apart unseen."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.params import Params, load_params

ROOT = Path(__file__).resolve().parent.parent
# Given numbers and pictures, gives nothing back: stages load it by name, and do not depend on it.
OBSERVER = "pipeline/report/tracking.py"
CHECKS = {"check_params", "check_split"}  # have no settings, compute nothing
# A stage that does once more what others do, by their own functions
REPEATED = {"repeat_gan.py": {"train_gan.py", "specialise_gan.py", "filter_synthetic.py"}}
DEVELOPER_PACKAGES = ("pipeline", "stages")


def _yaml(path: str) -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / path).read_text(encoding="utf-8"))


STAGES = _yaml("dvc.yaml")["stages"]
BODIES = {name: stage.get("do", stage) for name, stage in STAGES.items()}


def module_file(dotted: str) -> Path | None:
    """The file of one of our own modules, or None for anything else."""
    base = ROOT / dotted.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imports(path: Path) -> set[Path]:
    """Our own modules that a file imports anywhere in it, in functions too."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in DEVELOPER_PACKAGES and (file := module_file(name)):
                found.add(file)
    return found


def has_code(path: Path) -> bool:
    """Whether a file is more than a docstring."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) > 1


def closure(path: Path) -> set[str]:
    """A file and all of our own modules that it reaches, less packages that hold only a docstring."""
    seen, waiting = set(), {path}
    while waiting:
        file = waiting.pop()
        seen.add(file)
        waiting |= imports(file) - seen
    return {str(file.relative_to(ROOT)) for file in seen if has_code(file)}


@pytest.mark.parametrize("name", BODIES)
def test_code_deps_are_exactly_what_the_stage_imports(name):
    listed = {dep for dep in BODIES[name]["deps"] if dep.endswith(".py")}
    needed = closure(ROOT / "stages" / f"{name}.py")
    assert listed == needed, f"list these under deps of {name}:\n" + "\n".join(f"- {dep}" for dep in sorted(needed))


def test_stage_names_are_files_and_sections():
    files = {path.stem for path in (ROOT / "stages").glob("*.py") if not path.stem.startswith("_")}
    assert files == set(STAGES)
    assert set(STAGES) - CHECKS <= set(Params.model_fields)


@pytest.mark.parametrize("name", BODIES)
def test_declared_params_exist_and_cover_what_the_stage_reads(name):
    source = (ROOT / "stages" / f"{name}.py").read_text(encoding="utf-8")
    read = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "params"
    }
    if ".section" in source:
        read.add(name)
    if ".device" in source:
        read.add("device")
    if name not in CHECKS:
        read.add("threads")  # which the entry sets
    declared = {param.split(".")[0] for param in BODIES[name].get("params", [])}
    assert declared == read
    assert declared <= set(Params.model_fields)


def test_who_may_know_whom():
    allowed = {
        "images": {"images"},
        "measure": {"measure"},
        "gan": {"gan", "images"},
        "features": {"features", "images"},
        "learn": {"learn", "features", "images"},
        "report": {"report", "measure"},
    }
    for room, may in allowed.items():
        for path in (ROOT / "pipeline" / room).glob("*.py"):
            for used in imports(path):
                parts = used.relative_to(ROOT).parts
                anyones = parts[1] in ("__init__.py", "machine.py", "resume.py")
                assert anyones or parts[1] in may, f"{path} must not import {used}"


def _imported_packages(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return plain | {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}


def test_outside_packages_stay_where_they_belong():
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        place = str(path.relative_to(ROOT))
        used = _imported_packages(path)
        assert "dvc" not in used, place
        assert "mlflow" not in used or place == OBSERVER, place
        assert not {"argparse", "typer"} & used or place in ("pipeline/cli.py", "stages/_entry.py"), place
        if place.startswith("pipeline/"):
            assert "stages" not in used, place
        else:
            others = {f.name for f in imports(path) if f.parent.name == "stages"} - {
                "_costs.py",
                "_entry.py",
                "_inputs.py",
                "__init__.py",
                path.name,
                *REPEATED.get(path.name, ()),
            }
            assert not others, f"{place} imports {others}"


def test_the_gan_engine_runs_on_a_bare_gpu_box():
    """With torch, torchvision and numpy, but without mlflow, dvc, albumentations, pydantic or pandas."""
    code = """
import importlib.abc, sys, pkgutil, importlib
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"mlflow", "dvc", "albumentations", "pydantic", "ruamel", "cv2"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import pipeline.gan
for module in pkgutil.iter_modules(pipeline.gan.__path__):
    importlib.import_module("pipeline.gan." + module.name)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", BODIES)
def test_a_stage_starts_without_heavy_imports(name):
    heavy = ("torch", "mlflow", "pandas", "sklearn", "matplotlib")
    code = f"import sys, json, stages.{name}; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []


def test_shipped_params_are_valid():
    params = load_params(ROOT / "params.yaml")
    assert params.data.raw_dir == "data/sample"
    assert list(params.render_sample.class_counts) == params.classes
