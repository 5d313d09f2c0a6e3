from __future__ import annotations

import csv
import inspect
import json
import signal
import urllib.error

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pipeline import InputError, resume
from pipeline.features.penultimate import penultimate_features
from pipeline.images.store import Store
from pipeline.learn.batches import batch_rows
from pipeline.learn.classifier import train_classifier
from pipeline.learn.classifier_model import build_classifier
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.predictions import write_results
from pipeline.learn.trained import BestOnVal, Trained, predict
from pipeline.resume import Interrupted, TrainingState

CLASSES = ["healthy", "rust", "NA"]  # a class name that a careless csv reader takes for a missing value
COLOURS = np.array([[40, 180, 40], [190, 90, 30], [90, 60, 150]])
SMALL = {
    "model": "mobilenet_v3_small",
    "steps": 4,
    "batch_size": 6,
    "optimiser": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "eval_every": 2,
}


def coloured_store(counts: list[int], seed: int, side: int = 24) -> Store:
    """Noisy images whose colour tells the class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = COLOURS[labels][:, None, None, :] + rng.normal(0, 25, (len(labels), side, side, 3))
    files = [f"{i}.png" for i in range(len(labels))]
    return Store(images.clip(0, 255).astype(np.uint8), labels, files, CLASSES[: len(counts)])


@pytest.fixture(scope="module")
def train() -> Store:
    return coloured_store([24, 12, 6], 0)


@pytest.fixture(scope="module")
def val() -> Store:
    return coloured_store([6, 4, 3], 1)


def test_learns_colours(train, val):
    args = SMALL | {"model": "squeezenet1_1", "steps": 60, "batch_size": 12, "eval_every": 10}
    (trained,) = train_classifier(train, val, seeds=[0], **args, sampling="balanced")
    test = coloured_store([5, 5, 5], 2)
    assert evaluate_predictions(test.labels, predict(trained.model, test.images), CLASSES)["macro_f1"] > 0.9


@pytest.mark.parametrize(
    "arm",
    [
        {"sampling": "natural", "augment": "none"},
        {"sampling": "balanced", "augment": "none"},
        {"sampling": "balanced", "augment": "classic"},
    ],
)
def test_every_arm_steps_equally_often(train, val, arm, monkeypatch):
    steps = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a, **k: (steps.append(1), step(self, *a, **k))[1])
    larger = coloured_store([60, 60, 60], 3)
    for store in (train, larger):
        steps.clear()
        (trained,) = train_classifier(store, val, seeds=[0], **SMALL, **arm)
        assert trained.optimiser_steps == len(steps) == SMALL["steps"]


def test_same_bytes_twice_and_whatever_the_report(train, val):
    def run(**more) -> list[Trained]:
        return train_classifier(train, val, seeds=[3, 4], **SMALL, augment="classic", **more)

    seen = []
    once, again = run(), run(report=lambda metrics, step: seen.append((step, metrics, torch.rand(1))))
    for a, b in zip(once, again, strict=True):
        assert a.history == b.history
        weights_a, weights_b = a.model.state_dict(), b.model.state_dict()
        assert all(torch.equal(weights_a[name], weights_b[name]) for name in weights_a)
    assert [step for step, _, _ in seen] == [2, 4, 2, 4]
    assert not np.array_equal(predict(once[0].model, val.images), predict(once[1].model, val.images))


def test_evaluating_does_not_change_training(train, val):
    often = train_classifier(train, val, seeds=[0], **SMALL | {"eval_every": 1})[0].history
    once = train_classifier(train, val, seeds=[0], **SMALL | {"eval_every": 4})[0].history
    assert often[-1]["val_loss"] == once[-1]["val_loss"]
    assert [row["step"] for row in once] == [4]


def test_val_chooses_and_does_not_teach(train, val):
    mine, theirs = (
        train_classifier(train, v, seeds=[0], **SMALL)[0].history for v in (val, coloured_store([6, 4, 3], 99))
    )
    assert [row["train_loss"] for row in mine] == [row["train_loss"] for row in theirs]
    assert mine[0]["val_loss"] != theirs[0]["val_loss"]


def test_global_random_state_is_left_alone(train, val):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train_classifier(train, val, seeds=[0], **SMALL | {"steps": 1})
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def stop_at(monkeypatch, nth: int) -> None:
    """Ctrl-C comes before the loop asks for the nth time whether to save."""
    asked, due = [], TrainingState.due

    def watched(self) -> bool:
        asked.append(1)
        if len(asked) == nth:
            signal.raise_signal(signal.SIGINT)
        return due(self)

    monkeypatch.setattr(TrainingState, "due", watched)


# a classifier with dropout and one with drop-connect, which draw from torch's global generator
@pytest.mark.parametrize(
    "network, points", [(("mobilenet_v3_small", "sgd"), [1, 3, 4, 5, 7, 10]), (("efficientnet_b0", "adamw"), [3, 5])]
)
def test_stopped_anywhere_it_ends_with_the_same_bits(train, val, tmp_path, monkeypatch, capsys, network, points):
    args = SMALL | dict(zip(("model", "optimiser"), network, strict=True)) | {"lr": 0.01, "steps": 4, "eval_every": 3}

    def run(state_dir=None, **more) -> list[Trained]:
        return train_classifier(
            train, val, seeds=[3, 4], **args, sampling="balanced", augment="classic", state_dir=state_dir, **more
        )

    straight = run()
    for point in points:  # after each step, and after each seed
        folder = tmp_path / f"{point}" / "train_classifier@classic"
        with monkeypatch.context() as patched:
            stop_at(patched, point)
            with pytest.raises(Interrupted) as stopped:
                run(folder)
        capsys.readouterr()
        seen = []
        resumed = run(folder, report=lambda metrics, step, seen=seen: seen.append(step))
        position = str(stopped.value).removeprefix("stopped and saved at ").partition(";")[0]
        assert capsys.readouterr().out == f"train_classifier@classic: going on from {position}\n"
        reported = sum(point >= asked for asked in (3, 4, 8, 9))  # at steps 3 and 4 of each seed; 5 and 10 are its end
        assert seen == [3, 4, 3, 4][reported:]
        for a, b in zip(straight, resumed, strict=True):
            assert repr(a.history) == repr(b.history)
            assert (a.seed, a.best_step, a.optimiser_steps) == (b.seed, b.best_step, b.optimiser_steps)
            weights, weights_resumed = a.model.state_dict(), b.model.state_dict()
            assert all(torch.equal(weights[name], weights_resumed[name]) for name in weights)
            assert not b.model.training


def test_every_argument_and_byte_is_in_the_fingerprint(train, val, tmp_path, monkeypatch):
    keys = []
    fingerprint = resume.fingerprint

    def watched(arrays, settings):
        keys.append(fingerprint(arrays, settings))
        raise InputError("not to be trained")

    monkeypatch.setattr("pipeline.learn.classifier.fingerprint", watched)

    def key(train=train, val=val, **changes) -> str:
        with pytest.raises(InputError, match="not to be trained"):
            train_classifier(train, val, **{**SMALL, "seeds": [0], **changes}, state_dir=tmp_path)
        return keys[-1]

    path = tmp_path / "own.pth"
    changes = {
        "model": "resnet18",
        "weights": str(path),
        "input_size": 32,
        "seeds": [0, 1],
        "steps": 5,
        "batch_size": 7,
        "optimiser": "sgd",
        "lr": 2e-3,
        "weight_decay": 0.1,
        "label_smoothing": 0.2,
        "eval_every": 3,
        "sampling": "balanced",
        "augment": "classic",
        "freeze_norms": True,
        "head_rate": 5.0,
        "device": "cuda",
    }
    arguments = set(inspect.signature(train_classifier).parameters)
    assert set(changes) == arguments - {"train", "val", "report", "state_dir", "method"}, "add the new argument here"
    mine = key()
    assert key(report=print) == mine
    others = [key(**{name: value}) for name, value in changes.items()]
    path.write_bytes(b"weights")
    others.append(key(weights=str(path)))
    path.write_bytes(b"others")
    others.append(key(weights=str(path)))
    renamed = [name + "x" for name in CLASSES]
    others.append(key(train._replace(classes=renamed), val._replace(classes=renamed)))
    for which in ("train", "val"):
        store = {"train": train, "val": val}[which]
        images, labels = store.images.copy(), store.labels.copy()
        images[-1, -1, -1, -1] ^= 1
        labels[0] = 1
        others += [key(**{which: store._replace(images=images)}), key(**{which: store._replace(labels=labels)})]
    assert len({mine, *others}) == 1 + len(others)


def test_signals_are_left_alone_without_a_state(train, val):
    def stop(metrics, step) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train_classifier(train, val, seeds=[0], **SMALL, report=stop)
    assert not isinstance(caught.value, Interrupted)


def test_sampling_differs_in_class_frequencies_alone():
    labels = np.repeat([0, 1, 2], [80, 15, 5])

    def drawn(sampling: str) -> np.ndarray:
        return np.concatenate(
            [batch_rows(labels, sampling=sampling, batch_size=20, seed=1, step=s) for s in range(300)]
        )

    natural, balanced = drawn("natural"), drawn("balanced")
    assert np.allclose(np.bincount(labels[natural]) / 6000, [0.80, 0.15, 0.05], atol=0.02)
    assert np.allclose(np.bincount(labels[balanced]) / 6000, 1 / 3, atol=0.02)
    per_image = np.bincount(balanced, minlength=100)  # images of a class are as likely as each other
    assert np.allclose(per_image[labels == 1] / 6000, 1 / 45, atol=0.008)
    assert np.bincount(natural, minlength=100).min() > 0
    same_again = batch_rows(labels, sampling="balanced", batch_size=20, seed=1, step=7)
    assert np.array_equal(same_again, balanced[7 * 20 : 8 * 20])


def test_samplings_of_a_balanced_set_have_equal_frequencies():
    labels = np.repeat([0, 1], 50)
    for sampling in ("natural", "balanced"):
        rows = np.concatenate(
            [batch_rows(labels, sampling=sampling, batch_size=20, seed=0, step=s) for s in range(200)]
        )
        assert abs(labels[rows].mean() - 0.5) < 0.03


class Planted(nn.Module):
    """Answers class `answer` with some certainty, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(pixels), 3)


