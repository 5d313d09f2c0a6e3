"""The stage in the space of pixels, with two label budgets, as a real process on images that fit on a stamp."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from pipeline.images.store import write_store

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "space": "pixels", "img_resolution": 32, "channels": 4, "views": "none", "steps": 2, "eval_every": 2,
    "batch_size": 4, "seeds": [0, 1], "input_size": 32, "augmented_views": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project in which the stage has run."""
    folder = tmp_path_factory.mktemp("sgan") / "project"
    folder.mkdir()
    for name in ("pipeline", "stages"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    del values["train_sgan"]["units"]
    values["train_sgan"].update(SETTINGS)
    values.update({"device": "cpu", "threads": 1, "label_budgets": [3, 2]})
    with open(folder / "params.yaml", "w", encoding="utf-8") as f:
        yaml.dump(values, f)
    for k, side in enumerate(("train", "val", "test")):
        labels = np.repeat(np.arange(4), [6, 5, 4, 4])
        images = np.random.default_rng(k).integers(0, 256, (len(labels), 64, 64, 3), dtype=np.uint8)
        files = [f"{i}.png" for i in range(len(labels))]
        write_store(folder / "data/arrays" / side, images[:, ::2, ::2], labels, files, list(values["classes"]))
        write_store(folder / "data/arrays/photos" / side, images, labels, files, list(values["classes"]))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "LEAFSYNTH_"))}
    command = [sys.executable, "-m", "stages.train_sgan"]
    done = subprocess.run(command, cwd=folder, env=env | {"PYTHONPATH": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_budget_has_all_methods_and_final_numbers_of_its_own(project):
    steps = {"sgan": 2, "supervised": 2, "supervised_classic": 2, "probe": 0}
    for budget in (2, 3):
        folder = project / "results/sgan" / str(budget)
        assert {path.name for path in folder.iterdir()} == {
            "history.csv", "machine.json", "metrics.json", "predictions.csv", "tuning.csv",
        }  # fmt: skip
        metrics = json.loads((folder / "metrics.json").read_text())
        assert {method: metrics[f"{method}/optimiser_steps"] for method in steps} == steps
        assert metrics["labelled/healthy"] == budget
        with open(folder / "predictions.csv", newline="", encoding="utf-8") as f:
            rows = [(row["method"], row["seed"], row["split"]) for row in csv.DictReader(f)]
        assert {row: rows.count(row) for row in rows} == {
            (method, seed, split): 19 for method in steps for seed in "01" for split in ("val", "test")
        }
    assert not list((project / "results").glob("metrics/*")), "results/sgan holds them"
    assert not (project / ".state/train_sgan").exists()


def test_a_photo_was_looked_at_once_by_both_budgets(project):
    kept = list((project / ".state/looks").rglob("*.npz"))
    keys = [bytes(key) for path in kept for key in np.load(path)["keys"]]
    assert len(keys) == len(set(keys)) == 2 * 19 + 2 * 4 * 3 + _labelled_twice(project)


def _labelled_twice(project: Path) -> int:
    """Photos of train among the labelled: pixels need no look at the others."""
    from pipeline.learn.sgan import labelled_rows

    labels = np.repeat(np.arange(4), [6, 5, 4, 4])
    rows = [labelled_rows(labels, num_classes=4, label_budget=3, seed=seed) for seed in (0, 1)]
    return len(np.union1d(*rows))
