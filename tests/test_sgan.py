from __future__ import annotations

import inspect
import math
import signal
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline import InputError, resume
from pipeline.features import looks as looks_module
from pipeline.features.looks import Looks
from pipeline.features.pixels import PixelInput
from pipeline.images.store import Store
from pipeline.images.transforms import build_policy
from pipeline.learn.predictions import write_results
from pipeline.learn.probe import probe_labels
from pipeline.learn.sgan import (
    COMPARED,
    METHODS,
    Consistency,
    Sgan,
    SganResult,
    _Pool,
    consistency_rise,
    labelled_rows,
    learning_rate_factor,
    train_sgan,
)
from pipeline.learn.sgan_losses import consistency_loss, feature_matching_loss, labelled_loss, unlabelled_loss
from pipeline.learn.sgan_networks import Discriminator, FeatureDiscriminator, FeatureGenerator, Generator
from pipeline.learn.sgan_spaces import Features, Pixels
from pipeline.learn.sgan_tuning import Run, chosen_setting, next_run, write_tuning
from pipeline.learn.sgan_views import VIEWS
from pipeline.learn.trained import Trained, predict
from pipeline.resume import Interrupted, TrainingState

CLASSES = ["healthy", "rust", "scab"]
COLOURS = np.array([[40, 180, 40], [190, 90, 30], [90, 60, 150]])
SMALL = {
    "steps": 4,
    "batch_size": 6,
    "tuning": [{"lr": 1e-3, "dropout": 0.1, "input_noise": 0.1}],
    "z_dim": 8,
    "img_resolution": 16,
    "channels": 4,
    "eval_every": 2,
}


def coloured_store(counts: list[int], seed: int, side: int = 32) -> Store:
    """Noisy images whose colour tells the class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = COLOURS[labels][:, None, None, :] + rng.normal(0, 25, (len(labels), side, side, 3))
    files = [f"{i}.png" for i in range(len(labels))]
    return Store(images.clip(0, 255).astype(np.uint8), labels, files, CLASSES)


@pytest.fixture(scope="module")
def train() -> Store:
    return coloured_store([20, 10, 4], 0)


@pytest.fixture(scope="module")
def val() -> Store:
    return coloured_store([5, 4, 3], 1)


@pytest.fixture(scope="module")
def looks() -> Looks:
    """Of a network that nobody has trained: twelve filters, each averaged over the quarters of a picture."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        filters = nn.Conv2d(3, 12, 3, 2, 1)
        layers = [filters, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 3)]
        return Looks(nn.Sequential(PixelInput((0.5,) * 3, (0.5,) * 3, 16), *layers))


@pytest.fixture(params=["pixels", "features"])
def space(request, looks) -> dict:
    """Arguments for either space."""
    of_features = {"space": "features", "looks": looks, "units": 8, "augmented_views": 2}
    return of_features if request.param == "features" else {"space": "pixels"}


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 3


def pool_of(images: torch.Tensor, labels: np.ndarray, rows: np.ndarray, *, batch_size: int = 16, **changes) -> _Pool:
    """Of images; `changes` are to the space."""
    pixels = np.zeros((len(labels), 16, 16, 3), np.uint8)
    scale = PixelInput((0.5,) * 3, (0.5,) * 3, images.shape[-1])
    space = Pixels(images, pixels, scale, build_policy("classic", 16), (2, 3), VIEWS["none"], 4)
    return _Pool(space._replace(**changes), torch.as_tensor(labels), rows, batch_size, 0)


def changed(pool: _Pool, **changes) -> _Pool:
    return pool._replace(space=pool.space._replace(**changes))


def with_generated(logits: torch.Tensor) -> torch.Tensor:
    """The K + 1 logits that K logits stand for."""
    return torch.cat([logits, torch.zeros(len(logits), 1)], dim=1)


def test_labelled_loss_is_cross_entropy_over_the_real_classes(logits):
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    assert torch.allclose(labelled_loss(logits, labels), F.cross_entropy(logits, labels))
    by_hand = math.log(math.exp(1) + math.exp(2)) - 2
    assert labelled_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([1])).item() == pytest.approx(by_hand)