def test_checkpoint_is_the_best_on_val_then_the_surest(val):
    model, best = Planted(), BestOnVal()
    # val has 6, 4 and 3 images: always answering class 0 has the highest macro-F1 of the three
    answers = {1: (2, 1.0), 2: (0, 3.0), 3: (0, 1.0), 4: (0, 3.0), 5: (1, 1.0)}
    figures = {}
    for step, (answer, certainty) in answers.items():
        with torch.no_grad():
            model.logits.copy_(torch.eye(3)[answer] * certainty)
        figures[step] = best.offer(step, model, val)
    assert figures[2]["val_macro_f1"] == figures[3]["val_macro_f1"] > figures[1]["val_macro_f1"]
    assert figures[3]["val_loss"] < figures[2]["val_loss"]
    assert best.step == 3
    best.restore(model)
    assert torch.equal(model.logits, torch.eye(3)[0])


def test_trained_model_is_the_best_step(train, val):
    (trained,) = train_classifier(train, val, seeds=[0], **SMALL | {"steps": 8, "eval_every": 1, "lr": 0.01})
    rank = {row["step"]: (row["val_macro_f1"], -row["val_loss"]) for row in trained.history}
    assert trained.best_step == max(rank, key=rank.get)
    figures = evaluate_predictions(val.labels, predict(trained.model, val.images), CLASSES)
    assert figures["macro_f1"] == rank[trained.best_step][0]


