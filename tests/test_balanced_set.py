"""The synthetic set: exact balance, provenance that can be replayed, and loaders that read the same labels."""

import csv
import os
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from pipeline import InputError
from pipeline.gan.balanced_set import images_per_class, write_balanced_set
from pipeline.gan.checkpoint import build, generator_sha256, load_model, save_model
from pipeline.gan.sampling import sample
from pipeline.images.store import Store, load_store

CLASSES = ["scab", "healthy leaf.1"]  # not in alphabetical order: labels must not come from the loader's order
COUNTS = [3, 7]
CONFIG = {"classes": CLASSES, "trained_on": CLASSES, "img_resolution": 32, "z_dim": 8, "G_channels": 4, "D_channels": 4}


@pytest.fixture
def made(tmp_path):
    """A train split of 3 and 7 images, two untrained generators, and the set made from them."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], COUNTS)
    images = rng.integers(0, 255, (10, 32, 32, 3), dtype=np.uint8)
    files = [f"leaf {i}.png" for i in range(10)]
    for image, label, file in zip(images, labels, files, strict=True):
        folder = tmp_path / "real" / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / file)
    for k, name in enumerate(CLASSES):
        torch.manual_seed(k)
        G, D = build(CONFIG)
        with torch.no_grad():
            for conv in (*G.convs, G.to_rgb):  # an untrained G draws nothing but grey
                conv.weight.mul_(8)
        save_model(tmp_path / "models" / name, G, D, {**CONFIG, "trained_on": [name]})
    store = Store(images, labels, files, CLASSES)

    def make(**changes):
        places = [tmp_path / p for p in ("synthetic", "augmented", "a_synthetic", "a_augmented")]
        settings = {"target": "largest", "seed": 5, "truncation": 1.0, **changes}
        return write_balanced_set(store, tmp_path / "real", tmp_path / "models", *places, **settings)

    return tmp_path, make, store


def _rows(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def test_both_sets_are_exactly_balanced_and_nothing_real_is_lost(made):
    root, make, store = made
    finals = make()
    assert finals == {"images_per_class": 7, "synthetic/scab": 4, "synthetic/healthy leaf.1": 0}
    for name in ("synthetic", "augmented"):
        assert Counter(row["class"] for row in _rows(root / name / "manifest.csv")) == dict.fromkeys(CLASSES, 7)
        assert {c: len(list((root / name / c).glob("*.png"))) for c in CLASSES} == dict.fromkeys(CLASSES, 7)
    origins = Counter((row["class"], row["origin"]) for row in _rows(root / "augmented/manifest.csv"))
    assert origins == {("scab", "real"): 3, ("scab", "synthetic"): 4, ("healthy leaf.1", "real"): 7}


def test_labels_agree_between_the_folders_the_stores_and_both_loaders(made):
    root, make, store = made
    make()
    for name in ("synthetic", "augmented"):
        packed = load_store(root / f"a_{name}", CLASSES)
        by_file = {
            (CLASSES[y], f): image for image, y, f in zip(packed.images, packed.labels, packed.files, strict=True)
        }
        folder = ImageFolder(root / name)
        assert len(folder) == len(by_file) == 14
        for path, label in folder.samples:
            key = (folder.classes[label], os.path.basename(path))
            assert np.array_equal(np.asarray(Image.open(path)), by_file[key])
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(root / "augmented"), split="train", cache_dir=str(root / "hf")
    )
    assert loaded.features["label"].names == folder.classes
    assert Counter(loaded["label"]) == Counter(label for _, label in folder.samples)
    for row in loaded.select([0, 13]):
        match = [
            p
            for p, y in folder.samples
            if y == row["label"] and np.array_equal(np.asarray(Image.open(p)), np.asarray(row["image"]))
        ]
        assert len(match) == 1


def test_a_manifest_row_replays_its_image(made):
    root, make, store = made
    make()
    row = next(r for r in _rows(root / "synthetic/manifest.csv") if r["class"] == "scab" and r["seed"] == "5")
    folder = root / "models" / row["class"]
    assert row["generator_sha256"] == generator_sha256(folder)
    model = load_model(folder)
    ((_, image, logit),) = sample(model.G_ema, 0, "scab", [5], seed=5, D=model.D)
    assert np.array_equal(image, np.asarray(Image.open(root / "synthetic" / row["file"])))
    assert float(row["d_logit"]) == pytest.approx(logit, abs=1e-5)


def test_image_7_is_the_same_alone_and_in_any_batch(made):
    root, make, store = made
    G = load_model(root / "models/scab").G_ema
    alone = next(sample(G, 0, "scab", [7], seed=1))[1]
    for indices in (list(range(40)), [7, 3], list(range(30, -1, -1))):
        drawn = {index: image for index, image, _ in sample(G, 0, "scab", indices, seed=1)}
        assert np.array_equal(drawn[7], alone)
    assert not np.array_equal(next(sample(G, 0, "scab", [7], seed=2))[1], alone)


def test_augmented_links_rather_than_copies(made):
    root, make, store = made
    make()
    assert os.stat(root / "augmented/scab/leaf 0.png").st_nlink == 2
    assert os.stat(root / "augmented/scab/scab_seed000000.png").st_nlink == 2


@pytest.mark.parametrize(("target", "count"), [("largest", 7), (12, 12), ("2x", 14), ("1.5x", 10)])
def test_targets(target, count):
    assert images_per_class(target, 7) == count


@pytest.mark.parametrize("target", [6, "0.5x"])
def test_a_target_that_would_drop_photos_is_refused(target):
    with pytest.raises(InputError, match=r"generate\.target.*at least the largest class of train \(7"):
        images_per_class(target, 7)


def test_a_generator_of_another_class_is_refused(made):
    root, make, store = made
    (root / "models/scab").rename(root / "models/aside")
    (root / "models/healthy leaf.1").rename(root / "models/scab")
    (root / "models/aside").rename(root / "models/healthy leaf.1")
    with pytest.raises(InputError, match="expected a generator of 'scab'"):
        make()
