"""The synthetic set: exact balance, provenance that can be replayed, and loaders that read the same labels."""

import csv
import errno
import gc
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from pipeline import InputError
from pipeline.gan import balanced_set, class_images
from pipeline.gan.architectures import build
from pipeline.gan.balanced_set import write_balanced_set
from pipeline.gan.checkpoint import generator_sha256, load_model, save_model
from pipeline.gan.sampling import BATCH, sample, to_float
from pipeline.images.demands import images_per_class
from pipeline.images.store import Store, load_store, write_store

ROOT = Path(__file__).resolve().parent.parent

CLASSES = ["scab", "healthy leaf.1"]  # not in alphabetical order: labels must not come from the loader's order
COUNTS = [3, 7]
PLACES = ("synthetic", "augmented", "a_synthetic", "a_augmented")
CONFIG = {
    "network": "dcgan", "classes": CLASSES, "trained_on": CLASSES, "img_resolution": 32, "z_dim": 8,
    "G_channels": 4, "D_channels": 4, "G_conditioning": "batch_norm", "D_conditioning": "projection",
    "spectral_norm": True, "transitional": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def two_threads():
    """A number that one thread would not leave behind."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


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

    def make(below="", **changes):
        places = [tmp_path / below / p for p in PLACES]
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


def test_every_score_is_that_of_the_class_s_own_discriminator(tmp_path, monkeypatch):
    """Also where a later D lies in memory where an earlier one lay, and could inherit its cached weights."""
    classes = [f"class{k}" for k in range(8)]
    config = {**CONFIG, "classes": classes, "trained_on": classes}
    for k, name in enumerate(classes):
        torch.manual_seed(k)
        save_model(tmp_path / "models" / name, *build(config), config)
        (tmp_path / "real" / name).mkdir(parents=True)
        (tmp_path / "real" / name / "photo.png").touch()
    store = Store(np.zeros((8, 32, 32, 3), np.uint8), np.arange(8), ["photo.png"] * 8, classes)
    places = [tmp_path / place for place in PLACES]
    monkeypatch.setattr(class_images, "load_model", lambda *args: (gc.collect(), load_model(*args))[1])
    write_balanced_set(store, tmp_path / "real", tmp_path / "models", *places, target=3, seed=5, truncation=1.0)
    for k, name in enumerate(classes):
        model = load_model(tmp_path / "models" / name)
        rows = [row for row in _rows(tmp_path / "synthetic/manifest.csv") if row["class"] == name]
        images = np.stack([np.asarray(Image.open(tmp_path / "synthetic" / row["file"])) for row in rows])
        with torch.no_grad():
            logits = model.D(to_float(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.full((3,), k))
        assert np.allclose([float(row["d_logit"]) for row in rows], logits, atol=1e-5)


def _bytes(folder):
    """Every file below a folder, by its path there."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: data for path, data in files.items() if path.split("/")[0] in PLACES}


def test_the_number_of_workers_changes_no_byte(made):
    root, make, store = made
    for workers in (1, 3):
        make(f"by{workers}", workers=workers, target=3 * BATCH + 5)
    assert _bytes(root / "by1") == _bytes(root / "by3")
    assert len(_bytes(root / "by1")) == 2 * 2 * (3 * BATCH + 5) + 2 + 2 * 3


def test_more_images_leave_the_first_as_they_were(made):
    root, make, store = made
    make("few", target=BATCH + 3)
    make("many", target=2 * BATCH + 7)
    few, many = _bytes(root / "few"), _bytes(root / "many")
    drawn = [path for path in few if path.startswith("synthetic/") and path.endswith(".png")]
    assert len(drawn) == 2 * (BATCH + 3)
    assert all(few[path] == many[path] for path in drawn)


def test_two_processes_leave_the_bytes_of_one(made):
    root, make, store = made
    target = 4 * BATCH + 3
    make("one", target=target)
    write_store(root / "train", store.images, store.labels, store.files, CLASSES)
    (root / "rank.py").write_text(
        f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from pipeline.gan import balanced_set, sampling
from pipeline.gan.distributed import process_group
from pipeline.images.store import load_store

root = Path({str(root)!r})
draw, drawn = sampling.Sampler.draw, []
sampling.Sampler.draw = lambda self, batch: (drawn.append(batch), draw(self, batch))[1]
with process_group("cpu") as ranks:
    balanced_set.write_balanced_set(
        load_store(root / "train", {CLASSES!r}), root / "real", root / "models",
        *(root / "two" / place for place in {PLACES!r}),
        target={target}, seed=5, truncation=1.0, ranks=ranks,
    )
(root / f"drawn{{ranks.rank}}").write_text(str(len(drawn)))
""",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", root / "rank.py"]
    subprocess.run(command, check=True, timeout=300)
    assert _bytes(root / "one") == _bytes(root / "two")
    assert [(root / f"drawn{rank}").read_text() for rank in (0, 1)] == ["5", "5"]  # each drew half, and no more


def test_the_stores_are_what_write_store_writes(made):
    root, make, store = made
    make()
    for name in ("a_synthetic", "a_augmented"):
        packed = load_store(root / name, CLASSES)
        write_store(root / "again", *packed)
        for path in sorted((root / "again").iterdir()):
            assert path.read_bytes() == (root / name / path.name).read_bytes()
        assert sorted(os.listdir(root / "again")) == sorted(os.listdir(root / name))
    assert not list(root.rglob("*logit.npy"))


def test_a_full_disk_ends_the_work_at_once(made, monkeypatch):
    root, make, store = made
    calls, encode = [], balanced_set.encode_png

    def full(images):
        calls.append(len(images))
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return encode(images)

    monkeypatch.setattr(balanced_set, "encode_png", full)
    with pytest.raises(OSError, match="No space left"):
        make(target=200 * BATCH, workers=2)
    assert len(calls) < 20  # of 400: the pool may have begun a few before the error is seen
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:  # a thread started later takes the number from torch's last word
        assert pool.submit(torch.get_num_threads).result() == 2
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


def test_ctrl_c_ends_the_work_at_once(made, monkeypatch):
    root, make, store = made
    calls, encode = [], balanced_set.encode_png

    def interrupted(images):
        calls.append(len(images))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return encode(images)

    monkeypatch.setattr(balanced_set, "encode_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(target=200 * BATCH, workers=2)
    assert len(calls) < 20
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


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
