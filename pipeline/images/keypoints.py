"""Two photos of one thing, turned, mirrored, moved or cropped: found by the points that both show.

Keypoints and descriptors are SIFT's (Lowe 2004, "Distinctive image features from scale-invariant keypoints"), of the
picture at 128 px. Comparing all pictures with all others would take hours, so three steps:

1. Propose. Each descriptor gets short codes, the signs of random projections (Charikar 2002, "Similarity estimation
   techniques from rounding algorithms"). Two pictures get a vote for a code that both hold, the rarer the code the
   heavier; a picture is compared with those that share most with it.
2. Match. Points whose descriptors are each other's nearest, and clearly nearer than the next (Lowe, section 7.1).
3. Verify. A turn, a scale and a shift must take the points of one picture to those of the other (RANSAC). Leaves of
   one kind have like veins and teeth, but not at like places: this is what tells them apart. And what lies between the
   points must look alike too: photos on one bench have its grain in common, but not the leaf that lies on it.

A mirrored picture's descriptors are those of the picture in another order, so mirrored copies cost no second detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 128  # px, the longer side
MAX_KEYPOINTS = 80
CONTRAST = 0.02  # half of Lowe's threshold: a leaf out of focus has faint points only
RATIO = 0.85  # of the distances to the nearest and the next descriptor
TOLERANCE = 3.0  # px of SIDE by which a point may miss its place
# Fewer points can agree by chance. On plantvillage_apple every pair from 8 on shows one leaf, on tea_sickness from 9.
MIN_MATCHES = 10
# Of what lies between the points, each picture's contrast taken as 1: nine pixels in ten may differ by this much.
# Of the pairs on the two sets 9 in 10 differ by less than 0.9, of pairs with nothing but a bench in common 1 in 50.
MAX_RESIDUE = 0.9
_BLUR = 1.5  # px: light and focus differ from photo to photo, forms don't
CODE_BITS, TABLES = 14, 6
PROPOSALS = 6  # pictures that each picture is compared with, as it is, and as many mirrored
_BLOCK = 1024  # pictures whose votes are held at a time

# SIFT's 4 x 4 cells of 8 directions lie in the keypoint's own frame: a mirror turns the rows round and the directions
# from o to -o.
_MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].reshape(-1)


class Keypoints(NamedTuple):
    """The keypoints of one picture, the strongest first.

    Attributes:
        places: (K, 2) float32, x and y in pixels of the picture scaled to SIDE.
        descriptors: (K, 128) uint8.
        grey: (H, W) uint8, the scaled picture.
    """

    places: np.ndarray
    descriptors: np.ndarray
    grey: np.ndarray


class Match(NamedTuple):
    """Two pictures of one thing: indices a < b, points that agree, whether one is the other's mirror image."""

    a: int
    b: int
    points: int
    mirrored: bool


def find_keypoints(image: Image.Image) -> Keypoints:
    """At most MAX_KEYPOINTS keypoints of an RGB picture."""
    import cv2

    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    resampling = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    grey = np.asarray(image.convert("L").resize(size, resampling))
    found, descriptors = cv2.SIFT_create(nfeatures=MAX_KEYPOINTS, contrastThreshold=CONTRAST).detectAndCompute(
        grey, None
    )
    if not found:
        return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), grey)
    # nfeatures lets equal responses pass, and a point may have several directions
    order = np.argsort([-point.response for point in found], kind="stable")[:MAX_KEYPOINTS]
    places = np.array([found[i].pt for i in order], np.float32)
    return Keypoints(places, descriptors[order].astype(np.uint8), grey)


def matches(pictures: Sequence[Keypoints], *, references: int | None = None) -> list[Match]:
    """All pairs that are proposed and verified, sorted by index.

    Args:
        pictures: To be compared.
        references: None: each is compared with each. A number: each with the first so many alone.
    """
    best: dict[tuple[int, int], Match] = {}
    for a, b, mirrored in propose(pictures, references=references):
        points = agreeing_points(pictures[a], pictures[b], mirrored=mirrored)
        if points >= MIN_MATCHES and (pair := (a, b)) and (pair not in best or points > best[pair].points):
            best[pair] = Match(a, b, points, mirrored)
    return sorted(best.values())


