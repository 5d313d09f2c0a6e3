"""Every kind of file becomes 8-bit RGB with the right colours, or is refused by the right rule."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images import decode as decoding
from pipeline.images.audit import RULES
from pipeline.images.decode import Rejected, decode, fit_square, pillow_settings, read_size

MAX_PIXELS = 10_000


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with pillow_settings():
        yield


@pytest.fixture
def picture() -> np.ndarray:
    """(24, 32, 3) uint8: red rises to the right, green falls downwards, blue is 40."""
    rgb = np.full((24, 32, 3), 40, np.uint8)
    rgb[..., 0] = np.linspace(0, 255, 32).astype(np.uint8)
    rgb[..., 1] = np.linspace(255, 0, 24).astype(np.uint8)[:, None]
    return rgb


def rules_of(path: Path) -> list[str]:
    return [rule for rule, _ in decode(path, max_pixels=MAX_PIXELS).mended]


def refusal(path: Path) -> str:
    with pytest.raises(Rejected) as caught:
        decode(path, max_pixels=MAX_PIXELS)
    assert caught.value.rule in RULES
    return caught.value.rule


def test_clean_png_keeps_its_pixels(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / "Ä leaf.PNG")
    decoded = decode(tmp_path / "Ä leaf.PNG", max_pixels=MAX_PIXELS)
    assert decoded.mended == []
    assert np.array_equal(np.asarray(decoded.image), picture)


def test_content_decides_over_suffix(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / "a.jpg", "PNG")
    Image.fromarray(picture).save(tmp_path / "noname", "PNG")
    decoded = decode(tmp_path / "a.jpg", max_pixels=MAX_PIXELS)
    assert decoded.mended == [("wrong_extension", "'.jpg' holds PNG")]
    assert np.array_equal(np.asarray(decoded.image), picture)
    assert rules_of(tmp_path / "noname") == ["wrong_extension"]


def test_cmyk_is_converted(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.tif")
    decoded = decode(tmp_path / "a.tif", max_pixels=MAX_PIXELS)
    assert [rule for rule, _ in decoded.mended] == ["cmyk"]
    assert np.abs(np.asarray(decoded.image).astype(int) - picture).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(16, 0)
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 256 16 65535\n" + ramp.astype(">u2").tobytes())
    else:
        Image.fromarray(ramp).save(path)
    decoded = decode(path, max_pixels=MAX_PIXELS)
    assert [rule for rule, _ in decoded.mended] == ["deep", "grey"]
    assert np.abs(np.asarray(decoded.image)[0, :, 1].astype(int) - np.arange(256)).max() <= 1


def test_16_bit_colour_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 16 16 65535\n" + np.full((16, 16, 3), 32768, ">u2").tobytes())
    decoded = decode(tmp_path / "a.ppm", max_pixels=MAX_PIXELS)
    assert [rule for rule, _ in decoded.mended] == ["deep"]
    assert abs(int(np.asarray(decoded.image).mean()) - 128) <= 1


def test_float_pictures_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(16, 0)).save(tmp_path / "a.tif")
    decoded = decode(tmp_path / "a.tif", max_pixels=MAX_PIXELS)
    assert np.array_equal(np.asarray(decoded.image)[0, :, 0], np.arange(256))


def test_a_deep_picture_of_one_value_has_no_range_to_be_stretched_over(tmp_path: Path) -> None:
    for name, value in (("a.tif", np.float32(7)), ("b.tif", np.float32(-3e38)), ("c.tif", np.int32(-5))):
        Image.fromarray(np.full((16, 16), value)).save(tmp_path / name)
        with np.errstate(all="raise"):
            assert not np.asarray(decode(tmp_path / name, max_pixels=MAX_PIXELS).image).any()


def test_palette_and_transparent_palette(tmp_path: Path, picture: np.ndarray) -> None:
    image = Image.fromarray(picture).quantize(16)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=0)
    assert rules_of(tmp_path / "a.png") == ["palette"]
    assert rules_of(tmp_path / "b.png") == ["palette", "alpha"]


def test_alpha_goes_on_white(tmp_path: Path, picture: np.ndarray) -> None:
    alpha = np.full((24, 32, 1), 255, np.uint8)
    alpha[:12] = 0
    Image.fromarray(np.concatenate([picture, alpha], 2)).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png", max_pixels=MAX_PIXELS)
    assert [rule for rule, _ in decoded.mended] == ["alpha"]
    assert (np.asarray(decoded.image)[:12] == 255).all()
    assert np.array_equal(np.asarray(decoded.image)[12:], picture[12:])


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_has_three_equal_channels(tmp_path: Path, picture: np.ndarray, mode: str) -> None:
    Image.fromarray(picture).convert("L").convert(mode).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png", max_pixels=MAX_PIXELS)
    assert decoded.mended[0][0] == "grey"
    pixels = np.asarray(decoded.image)
    assert pixels.shape == (24, 32, 3)
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, picture: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(image))
    decoded = decode(tmp_path / "a.png", max_pixels=MAX_PIXELS)
    assert np.array_equal(np.asarray(decoded.image), expected)
    assert [rule for rule, _ in decoded.mended] == ([] if orientation == 1 else ["exif_rotated"])


def test_first_frame_of_an_animation(tmp_path: Path, picture: np.ndarray) -> None:
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    decoded = decode(tmp_path / "a.png", max_pixels=MAX_PIXELS)
    assert [rule for rule, _ in decoded.mended] == ["multi_frame"]
    assert np.array_equal(np.asarray(decoded.image), picture)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.8])
def test_truncated(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    data = buffer.getvalue()
    (tmp_path / f"a.{suffix}").write_bytes(data[: int(len(data) * kept)])
    assert refusal(tmp_path / f"a.{suffix}") == "truncated"


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.6])
def test_a_scan_of_several_pages_cut_short(tmp_path: Path, kept: float) -> None:
    """Its frames can't be counted: Pillow raises TypeError, in counting and not in decoding."""
    pages = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (48, 48, 3), dtype=np.uint8)) for i in range(3)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    (tmp_path / "a.tif").write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * kept)])
    assert refusal(tmp_path / "a.tif") == "truncated"


