"""The filtered set: of generate's images those that a judge accepts, in order and balanced; starving is said."""

import csv
import errno
import hashlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from test_balanced_set import CLASSES, CONFIG, COUNTS, two_threads  # noqa: F401 (a fixture)

from pipeline import InputError
from pipeline.gan import filtered_set
from pipeline.gan.architectures import build
from pipeline.gan.balanced_set import write_balanced_set
from pipeline.gan.checkpoint import generator_sha256, save_model
from pipeline.gan.filtered_set import EXAMPLES, write_filtered_set
from pipeline.gan.sampling import BATCH
from pipeline.images.store import Store, load_store, write_store

PLACES = ("filtered", "augmented", "a_filtered", "a_augmented", "log")


def by_pixels(images):
    """Accepts about half: by a bit of each image's own hash, so by nothing but the image."""
    bits = [hashlib.md5(image.tobytes()).digest()[0] for image in images]
    return [(("odd" if bit < 200 else "large") if bit % 2 else None, {"bit": float(bit)}) for bit in bits]


def accepting(images):
    return [(None, {})] * len(images)


@pytest.fixture
def made(tmp_path):
    """A train split of 3 and 7 images and two untrained generators, and what filters theirs."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], COUNTS)
    store = Store(rng.integers(0, 255, (10, 32, 32, 3), np.uint8), labels, [f"{i}.png" for i in range(10)], CLASSES)
    for image, label, file in zip(store.images, labels, store.files, strict=True):
        (tmp_path / "real" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "real" / CLASSES[label] / file)
    for k, name in enumerate(CLASSES):
        torch.manual_seed(k)
        G, D = build(CONFIG)
        with torch.no_grad():
            for conv in (*G.convs, G.to_rgb):  # an untrained G draws nothing but grey
                conv.weight.mul_(8)
        save_model(tmp_path / "models" / name, G, D, {**CONFIG, "trained_on": [name]})

    def make(below="", judge=by_pixels, **changes):
        places = [tmp_path / below / place for place in PLACES]
        settings = {
            "examine": lambda images: images,
            "target": 20,
            "seed": 5,
            "truncation": 1.0,
            "max_candidates_factor": 10,
            **changes,
        }
        judges = judge if isinstance(judge, dict) else dict.fromkeys(CLASSES, judge)
        return write_filtered_set(store, tmp_path / "real", tmp_path / "models", *places, judges=judges, **settings)

    return tmp_path, make, store


def _rows(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def _bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def generated(root, store, count):
    """The first `count` images of each class that generate draws."""
    places = [root / "generated" / place for place in ("synthetic", "augmented", "a_synthetic", "a_augmented")]
    write_balanced_set(store, root / "real", root / "models", *places, target=count, seed=5, truncation=1.0, workers=1)
    return root / "generated"


def test_the_first_of_generate_s_images_that_are_accepted(made):
    root, make, store = made
    judged = make()
    longest = max(len(seen) for seen in judged.values())
    assert 25 < longest < 100
    all_drawn = generated(root, store, longest)
    rows = {(row["class"], int(row["seed"])): row for row in _rows(all_drawn / "synthetic/manifest.csv")}
    manifest = _rows(root / "filtered/manifest.csv")
    for name in CLASSES:
        images = load_store(all_drawn / "a_synthetic", CLASSES)
        verdicts = by_pixels(images.images[images.labels == CLASSES.index(name)])
        accepted = [i for i, (rule, _) in enumerate(verdicts) if rule is None][:20]
        own = [row for row in manifest if row["class"] == name]
        assert [int(row["seed"]) for row in own] == accepted
        assert [c.index for c in judged[name]] == list(range(accepted[-1] + 1))  # nobody looked further
        assert {path.name for path in (root / "filtered" / name).iterdir()} == {
            row["file"].split("/")[1] for row in own
        }
        for row in own:
            assert (root / "filtered" / row["file"]).read_bytes() == (
                all_drawn / "synthetic" / row["file"]
            ).read_bytes()
            assert row["generator_sha256"] == generator_sha256(root / "models" / name)
            assert row["d_logit"] == rows[name, int(row["seed"])]["d_logit"]
            assert float(row["bit"]) % 2 == 0


def test_accepting_all_gives_generate_s_sets(made):
    root, make, store = made
    make(judge=accepting)
    all_drawn = generated(root, store, 20)
    for mine, theirs in [("a_filtered", "a_synthetic"), ("a_augmented", "a_augmented")]:
        assert _bytes(root / mine) == _bytes(all_drawn / theirs)
    for mine, theirs in [("filtered", "synthetic"), ("augmented", "augmented")]:
        files, others = _bytes(root / mine), _bytes(all_drawn / theirs)
        changed = {name for name in files | others if files.get(name) != others.get(name)}
        assert changed <= {"manifest.csv"}
    sources = {row["source"].rsplit("/", 2)[0] for row in _rows(root / "augmented/manifest.csv")}
    assert sources == {"data/split/train", "data/filtered"}


def test_both_sets_are_exactly_balanced_and_nothing_real_is_lost(made):
    root, make, store = made
    make()
    for name in ("filtered", "augmented"):
        assert Counter(row["class"] for row in _rows(root / name / "manifest.csv")) == dict.fromkeys(CLASSES, 20)
        assert {c: len(list((root / name / c).glob("*.png"))) for c in CLASSES} == dict.fromkeys(CLASSES, 20)
        packed = load_store(root / f"a_{name}", CLASSES)
        for image, label, file in zip(packed.images, packed.labels, packed.files, strict=True):
            assert np.array_equal(image, np.asarray(Image.open(root / name / CLASSES[label] / file)))
        write_store(root / f"again_{name}", *packed)
        assert _bytes(root / f"again_{name}") == _bytes(root / f"a_{name}")
    origins = Counter((row["class"], row["origin"]) for row in _rows(root / "augmented/manifest.csv"))
    assert origins == {(c, "real"): n for c, n in zip(CLASSES, COUNTS, strict=True)} | {
        (c, "synthetic"): 20 - n for c, n in zip(CLASSES, COUNTS, strict=True)
    }
    first = [row["file"] for row in _rows(root / "filtered/manifest.csv") if row["class"] == "scab"][:17]
    assert [
        row["file"]
        for row in _rows(root / "augmented/manifest.csv")
        if (row["class"], row["origin"]) == ("scab", "synthetic")
    ] == first


def test_every_candidate_is_logged_and_the_first_rejected_are_kept(made):
    root, make, store = made
    judged = make()
    log = _rows(root / "log/candidates.csv")
    assert [(row["class"], int(row["seed"]), row["rejected_by"] or None) for row in log] == [
        (name, c.index, c.rejected_by) for name in CLASSES for c in judged[name]
    ]
    assert {row["rejected_by"] for row in log} == {"", "odd", "large"}
    for name in CLASSES:
        rejected = [f"{name}_seed{c.index:06d}.png" for c in judged[name] if c.rejected_by]
        assert sorted(path.name for path in (root / "log/rejected" / name).iterdir()) == rejected[:EXAMPLES]
        image = np.asarray(Image.open(root / "log/rejected" / name / rejected[0]))
        assert by_pixels([image])[0][0] is not None


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_byte(made, workers):
    root, make, store = made
    make("one", workers=1)
    make("more", workers=workers)
    assert _bytes(root / "one") == _bytes(root / "more")


def test_a_starving_class_fails_in_one_sentence(made):
    root, make, store = made
    shown = []

    def strict(images):
        shown.extend(images)
        return [(None if i == 0 else "copies" if i % 4 else "density", {}) for i in range(len(images))]

    with pytest.raises(InputError) as caught:
        make(judge={"scab": accepting, "healthy leaf.1": strict}, max_candidates_factor=2.25)
    assert len(shown) == 45  # and not the 48 of whole batches
    assert str(caught.value) == (
        "class 'healthy leaf.1': expected 20 accepted images, got 3 of 45 candidates, of which the rule 'copies' "
        "rejected most (33); loosen filter_synthetic.rules.copies or switch it off, raise "
        "filter_synthetic.max_candidates_factor, set filter_synthetic.when_starving to fill, or go on without "
        "filtering: set filter_synthetic.enabled to false and remove the arms whose train is "
        "data/arrays/augmented_filtered."
    )
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


def test_a_starving_class_is_filled_with_those_that_the_teacher_is_surest_of_and_says_so(made):
    root, make, store = made

    seen = []

    def strict(images):
        """Of each batch one is accepted; the surest of all are copies."""
        verdicts = []
        for i in range(len(images)):
            seen.append(0.01 * (7 * len(seen) % 45))
            rule = None if i == 3 else "copies" if seen[-1] > 0.35 else "agreement"
            verdicts.append((rule, {"confidence": seen[-1]}))
        return verdicts

    judges = {"scab": lambda images: [(None, {"confidence": 1.0})] * len(images), "healthy leaf.1": strict}
    judged = make(judge=judges, max_candidates_factor=2.25, when_starving="fill")
    accepted = [c.index for c in judged["healthy leaf.1"] if c.rejected_by is None]
    others = sorted((i for i in range(45) if i not in accepted and seen[i] <= 0.35), key=lambda i: -seen[i])
    wanted = accepted + sorted(others[: 20 - len(accepted)])
    rows = [row for row in _rows(root / "filtered/manifest.csv") if row["class"] == "healthy leaf.1"]
    assert [int(row["seed"]) for row in rows] == wanted
    assert [row["rejected_by"] for row in rows] == [""] * len(accepted) + ["agreement"] * (20 - len(accepted))
    make("all", judge=accepting, target=45)  # image i of the class, as drawn without any filter
    drawn = np.load(root / "all/a_filtered/healthy leaf.1.npy")
    stored = np.load(root / "a_filtered/healthy leaf.1.npy")
    assert np.array_equal(stored, drawn[wanted])
    for row, pixels in zip(rows, stored, strict=True):
        assert np.array_equal(np.asarray(Image.open(root / "filtered" / row["file"])), pixels)
    assert not any(row["rejected_by"] for row in _rows(root / "filtered/manifest.csv") if row["class"] == "scab")


def test_a_target_that_is_reached_by_the_last_candidate_is_no_starving(made):
    root, make, store = made

    def every_third():
        count = iter(range(10_000))
        return lambda images: [(None if next(count) % 3 == 2 else "other", {}) for _ in images]

    judged = make(judge={name: every_third() for name in CLASSES}, max_candidates_factor=3)
    assert {name: len(seen) for name, seen in judged.items()} == dict.fromkeys(CLASSES, 60)


def test_a_full_disk_ends_the_work_at_once(made, monkeypatch):
    root, make, store = made
    calls, encode = [], filtered_set.encode_png

    def full(images):
        calls.append(len(images))
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return encode(images)

    monkeypatch.setattr(filtered_set, "encode_png", full)
    with pytest.raises(OSError, match="No space left"):
        make(target=200 * BATCH, workers=2)
    assert len(calls) == 3
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:  # a thread started later takes the number from torch's last word
        assert pool.submit(torch.get_num_threads).result() == 2
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


def test_a_generator_of_another_class_is_refused(made):
    root, make, store = made
    (root / "models/scab").rename(root / "models/aside")
    (root / "models/healthy leaf.1").rename(root / "models/scab")
    with pytest.raises(InputError, match="expected a generator of 'scab'"):
        make()