def propose(pictures: Sequence[Keypoints], *, references: int | None = None) -> list[tuple[int, int, bool]]:
    """Pairs worth comparing: (a, b, whether mirrored), a < b, sorted; `references` as of `matches`."""
    from scipy.sparse import csr_array

    n = len(pictures)
    if n < 2:
        return []
    counts = [len(p.places) for p in pictures]
    owner = np.repeat(np.arange(n), counts)
    descriptors = np.concatenate([p.descriptors for p in pictures])

    def table(descriptors: np.ndarray) -> csr_array:
        codes = _codes(descriptors)  # (points, TABLES)
        rows = np.repeat(owner, TABLES)
        held = csr_array((np.ones(codes.size, np.float32), (rows, codes.reshape(-1))), (n, TABLES << CODE_BITS))
        held.sum_duplicates()
        held.data[:] = 1.0  # a code counts once a picture
        return held

    upright = table(descriptors)
    holders = np.bincount(upright.indices, minlength=upright.shape[1])
    weight = np.log((n + 1) / np.maximum(holders, 1)).astype(np.float32)  # -log of how many hold the code
    weighted = upright * weight[None, :]
    proposed: set[tuple[int, int, bool]] = set()
    for mirrored, other in ((False, upright), (True, table(descriptors[:, _MIRRORED]))):
        for start in range(0, n, _BLOCK):
            votes = (weighted[start : start + _BLOCK] @ other.T).toarray()
            if not mirrored:  # a picture is no neighbour of its own
                votes[np.arange(len(votes)), start + np.arange(len(votes))] = 0
            if references is not None:
                votes[:, references:] = 0
            most = np.argpartition(-votes, min(PROPOSALS, n - 1), axis=1)[:, :PROPOSALS]
            for row, others in enumerate(most):
                i = start + row
                proposed |= {(min(i, int(j)), max(i, int(j)), mirrored) for j in others if j != i and votes[row, j] > 0}
    return sorted(proposed)


def agreeing_points(a: Keypoints, b: Keypoints, *, mirrored: bool = False) -> int:
    """How many points of two pictures one turn, scale and shift brings together.

    0 where fewer than MIN_MATCHES match, or where the pictures differ between these points.

    Args:
        a: One picture's.
        b: The other's.
        mirrored: Compare a with b's mirror image.
    """
    import cv2

    if min(len(a.places), len(b.places)) < MIN_MATCHES:
        return 0
    if mirrored:
        places = (b.places * [-1, 1] + [b.grey.shape[1] - 1, 0]).astype(np.float32)
        b = Keypoints(places, b.descriptors[:, _MIRRORED], b.grey[:, ::-1])
    one, two = _nearest_both_ways(a.descriptors, b.descriptors)
    if len(one) < MIN_MATCHES:
        return 0
    # RANSAC's draws come from a generator of its own with a fixed seed: the same pair gives the same count
    move, inside = cv2.estimateAffinePartial2D(a.places[one], b.places[two], ransacReprojThreshold=TOLERANCE)
    if move is None or inside.sum() < MIN_MATCHES:
        return 0
    alike = _residue(a.grey, b.grey, move, b.places[two][inside[:, 0] > 0]) <= MAX_RESIDUE
    return int(inside.sum()) if alike else 0


def _nearest_both_ways(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a and of b, (K, 128) descriptors, that are each other's nearest, and clearly so."""
    likeness = _normalised(a) @ _normalised(b).T  # (Ka, Kb) cosines
    rows = np.arange(len(a))
    nearest = likeness.argmax(axis=1)
    mutual = likeness.argmax(axis=0)[nearest] == rows
    first = likeness[rows, nearest]
    likeness[rows, nearest] = -1.0
    clear = 2 - 2 * first < RATIO**2 * (2 - 2 * likeness.max(axis=1))  # |x - y|² = 2 - 2 cos
    kept = mutual & clear
    return rows[kept], nearest[kept]


def _residue(a: np.ndarray, b: np.ndarray, move: np.ndarray, places: np.ndarray) -> float:
    """What a, moved onto b, differs from it between the places (hull): the 90th percentile, in standard deviations."""
    import cv2

    size = b.shape[::-1]
    hull = np.zeros_like(b)
    cv2.fillConvexPoly(hull, cv2.convexHull(places).astype(np.int32), 1)
    inside = (hull > 0) & (cv2.warpAffine(np.ones_like(a), move, size, flags=cv2.INTER_NEAREST) > 0)
    if inside.sum() < MIN_MATCHES:
        return np.inf
    moved = cv2.warpAffine(a, move, size, flags=cv2.INTER_LINEAR)
    x, y = (cv2.GaussianBlur(picture, (0, 0), _BLUR)[inside].astype(np.float64) for picture in (moved, b))
    x, y = ((v - v.mean()) / max(v.std(), 1.0) for v in (x, y))  # exposure and contrast taken out
    return float(np.quantile(np.abs(x - y), 0.9))


def _codes(descriptors: np.ndarray) -> np.ndarray:
    """(P, 128) uint8 to (P, TABLES) int64, each table's codes in a range of their own."""
    planes = np.random.default_rng(0).normal(size=(128, TABLES * CODE_BITS)).astype(np.float32)
    planes -= planes.mean(axis=0)  # descriptors are positive: their common part would decide every sign
    bits = (_normalised(descriptors) @ planes > 0).reshape(-1, TABLES, CODE_BITS)
    return bits @ (1 << np.arange(CODE_BITS)) + (np.arange(TABLES) << CODE_BITS)


def _normalised(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors of length 1: (K, 128) float32."""
    x = descriptors.astype(np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
