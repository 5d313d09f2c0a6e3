"""One image file to one 8-bit RGB picture: checked, and mended or rejected by a stated rule.

The rules' sentences stand in `pipeline.images.audit.RULES`; the codes used here are its keys. The content
decides what a file is, never its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

MIN_SIDE = 8  # px; below it no leaf can be told from a blot, nor a hash be computed
MAX_SQUARE = 178_956_970  # px of the square that `pad` makes at full size; Pillow's own limit for a picture
_SHRUNK_SIDE = 4096  # px, the longer side of a picture whose square would have more

# Formats that are read, by Pillow's name, with the suffixes that belong to each. The list is closed because
# Pillow would else hand a file to any of its 40 readers, one of which starts Ghostscript.
SUFFIXES: dict[str, set[str]] = {
    "AVIF": {".avif"},
    "BMP": {".bmp", ".dib"},
    "GIF": {".gif"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "JPEG2000": {".jp2", ".j2k", ".jpx", ".jpf"},
    "MPO": {".jpg", ".jpeg", ".mpo"},
    "PNG": {".png", ".apng"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
}
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")


class Rejected(Exception):
    """An image is not used: `rule` is a key of `audit.RULES`, `detail` what was found."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"{rule}: {detail}" if detail else rule)
        self.rule, self.detail = rule, detail


class Decoded(NamedTuple):
    """A picture that passed.

    Attributes:
        image: 8-bit RGB, upright, full size.
        mended: (rule, detail) of every fix, in the order applied.
        sha256: Of the file's bytes, hex.
    """

    image: Image.Image
    mended: list[tuple[str, str]]
    sha256: str


@contextlib.contextmanager
def pillow_settings() -> Iterator[None]:
    """Pillow's global switches as `decode` needs them; set once around a pool, since threads share them.

    Pillow's own pixel limit is off, for `max_pixels` takes its place, and truncated files are errors.
    """
    Image.init()
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd tags and palettes; what matters is noted by rule
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def read_size(path: str | Path, *, max_pixels: int) -> tuple[int, int]:
    """Width and height in pixels from the header alone, before any rotation.

    Raises:
        Rejected: Not an image, too many pixels, too small, unreadable.
    """
    with _reading(path) as f, _open(f, path, max_pixels) as image:
        return image.size


def decode(path: str | Path, *, max_pixels: int) -> Decoded:
    """Decode one file. Call it inside `pillow_settings()`.

    Args:
        path: The file; its suffix is compared with its content and otherwise not used.
        max_pixels: Width times height above which a file is not decoded.

    Raises:
        Rejected: With the rule that refuses it.
    """
    with _reading(path) as f:
        with _open(f, path, max_pixels) as image:
            mended = _name_and_frames(image, path)
            sixteen_bit = _is_16_bit(image)
            image.load()
            image, orientation = _upright(image)
            rgb, fixes = _to_rgb(image, sixteen_bit)
            if orientation:
                mended.append(("exif_rotated", f"orientation {orientation}"))
        return Decoded(rgb, mended + fixes, _sha256(f))


def fit_square(image: Image.Image, *, img_resolution: int, fit: str) -> np.ndarray:
    """Make a picture square and resize it with an antialiasing filter.

    Args:
        image: RGB.
        img_resolution: Side of the result in pixels.
        fit: `crop` (the centre square), `pad` (to a square, in the median colour of its border) or `stretch`.

    Returns:
        (img_resolution, img_resolution, 3) uint8.
    """
    width, height = image.size
    if fit == "pad" and width != height:
        image = _padded(image)
    elif fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    grows = is_enlarged(image.size, img_resolution, "stretch")  # it is square by now, or to be stretched
    kernel = Image.Resampling.BICUBIC if grows else Image.Resampling.LANCZOS
    return np.asarray(image.resize((img_resolution, img_resolution), kernel))


def is_enlarged(size: tuple[int, int], img_resolution: int, fit: str) -> bool:
    """Whether a picture of this width and height has fewer pixels than `fit_square` gives it."""
    return (max if fit == "pad" else min)(size) < img_resolution


def _padded(image: Image.Image) -> Image.Image:
    colour = _border_colour(image)
    side = max(image.size)
    if side * side > MAX_SQUARE:  # 60000 x 8 px are a file of 5 kB, and a square of 10.8 GB: shrunk first
        sizes = [max(1, round(length * _SHRUNK_SIDE / side)) for length in image.size]
        image, side = image.resize((sizes[0], sizes[1]), Image.Resampling.LANCZOS), _SHRUNK_SIDE
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


@contextlib.contextmanager
def _reading(path: str | Path) -> Iterator[BinaryIO]:
    """The open file; whatever goes wrong while it is looked at is a rule's, and ends nobody's run.

    Pillow's readers raise nearly anything on damaged data, at any step: while they open, count frames or decode.
    """
    try:
        with open(path, "rb") as f:
            yield f
    except Rejected:
        raise
    except Exception as error:
        # The system's own errors have a number, Pillow's OSErrors have none
        if isinstance(error, OSError) and error.errno is not None:
            raise Rejected("unreadable", error.strerror or type(error).__name__) from None
        raise Rejected("truncated", _first_line(error)) from None