def test_unlabelled_loss_is_softmax_with_an_appended_zero(logits):
    real, fake = logits[:4], logits[4:]
    p_generated_real = with_generated(real).softmax(dim=1)[:, -1]
    p_generated_fake = with_generated(fake).softmax(dim=1)[:, -1]
    expected = -0.5 * ((1 - p_generated_real).log().mean() + p_generated_fake.log().mean())
    assert torch.allclose(unlabelled_loss(real, fake), expected, atol=1e-6)
    assert not torch.allclose(unlabelled_loss(fake, real), expected, atol=1e-2)  # the order matters


def test_unlabelled_loss_by_hand_and_without_overflow():
    zero = torch.tensor([[0.0]])  # K = 1: Z = 0, D(x) = 1/2
    assert unlabelled_loss(zero, zero).item() == pytest.approx(math.log(2))
    far = torch.tensor([[200.0, 0.0]])
    assert unlabelled_loss(far, -far - 200).item() == pytest.approx(0.5 * math.log(1 + math.exp(-200)), abs=1e-6)
    assert unlabelled_loss(-far - 200, far).item() == pytest.approx(0.5 * (200 - math.log(1) + 200), abs=1)


def test_consistency_is_the_squared_distance_of_probabilities(logits):
    p, q = logits[:3].softmax(dim=1), logits[3:6].softmax(dim=1)
    assert torch.allclose(consistency_loss(logits[:3], logits[3:6]), ((p - q) ** 2).sum() / 3)
    assert consistency_loss(logits, logits + 5).item() == pytest.approx(0, abs=1e-12)  # the same classes, as sure
    certain = torch.tensor([[100.0, 0.0]])
    assert consistency_loss(certain, certain.flip(1)).item() == pytest.approx(2)
    teacher = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(consistency_loss(logits.requires_grad_(), teacher), teacher, allow_unused=True)
    assert gradient is None  # the averaged weights are followed, not taught


def test_where_the_averaged_self_is_unsure_there_is_nothing_to_agree_on(logits):
    averaged = torch.tensor([[0.98, 0.01, 0.01], [0.4, 0.35, 0.25], [0.04, 0.95, 0.01], [0.3, 0.3, 0.4]]).log()
    mine = logits[:4, :3].clone().requires_grad_()
    loss = consistency_loss(mine, averaged, 0.9)
    by_hand = (mine.softmax(dim=1) - averaged.exp()).square().sum(dim=1)[[0, 2]].sum() / 4  # of all, as in FixMatch
    assert torch.allclose(loss, by_hand)
    (gradient,) = torch.autograd.grad(loss, mine)
    assert gradient[[1, 3]].abs().max() == 0 and gradient[[0, 2]].abs().amax(dim=1).min() > 0
    assert consistency_loss(mine, averaged, 0.97).item() < loss.item() < consistency_loss(mine, averaged).item()


def test_consistency_rises_in_the_first_third():
    shares = [consistency_rise(step, 90) for step in range(1, 91)]
    assert shares[0] < 0.02 and all(a < b for a, b in pairwise(shares[:30])) and set(shares[29:]) == {1.0}


def test_feature_matching_compares_means():
    real = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    fake = torch.tensor([[2.0, 1.0], [2.0, 3.0], [2.0, 2.0]])
    assert feature_matching_loss(real, fake).item() == pytest.approx((0 + 2) / 2)
    assert feature_matching_loss(real, real.flip(0)).item() == 0


def test_networks_shapes_and_ranges():
    D, G = Discriminator(5, channels=4, dropout=0.5), Generator(8, 32, channels=4)
    images = G(G.draw_z(3, torch.Generator().manual_seed(0)))
    assert images.shape == (3, 3, 32, 32) and images.abs().max() <= 1
    assert D.features(images).shape == (3, 16) and D(images).shape == (3, 5)
    with pytest.raises(ValueError, match="24"):
        Generator(8, 24, channels=4)

    D, G = FeatureDiscriminator(20, 5, units=7, dropout=0.5, input_noise=1.0), FeatureGenerator(8, 20, units=7)
    vectors = G(G.draw_z(3, torch.Generator().manual_seed(0)))
    assert vectors.shape == (3, 20) and D.features(vectors).shape == (3, 7) and D(vectors).shape == (3, 5)
    assert not torch.equal(D(vectors), D(vectors)) and torch.equal(D.eval()(vectors), D(vectors))


