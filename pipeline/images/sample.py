"""The embedded raw set: leaves drawn by formula, so that a fresh clone runs with nothing downloaded.

It is a rendered sample, not photographs. A leaf is a width profile along a bent midrib, laid on a sheet of paper;
everything that grows on it is painted in leaf coordinates `(along, across)`, so that it turns and bends with the leaf:

    healthy  nothing but what every class has
    rust     round orange pustules with a pale halo, anywhere on the blade
    scab     dark olive patches with feathered edges, on the veins
    blight   dead tan zones with rings, a dark rim and a yellow front, grown in from tip or margin

Lesions are large, for the sake of small GANs. They are not too easy to tell apart: some diseases
have barely begun, lesion colours overlap, and specks, bruises, burnt edges and yellowing fall on every class alike, as
do pose, paper and light. Outlines and veins differ enough that `groups` hardly ever takes two leaves for one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import InputError
from pipeline.images.png import encode_png
from pipeline.images.seeding import numpy_rng

CLASSES = ("healthy", "rust", "scab", "blight")
PAPERS = ((0.86, 0.86, 0.84), (0.70, 0.76, 0.84))  # white, blue-grey


def render_sample(out_dir: str | Path, *, img_resolution: int = 128, class_counts: dict[str, int], seed: int) -> None:
    """Write `<class>/<class>_000.png` and so on; the same bytes for the same arguments.

    Args:
        out_dir: Where; made if absent.
        img_resolution: Side of the square images, px.
        class_counts: Images a class; classes are those of `CLASSES`.
        seed: Image k of a class depends on (seed, class, k) alone.

    Raises:
        InputError: An unknown class or a count or resolution below 1.
    """
    for name, count in class_counts.items():
        if name not in CLASSES:
            raise InputError(
                f"render_sample.class_counts: expected classes among {', '.join(CLASSES)}, got '{name}'; "
                "correct it in params.yaml."
            )
        if count < 1:
            raise InputError(
                f"render_sample.class_counts.{name}: expected at least 1 image, got {count}; correct it in params.yaml."
            )
    if img_resolution < 16:
        raise InputError(
            f"render_sample.img_resolution: expected at least 16 px, got {img_resolution}; correct it in params.yaml."
        )
    for name, count in class_counts.items():
        folder = Path(out_dir) / name
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(count):
            image = render_leaf(name, k, img_resolution=img_resolution, seed=seed)
            (folder / f"{name}_{k:03d}.png").write_bytes(encode_png(image[None])[0])


def render_leaf(class_name: str, k: int, *, img_resolution: int, seed: int) -> np.ndarray:
    """Leaf k of a class: (img_resolution, img_resolution, 3) uint8 RGB."""
    # One stream a purpose: the scene of image k says nothing about its class, the disease nothing of the scene.
    scene_rng = numpy_rng(seed, f"sample/{class_name}/scene", k)
    disease_rng = numpy_rng(seed, f"sample/{class_name}/disease", k)

    axis = ((np.arange(img_resolution) + 0.5) / img_resolution * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(axis, -axis)  # x right, y up, both in [-1, 1]
    leaf = _pose(scene_rng, x, y)

    paper = np.array(PAPERS[scene_rng.integers(len(PAPERS))]) * scene_rng.uniform(0.80, 1.05)
    paper = _colour(scene_rng, paper, 0.012)
    canvas = paper * (1 - leaf.shadow)  # (3, R, R) float32, 0..1, as all that follows: colours before places

    blade = _blade(scene_rng, leaf)
    blade = _blemish(scene_rng, leaf, blade)
    blade = _DISEASES[class_name](disease_rng, leaf, blade)
    blade = _shade(scene_rng, leaf, blade)

    canvas = _over(canvas, leaf.stalk, _colour(scene_rng, (0.40, 0.47, 0.20), 0.02))
    canvas = _over(canvas, leaf.inside, blade)
    return _photograph(scene_rng, canvas, x, y)


class _Leaf(NamedTuple):
    """A posed leaf. Arrays are (R, R) float32; lengths are in units of half the leaf's length.

    `along` runs from -1 (base) to 1 (tip), `across` is signed; `rim` is the distance to the margin (positive
    inside), `vein` the strength of veins in [0, 1], `quilt` the height of the blade between side veins in
    [-1, 1]; `inside`, `stalk`, `shadow` are coverages in [0, 1].
    """

    along: np.ndarray
    across: np.ndarray
    rim: np.ndarray
    vein: np.ndarray
    quilt: np.ndarray
    inside: np.ndarray
    stalk: np.ndarray
    shadow: np.ndarray
    half_width: float
    vein_slope: float
    vein_count: int


def _pose(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> _Leaf:
    scale = rng.uniform(0.80, 0.92)
    angle = rng.uniform(-0.5, 0.5)
    centre_x, centre_y = rng.uniform(-0.03, 0.03), rng.uniform(0.03, 0.09)
    half_width = rng.uniform(0.50, 0.76)
    bend = rng.normal(0, 0.08)
    shoulder, taper = rng.uniform(0.62, 0.90), rng.uniform(0.80, 1.15)  # width ~ t^shoulder (1 - t)^taper
    lean, offset = rng.uniform(-0.18, 0.18), rng.uniform(0, 0.5)  # of the halves: no leaf is symmetric
    vein_count = int(rng.integers(5, 9))
    vein_slope = rng.uniform(0.45, 0.85)
    shadow_depth, shadow_x, shadow_y = rng.uniform(0.15, 0.40), rng.uniform(-0.07, 0.07), rng.uniform(-0.07, 0.07)
    pixel = 2 / x.shape[0] / scale

    def outline(dx: float, dy: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        px, py = (x - centre_x - dx) / scale, (y - centre_y - dy) / scale
        along = math.cos(angle) * py - math.sin(angle) * px
        across = math.cos(angle) * px + math.sin(angle) * py - bend * (along**2 - 0.4)
        t = np.clip((along + 1) / 2, 0, 1)
        peak = shoulder / (shoulder + taper)
        width = half_width * t**shoulder * (1 - t) ** taper / (peak**shoulder * (1 - peak) ** taper)
        width = width * np.where(across > 0, 1 + lean, 1 - lean)
        return along, across, width, np.where(np.abs(along) < 1, width - np.abs(across), -1.0)

    along, across, width, rim = outline(0.0, 0.0)
    *_, cast = outline(shadow_x, shadow_y)

    t = (along + 1) / 2
    reach = np.abs(across) / np.maximum(width, 1e-3)  # 0 at the midrib, 1 at the margin
    phase = vein_count * (t - vein_slope * np.abs(across) * 0.5 - 0.10 * across**2)
    phase = phase + np.where(across > 0, offset, 0) + 1.3 * (_noise(rng, along, across, 8) - 0.5)
    gap = np.abs(phase - np.round(phase)) / vein_count * 2  # distance along the midrib to the next side vein
    side = _soft(0.020 * (1.15 - reach) + 0.3 * pixel - gap * 0.75, pixel) * _soft(0.97 - reach, 0.12)
    middle = _soft(0.036 * (1.15 - t) + 0.3 * pixel - np.abs(across), pixel)
    return _Leaf(
        along=along,
        across=across,
        rim=rim,
        vein=np.maximum(middle, 0.75 * side),
        quilt=np.sin(2 * np.pi * phase) * _soft(0.9 - reach, 0.3),
        inside=_soft(rim, pixel),
        stalk=_soft(0.03 - np.abs(across), pixel) * _soft(-0.94 - along, pixel) * _soft(along + 1.18, pixel),
        shadow=shadow_depth * _soft(cast, 0.12),
        half_width=half_width,
        vein_slope=vein_slope,
        vein_count=vein_count,
    )


def _blade(rng: np.random.Generator, leaf: _Leaf) -> np.ndarray:
    """Bare leaf tissue with veins: (3, R, R) float32."""
    young, old = np.array([0.40, 0.62, 0.17]), np.array([0.16, 0.42, 0.13])
    green = _colour(rng, old + (young - old) * rng.uniform(0, 1), 0.015)
    pale = green * 0.55 + _colour(rng, (0.28, 0.32, 0.16), 0)
    mottle = 0.30 * (_noise(rng, leaf.along, leaf.across, 4) - 0.5)
    dim = rng.uniform(0, 0.3) * (1 - _soft(leaf.rim, 0.25))  # margins are often darker
    blade = green * (1 + mottle - dim)
    return _over(blade, rng.uniform(0.65, 0.95) * leaf.vein, pale)


def _shade(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """Relief of the blade and its fold along the midrib."""
    fold = rng.uniform(-0.12, 0.12) * np.tanh(leaf.across / 0.06)
    quilt = rng.uniform(0.04, 0.10) * leaf.quilt * np.sign(leaf.across + 1e-6)
    return blade * (1 + fold + quilt)


# ---------------------------------------------------------------------------------------------- diseases


def _severity(rng: np.random.Generator) -> float:
    """In [0, 1]: most infections are advanced, some have barely begun."""
    return float(rng.beta(1.3, 1.1))


def _healthy(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    return blade


def _rust(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """Orange pustules: round, raised, each in a pale halo; anywhere on the blade."""
    severity = _severity(rng)
    count = 2 + round(16 * severity)
    radius = rng.uniform(0.050, 0.085, count) * (0.7 + 0.7 * severity)
    near = _nearest(leaf, _places(rng, leaf, count, 0.9), radius)
    fresh = np.sqrt(rng.uniform(0.0, 1.0))  # orange when fresh, brown when old
    core = np.array([0.92, 0.48, 0.06]) * fresh + np.array([0.50, 0.28, 0.12]) * (1 - fresh)
    blade = _over(blade, 0.6 * _soft(1.8 - near, 1.0), _colour(rng, (0.74, 0.74, 0.27), 0.03))
    return _over(blade, 0.95 * _soft(1.05 - near, 0.4), _colour(rng, core, 0.03))


def _scab(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """Dark olive patches with feathered edges that sit on side veins."""
    severity = _severity(rng)
    count = 1 + round(4 * severity)
    start = np.round((rng.uniform(-0.7, 0.3, count) + 1) / 2 * leaf.vein_count) / leaf.vein_count * 2 - 1
    out = rng.uniform(0.15, 0.65, count) * leaf.half_width * (1 - start**2)
    spots = np.stack([start + leaf.vein_slope * out, rng.choice([-1.0, 1.0], count) * out], axis=1)
    radius = rng.uniform(0.11, 0.17, count) * (0.7 + 0.9 * severity)
    feather = 1.1 * (_noise(rng, leaf.along, leaf.across, 12) - 0.5)
    near = _nearest(leaf, spots, radius) + feather - 0.3 * leaf.vein  # runs out along the veins
    dark = np.sqrt(rng.uniform(0, 1))
    velvet = np.array([0.13, 0.13, 0.06]) * dark + np.array([0.34, 0.27, 0.12]) * (1 - dark)
    return _over(blade, 0.92 * _soft(1.0 - near, 0.6), _colour(rng, velvet, 0.02))


def _blight(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """Dead tan zones with rings, a dark rim and a yellow front, grown in from the tip or the margin."""
    severity = _severity(rng)
    count = 1 + int(rng.uniform() < 0.5)
    radius = rng.uniform(0.16, 0.22, count) + 0.5 * severity * rng.uniform(0.7, 1.0, count)
    wobble = 0.45 * (_noise(rng, leaf.along, leaf.across, 7) - 0.5)
    near = _nearest(leaf, _edge(rng, leaf, count), radius) + wobble
    tan = np.array([0.66, 0.47, 0.27]) * rng.uniform(0.75, 1.1)
    rings = 1 + 0.12 * np.sin(near * rng.uniform(14, 20))
    blade = _over(blade, 0.75 * _soft(1.25 - near, 0.35), _colour(rng, (0.74, 0.70, 0.22), 0.03))
    blade = _over(blade, 0.92 * _soft(1.0 - near, 0.14), _colour(rng, (0.29, 0.16, 0.08), 0.02))
    return _over(blade, 0.95 * _soft(0.80 - near, 0.16), _colour(rng, tan, 0.02) * rings)


_DISEASES = {"healthy": _healthy, "rust": _rust, "scab": _scab, "blight": _blight}


# ------------------------------------------------------------------------- what befalls every class alike


def _blemish(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """At most one harmless mark, alike for every class; three of the four look like a disease that has just begun."""
    kind = rng.choice(["none", "specks", "bruise", "burn", "yellowing"], p=[0.52, 0.12, 0.12, 0.12, 0.12])
    if kind == "specks":  # like rust
        count = int(rng.integers(2, 7))
        near = _nearest(leaf, _places(rng, leaf, count, 0.9), rng.uniform(0.035, 0.065, count))
        blade = _over(blade, 0.85 * _soft(1.0 - near, 0.5), _colour(rng, (0.58, 0.36, 0.14), 0.05))
    elif kind == "bruise":  # like scab
        count = int(rng.integers(1, 3))
        near = _nearest(leaf, _places(rng, leaf, count, 0.7), rng.uniform(0.09, 0.15, count))
        near = near + 0.9 * (_noise(rng, leaf.along, leaf.across, 12) - 0.5)
        blade = _over(blade, rng.uniform(0.5, 0.8) * _soft(1.0 - near, 0.7), _colour(rng, (0.25, 0.22, 0.10), 0.03))
    elif kind == "burn":  # like blight
        near = _nearest(leaf, _edge(rng, leaf, 1), rng.uniform(0.14, 0.26, 1))
        near = near + 0.5 * (_noise(rng, leaf.along, leaf.across, 7) - 0.5)
        blade = _over(blade, 0.85 * _soft(1.0 - near, 0.3), _colour(rng, (0.54, 0.39, 0.21), 0.04))
    elif kind == "yellowing":  # between the veins, from hunger or age
        patch = _soft(_noise(rng, leaf.along, leaf.across, 3) - rng.uniform(0.45, 0.6), 0.3) * (1 - 0.7 * leaf.vein)
        blade = _over(blade, rng.uniform(0.4, 0.7) * patch, _colour(rng, (0.72, 0.70, 0.24), 0.02))
    return blade


def _photograph(rng: np.random.Generator, canvas: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Uneven light, white balance, then the sensor: (R, R, 3) uint8."""
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(1.00, 1.18) * (1 + rng.uniform(0, 0.08) * (x * math.cos(angle) + y * math.sin(angle)))
    image = canvas * light * _colour(rng, (0.9, 0.9, 0.9), 0.009)
    image += 0.006 * rng.standard_normal(image.shape, dtype=np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)