def test_figures_by_hand():
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.9, 0], [0.3, 0.7, 0]])
    figures = evaluate_predictions(labels, probabilities, CLASSES)
    f1 = [2 * 1 * (2 / 3) / (1 + 2 / 3), 2 * 0.5 * 1 / 1.5, 0.0]  # the class that never comes counts
    assert figures["accuracy"] == 0.75
    assert figures["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["macro_f1"] == pytest.approx(np.mean(f1))
    assert figures["recall/rust"] == 1.0 and figures["recall/NA"] == 0.0


def perfect_model_for(store: Store) -> nn.Module:
    """Nearest class colour."""

    class Nearest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.colours = nn.Parameter(torch.tensor(COLOURS, dtype=torch.float32))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return -torch.cdist(pixels.float().mean(dim=(2, 3)), self.colours)

    return Nearest()


def test_results_round_trip_and_shifted_labels_show(tmp_path, val):
    test = coloured_store([4, 4, 4], 5)
    history = [{"step": 1, "train_loss": 0.5, "val_loss": 0.25, "val_macro_f1": 1.0}]
    trained = [Trained(seed, perfect_model_for(val), history, 1, 10) for seed in (2, 5)]
    metrics = write_results(tmp_path / "a", trained, {"val": val, "test": test})
    assert metrics["test/accuracy"] == 1.0 and metrics["test/recall/NA"] == 1.0
    assert metrics["optimiser_steps"] == 10

    frame = pd.read_csv(tmp_path / "a" / "predictions.csv", keep_default_na=False)
    assert list(frame.columns) == ["seed", "split", "file", "label", "p/healthy", "p/rust", "p/NA"]
    assert list(frame["seed"].unique()) == [2, 5] and len(frame) == 2 * (len(val.files) + len(test.files))
    part = frame[(frame["seed"] == 5) & (frame["split"] == "test")]
    assert list(part["file"]) == test.files
    assert list(part["label"]) == [CLASSES[k] for k in test.labels]
    wanted = predict(trained[1].model, test.images)
    assert np.allclose(part[["p/healthy", "p/rust", "p/NA"]].to_numpy(), wanted, atol=6e-7)

    with open(tmp_path / "a" / "history.csv", encoding="utf-8") as f:
        assert next(csv.reader(f)) == ["seed", "step", "train_loss", "val_loss", "val_macro_f1"]
    assert json.loads((tmp_path / "a" / "metrics.json").read_text(encoding="utf-8"))["val/macro_f1"] == 1.0
    write_results(tmp_path / "b", trained, {"val": val, "test": test})
    for name in ("predictions.csv", "history.csv", "metrics.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    shifted = test._replace(labels=(test.labels + 1) % 3)
    assert write_results(tmp_path / "c", trained, {"val": val, "test": shifted})["test/accuracy"] == 0.0
    other_order = test._replace(classes=CLASSES[::-1])
    with pytest.raises(ValueError, match="classes"):
        write_results(tmp_path / "d", trained, {"val": val, "test": other_order})


def test_unequal_steps_of_seeds_are_refused(tmp_path, val):
    trained = [Trained(seed, perfect_model_for(val), [], 1, 10 + seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match="optimiser_steps"):
        write_results(tmp_path, trained, {"val": val})


def test_stores_that_cannot_be_trained_on(train, val):
    with pytest.raises(InputError, match="same order"):
        train_classifier(train, val._replace(classes=CLASSES[::-1]), seeds=[0], **SMALL)
    with pytest.raises(InputError, match="none of 'NA'"):
        kept = train.labels != 2
        train_classifier(train._replace(images=train.images[kept], labels=train.labels[kept]), val, seeds=[0], **SMALL)
    with pytest.raises(InputError, match="size"):
        train_classifier(train, coloured_store([2, 2, 2], 0, side=16), seeds=[0], **SMALL)


@pytest.mark.parametrize("key, value", [("sampling", "balance"), ("augment", "classical"), ("optimiser", "adam")])
def test_unknown_names(train, val, key, value):
    with pytest.raises(InputError, match=f"^{key}: .*'{value}'"):
        train_classifier(train, val, seeds=[0], **SMALL | {key: value})


def build(name: str = "resnet18", weights: str | None = None, resolution: int = 32) -> nn.Module:
    return build_classifier(name, num_classes=3, weights=weights, input_size=None, img_resolution=resolution)


def test_unknown_model_names_its_neighbours():
    with pytest.raises(InputError, match="resnet18"):
        build("resnet81")
    with pytest.raises(InputError, match="input_size"):
        build("vit_b_32", resolution=64)


def test_batch_norm_statistics_follow_within_some_steps():
    momenta = {m.momentum for m in build("mobilenet_v3_small").modules() if isinstance(m, nn.BatchNorm2d)}
    assert momenta == {0.1}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_local_weights_are_loaded_and_another_head_is_drawn_anew(tmp_path, suffix):
    import torchvision
    from safetensors.torch import save_file

    state = torchvision.models.resnet18(num_classes=7).state_dict()
    path = tmp_path / f"own.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    network = build(weights=str(path))[1]
    assert torch.equal(network.conv1.weight, state["conv1.weight"])
    assert network.fc.weight.shape == (3, 512)


def test_weights_that_do_not_fit(tmp_path):
    import torchvision

    with pytest.raises(InputError, match="found none; put it there"):
        build(weights=str(tmp_path / "absent.pth"))
    with pytest.raises(InputError, match=r"DEFAULT.*IMAGENET1K_V9"):
        build(weights="IMAGENET1K_V9")
    torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "other.pth")
    with pytest.raises(InputError, match="same `model`"):
        build(weights=str(tmp_path / "other.pth"))
    torch.save(torchvision.models.resnet18(num_classes=3), tmp_path / "pickled.pth")  # a whole module: code
    with pytest.raises(InputError, match="state dict"):
        build(weights=str(tmp_path / "pickled.pth"))


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(InputError, match=r"resnet18-\w+\.pth.*set `weights`"):
        build(weights="DEFAULT")


@pytest.mark.parametrize("name, width", [("shufflenet_v2_x0_5", 1024), ("squeezenet1_1", 512)])
def test_features_are_what_the_last_layer_sees(name, width, val):
    model = build(name).eval()
    features = penultimate_features(model, val.images)
    assert features.shape == (len(val.labels), width)
    if name.startswith("shufflenet"):
        head = model[1].fc
        logits = torch.from_numpy(features) @ head.weight.T + head.bias
        assert np.allclose(logits.softmax(dim=1).detach().numpy(), predict(model, val.images), atol=1e-5)
    model.train()
    assert np.array_equal(penultimate_features(model, val.images), features)
    assert model.training and not model[1]._forward_pre_hooks