def test_images_of_a_batch_do_not_mix():
    D = Discriminator(3, channels=4, dropout=0.0)
    images = torch.randn(6, 3, 16, 16)
    assert torch.allclose(D(images)[:2], D(images[:2]), atol=1e-6)
    D, vectors = FeatureDiscriminator(20, 3, units=7, dropout=0.0), torch.randn(6, 20)
    assert torch.allclose(D(vectors)[:2], D(vectors[:2]), atol=1e-6)


def test_labelled_rows_are_the_budget_or_all_there_are(train):
    rows = labelled_rows(train.labels, num_classes=3, label_budget=6, seed=0)
    assert list(np.bincount(train.labels[rows])) == [6, 6, 4]
    assert len(set(rows)) == len(rows)
    smaller = labelled_rows(train.labels, num_classes=3, label_budget=2, seed=0)
    assert set(smaller) < set(rows)
    assert set(rows) != set(labelled_rows(train.labels, num_classes=3, label_budget=6, seed=1))


def test_only_labelled_rows_lend_their_labels(train):
    rows = labelled_rows(train.labels, num_classes=3, label_budget=2, seed=0)
    ids = torch.arange(len(train.labels)).float()[:, None, None, None].expand(-1, 3, 2, 2)
    pool = pool_of(ids, np.arange(len(train.labels)), rows)  # an image and its label say which row it is
    seen, unlabelled = set(), set()
    for step in range(60):
        images, labels = pool.labelled_batch(step)
        assert torch.equal(images[:, 0, 0, 0].long(), labels)
        seen |= set(labels.tolist())
        unlabelled |= set(pool.unlabelled_batch(step)[:, 0, 0, 0].int().tolist())
    assert seen == set(rows.tolist())
    assert unlabelled == set(range(len(train.labels)))  # all of train, the labelled ones among them


def test_val_chooses_and_does_not_teach(train, val):
    other = coloured_store([5, 4, 3], 99)
    mine, theirs = (train_sgan(train, v, label_budget=3, seeds=[0], **SMALL).trained for v in (val, other))
    for a, b in zip(mine, theirs, strict=True):
        for key in set(a.history[0]) - {"val_loss", "val_macro_f1"}:
            assert [row[key] for row in a.history] == [row[key] for row in b.history]
        assert a.history[0]["val_loss"] != b.history[0]["val_loss"]


def test_batches_flip_both_ways():
    image = torch.arange(4.0).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    pool = pool_of(image, np.zeros(1, np.int64), np.array([0]), batch_size=64)

    def kinds(flips: tuple[int, ...]) -> set:
        images, _ = changed(pool, flips=flips).labelled_batch(0)
        return {tuple(i[0].flatten().tolist()) for i in images}

    assert len(kinds((2, 3))) == 4
    assert kinds((3,)) == {(0, 1, 2, 3), (1, 0, 3, 2)}  # left and right alone
    assert kinds(()) == {(0, 1, 2, 3)}