# ---------------------------------------------------------------------------------------------- drawing


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """A step of the given width: 0 below -width/2, 1 above +width/2, smooth between."""
    s = np.clip(distance / width + 0.5, 0, 1)
    return s * s * (3 - 2 * s)


def _over(below: np.ndarray, coverage: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Paint a colour, (3, 1, 1) or (3, R, R), over an image by its (R, R) coverage."""
    return below + coverage * (colour - below)


def _colour(rng: np.random.Generator, colour: np.ndarray | tuple[float, ...], spread: float) -> np.ndarray:
    """This colour, off by so much in each channel: (3, 1, 1) float32."""
    shifted = np.asarray(colour) + rng.normal(0, 1, 3) * spread
    return np.clip(shifted, 0.02, 1).astype(np.float32)[:, None, None]


def _places(rng: np.random.Generator, leaf: _Leaf, count: int, reach: float) -> np.ndarray:
    """Random (along, across) on the blade, up to `reach` of an ellipse as long and wide as it: (count, 2)."""
    radius, angle = np.sqrt(rng.uniform(0, 1, count)) * reach, rng.uniform(0, 2 * np.pi, count)
    return np.stack([radius * np.cos(angle) * 0.9, radius * np.sin(angle) * leaf.half_width * 0.85], axis=1)


def _edge(rng: np.random.Generator, leaf: _Leaf, count: int) -> np.ndarray:
    """Random (along, across) on the margin, a third of them at the tip: (count, 2)."""
    along = np.where(rng.uniform(size=count) < 0.35, 0.97, rng.uniform(-0.5, 0.5, count))
    return np.stack([along, rng.choice([-1.0, 1.0], count) * leaf.half_width * np.sqrt(1 - along**2) * 0.95], axis=1)


def _nearest(leaf: _Leaf, spots: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Distance to the nearest of several round spots, in units of its radius: (R, R) float32; 99 where far away."""
    near = np.full_like(leaf.along, 99.0)
    for (a, b), r in zip(spots.astype(np.float32), radius.astype(np.float32), strict=True):
        np.minimum(near, np.hypot(leaf.along - a, leaf.across - b) / r, out=near)
    return near


def _noise(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, cells: int) -> np.ndarray:
    """Value noise on [-1.5, 1.5]^2 with `cells` random values a side, smooth between them: (R, R) in [0, 1]."""
    lattice = rng.uniform(0, 1, (cells + 1, cells + 1)).astype(np.float32)
    p, q = (np.clip(w, -1.49, 1.49) * (cells / 3) + cells / 2 for w in (u, v))
    i, j = p.astype(np.intp), q.astype(np.intp)
    s, t = p - i, q - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    low = lattice[i, j] * (1 - s) + lattice[i + 1, j] * s
    high = lattice[i, j + 1] * (1 - s) + lattice[i + 1, j + 1] * s
    return low * (1 - t) + high * t
