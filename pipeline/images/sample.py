"""The embedded raw set: leaves drawn by formula, so that a fresh clone runs with nothing downloaded.

It is a rendered sample, not photographs. A leaf is a width profile along a bent midrib; everything that
grows on it is painted in leaf coordinates `(along, across)`, so that it turns and bends with the leaf:

    healthy  nothing but what every class has
    rust     many small orange pustules with a pale halo, anywhere on the blade
    scab     a few olive to black blotches with feathered edges, along the veins
    blight   large tan zones with rings, a dark rim and a yellow front, grown in from tip or margin

Made hard on purpose: disease may have barely begun, lesion colours overlap, and holes, specks, dust, glare,
bruises and a burnt margin fall on every class alike, as do pose, light and background.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline import InputError
from pipeline.images.seeding import numpy_rng

CLASSES = ("healthy", "rust", "scab", "blight")
SUPERSAMPLING = 2  # drawn at twice the side and averaged: edges are also smoothed over one fine pixel


def render_sample(out_dir: str | Path, *, img_resolution: int = 96, class_counts: dict[str, int], seed: int) -> None:
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
            Image.fromarray(image).save(folder / f"{name}_{k:03d}.png")


def render_leaf(class_name: str, k: int, *, img_resolution: int, seed: int) -> np.ndarray:
    """Leaf k of a class: (img_resolution, img_resolution, 3) uint8 RGB."""
    # One stream a purpose: the scene of image k says nothing about its class, the disease nothing of the scene.
    scene_rng = numpy_rng(seed, f"sample/{class_name}/scene", k)
    disease_rng = numpy_rng(seed, f"sample/{class_name}/disease", k)

    side = img_resolution * SUPERSAMPLING
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(axis, -axis)  # x right, y up, both in [-1, 1]
    leaf = _pose(scene_rng, x, y)

    canvas = _background(scene_rng, x, y)  # (S, S, 3) float32, linear 0..1
    canvas *= 1 - leaf.shadow[..., None]
    backdrop = canvas.copy()  # what an insect hole shows

    blade = _blade(scene_rng, leaf)
    blade = _DISEASES[class_name](disease_rng, leaf, blade)
    blade, holes = _blemishes(scene_rng, leaf, blade)
    blade = _shade(scene_rng, leaf, blade)

    canvas = _over(canvas, leaf.stalk, np.array([0.40, 0.47, 0.20], np.float32) * leaf.stalk_tone)
    canvas = _over(canvas, leaf.inside, blade)
    canvas = _over(canvas, holes * leaf.inside, backdrop * 0.8)
    return _photograph(scene_rng, canvas, x, y)


class _Leaf(NamedTuple):
    """A posed leaf. Arrays are (S, S) float32; lengths are in units of half the leaf's length.

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
    stalk_tone: float