def test_classic_augments_the_very_images_of_the_other_methods(train):
    rows = labelled_rows(train.labels, num_classes=3, label_budget=2, seed=0)
    flat = np.arange(len(train.labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8) * 7
    labels = np.arange(len(train.labels))  # which row it is
    pool = pool_of(torch.zeros(len(labels), 3, 16, 16), labels, rows, pixels=flat, policy=build_policy("none", 16))
    classic = changed(pool, policy=build_policy("classic", 16))
    for step in range(5):
        images, drawn = pool.classic_batch(step)
        assert torch.equal(drawn, pool.labelled_batch(step)[1])
        assert torch.equal(drawn, classic.classic_batch(step)[1])
        assert torch.allclose((images[:, 0, 0, 0] + 1) / 2 * 255 / 7, drawn.float(), atol=1e-3)
        assert set(drawn.tolist()) <= set(rows.tolist())
    noisy = np.random.default_rng(0).integers(0, 256, flat.shape, dtype=np.uint8)
    first, again = (changed(classic, pixels=noisy).classic_batch(3)[0] for _ in range(2))
    assert torch.equal(first, again)
    plain = changed(pool, pixels=noisy).classic_batch(3)[0]
    assert not torch.equal(first, plain)


def test_all_methods_step_equally_from_the_same_weights_and_see_the_same_labels(train, val, monkeypatch):
    drawn: dict[str, list] = {name: [] for name in METHODS}
    starts: dict[str, torch.Tensor] = {}
    for name, method in METHODS.items():

        def watched(self, D, pool, *, of=name, original=method.__init__, **settings):
            original(self, D, pool, **settings)
            starts[of] = torch.cat([p.detach().flatten().clone() for p in D.parameters()])
            batch = self.labelled_batch

            def noted(step):
                images, labels = batch(step)
                drawn[of].append((step, labels.tolist(), images))
                return images, labels

            self.labelled_batch = noted

        monkeypatch.setitem(METHODS, name, type(name, (method,), {"__init__": watched}))
    result = train_sgan(train, val, label_budget=3, seeds=[0], methods=list(METHODS), **SMALL)
    assert [t.method for t in result.trained] == [
        "sgan",
        "supervised",
        "supervised_classic",
        "sgan_classic",
        "consistency",
    ]
    assert [t.optimiser_steps for t in result.trained] == [SMALL["steps"]] * 5
    assert all(torch.equal(start, starts["sgan"]) for start in starts.values())
    assert [step for step, _, _ in drawn["sgan"]] == list(range(1, SMALL["steps"] + 1))
    for mine, plain, classic, mine_classic, consistent in zip(*drawn.values(), strict=True):
        assert mine[:2] == plain[:2] == classic[:2] == mine_classic[:2] == consistent[:2]
        assert torch.equal(mine[2], consistent[2])
        assert torch.equal(mine[2], plain[2]) and not torch.equal(mine[2], classic[2])
        assert torch.equal(classic[2], mine_classic[2])
    assert result.counts == {"labelled/healthy": 3, "labelled/rust": 3, "labelled/scab": 3}
    assert [row["step"] for row in result.trained[0].history] == [2, 4]
    assert {"d_loss", "g_loss"} <= set(result.trained[0].history[0])


def test_next_run_gives_every_method_the_same_trials():
    methods, seeds = ["sgan", "supervised", "supervised_classic"], [5, 7, 6]
    scores: dict[Run, tuple[float, float]] = {}
    good = {"sgan": 2, "supervised": 0, "supervised_classic": 1}
    order = []
    while run := next_run(scores, methods=methods, seeds=seeds, settings=3):
        order.append(run)
        scores[run] = (float(good[run.method] == run.setting), 0.0)
    assert order[:5] == [Run("sgan", 5, 0), Run("sgan", 5, 1), Run("sgan", 5, 2), Run("sgan", 7, 2), Run("sgan", 6, 2)]
    for method in methods:
        own = [run for run in order if run.method == method]
        assert [run.setting for run in own] == [0, 1, 2, good[method], good[method]]
        assert [run.seed for run in own] == [5, 5, 5, 7, 6]


def test_setting_is_chosen_by_macro_f1_then_by_loss_then_by_order():
    scores = {Run("a", 0, i): score for i, score in enumerate([(0.5, -1.0), (0.7, -2.0), (0.7, -1.5), (0.7, -1.5)])}
    scores |= {Run("a", 1, 0): (0.9, 0.0), Run("b", 0, 0): (0.9, 0.0)}  # another seed, another method
    assert chosen_setting(scores, "a", 0) == 2


SETTINGS = [
    {"lr": 1e-6, "dropout": 0.1, "input_noise": 0.1},
    {"lr": 0.02, "dropout": 0.0, "input_noise": 0.1},
]  # the first learns nothing in so few steps


def tuned(train: Store, val: Store, **changes) -> SganResult:
    args = {**SMALL, "steps": 12, "eval_every": 6, "tuning": SETTINGS, "seeds": [1, 2], **changes}
    return train_sgan(train, val, label_budget=4, **args)


def test_every_method_tries_the_same_settings_and_keeps_the_best_on_val(train, val, tmp_path):
    result = tuned(train, val)
    by_method = {name: [t for t in result.tried if t.method == name] for name in COMPARED}
    for tried in by_method.values():
        assert [t.setting for t in tried] == SETTINGS  # as many, and the same
        assert [t.chosen for t in tried] == [False, True]
        assert max(tried, key=lambda t: (t.val_macro_f1, -t.val_loss)).chosen
    assert [(t.seed, t.method) for t in result.trained] == [(s, m) for s in (1, 2) for m in COMPARED]
    alone = train_sgan(
        train, val, label_budget=4, seeds=[2], **SMALL | {"steps": 12, "eval_every": 6, "tuning": SETTINGS[1:]}
    )
    for mine, theirs in zip(result.trained[3:], alone.trained, strict=True):  # the second seed: the chosen one alone
        assert mine.history == theirs.history
    write_tuning(tmp_path / "tuning.csv", result.tried)
    frame = pd.read_csv(tmp_path / "tuning.csv")
    assert list(frame.columns) == [
        "method",
        "lr",
        "dropout",
        "input_noise",
        "best_step",
        "val_macro_f1",
        "val_loss",
        "chosen",
    ]
    assert frame.groupby("method")["chosen"].agg(["size", "sum"]).to_numpy().tolist() == [[2, 1]] * 3


def test_settings_are_chosen_on_val_alone(train, val):
    """On a val whose labels are wrong the worse learner is the better: nothing but val can have told."""
    wrong = val._replace(labels=np.roll(np.arange(3), 1)[val.labels])
    chosen = [t.setting for t in tuned(train, wrong, methods=["supervised"], seeds=[1]).tried if t.chosen]
    assert chosen == SETTINGS[:1]
    assert set(inspect.signature(train_sgan).parameters).isdisjoint({"test", "stores"})


def test_counts_of_a_scarce_class(train, val):
    result = train_sgan(train, val, label_budget=8, seeds=[0], **SMALL | {"steps": 1})
    assert result.counts == {"labelled/healthy": 8, "labelled/rust": 8, "labelled/scab": 4}


def test_g_and_d_both_learn_and_g_does_not_touch_d(train):
    rows = labelled_rows(train.labels, num_classes=3, label_budget=3, seed=0)
    pool = pool_of(torch.rand(len(train.labels), 3, 16, 16), train.labels, rows, batch_size=4)
    D = Discriminator(3, channels=4, dropout=0.5)
    averaged = Discriminator(3, channels=4, dropout=0.5).eval()
    settings = {"unlabelled_weight": 1.0, "consistency_weight": 10.0, "consistency_confidence": 0.0}
    method = Sgan(D, pool, lr=1e-3, z_dim=8, averaged=averaged, steps=6, **settings)
    D_before = [p.clone() for p in D.parameters()]
    G_before = [p.clone() for p in method.G.parameters()]
    loss = method.after_d_step(1)["g_loss"]
    assert loss > 0
    assert all(torch.equal(a, b) for a, b in zip(D_before, D.parameters(), strict=True))
    assert all(p.grad is None and p.requires_grad for p in D.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(G_before, method.G.parameters(), strict=True))
    method.d_loss(1)[0].backward()
    assert all(p.grad is not None for p in D.parameters())
    assert all(p.grad is None for p in averaged.parameters())


@pytest.mark.parametrize("method", [Sgan, Consistency])
def test_d_sees_views_of_the_unlabelled_images_alone(method, train, monkeypatch):
    """A view that adds 100 tells where it was applied."""

    def marked(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        numbers.append(rng.random())
        return images + 100

    def watched(module: torch.nn.Module, of: list) -> None:
        features = module.features
        monkeypatch.setattr(
            module, "features", lambda images: of.append(images.amax(dim=(1, 2, 3))) or features(images)
        )

    numbers: list[float] = []
    rows = labelled_rows(train.labels, num_classes=3, label_budget=3, seed=0)
    pool = pool_of(torch.rand(len(train.labels), 3, 16, 16), train.labels, rows, batch_size=4, view=marked)
    D, averaged = Discriminator(3, channels=4, dropout=0.0), Discriminator(3, channels=4, dropout=0.0).eval()
    by_D, by_averaged = [], []
    watched(D, by_D)
    watched(averaged, by_averaged)
    settings = {"unlabelled_weight": 1.0, "consistency_weight": 10.0, "consistency_confidence": 0.0}
    mine = method(D, pool, lr=1e-3, z_dim=8, averaged=averaged, steps=6, **settings)
    mine.d_loss(1)
    assert (by_D[0] > 50).tolist() == ([False] * 4 + [True] * 4 + [False] * 4)[: len(by_D[0])] and len(by_D[0]) >= 8
    assert (by_averaged[0] < 50).all() and len(by_averaged[0]) == 4
    assert torch.allclose(by_averaged[0] + 100, by_D[0][4:8])  # the same images
    del by_D[:]
    mine.after_d_step(1)
    reals_of_G = [seen for seen in by_D if (seen > 50).all()]
    assert len(reals_of_G) == (method is Sgan) and len(by_D) == 2 * (method is Sgan)  # G draws what D sees
    assert len(set(numbers)) == 1  # both steps look at one view
    mine.d_loss(2)
    assert len(set(numbers)) == 2


def test_views_change_what_unlabelled_images_give_and_no_baseline(train, val, monkeypatch):
    monkeypatch.setitem(VIEWS, "dark", lambda images, rng: images - 1)
    settings = SMALL | {"consistency_weight": 10.0, "methods": list(METHODS)}
    plain, dark = (
        train_sgan(train, val, label_budget=3, seeds=[0], **settings, views=views).trained for views in ("none", "dark")
    )
    alike = {a.method for a, b in zip(plain, dark, strict=True) if a.history == b.history}
    assert alike == {"supervised", "supervised_classic"}


def test_same_bytes_twice_for_any_list_of_seeds(train, val, space):
    once = train_sgan(train, val, label_budget=3, seeds=[1, 2], **SMALL, **space).trained
    alone = train_sgan(train, val, label_budget=3, seeds=[2], **SMALL, **space).trained
    assert [(t.seed, t.method) for t in once] == [(s, m) for s in (1, 2) for m in COMPARED]
    for a, b in zip(once[3:], alone, strict=True):
        assert a.history == b.history
        assert np.array_equal(predict(a.model, val.images), predict(b.model, val.images))


def test_stopped_anywhere_it_ends_with_the_same_bits(train, val, space, tmp_path, monkeypatch, capsys):
    tuning = [{"lr": 0.01, "dropout": 0.5, "input_noise": 0.1}, {"lr": 0.02, "dropout": 0.5, "input_noise": 0.1}]
    args = SMALL | space | {"steps": 3, "eval_every": 2, "tuning": tuning, "consistency_weight": 10.0, "views": "leaf"}
    methods = ["sgan", "supervised_classic"]
    due = TrainingState.due

    def run(state_dir=None) -> tuple[list[Trained], list]:
        result = train_sgan(train, val, label_budget=3, seeds=[1, 2], methods=methods, **args, state_dir=state_dir)
        return result.trained, result.tried

    def interrupt(asked: list, point: int):
        def watched(self) -> bool:
            asked.append(1)
            if len(asked) == point:
                signal.raise_signal(signal.SIGTERM)
            return due(self)

        return watched

    straight, tried = run()
    for point in range(1, 2 * 3 * 4 + 1):  # after each step, and after each run: two settings, then the second seed
        folder = tmp_path / f"{point}" / "train_sgan@3"
        with monkeypatch.context() as patched:
            patched.setattr(TrainingState, "due", interrupt([], point))
            with pytest.raises(Interrupted) as stopped:
                run(folder)
        assert stopped.value.signum == signal.SIGTERM
        capsys.readouterr()
        resumed, tried_resumed = run(folder)
        assert capsys.readouterr().out.startswith("train_sgan@3: going on from ")
        assert tried_resumed == tried
        assert [(t.method, t.seed) for t in resumed] == [(t.method, t.seed) for t in straight]
        for a, b in zip(straight, resumed, strict=True):
            assert repr(a.history) == repr(b.history)
            assert (a.best_step, a.optimiser_steps) == (b.best_step, b.optimiser_steps)
            weights, weights_resumed = a.model.state_dict(), b.model.state_dict()
            assert all(torch.equal(weights[name], weights_resumed[name]) for name in weights)


def test_every_argument_and_byte_is_in_the_fingerprint(train, val, tmp_path, monkeypatch):
    keys = []
    fingerprint = resume.fingerprint

    def watched(arrays, settings):
        keys.append(fingerprint(arrays, settings))
        raise InputError("not to be trained")

    monkeypatch.setattr("pipeline.learn.sgan.fingerprint", watched)

    def key(train=train, val=val, **changes) -> str:
        with pytest.raises(InputError, match="not to be trained"):
            train_sgan(train, val, **{**SMALL, "seeds": [0], "label_budget": 3, **changes}, state_dir=tmp_path)
        return keys[-1]

    changes = {
        "label_budget": 4,
        "seeds": [1],
        "steps": 5,
        "batch_size": 7,
        "tuning": [{"lr": 2e-3, "dropout": 0.1, "input_noise": 0.1}],
        "z_dim": 9,
        "space": "features",
        "img_resolution": 8,
        "channels": 5,
        "units": 9,
        "augmented_views": 3,
        "looks": SimpleNamespace(key="another network"),
        "unlabelled_weight": 0.5,
        "consistency_weight": 1.0,
        "consistency_confidence": 0.9,
        "views": "leaf",
        "flips": [],
        "augment": "none",
        "methods": ["supervised"],
        "eval_every": 3,
        "device": "cpu:0",
    }
    arguments = set(inspect.signature(train_sgan).parameters)
    assert set(changes) == arguments - {"train", "val", "report", "state_dir"}, "add the new argument here"
    mine = key()
    assert key(report=print) == mine
    others = [key(**{name: value}) for name, value in changes.items()]
    renamed = [name + "x" for name in CLASSES]
    others.append(key(train._replace(classes=renamed), val._replace(classes=renamed)))
    for which, store in (("train", train), ("val", val)):
        images, labels = store.images.copy(), store.labels.copy()
        images[-1, -1, -1, -1] ^= 1
        labels[0] = 1
        others += [key(**{which: store._replace(images=images)}), key(**{which: store._replace(labels=labels)})]
    assert len({mine, *others}) == 1 + len(others)


def test_what_is_done_is_not_trained_again(train, val, space, tmp_path, monkeypatch):
    """A stage goes on to its next label budget: a kill there must leave this one."""
    args = SMALL | space | {"label_budget": 3, "seeds": [1], "state_dir": tmp_path / "train_sgan@3"}
    first = train_sgan(train, val, **args).trained
    monkeypatch.setattr("pipeline.learn.sgan.learning_rate_factor", None)  # what every step asks
    again = train_sgan(train, val, **args).trained
    assert [repr(t.history) for t in again] == [repr(t.history) for t in first]


def test_features_are_those_of_train_standardised_and_their_views_stand_at_their_rows(train, looks):
    rows = {seed: labelled_rows(train.labels, num_classes=3, label_budget=2, seed=seed) for seed in (0, 5)}
    arguments = {"rows": rows, "units": 8, "augmented_views": 3, "augment": "classic", "device": "cpu"}
    space = Features.of(train, looks=looks, flips=["horizontal"], **arguments)
    plain = looks.at(train.images)
    assert space.vectors.shape == (len(train.labels), 2, 48)
    deviation = plain.std(axis=0)
    expected = (plain - plain.mean(axis=0)) / np.where(deviation > 1e-8, deviation, 1)
    assert np.allclose(space.vectors[:, 0], expected, atol=1e-3)
    mirrored = space.front(torch.from_numpy(train.images[:, :, ::-1].copy()).permute(0, 3, 1, 2))
    assert torch.equal(space.vectors[:, 1], mirrored) and not torch.equal(space.vectors[:, 0], mirrored)
    pool = _Pool(space, torch.from_numpy(np.arange(len(train.labels))), rows[5], 40, 5)
    for step in range(3):
        vectors, drawn = pool.classic_batch(step)
        assert torch.equal(drawn, pool.labelled_batch(step)[1])
        found = set()
        for vector, row in zip(vectors, drawn.tolist(), strict=True):
            views = [looks.augmented(train.images[[row]], "classic", 5, view) for view in range(3)]
            alike = [np.allclose((view - plain.mean(0)) / deviation, vector, atol=1e-3) for view in views]
            assert any(alike)
            found.add(alike.index(True))
        assert found == {0, 1, 2}
    with pytest.raises(ValueError, match="unlabelled photos are not augmented"):
        pool.classic_unlabelled_batch(0)


def test_no_photo_is_looked_at_twice_for_all_budgets_and_methods(train, val, looks, monkeypatch):
    seen = []
    real = looks_module.penultimate_features
    monkeypatch.setattr(looks_module, "penultimate_features", lambda m, i: seen.append(len(i)) or real(m, i))
    mine = Looks(looks.network)
    monkeypatch.setattr(mine, "rows", {})
    settings = SMALL | {"space": "features", "looks": mine, "units": 8, "augmented_views": 2, "seeds": [0, 1]}
    first = train_sgan(train, val, label_budget=4, **settings)
    before = len(seen)
    result = train_sgan(train, val, label_budget=2, **settings)
    probes = probe_labels(train, val, rows=result.rows, looks=mine, views=2, augment="classic", method="probe")
    for trained in first.trained + result.trained + probes:
        predict(trained.model, val.images)
    assert len(seen) == before  # a smaller budget's photos are among those of a larger one


def test_the_probe_has_the_labels_of_the_others_and_no_more(train, val, looks):
    rows = {seed: labelled_rows(train.labels, num_classes=3, label_budget=3, seed=seed) for seed in (2, 1)}
    settings = {"rows": rows, "looks": looks, "views": 1, "augment": "classic", "method": "probe"}
    probes = probe_labels(train, val, **settings)
    assert [(t.method, t.seed, t.optimiser_steps) for t in probes] == [("probe", 2, 0), ("probe", 1, 0)]
    hidden = train.labels.copy()
    hidden[np.setdiff1d(np.arange(len(hidden)), np.concatenate(list(rows.values())))] = 0
    again = probe_labels(train._replace(labels=hidden), val, **settings)
    assert [repr(t.history) for t in again] == [repr(t.history) for t in probes]
    assert repr(probes[0].history) != repr(probes[1].history)


def test_learns_colours(train, val, space):
    args = SMALL | space | {"steps": 60, "batch_size": 12, "eval_every": 20, "channels": 8}
    args["tuning"] = [{"lr": 3e-3, "dropout": 0.1, "input_noise": 0.1}]
    result = train_sgan(train, val, label_budget=4, seeds=[0], **args)
    test = coloured_store([6, 6, 6], 2)
    for trained in result.trained:
        assert (predict(trained.model, test.images).argmax(axis=1) == test.labels).mean() > 0.8, trained.method


def test_kept_weights_are_the_best_on_val(train, val):
    for trained in train_sgan(train, val, label_budget=3, seeds=[0], **SMALL | {"steps": 8, "eval_every": 1}).trained:
        rank = {row["step"]: (row["val_macro_f1"], -row["val_loss"]) for row in trained.history}
        assert trained.best_step == max(rank, key=rank.get)


def test_rate_falls_over_the_last_third():
    factors = [learning_rate_factor(step, 90) for step in range(1, 91)]
    assert factors[:60] == [1.0] * 60
    assert all(b < a for a, b in pairwise(factors[60:]))
    assert 0 < factors[-1] < 0.05
    assert 0 < learning_rate_factor(1, 1) <= 1


def test_a_method_may_see_the_same_images_at_another_resolution(tmp_path, train, val, looks):
    result = train_sgan(train, val, label_budget=3, seeds=[0], methods=["supervised"], **SMALL)
    probes = probe_labels(train, val, rows=result.rows, looks=looks, views=0, method="probe")
    negative = {"probe": {"val": 255 - val.images}}
    write_results(tmp_path, result.trained + probes, {"val": val}, own_images=negative)
    frame = pd.read_csv(tmp_path / "predictions.csv").set_index("method")
    for method, images in (("supervised", val.images), ("probe", 255 - val.images)):
        (model,) = (t.model for t in result.trained + probes if t.method == method)
        expected = predict(model, images)
        assert np.allclose(frame.loc[method, [f"p/{c}" for c in CLASSES]].to_numpy(float), expected, atol=1e-6)


def test_results_name_the_method(tmp_path, train, val):
    result = train_sgan(train, val, label_budget=3, seeds=[0, 1], **SMALL)
    metrics = write_results(
        tmp_path, result.trained, {"val": val, "test": coloured_store([3, 3, 3], 4)}, extra=result.counts
    )
    assert [metrics[f"{name}/optimiser_steps"] for name in COMPARED] == [SMALL["steps"]] * 3
    assert metrics["labelled/scab"] == 3
    assert {"sgan/test/macro_f1", "supervised/test/macro_f1", "sgan/val/recall/rust"} <= set(metrics)
    frame = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    assert list(frame.columns[:5]) == ["method", "seed", "split", "file", "label"]
    assert sorted(frame["method"].unique()) == ["sgan", "supervised", "supervised_classic"]
    lines = (tmp_path / "history.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "method,seed,step,train_loss,val_loss,val_macro_f1,d_loss,g_loss"
    assert all(line.endswith(",,") for line in lines if line.startswith("supervised"))


def test_stores_of_other_classes_are_refused(train, val):
    with pytest.raises(InputError, match="same order"):
        train_sgan(train, val._replace(classes=CLASSES[::-1]), label_budget=3, seeds=[0], **SMALL)
