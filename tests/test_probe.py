"""A frozen network and a regression on its features: what it learns, what it keeps, and that it is a classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.features import looks
from pipeline.features.backbones import create_network
from pipeline.images.store import Store
from pipeline.learn import probe
from pipeline.learn.judge import train_judge
from pipeline.learn.probe import STRENGTHS, train_probe
from pipeline.learn.trained import predict

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
    probe._looks.cache_clear()


def another_process() -> None:
    """Forget all that this one has seen."""
    looks.Looks._kept.clear()
    probe._looks.cache_clear()


def fit(sets, **changes):
    return train_probe(*sets, **{**LITE0, "seeds": [0], "views": 2, **changes})


def test_it_tells_what_few_pictures_show_and_its_model_gives_its_figures(sets):
    (trained,) = fit(sets)
    chosen = trained.history[trained.best_step - 1]
    assert chosen["val_macro_f1"] > 0.8
    probabilities = predict(trained.model, sets[1].images)
    own = -np.log(probabilities[np.arange(len(sets[1].labels)), sets[1].labels]).mean()
    assert own == pytest.approx(chosen["val_loss"], rel=1e-6)
    best = max(trained.history, key=lambda row: (row["val_macro_f1"], -row["val_loss"]))
    assert trained.best_step == best["step"] and len(trained.history) == len(STRENGTHS)
    assert trained.optimiser_steps == 0


def test_seeds_differ_by_their_views_alone(sets):
    one, two = fit(sets, seeds=[0, 1])
    assert torch.equal(one.model.last.weight, two.model.last.weight) and two.seed == 1
    one, two = fit(sets, seeds=[0, 1], augment="classic")
    assert not torch.equal(one.model.last.weight, two.model.last.weight)


def test_balanced_sampling_weighs_classes_alike(sets):
    few = np.flatnonzero((sets[0].labels != 0) | (np.arange(len(sets[0].labels)) < 2))
    lacking = Store(sets[0].images[few], sets[0].labels[few], [sets[0].files[i] for i in few], CLASSES)
    features = fit(sets)[0].model.looks.at(lacking.images)
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


@pytest.fixture
def looked(monkeypatch) -> list[int]:
    """How many pictures the network was shown, call by call."""
    seen: list[int] = []
    real = looks.penultimate_features
    monkeypatch.setattr(looks, "penultimate_features", lambda m, images: seen.append(len(images)) or real(m, images))
    return seen


def test_a_picture_and_its_views_are_looked_at_once(sets, looked):
    fit(sets, seeds=[0, 1], augment="classic")
    first = len(looked)
    assert first == 2 + 3 + 2 * 2 * 2  # train, val, two views for each of two seeds: batches of 16, the last padded
    backwards = np.arange(len(sets[0].labels))[::-1]
    same = Store(sets[0].images[backwards], sets[0].labels[backwards], sets[0].files[::-1], CLASSES)
    (again,) = fit((same, sets[1]), augment="classic", method="another set of the same photos")
    predict(again.model, sets[1].images)
    assert len(looked) == first


def test_another_process_knows_what_was_looked_at_until_the_weights_differ(sets, looked, tmp_path):
    (first,) = fit(sets, augment="classic", looks_dir=tmp_path)
    before = len(looked)
    another_process()
    (second,) = fit(sets, augment="classic", looks_dir=tmp_path)
    assert len(looked) == before and torch.equal(first.model.last.weight, second.model.last.weight)
    another_process()
    fit(sets, augment="classic", looks_dir=tmp_path, model="mobilenet_v3_small", weights=other_weights(tmp_path))
    assert len(looked) == 2 * before


def other_weights(folder) -> str:
    network = create_network("mobilenet_v3_small", 3)
    torch.save(network.state_dict(), folder / "own.pth")
    return str(folder / "own.pth")


def test_stopped_while_looking_it_goes_on_from_there(sets, looked, tmp_path, monkeypatch):
    real = looks.penultimate_features

    def stop(model, images):
        if len(looked) == 3:
            raise KeyboardInterrupt
        return real(model, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(looks, "penultimate_features", stop)
        fit(sets, augment="classic", looks_dir=tmp_path)
    another_process()
    (resumed,) = fit(sets, augment="classic", looks_dir=tmp_path)
    needed = len(looked)
    another_process()
    looked.clear()
    (straight,) = fit(sets, augment="classic")
    assert len(looked) == needed == 9  # 24 + 36 pictures, 24 twice more, 16 at a time
    assert torch.equal(straight.model.last.weight, resumed.model.last.weight)


def test_what_was_seen_long_ago_is_forgotten(sets, tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "MOST_BYTES", 400_000)
    fit(sets, augment="classic", looks_dir=tmp_path, views=4)
    kept = list(tmp_path.rglob("*.npz"))
    assert 0 < sum(path.stat().st_size for path in kept) <= 400_000


def test_finetuning_keeps_norms_and_moves_all_else(sets):
    settings = {"steps": 2, "batch_size": 8, "optimiser": "adamw", "lr": 1e-3, "weight_decay": 0.0, "eval_every": 1}
    (trained,) = train_judge(*sets, kind="finetune", views=0, seeds=[0], **LITE0, **settings)
    (frozen,) = fit(sets)
    frozen = frozen.model.looks.network
    moved, kept = dict(trained.model.named_buffers()), dict(frozen.named_buffers())
    assert all(torch.equal(moved[name], kept[name]) for name in kept)
    before = dict(frozen.named_parameters())
    same = [name for name, tensor in trained.model.named_parameters() if torch.equal(tensor, before[name])]
    assert same == []
