"""Other training sets out of one: counts by hand, the real images untouched, the draw of the images to keep."""

import numpy as np
import pytest

from pipeline import InputError
from pipeline.images.mixing import add_images, mixtures, share_of_groups, shrink_class, synthetic_counts
from pipeline.images.store import Store

CLASSES = ["healthy", "rust", "scab"]
COUNTS = (30, 7, 4)


@pytest.fixture
def store() -> Store:
    labels = np.repeat(np.arange(3), COUNTS)
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 8, 8, 3), np.uint8)
    return Store(images, labels, [f"{i}.png" for i in range(len(labels))], list(CLASSES))


def synthetic(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.integers(0, 255, (count, 8, 8, 3), np.uint8) for name in CLASSES}


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [
        (0, (0, 0, 0)),
        (0.1, (3, 1, 1)),
        (0.25, (8, 2, 1)),
        (0.5, (15, 4, 2)),
        (1, (30, 7, 4)),
        (3, (90, 21, 12)),
    ],
)
def test_counts_a_class_are_rounded_up(store, ratio, counts):
    assert tuple(synthetic_counts(store, ratio).values()) == counts


def test_floating_point_adds_no_image():
    """0.07 * 100 is 7.000000000000001 there."""
    flat = Store(np.zeros((100, 1, 1, 3), np.uint8), np.zeros(100, int), [str(i) for i in range(100)], ["rust"])
    assert synthetic_counts(flat, 0.07) == {"rust": 7}


def test_a_mixture_holds_every_real_image_and_the_first_synthetic_ones_of_each_class(store):
    drawn = synthetic(90)
    for (name, mixed), ratio in zip(mixtures(store, drawn, [0, 0.5, 3]), [0, 0.5, 3], strict=True):
        assert name == f"{ratio:g}"
        for k, label in enumerate(CLASSES):
            own = mixed.images[mixed.labels == k]
            real = store.images[store.labels == k]
            count = synthetic_counts(store, ratio)[label]
            assert len(own) == len(real) + count
            assert np.array_equal(own[: len(real)], real)
            assert np.array_equal(own[len(real) :], drawn[label][:count])
        assert (np.diff(mixed.labels) >= 0).all()
        keys = list(zip(mixed.labels.tolist(), mixed.files, strict=True))
        assert len(set(keys)) == len(keys) == len(mixed.images)


def test_nothing_added_is_the_store_itself(store):
    (_, same), *_ = mixtures(store, {name: images[:0] for name, images in synthetic(1).items()}, [0])
    assert np.array_equal(same.images, store.images) and np.array_equal(same.labels, store.labels)
    assert same.labels.dtype == store.labels.dtype
    assert same.files == store.files and same.classes == store.classes


def test_balanced_batches_hold_the_ratios_share_of_synthetic_images_in_every_class(store):
    from pipeline.learn.batches import batch_rows

    (_, mixed), *_ = mixtures(store, synthetic(90), [1])
    rows = np.concatenate(
        [batch_rows(mixed.labels, sampling="balanced", batch_size=64, seed=0, step=i) for i in range(200)]
    )
    fake = np.array([file.startswith("synthetic") for file in mixed.files])
    for k in range(3):
        assert fake[rows[mixed.labels[rows] == k]].mean() == pytest.approx(0.5, abs=0.03)


def test_too_few_or_foreign_synthetic_images_are_refused(store):
    with pytest.raises(ValueError, match="synthetic must hold 30 images of 'healthy' for ratio 1"):
        list(mixtures(store, synthetic(7), [1]))
    with pytest.raises(ValueError, match="Got 'mildew'"):
        add_images(store, {"mildew": synthetic(1)["rust"]})
    with pytest.raises(ValueError, match="images of shape"):
        add_images(store, {"rust": np.zeros((2, 16, 16, 3), np.uint8)})


def test_shrinking_keeps_that_many_of_one_class_and_all_others(store):
    small = shrink_class(store, "healthy", 5, seed=3)
    assert np.bincount(small.labels).tolist() == [5, 7, 4]
    kept = {file: image for file, image in zip(small.files, small.images, strict=True)}
    for file, image in zip(store.files, store.images, strict=True):
        assert file not in kept or np.array_equal(kept[file], image)
    assert [f for f in small.files if f in store.files[30:]] == store.files[30:]
    assert small.files == sorted(small.files, key=store.files.index)


def test_a_smaller_count_keeps_some_of_what_a_larger_one_keeps(store):
    kept = {n: set(shrink_class(store, "healthy", n, seed=3).files) for n in (2, 5, 20)}
    assert kept[2] < kept[5] < kept[20]
    assert kept[5] == set(shrink_class(store, "healthy", 5, seed=3).files)
    assert kept[5] != set(shrink_class(store, "healthy", 5, seed=4).files)
    first = [shrink_class(store, "healthy", 1, seed=s).files[0] for s in range(300)]
    assert set(first) == set(store.files[:30]), "every image can be kept"


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("healthy", 30, r"minority_counts: expected between 1 and 29 images, fewer than the 30 of 'healthy'.*got 30"),
        ("healthy", 0, r"minority_counts: .*got 0"),
        ("mildew", 2, r"study_minority\.class_name: expected one of .*got 'mildew'"),
    ],
)
def test_what_cannot_be_shrunk_is_refused(store, name, count, said):
    with pytest.raises(InputError, match=said):
        shrink_class(store, name, count, seed=0)


def test_a_share_of_the_photos_keeps_leaves_whole_and_grows():
    labels = np.repeat([0, 1], [30, 9])
    groups = [f"{i // 4}" for i in range(30)] + [f"r{i // 3}" for i in range(9)]
    store = Store(np.zeros((39, 2, 2, 3), np.uint8), labels, [f"{i}.png" for i in range(39)], ["a", "b"])
    kept = {share: share_of_groups(store, groups, share, seed=1) for share in (0.01, 0.25, 0.5)}
    for share, of in kept.items():
        own = {groups[int(file[:-4])] for file in of.files}
        assert set(of.files) == {f"{i}.png" for i in range(39) if groups[i] in own}, "a leaf was torn apart"
        for k, count in enumerate((30, 9)):
            # a leaf of four photos at most is what it can be over
            assert share * count <= (of.labels == k).sum() < share * count + 4
    assert set(kept[0.01].files) < set(kept[0.25].files) < set(kept[0.5].files)
    assert set(share_of_groups(store, groups, 0.25, seed=2).files) != set(kept[0.25].files)
