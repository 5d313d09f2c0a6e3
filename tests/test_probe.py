"""A frozen network and a regression on its features: what it learns, what it keeps, and that it is a classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline import InputError
from pipeline.features import looks
from pipeline.features.penultimate import penultimate_features
from pipeline.images.store import Store
from pipeline.learn import probe
from pipeline.learn.judge import train_judge
from pipeline.learn.probe import STRENGTHS, train_probe
from pipeline.learn.trained import predict
from pipeline.resume import Interrupted, TrainingState

CLASSES = ["dots", "plain", "stripes"]
LITE0 = {"model": "tf_efficientnet_lite0", "weights": "packaged", "input_size": None}


def pictures(count: int, seed: int, classes: list[str] = CLASSES) -> Store:
    """Textures of random colours that a network which has seen nothing would have to learn: 32 px."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for k, name in enumerate(classes):
        for _ in range(count):
            back, front = rng.integers(0, 256, (2, 3))
            image = np.broadcast_to(back, (32, 32, 3)).copy()
            phase, period = rng.integers(0, 8), rng.integers(6, 9)
            at = (np.arange(32) + phase) % period < period // 2
            if name == "stripes":
                image[at] = front
            elif name == "dots":
                image[np.outer(at, at)] = front
            images.append(image.astype(np.uint8))
            labels.append(k)
    return Store(np.stack(images), np.array(labels), [f"{i}.png" for i in range(len(labels))], classes)


@pytest.fixture(scope="module")
def sets() -> tuple[Store, Store]:
    return pictures(8, 0), pictures(12, 1)


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(looks.Looks, "_kept", {})


def fit(sets, **changes):
    return train_probe(*sets, **{**LITE0, "seeds": [0], "views": 2, **changes})


def test_it_tells_what_few_pictures_show_and_its_model_gives_its_figures(sets):
    (trained,) = fit(sets)
    chosen = trained.history[trained.best_step - 1]
    assert chosen["val_macro_f1"] > 0.8
    probabilities = predict(trained.model, sets[1].images)
    own = -np.log(probabilities[np.arange(len(sets[1].labels)), sets[1].labels]).mean()
    assert own == pytest.approx(chosen["val_loss"], rel=1e-3)  # the regression stands in the network's last layer
    best = max(trained.history, key=lambda row: (row["val_macro_f1"], -row["val_loss"]))
    assert trained.best_step == best["step"] and len(trained.history) == len(STRENGTHS)
    assert trained.optimiser_steps == 0


def test_the_network_stays_frozen_and_seeds_differ_by_their_views_alone(sets):
    one, two = fit(sets, seeds=[0, 1])
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    one, two = fit(sets, seeds=[0, 1], augment="classic")
    parameters = [(name, a, dict(two.model.named_parameters())[name]) for name, a in one.model.named_parameters()]
    assert [name for name, a, b in parameters if not torch.equal(a, b)] == ["1.classifier.weight", "1.classifier.bias"]


def test_balanced_sampling_weighs_classes_alike(sets):
    few = np.flatnonzero((sets[0].labels != 0) | (np.arange(len(sets[0].labels)) < 2))
    lacking = Store(sets[0].images[few], sets[0].labels[few], [sets[0].files[i] for i in few], CLASSES)
    features = penultimate_features(fit(sets)[0].model, lacking.images).astype(float)
    shares = []
    for balanced in (False, True):
        weight, bias = probe._regression(features, lacking.labels, 3, 1e-4, balanced=balanced)
        shares.append(probe._softmax(features @ weight.T + bias)[:, 0].mean())
    assert shares[0] == pytest.approx(2 / len(few), abs=0.01) and shares[1] == pytest.approx(1 / 3, abs=0.05)


def test_two_classes_are_two_logits():
    sets = (pictures(6, 0, CLASSES[:2]), pictures(6, 1, CLASSES[:2]))
    (trained,) = fit(sets)
    assert predict(trained.model, sets[1].images).shape == (12, 2)
    assert trained.history[trained.best_step - 1]["val_macro_f1"] > 0.7


def test_a_picture_is_looked_at_once(sets, monkeypatch):
    looked = []
    real = looks.penultimate_features
    monkeypatch.setattr(looks, "penultimate_features", lambda m, images: looked.append(len(images)) or real(m, images))
    fit(sets, seeds=[0, 1, 2], augment="none")
    first = sum(looked)
    fit(sets, method="another set of the same stage", sampling="balanced")
    assert sum(looked) == first == 2 * looks.PREDICT_BATCH  # train and val, each one padded batch


def test_stopped_and_gone_on_it_ends_the_same(sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(looks, "PREDICT_BATCH", 16)
    (straight,) = fit(sets, augment="classic")
    looks.Looks._kept.clear()
    saves = []

    def stop(state, content, position, save=TrainingState.save):
        save(state, content, position)
        saves.append(position)
        if len(saves) == 4:
            raise Interrupted("stopped", 15)

    monkeypatch.setattr("pipeline.resume.SECONDS_BETWEEN_SAVES", -1)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", stop)
        with pytest.raises(Interrupted):
            fit(sets, augment="classic", state_dir=tmp_path / "stage")
    looks.Looks._kept.clear()  # another process
    (resumed,) = fit(sets, augment="classic", state_dir=tmp_path / "stage")
    assert f"going on from {saves[-1]}" in capsys.readouterr().out
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_finetuning_keeps_norms_and_moves_all_else(sets):
    settings = {"steps": 2, "batch_size": 8, "optimiser": "adamw", "lr": 1e-3, "weight_decay": 0.0, "eval_every": 1}
    (trained,) = train_judge(*sets, kind="finetune", views=0, seeds=[0], **LITE0, **settings)
    (frozen,) = fit(sets)
    moved, kept = dict(trained.model.named_buffers()), dict(frozen.model.named_buffers())
    assert all(torch.equal(moved[name], kept[name]) for name in kept)
    before = dict(frozen.model.named_parameters())
    same = [name for name, tensor in trained.model.named_parameters() if torch.equal(tensor, before[name])]
    assert same == []


def test_a_network_without_a_linear_end_is_refused(sets):
    with pytest.raises(InputError, match="expected one whose last layer is linear for kind: probe"):
        probe._replace_last(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)), np.zeros((3, 3)), np.zeros(3))


def test_of_one_strength_val_chooses_nothing(sets):
    others = pictures(12, 2)
    models = [fit((sets[0], val), strengths=[1e-2])[0].model for val in (sets[1], others)]
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))
    (trained,) = train_judge(*sets, kind="probe", views=0, seeds=[0], strengths=[1e-2], **LITE0, lr=0.1)
    assert [row["step"] for row in trained.history] == [1] and torch.equal(
        trained.model[1].classifier.weight, models[0][1].classifier.weight
    )