FORMATS = {
    "avif": {"save_all": True},
    "bmp": {},
    "gif": {"save_all": True},
    "jpg": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"},
    "jp2": {},
    "png": {"save_all": True},
    "ppm": {},
    "tif": {"save_all": True},
    "webp": {"save_all": True},
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_damage_anywhere_is_decoded_or_rejected_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)) for _ in range(3)]
    options = FORMATS[suffix] | ({"append_images": frames[1:]} if "save_all" in FORMATS[suffix] else {})
    frames[0].save(tmp_path / f"a.{suffix}", **options)
    data = (tmp_path / f"a.{suffix}").read_bytes()
    path = tmp_path / f"damaged.{suffix}"
    for trial in range(150):
        damaged = bytearray(data)
        for _ in range(1 + trial % 4):  # headers, where most of what is counted stands, as often as all the rest
            damaged[rng.integers(len(data) if trial % 2 else min(len(data), 80))] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(data) + 1)] if trial % 3 == 0 else damaged)
        for read in (decode, read_size):
            try:
                read(path, max_pixels=MAX_PIXELS)
            except Rejected as rejected:
                assert rejected.rule in RULES


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("scab, third row\n")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    assert refusal(tmp_path / "notes.jpg") == "not_an_image"
    assert refusal(tmp_path / "empty.png") == "zero_byte"
    assert refusal(tmp_path / "phone.heic") == "not_an_image"
    assert refusal(tmp_path / "absent.png") == "unreadable"


def test_bombs_are_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    blocks = [header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    data = [struct.pack(">I", len(b) - 4) + b + struct.pack(">I", zlib.crc32(b)) for b in blocks]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))

    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    assert refusal(tmp_path / "bomb.png") == "too_many_pixels"
    with pytest.raises(Rejected, match="too_many_pixels"):
        read_size(tmp_path / "bomb.png", max_pixels=MAX_PIXELS)


def test_too_small(tmp_path: Path) -> None:
    Image.new("RGB", (7, 40)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 40)).save(tmp_path / "b.png")
    assert refusal(tmp_path / "a.png") == "too_small"
    assert rules_of(tmp_path / "b.png") == []


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(decoding, "open", refuse, raising=False)
    assert refusal(tmp_path / "a.png") == "unreadable"


def test_settings_are_restored() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(KeyError), pillow_settings():
        Image.MAX_IMAGE_PIXELS = 7
        raise KeyError
    assert before == Image.MAX_IMAGE_PIXELS


def test_fit() -> None:
    """A wide picture: white with a black third at the left and at the right."""
    rgb = np.zeros((30, 90, 3), np.uint8)
    rgb[:, 30:60] = 255
    image = Image.fromarray(rgb)
    assert (fit_square(image, img_resolution=16, fit="crop") == 255).all()
    stretched = fit_square(image, img_resolution=30, fit="stretch")
    assert stretched[:, :8].max() < 10 and stretched[:, 12:18].min() > 245
    padded = fit_square(image, img_resolution=90, fit="pad")
    assert (padded[:30] == 0).all() and np.array_equal(padded[30:60], rgb)
    assert fit_square(Image.new("RGB", (9, 200)), img_resolution=64, fit="pad").shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(60_000, 8), (8, 60_000)])
def test_a_thin_picture_is_padded_without_a_square_of_its_longer_side(size: tuple[int, int]) -> None:
    thin = Image.new("RGB", size, (10, 200, 10))
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, before[1]))
    try:
        padded = fit_square(thin, img_resolution=64, fit="pad")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert padded.shape == (64, 64, 3) and (padded == (10, 200, 10)).all()


def test_a_picture_shrunk_before_it_is_padded_looks_as_one_padded_first(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = np.random.default_rng(0).integers(0, 256, (6, 12, 3), dtype=np.uint8)
    wide = Image.fromarray(cells).resize((5000, 700), Image.Resampling.BICUBIC)
    whole = fit_square(wide, img_resolution=64, fit="pad").astype(int)
    monkeypatch.setattr(decoding, "MAX_SQUARE", 4000 * 4000)
    assert 0 < np.abs(fit_square(wide, img_resolution=64, fit="pad") - whole).max() <= 6


def test_downscaling_is_antialiased() -> None:
    """A one-pixel checkerboard becomes even grey; without a filter it would stay black and white."""
    board = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    small = fit_square(Image.fromarray(board), img_resolution=32, fit="stretch")
    assert np.abs(small[4:-4, 4:-4].astype(int) - 127).max() <= 3