def _pose(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> _Leaf:
    scale = rng.uniform(0.80, 0.96)
    angle = rng.normal(0, 0.32)
    centre = rng.uniform(-0.06, 0.06, 2) + np.array([0.0, 0.04])
    half_width = rng.uniform(0.46, 0.68)
    bend = rng.normal(0, 0.12)
    shoulder, taper = rng.uniform(0.62, 0.95), rng.uniform(0.85, 1.2)  # width ~ t^shoulder (1 - t)^taper
    teeth, tooth = int(rng.integers(14, 26)), rng.choice([0.0, 0.045, 0.07]) * rng.uniform(0.7, 1.2)
    vein_count = int(rng.integers(6, 10))
    vein_slope = rng.uniform(0.45, 0.85)
    offset = rng.uniform(0.0, 0.5)  # side veins opposite (0) to alternate (0.5)
    shadow_shift = rng.uniform(0.03, 0.09) * np.array([np.cos(d := rng.uniform(0, 2 * np.pi)), np.sin(d)])
    shadow_depth = rng.uniform(0.15, 0.5)
    stalk_tone = rng.uniform(0.8, 1.2)
    pixel = 2 / x.shape[0] / scale

    def coordinates(dx: float, dy: float) -> tuple[np.ndarray, np.ndarray]:
        px, py = (x - centre[0] - dx) / scale, (y - centre[1] - dy) / scale
        along = np.cos(angle) * py - np.sin(angle) * px
        across = np.cos(angle) * px + np.sin(angle) * py
        return along, across - bend * (along**2 - 0.4)

    def outline(along: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t = np.clip((along + 1) / 2, 0, 1)
        peak = shoulder / (shoulder + taper)
        width = half_width * t**shoulder * (1 - t) ** taper / (peak**shoulder * (1 - peak) ** taper)
        saw = (t * teeth + (across > 0) * 0.37) % 1.0  # rises slowly, falls at once: teeth point to the tip
        edge = width * (1 + tooth * (saw - 0.6))
        return width, np.where(np.abs(along) < 1, edge - np.abs(across), -1.0)

    along, across = coordinates(0.0, 0.0)
    width, rim = outline(along, across)
    cast_along, cast_across = coordinates(*shadow_shift)
    _, cast = outline(cast_along, cast_across)

    t = (along + 1) / 2
    reach = np.abs(across) / np.maximum(width, 1e-3)  # 0 at the midrib, 1 at the margin
    phase = vein_count * (t - vein_slope * np.abs(across) * 0.5 - 0.10 * across**2)
    phase = phase + np.where(across > 0, offset, 0.0)
    gap = np.abs(phase - np.round(phase)) / vein_count * 2  # distance along the midrib to the next side vein
    side = _soft(0.016 * (1.15 - reach) + 0.3 * pixel - gap * 0.75, pixel) * _soft(0.97 - reach, 0.12)
    middle = _soft(0.030 * (1.15 - t) + 0.3 * pixel - np.abs(across), pixel)
    stalk_half = 0.026 * np.clip(1.0 - 0.3 * (along + 1), 0.6, 1.3)
    return _Leaf(
        along=along,
        across=across,
        rim=rim,
        vein=np.maximum(middle, 0.75 * side),
        quilt=np.sin(2 * np.pi * phase) * _soft(0.9 - reach, 0.3),
        inside=_soft(rim, pixel),
        stalk=_soft(stalk_half - np.abs(across), pixel) * _soft(-0.94 - along, pixel) * _soft(along + 1.22, pixel),
        shadow=shadow_depth * _soft(cast, 0.10),
        half_width=half_width,
        vein_slope=vein_slope,
        vein_count=vein_count,
        stalk_tone=stalk_tone,
    )


def _background(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A sheet, a bench or soil, drawn from one distribution whatever the class: (S, S, 3) float32."""
    kind = rng.choice(["sheet", "bench", "soil"], p=[0.5, 0.25, 0.25])
    if kind == "sheet":
        base = rng.choice([(0.80, 0.80, 0.78), (0.62, 0.64, 0.68), (0.66, 0.69, 0.78)])
        grain = 0.03 * (_noise(rng, x, y, 3) - 0.5) + 0.02 * (_noise(rng, x, y, 24) - 0.5)
    elif kind == "bench":
        base = rng.choice([(0.58, 0.47, 0.36), (0.46, 0.41, 0.37)])
        angle = rng.uniform(0, np.pi)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        grain = 0.22 * (_noise(rng, u * 0.12, v, 14) - 0.5) + 0.08 * (_noise(rng, u * 0.2, v, 40) - 0.5)
    else:
        base = np.array([0.34, 0.28, 0.22])
        clods = [0.14 * (_noise(rng, x, y, cells) - 0.5) for cells in (7, 13, 29, 61)]
        grain = np.sum(clods, axis=0)
    base = base * rng.uniform(0.85, 1.15) + rng.normal(0, 0.015, 3)
    return np.clip(base * (1 + grain[..., None] * 1.5), 0, 1).astype(np.float32)


def _blade(rng: np.random.Generator, leaf: _Leaf) -> np.ndarray:
    """Bare leaf tissue with veins: (S, S, 3) float32."""
    young, old = np.array([0.42, 0.62, 0.17]), np.array([0.13, 0.36, 0.12])
    green = old + (young - old) * rng.uniform(0, 1) + rng.normal(0, 0.02, 3)
    pale = green * 0.55 + np.array([0.62, 0.72, 0.36]) * 0.45
    mottle = 0.30 * (_noise(rng, leaf.along, leaf.across, 4) - 0.5)
    mottle = mottle + 0.16 * (_noise(rng, leaf.along, leaf.across, 22) - 0.5)
    blade = green * (1 + mottle[..., None])
    dim = rng.uniform(0, 0.35) * (1 - _soft(leaf.rim, 0.25))  # margins are often darker or paler
    blade = blade * (1 - dim[..., None] * rng.choice([1.0, -0.6]))
    return _over(blade, rng.uniform(0.65, 0.95) * leaf.vein, pale)


def _shade(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """Relief of the blade, its fold along the midrib, and gloss."""
    fold = rng.uniform(-0.16, 0.16) * np.tanh(leaf.across / 0.06)
    quilt = rng.uniform(0.04, 0.13) * leaf.quilt * np.sign(leaf.across + 1e-6)
    groove = -0.12 * np.exp(-((np.abs(leaf.across) - 0.05) ** 2) / 0.0016)
    lit = blade * (1 + fold + quilt + groove)[..., None]
    gloss = rng.uniform(0, 0.16) * _soft(_noise(rng, leaf.along, leaf.across, 3) - 0.62, 0.3)
    return np.clip(lit + gloss[..., None], 0, 1)


# ---------------------------------------------------------------------------------------------- diseases


def _severity(rng: np.random.Generator) -> float:
    """In (0, 1); early infections are as common as advanced ones."""
    return float(rng.beta(1.0, 1.35)) * 0.95 + 0.05


def _healthy(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    return blade


def _rust(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """Orange pustules: small, round, raised, each in a pale halo; anywhere on the blade, in loose clusters."""
    severity = _severity(rng)
    count = 2 + round(46 * severity**1.3)
    knots = _places(rng, leaf, max(1, count // 5), 0.85)
    which = rng.integers(len(knots), size=count)
    spots = knots[which] + rng.normal(0, 0.16, (count, 2))
    radius = rng.uniform(0.026, 0.052, count) * (0.8 + 0.5 * severity)
    near = _nearest(leaf.along, leaf.across, spots, radius)
    fresh = rng.uniform(0.0, 1.0)  # orange when fresh, brown when old
    core = np.array([0.80, 0.42, 0.08]) * fresh + np.array([0.48, 0.26, 0.12]) * (1 - fresh)
    halo = np.array([0.72, 0.70, 0.25])
    blade = _over(blade, 0.65 * _soft(2.3 - near, 1.2), _jitter(rng, halo, 0.04))
    blade = _over(blade, 0.95 * _soft(1.05 - near, 0.4), _jitter(rng, core, 0.03))
    return _over(blade, 0.5 * _soft(0.45 - near, 0.3), _jitter(rng, core * 1.25, 0.02))


def _scab(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """Olive to black blotches with feathered edges that sit on the veins."""
    severity = _severity(rng)
    count = 1 + round(7 * severity)
    sides = rng.choice([-1.0, 1.0], count)
    start = rng.uniform(-0.75, 0.45, count)
    if rng.uniform() < 0.85:  # on side veins: snap the foot to one, then walk outward on it
        start = np.round((start + 1) / 2 * leaf.vein_count) / leaf.vein_count * 2 - 1
    out = rng.uniform(0.0, 0.7, count) * leaf.half_width * (1 - start**2)
    spots = np.stack([start + leaf.vein_slope * out, sides * out], axis=1)
    radius = rng.uniform(0.045, 0.10, count) * (0.8 + 1.3 * severity)
    feather = 0.9 * (_noise(rng, leaf.along, leaf.across, 10) - 0.5)
    feather = feather + 0.8 * (_noise(rng, leaf.along, leaf.across, 26) - 0.5)
    near = _nearest(leaf.along, leaf.across, spots, radius) + feather
    near = near - 0.35 * leaf.vein  # runs out along the veins
    dark = rng.uniform(0, 1)
    velvet = np.array([0.15, 0.14, 0.07]) * dark + np.array([0.36, 0.27, 0.12]) * (1 - dark)
    yellow = np.array([0.60, 0.60, 0.20])
    blade = _over(blade, 0.40 * severity * _soft(1.9 - near, 1.0), _jitter(rng, yellow, 0.04))
    blade = _over(blade, 0.90 * _soft(1.0 - near, 0.7), _jitter(rng, velvet, 0.03))
    return _over(blade, 0.45 * _soft(0.35 - near, 0.5), _jitter(rng, velvet * 0.6, 0.02))


def _blight(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> np.ndarray:
    """Dead tan zones with rings, a dark rim and a yellow front, grown in from the tip or the margin."""
    severity = _severity(rng)
    count = 1 + int(rng.uniform() < 0.6 * severity)
    along = np.where(rng.uniform(size=count) < 0.35, 0.97, rng.uniform(-0.6, 0.6, count))
    t = (along + 1) / 2
    across = rng.choice([-1.0, 1.0], count) * leaf.half_width * np.sqrt(np.clip(4 * t * (1 - t), 0, 1)) * 0.95
    radius = rng.uniform(0.13, 0.22, count) + 0.62 * severity * rng.uniform(0.75, 1.0, count)
    wobble = 0.38 * (_noise(rng, leaf.along, leaf.across, 4) - 0.5)
    wobble = wobble + 0.16 * (_noise(rng, leaf.along, leaf.across, 14) - 0.5)
    near = _nearest(leaf.along, leaf.across, np.stack([along, across], axis=1), radius) + wobble
    tan, rim = np.array([0.58, 0.42, 0.24]), np.array([0.30, 0.17, 0.09])
    tan = tan * rng.uniform(0.75, 1.15)
    rings = 0.16 * np.sin(near * rng.uniform(14, 26)) + 0.20 * (_noise(rng, leaf.along, leaf.across, 20) - 0.5)
    blade = _over(blade, 0.75 * _soft(1.22 - near, 0.35), _jitter(rng, np.array([0.70, 0.66, 0.20]), 0.04))
    blade = _over(blade, 0.92 * _soft(1.0 - near, 0.14), _jitter(rng, rim, 0.03))
    return _over(blade, 0.92 * _soft(0.86 - near, 0.16), _jitter(rng, tan, 0.03) * (1 + rings[..., None]))


_DISEASES = {"healthy": _healthy, "rust": _rust, "scab": _scab, "blight": _blight}


# ------------------------------------------------------------------------- what befalls every class alike


def _blemishes(rng: np.random.Generator, leaf: _Leaf, blade: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Harmless marks, drawn alike for every class; returns the blade and the coverage of holes."""
    along, across = leaf.along, leaf.across
    if rng.uniform() < 0.40:  # brown specks, like rust that has just begun
        count = int(rng.integers(1, 7))
        near = _nearest(along, across, _places(rng, leaf, count, 0.9), rng.uniform(0.018, 0.045, count))
        speck = np.array([0.55, 0.33, 0.12]) * rng.uniform(0.6, 1.3)
        blade = _over(blade, rng.uniform(0.5, 0.9) * _soft(1.0 - near, 0.5), speck)
    if rng.uniform() < 0.30:  # a bruise, like early scab
        count = int(rng.integers(1, 3))
        near = _nearest(along, across, _places(rng, leaf, count, 0.7), rng.uniform(0.05, 0.13, count))
        near = near + 1.1 * (_noise(rng, along, across, 12) - 0.5)
        bruise = np.array([0.24, 0.21, 0.09]) * rng.uniform(0.7, 1.3)
        blade = _over(blade, rng.uniform(0.35, 0.75) * _soft(1.0 - near, 0.8), bruise)
    if rng.uniform() < 0.30:  # a burnt margin or tip, like early blight
        spot = _places(rng, leaf, 1, 0.0)
        at = rng.choice([0.98, rng.uniform(-0.6, 0.7)])
        spot[0] = at, rng.choice([-1, 1]) * leaf.half_width * np.sqrt(max(0.0, 1 - at**2)) * 1.02
        near = _nearest(along, across, spot, rng.uniform(0.12, 0.26, 1)) + 0.5 * (_noise(rng, along, across, 6) - 0.5)
        burn = np.array([0.52, 0.37, 0.20]) * rng.uniform(0.7, 1.15)
        blade = _over(blade, rng.uniform(0.6, 0.9) * _soft(1.0 - near, 0.3), burn)
    if rng.uniform() < 0.30:  # yellowing between the veins, from hunger or age
        patch = _soft(_noise(rng, along, across, 3) - rng.uniform(0.45, 0.65), 0.3) * (1 - 0.7 * leaf.vein)
        blade = _over(blade, rng.uniform(0.25, 0.6) * patch, np.array([0.68, 0.66, 0.22]))
    if rng.uniform() < 0.35:  # dust or dried spray
        grain = _soft(_noise(rng, along, across, 60) - 0.78, 0.2) * _noise(rng, along, across, 5)
        blade = _over(blade, rng.uniform(0.3, 0.8) * grain, np.array([0.82, 0.80, 0.74]))
    if rng.uniform() < 0.25:  # water: a dark drop with a bright point
        count = int(rng.integers(1, 6))
        spots, radius = _places(rng, leaf, count, 0.9), rng.uniform(0.03, 0.07, count)
        blade = blade * (1 - 0.22 * _soft(1.0 - _nearest(along, across, spots, radius), 0.3))[..., None]
        glint = _nearest(along, across, spots + 0.3 * radius[:, None], radius * 0.4)
        blade = _over(blade, 0.9 * _soft(1.0 - glint, 0.6), np.array([0.95, 0.97, 1.0]))
    holes = np.zeros_like(along)
    if rng.uniform() < 0.22:  # eaten by insects: a hole with a brown edge
        count = int(rng.integers(1, 4))
        near = _nearest(along, across, _places(rng, leaf, count, 0.95), rng.uniform(0.035, 0.10, count))
        near = near + 0.5 * (_noise(rng, along, across, 9) - 0.5)
        blade = _over(blade, 0.8 * _soft(1.35 - near, 0.3), np.array([0.42, 0.30, 0.14]))
        holes = _soft(1.0 - near, 0.15)
    return blade, holes


def _photograph(rng: np.random.Generator, canvas: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Uneven light, a cast shadow, white balance, exposure, focus, then the sensor: (R, R, 3) uint8."""
    angle = rng.uniform(0, 2 * np.pi)
    ramp = x * np.cos(angle) + y * np.sin(angle)
    light = rng.uniform(0.72, 1.18) * (1 + rng.uniform(0, 0.2) * ramp)
    if rng.uniform() < 0.2:  # something out of the picture throws a soft shadow over a side
        light = light * (1 - rng.uniform(0.15, 0.4) * _soft(ramp - rng.uniform(-0.2, 0.6), 0.25))
    balance = 1 + rng.normal(0, 0.035, 3)
    image = canvas * light[..., None] * balance
    side = canvas.shape[0] // SUPERSAMPLING
    image = image.reshape(side, SUPERSAMPLING, side, SUPERSAMPLING, 3).mean(axis=(1, 3))
    if rng.uniform() < 0.3:  # slightly out of focus
        image = _blur(image, rng.uniform(0.1, 0.25))
    image = np.clip(image, 0, 1) ** rng.uniform(0.85, 1.05)
    noise = rng.uniform(0.005, 0.020)
    image = image + rng.normal(0, 1, image.shape) * noise * np.sqrt(0.3 + image)  # shot noise grows with light
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


# ---------------------------------------------------------------------------------------------- drawing


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """A step of the given width: 0 below -width/2, 1 above +width/2, smooth between."""
    s = np.clip(distance / width + 0.5, 0, 1)
    return s * s * (3 - 2 * s)


def _over(below: np.ndarray, coverage: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Paint a colour, (3,) or (S, S, 3), over an image by its (S, S) coverage."""
    return below + coverage[..., None] * (colour - below)


def _jitter(rng: np.random.Generator, colour: np.ndarray | tuple[float, ...], spread: float) -> np.ndarray:
    return np.clip(np.asarray(colour) + rng.normal(0, spread, 3), 0.02, 1)


def _places(rng: np.random.Generator, leaf: _Leaf, count: int, reach: float) -> np.ndarray:
    """Random (along, across) on the blade, up to `reach` of an ellipse as long and wide as it: (count, 2)."""
    radius, angle = np.sqrt(rng.uniform(0, 1, count)) * reach, rng.uniform(0, 2 * np.pi, count)
    return np.stack([radius * np.cos(angle) * 0.9, radius * np.sin(angle) * leaf.half_width * 0.85], axis=1)


def _nearest(along: np.ndarray, across: np.ndarray, spots: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Distance to the nearest of several round spots, in units of its radius: (S, S); 99 where far away."""
    near = np.full_like(along, 99.0)
    for (a, b), r in zip(spots, radius, strict=True):
        np.minimum(near, np.sqrt((along - a) ** 2 + (across - b) ** 2) / r, out=near)
    return near


def _noise(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, cells: int) -> np.ndarray:
    """Value noise on [-1, 1]^2 with `cells` random values a side, smooth between them: (S, S) in [0, 1]."""
    lattice = rng.uniform(0, 1, (cells + 1, cells + 1)).astype(np.float32)
    p, q = (np.clip(u, -1.49, 1.49) + 1.5) / 3 * cells, (np.clip(v, -1.49, 1.49) + 1.5) / 3 * cells
    i, j = p.astype(np.intp), q.astype(np.intp)
    s, t = p - i, q - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    low = lattice[i, j] * (1 - s) + lattice[i + 1, j] * s
    high = lattice[i, j + 1] * (1 - s) + lattice[i + 1, j + 1] * s
    return low * (1 - t) + high * t


def _blur(image: np.ndarray, weight: float) -> np.ndarray:
    """One pass of the kernel (w, 1 - 2w, w) along rows and columns."""
    for axis in (0, 1):
        before, after = np.roll(image, 1, axis), np.roll(image, -1, axis)
        image = weight * before + (1 - 2 * weight) * image + weight * after
    return image