def _open(f: BinaryIO, path: str | Path, max_pixels: int) -> Image.Image:
    """The header: format and size checked, nothing decoded."""
    head = f.read(32)
    f.seek(0)
    if not head:
        raise Rejected("zero_byte")
    try:
        image = Image.open(f, formats=[name for name in SUFFIXES if name in Image.OPEN])
        width, height = image.size
    except Image.DecompressionBombError as error:
        raise Rejected("too_many_pixels", _first_line(error)) from None
    except UnidentifiedImageError:
        if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
            raise Rejected("not_an_image", "HEIC is not read; export it as JPEG") from None
        if head.startswith(_MAGIC):
            raise Rejected("truncated", "the header is damaged or ends early") from None
        raise Rejected("not_an_image", f"suffix '{Path(path).suffix}'") from None
    if width * height > max_pixels:
        raise Rejected("too_many_pixels", f"{width}x{height}, max_pixels {max_pixels}")
    if min(width, height) < MIN_SIDE:
        raise Rejected("too_small", f"{width}x{height}")
    return image


def _name_and_frames(image: Image.Image, path: str | Path) -> list[tuple[str, str]]:
    notes = []
    suffix = Path(path).suffix
    if suffix.lower() not in SUFFIXES[image.format]:
        notes.append(("wrong_extension", f"'{suffix}' holds {image.format}"))
    # A phone's MPO is a JPEG with a preview or depth map behind it: no animation, nothing to report.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        image.seek(0)
        notes.append(("multi_frame", f"{image.n_frames} frames"))
    return notes


def _is_16_bit(image: Image.Image) -> bool:
    """Whether the file holds 16 bits a channel; Pillow decodes such colour pictures to 8 without a word."""
    arguments = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in image.tile]
    if image.format == "PPM":  # (raw mode, white level)
        return any(isinstance(n, int) and n > 255 for args in arguments for n in args)
    return any(isinstance(n, str) and re.search(r";16[BLN]", n) for args in arguments for n in args)


def _upright(image: Image.Image) -> tuple[Image.Image, int]:
    """The picture turned as its EXIF tag says, and the tag where it changed anything, else 0."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image, 0
    if orientation not in range(2, 9):
        return image, 0
    transpose = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(transpose[orientation]), orientation


def _to_rgb(image: Image.Image, sixteen_bit: bool) -> tuple[Image.Image, list[tuple[str, str]]]:
    """8-bit RGB from any mode that Pillow decodes to."""
    fixes: list[tuple[str, str]] = []
    mode = image.mode
    if sixteen_bit or mode.startswith("I") or mode == "F":
        fixes.append(("deep", f"mode {mode}"))
    if mode.startswith("I") or mode == "F":
        image = Image.fromarray(_to_8_bit(np.asarray(image), mode))
    if mode in ("P", "PA"):
        fixes.append(("palette", ""))
    if mode == "CMYK":
        fixes.append(("cmyk", ""))
    elif mode in ("YCbCr", "LAB", "HSV"):
        fixes.append(("colour_space", mode))
    if image.mode in ("1", "L", "LA", "La"):
        fixes.append(("grey", f"mode {mode}"))
    if image.has_transparency_data:
        fixes.append(("alpha", f"mode {mode}"))
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB"), fixes


def _to_8_bit(values: np.ndarray, mode: str) -> np.ndarray:
    """Scale a single-channel deep picture to uint8.

    16-bit values span 0..65535. For 32-bit integers and floats no white level is stated in the file: values
    within 0..65535 (integers) or 0..1 (floats) are taken as such, others are stretched from their
    smallest to their largest.
    """
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low, high = 0.0, (1.0 if mode == "F" else 65535.0)
    if values.min() < low or values.max() > high:
        low, high = values.min(), values.max()
    if low == high:  # one value everywhere: nothing to stretch
        return np.zeros(values.shape, np.uint8)
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)  # min..max -> 0..255


def _border_colour(image: Image.Image) -> tuple[int, int, int]:
    """Median of the outermost pixels, per channel."""
    width, height = image.size
    strips = [(0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)]
    pixels = np.concatenate([np.asarray(image.crop(box)).reshape(-1, 3) for box in strips])
    red, green, blue = np.median(pixels, axis=0).astype(int)
    return int(red), int(green), int(blue)


def _sha256(f: BinaryIO) -> str:
    digest = hashlib.sha256()
    f.seek(0, os.SEEK_SET)
    while block := f.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    """A reader's complaint without the file object's address, which changes from run to run."""
    message = (str(error).splitlines() or [""])[0]
    return type(error).__name__ if " at 0x" in message or not message else message
