"""The stages sweep_mixture and study_minority, run whole on a tiny project: who sees what, and when."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from pipeline import InputError, resume
from pipeline.gan.architectures import build
from pipeline.gan.balanced_set import write_balanced_set
from pipeline.gan.checkpoint import save_model
from pipeline.gan.class_images import draw_class
from pipeline.images import store as stores
from pipeline.images.mixing import shrink_class
from pipeline.images.store import Store, load_store, write_store
from pipeline.learn import training_sets
from pipeline.learn.training_sets import train_on_each
from pipeline.measure import mixture_choice
from pipeline.params import load_params
from pipeline.resume import Interrupted, TrainingState
from stages import study_minority, sweep_mixture, train_classifier
from stages._entry import Stage

CLASSES = ["healthy", "rust", "scab"]
COLOURS = np.array([[40, 180, 40], [190, 90, 30], [90, 60, 150]])
SIDES = {"train": (12, 7, 5), "val": (5, 4, 4), "test": (6, 8, 4)}
SHAPE = {"network": "dcgan", "z_dim": 8, "G_channels": 4, "D_channels": 4, "G_conditioning": "batch_norm",
         "D_conditioning": "projection", "spectral_norm": True, "transitional": False}  # fmt: skip
SMALL = {
    "device": "cpu",
    "classes": CLASSES,
    "train_gan": {"total_kimg": 99, "preview_kimg": 0.016, "batch_size": 8, "precision": "fp32", "z_dim": 8,
                  "G_channels": 4, "D_channels": 4},
    "specialise_gan": {"z_dim": 8, "G_channels": 4, "D_channels": 4},
    "split": {"img_resolution": 32, "photo_resolution": 32, "test_share": 0.3, "val_share": 0.2},
    "train_classifier": {"kind": "scratch", "model": "mobilenet_v3_small", "weights": None, "input_size": None,
                         "optimiser": "sgd", "lr": 0.05, "steps": 4, "eval_every": 2, "batch_size": 6, "seeds": [0, 1]},
    "sweep_mixture": {"ratios": [1, 0.5], "photo_shares": [0.5]},
    "study_minority": {"class_name": None, "total_kimg": 0.032},
}  # fmt: skip


def images_of(counts: tuple[int, ...], seed: int) -> Store:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), counts)
    images = COLOURS[labels][:, None, None, :] + rng.normal(0, 60, (len(labels), 32, 32, 3))
    files = [f"{seed}_{i}.png" for i in range(len(labels))]
    return Store(images.clip(0, 255).astype(np.uint8), labels, files, CLASSES)


@pytest.fixture
def project(root, tmp_path, monkeypatch) -> Path:
    """A folder with train, val, test, their manifest and a generator a class; the working directory."""
    yaml = YAML()
    values = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))
    for key, value in SMALL.items():
        if isinstance(value, dict):
            values[key].update(value)
        else:
            values[key] = value
    with open(tmp_path / "params.yaml", "w", encoding="utf-8") as f:
        yaml.dump(values, f)
    rows = []
    for i, (side, counts) in enumerate(SIDES.items()):
        for home in ("data/arrays", "data/arrays/photos"):
            write_store(tmp_path / home / side, *images_of(counts, i))
        rows += [[f"{file}", side, CLASSES[k]] for file, k in zip(*images_of(counts, i)[2:0:-1], strict=True)]
    (tmp_path / "data/split").mkdir()
    with open(tmp_path / "data/split/manifest.csv", "w", newline="") as f:
        csv.writer(f).writerows([["file", "split", "class", "group"], *([*row, ""] for row in rows)])
    for k, name in enumerate(CLASSES):
        torch.manual_seed(k)
        config = {"classes": CLASSES, "trained_on": [name], "img_resolution": 32, **SHAPE}
        G, D = build(config)
        save_model(tmp_path / "models/gan/class" / name, G.eval(), D.eval(), config)
    for arm, wrong in {"real": 9, "balanced": 6, "flips": 5, "classic": 3, "strong": 5, "classic_long": 4}.items():
        write_predictions(tmp_path, arm, wrong)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_predictions(folder: Path, arm: str, wrong: int) -> None:
    """Two seeds that take the last so many val images for another class; of test they know everything."""
    path = folder / "results/classifier" / arm / "predictions.csv"
    path.parent.mkdir(parents=True)
    rows = [["seed", "split", "file", "label", *(f"p/{name}" for name in CLASSES)]]
    for seed in (0, 1):
        for side, number in (("val", 1), ("test", 2)):
            of = images_of(SIDES[side], number)
            for i, (file, k) in enumerate(zip(of.files, of.labels, strict=True)):
                said = (k + 1) % 3 if side == "val" and i >= len(of.files) - wrong else k
                rows.append([seed, side, file, CLASSES[k], *np.eye(3)[said]])
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows(rows)


def run(module, item: str | None = None, **changes) -> Stage:
    params = load_params("params.yaml").model_copy(update=changes)
    stage = Stage(module.__doc__.split(":")[0], item, params)
    module.run(stage)
    return stage


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


@pytest.mark.parametrize("best", ["real", "flips", "classic", "strong", "classic_long"])
def test_ratio_0_predicts_what_the_best_control_on_val_predicts(project, best):
    shutil.rmtree(project / "results/classifier" / best)
    write_predictions(project, best, 0)
    run(sweep_mixture)
    choice = json.loads(Path("results/sweep/choice.json").read_text())
    assert choice["control"] == best and choice["controls"][best] == 1 and choice["alike"] == [best]
    arms = {best: load_params("params.yaml").arms[best]}
    run(train_classifier, arms=arms)
    swept = [row for row in rows_of("results/sweep/predictions.csv") if row.pop("method") == "0"]
    assert swept == rows_of(f"results/classifier/{best}/predictions.csv")
    assert len(swept) == 2 * (sum(SIDES["val"]) + sum(SIDES["test"]))


def test_val_for_every_ratio_and_test_for_0_and_the_chosen_one_alone(project, monkeypatch):
    chosen = mixture_choice.first_within_noise
    monkeypatch.setattr(mixture_choice, "first_within_noise", lambda behind: 0.5 if 0.5 in behind else chosen(behind))
    stage = run(sweep_mixture)
    seen = {(row["method"], row["split"]) for row in rows_of("results/sweep/predictions.csv")}
    ratios = {("0", "val"), ("0.5", "val"), ("1", "val"), ("0", "test"), ("0.5", "test")}
    assert seen == ratios | {("photos_0.5", "val"), ("photos_0.5", "test")}
    choice = json.loads(Path("results/sweep/choice.json").read_text())
    assert choice["ratios"] == [0, 0.5, 1] and choice["chosen"] == 0.5
    assert choice["synthetic"]["0.5"] == {"healthy": 6, "rust": 4, "scab": 3}
    assert choice["photos"] == {"photos_0.5": 13, "0": 24}
    metrics = json.loads(Path("results/metrics/sweep_mixture.json").read_text())
    assert metrics == stage.metrics and metrics["chosen_ratio"] == 0.5
    assert "0.5/test/macro_f1" in metrics and "1/val/macro_f1" in metrics and "1/test/macro_f1" not in metrics
    for ratio in ("0", "0.5", "1"):
        assert metrics[f"{ratio}/val/macro_f1"] == pytest.approx(choice["val_macro_f1"][ratio]["mean"], abs=1e-6)
        assert metrics[f"{ratio}/optimiser_steps"] == 4


def test_predictions_of_other_images_choose_no_recipe(project):
    path = Path("results/classifier/real/predictions.csv")
    path.write_text(path.read_text().replace("1_3.png", "1_4.png", 1))
    with pytest.raises(InputError, match="expected every seed's predictions of the val images, found others"):
        run(sweep_mixture)
    path.write_text("seed,split\n0,val\n")
    with pytest.raises(InputError, match="columns seed, split, file and one for each class"):
        run(sweep_mixture)


def test_the_choice_does_not_see_test(project):
    run(sweep_mixture)
    before = {p.name: p.read_text() for p in Path("results/sweep").iterdir()}
    test = load_store("data/arrays/photos/test", CLASSES)
    write_store("data/arrays/photos/test", 255 - test.images, (test.labels + 1) % 3, test.files, CLASSES)
    run(sweep_mixture)
    after = {p.name: p.read_text() for p in Path("results/sweep").iterdir()}
    assert before["choice.json"] == after["choice.json"] and before["history.csv"] == after["history.csv"]
    assert before["predictions.csv"] != after["predictions.csv"]


@pytest.mark.parametrize("stage, item", [(sweep_mixture, None), (study_minority, "3")])
def test_test_images_are_opened_when_everything_is_chosen(project, monkeypatch, stage, item):
    events = []

    def watched(module, name, event):
        function = getattr(module, name)

        def wrapper(*args, **kwargs):
            done = function(*args, **kwargs)
            events.append(event(args))
            return done

        monkeypatch.setattr(module, name, wrapper)

    watched(stores, "load_store", lambda args: Path(args[0]).name)
    watched(training_sets, "train_judge", lambda args: "trained")
    watched(mixture_choice, "choose_ratio", lambda args: "chosen")
    run(stage, item)
    assert events[:2] == ["train", "val"] and events[-1] == "test" and events.count("test") == 1
    assert events.count("trained") == (4 if stage is sweep_mixture else 3)
    assert ("chosen" in events) == (stage is sweep_mixture)


def test_a_mixtures_synthetic_images_are_those_of_generate(project):
    train = load_store("data/arrays/train", CLASSES)
    (project / "data/split/train").mkdir()
    for i, file in enumerate(train.files):
        path = project / "data/split/train" / CLASSES[train.labels[i]] / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    places = [project / "out" / name for name in ("synthetic", "augmented", "a_synthetic", "a_augmented")]
    write_balanced_set(
        train, project / "data/split/train", "models/gan/class", *places, target=20, seed=5, truncation=0.9
    )
    for name in CLASSES:
        drawn = draw_class(f"models/gan/class/{name}", name, 17, img_resolution=32, seed=5, truncation=0.9)
        assert np.array_equal(drawn, np.load(places[2] / f"{name}.npy")[:17])
    assert draw_class("models/gan/class/rust", "rust", 0, img_resolution=32, seed=5).shape == (0, 32, 32, 3)


def test_a_killed_sweep_trains_no_finished_mixture_again(project, tmp_path, monkeypatch):
    train, val = (load_store(f"data/arrays/{side}", CLASSES) for side in ("train", "val"))
    settings = dict(load_params("params.yaml").train_classifier.model_dump())
    sets = [("0", train), ("1", images_of((9, 9, 9), 7)), ("2", images_of((9, 9, 9), 8))]
    settings |= {"sampling": "balanced", "augment": "classic"}
    straight = train_on_each(sets, val, **settings)
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_SAVES", 1e9)  # a set's end is saved nevertheless
    asked, sent, due = [], [], TrainingState.due

    def interrupted(self) -> bool:
        asked.append(self.parent.name)
        if asked.count("2") == 3 and not sent:
            sent.append(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return due(self)

    monkeypatch.setattr(TrainingState, "due", interrupted)
    with pytest.raises(Interrupted):
        train_on_each(sets, val, state_dir=tmp_path / "state", **settings)
    asked.clear()
    resumed = train_on_each(sets, val, state_dir=tmp_path / "state", **settings)
    assert set(asked) == {"2"} and len(asked) < 10
    for a, b in zip(straight, resumed, strict=True):
        assert (a.method, a.seed, a.history) == (b.method, b.seed, b.history)
        weights = a.model.state_dict(), b.model.state_dict()
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_images_taken_away_reach_neither_the_gan_nor_its_score_nor_the_classifiers(project, monkeypatch):
    from pipeline.features import penultimate
    from pipeline.gan import training_loop

    given: dict[str, list[np.ndarray]] = {"gan": [], "score": [], "classifiers": []}
    train_gan, train_one = training_loop.train, training_sets.train_judge
    extract = penultimate.penultimate_features
    sets = []

    def watched_gan(images, classes, out_dir, **kwargs):
        given["gan"] += list(images.values())
        assert kwargs.get("init") is None
        assert kwargs["total_kimg"] == 0.032
        return train_gan(images, classes, out_dir, **kwargs)

    def watched_classifier(store, val, **kwargs):
        sets.append(store)
        return train_one(store, val, **kwargs)

    def watched_features(model, images):
        given["score"].append(images)
        return extract(model, images)

    monkeypatch.setattr(penultimate, "penultimate_features", watched_features)
    monkeypatch.setattr(training_loop, "train", watched_gan)
    monkeypatch.setattr(training_sets, "train_judge", watched_classifier)
    run(study_minority, "3")
    full = load_store("data/arrays/train", CLASSES)
    kept = shrink_class(full, "rust", 3, seed=load_params("params.yaml").study_minority.seed)
    kept_bytes = {image.tobytes() for image in kept.images}
    removed = {image.tobytes() for image in full.images} - kept_bytes
    assert len(removed) == SIDES["train"][1] - 3
    seen = {name: {image.tobytes() for array in arrays for image in array} for name, arrays in given.items()}
    assert seen["gan"] == kept_bytes
    val = {image.tobytes() for image in load_store("data/arrays/val", CLASSES).images}
    assert val <= seen["score"] and not seen["score"] & removed
    whole, shrunk, restored = ({image.tobytes() for image in store.images} for store in sets)
    assert removed < whole and shrunk == kept_bytes and not restored & removed
    assert [np.bincount(store.labels).tolist() for store in sets] == [[12, 7, 5], [12, 3, 5], [12, 7, 5]]


def test_a_study_shrinks_the_most_tested_class_and_says_what_it_did(project):
    run(study_minority, "3")
    info = json.loads(Path("results/minority/3/info.json").read_text())
    assert info == {
        "class": "rust", "real_kept": 3, "real_before": 7, "synthetic": 4, "total_kimg": 0.032,
        "best_kimg": info["best_kimg"],
    }  # fmt: skip
    assert info["best_kimg"] in (0.016, 0.032)
    rows = rows_of("results/minority/3/predictions.csv")
    assert {(row["method"], row["split"]) for row in rows} == {
        (method, split) for method in ("full", "shrunk", "restored") for split in ("val", "test")
    }
    assert Path("models/minority/3/G_ema.safetensors").is_file()
    first = {p: p.read_bytes() for top in ("results", "models") for p in Path(top).rglob("*") if p.is_file()}
    run(study_minority, "3")
    assert {p: p.read_bytes() for p in first} == first
