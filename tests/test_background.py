"""Leaf masks: against the renderer's own, on hard cases, alone or in company the same; and what is done with them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import InputError
from pipeline.images import background, sample
from pipeline.images.background import BACKGROUNDS, find_leaves, leaf_mask, with_background
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store

SIDE = 64


def true_mask(name: str, k: int) -> np.ndarray:
    """The blade as the renderer posed it."""
    axis = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)
    leaf = sample._pose(numpy_rng(42, f"sample/{name}/scene", k), *np.meshgrid(axis, -axis))
    return leaf.inside > 0.5


@pytest.fixture(scope="module")
def leaves() -> np.ndarray:
    return np.stack([sample.render_leaf(c, k, img_resolution=SIDE, seed=42) for c in sample.CLASSES for k in range(8)])


def test_masks_are_those_of_the_renderer(leaves):
    truth = np.stack([true_mask(c, k) for c in sample.CLASSES for k in range(8)])
    masks, found = find_leaves(leaves)
    iou = (masks & truth).sum((1, 2)) / (masks | truth).sum((1, 2))
    assert found.all() and iou.mean() > 0.95 and iou.min() > 0.85


def test_a_mask_depends_on_its_own_image_alone(leaves):
    all_at_once = leaf_mask(leaves[:8])
    assert (leaf_mask(leaves[:8]) == all_at_once).all()
    assert (leaf_mask(leaves[:8][::-1])[::-1] == all_at_once).all()
    assert (np.concatenate([leaf_mask(leaves[k : k + 1]) for k in range(8)]) == all_at_once).all()


def test_a_shadow_is_background_and_a_pale_lesion_is_leaf():
    image = np.full((SIDE, SIDE, 3), [205, 203, 200], np.uint8)
    image[40:60, 6:58] = [110, 108, 106]  # a shadow: the sheet, darker
    image[14:48, 20:44] = [60, 120, 50]
    image[26:32, 28:34] = [205, 203, 200]  # as pale as the sheet
    mask = leaf_mask(image[None])[0]
    assert mask[15:47, 21:43].all() and not mask[52:, :].any() and mask.sum() < 1.15 * 34 * 24


@pytest.mark.parametrize("image", [np.full((SIDE, SIDE, 3), 90, np.uint8), np.zeros((20, 30, 3), np.uint8)])
def test_where_no_leaf_is_found_an_ellipse_stands_for_it(image):
    masks, found = find_leaves(image[None])
    height, width = image.shape[:2]
    assert not found[0] and masks[0, height // 2, width // 2]
    assert not masks[0][[0, -1]].any() and not masks[0][:, [0, -1]].any()
    assert masks.mean() == pytest.approx(np.pi * background._ELLIPSE**2, abs=0.03)


def test_mask_shows_no_background_and_only_no_leaf(leaves):
    masks = leaf_mask(leaves[:4])
    store = Store(leaves[:4], np.zeros(4, np.int64), list("abcd"), ["healthy"])
    before = leaves[:4].copy()
    kept, masked, only = (with_background(store, name) for name in BACKGROUNDS)
    assert (kept.images == before).all() and (store.images == before).all()
    assert (masked.images[~masks] == background.GREY).all() and (only.images[masks] == background.GREY).all()
    shown, left = (masked.images != background.GREY).any(-1), (only.images != background.GREY).any(-1)
    assert (masked.images[shown] == before[shown]).all() and (only.images[left] == before[left]).all()
    # all but a rim of one pixel on either side is there
    inner = masks & np.roll(masks, 1, 1) & np.roll(masks, -1, 1) & np.roll(masks, 1, 2) & np.roll(masks, -1, 2)
    assert 0.85 * inner.sum() < shown.sum() <= inner.sum() and not (shown & left).any()
    assert left.sum() > 0.9 * (~masks).sum()
    assert masked.files == store.files and (masked.labels == store.labels).all() and masked.images.dtype == np.uint8


def test_a_masked_image_tells_nothing_of_the_sheet():
    """The same leaf on a white and on a blue sheet: masked, the two are one."""
    y, x = np.mgrid[:SIDE, :SIDE] - 31.5
    leaf = (x / 18) ** 2 + (y / 26) ** 2
    share = np.clip((1 - leaf) * 8 + 0.5, 0, 1)[..., None]  # the rim mixes both
    on = [share * [60, 120, 50] + (1 - share) * sheet for sheet in ([215, 213, 210], [90, 150, 215])]
    white, blue = background.mask(np.stack(on).round().astype(np.uint8)).astype(int)
    assert ((white != background.GREY).any(-1)).sum() > 1000
    assert (np.abs(white - blue).max(-1) > 12).mean() < 0.02


def test_unknown_names_and_shapes_are_refused(leaves):
    with pytest.raises(InputError, match="background: expected one of keep, mask, only, found 'blur'"):
        with_background(Store(leaves, np.zeros(32, np.int64), [], []), "blur")
    with pytest.raises(ValueError, match="must be"):
        leaf_mask(leaves[0])


def test_an_empty_store_stays_empty():
    empty = Store(np.empty((0, SIDE, SIDE, 3), np.uint8), np.empty(0, np.int64), [], ["rust"])
    assert with_background(empty, "mask").images.shape == (0, SIDE, SIDE, 3)
