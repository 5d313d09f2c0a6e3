"""The look at a folder before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import InputError
from pipeline.images.survey import survey


def make_class(folder: Path, count: int, size: tuple[int, int] = (40, 30)) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder / f"{i}.png")


def test_counts_sizes_and_what_is_left_out(tmp_path: Path) -> None:
    make_class(tmp_path / "Gray light (old)", 6)
    make_class(tmp_path / "rust" / "plant 1", 50)
    make_class(tmp_path / "rare", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "rust" / "bad.jpg").write_text("x")
    (tmp_path / "SOURCE.md").write_text("x")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "leaves.csv").write_text("file,group\n3.png,7\nrust/plant 1/4.png,7\n")
    found = survey(tmp_path, min_images_per_class=5)
    assert [(c.folder, c.name, c.files, c.images) for c in found.classes] == [
        ("Gray light (old)", "Gray_light_old", 6, 6),
        ("rust", "rust", 51, 50),
    ]
    assert [(c.folder, c.skipped) for c in found.skipped] == [
        ("empty", "0 readable images"),
        ("rare", "2 readable images"),
    ]
    assert (found.width, found.height) == (40, 30)
    assert found.ignored == ["SOURCE.md", "other.csv"]
    assert [(n.file, n.rule) for n in found.unreadable] == [("rust/bad.jpg", "not_an_image")]
    assert found.groups_csv == "leaves.csv"


def test_small_classes_are_counted_by_distinct_whole_images(tmp_path: Path) -> None:
    make_class(tmp_path / "a", 6)
    make_class(tmp_path / "b", 6)
    (tmp_path / "b" / "copy.png").write_bytes((tmp_path / "b" / "0.png").read_bytes())
    data = (tmp_path / "b" / "1.png").read_bytes()
    (tmp_path / "b" / "1.png").write_bytes(data[: len(data) // 2])
    found = survey(tmp_path)
    assert [(c.files, c.images) for c in found.classes] == [(6, 6), (7, 5)]
    assert [(n.file, n.rule) for n in found.unreadable] == [("b/1.png", "truncated")]


def test_csv_that_names_no_file_is_no_groups_csv(tmp_path: Path) -> None:
    make_class(tmp_path / "a", 3)
    make_class(tmp_path / "b", 3)
    (tmp_path / "leaves.csv").write_text("file,group\nelsewhere.png,7\n")
    assert survey(tmp_path).groups_csv is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["0.png", "1.png"], "images directly in it and no class folders"),
        (["a/0.png"], "at least 2 class folders .* found 1"),
        ([], "found no sub-folder"),
        (["a/x.txt", "b/y.txt"], "none that can be read"),
        (["train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/1.png"], r"nested deeper; try .*/set/train`"),
        (["color/a/0.png", "color/b/0.png", "segmented/a/0.png", "segmented/b/0.png"], r"try .*/set/color`"),
        (["leaves/a/0.png", "leaves/b/0.png"], r"try .*/set/leaves`"),
        (["leaves/train/a/0.png", "leaves/train/b/0.png", "leaves/test/a/0.png"], r"try .*/set/leaves/train`"),
        (["a b/0.png", "a_b/1.png"], "both become 'a_b'"),
    ],
)
def test_what_cannot_be_trained_on(tmp_path: Path, files: list[str], message: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    rng = np.random.default_rng(0)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".png"):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / file)
        else:
            (root / file).write_text("x")
    with pytest.raises(InputError, match=message) as caught:
        survey(root)
    assert "\n" not in str(caught.value)


def test_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "leaves.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="unpack it"):
        survey(tmp_path / "leaves.zip")
    with pytest.raises(InputError, match="found nothing"):
        survey(tmp_path / "absent")


def test_classes_sorted_by_plant_are_classes(tmp_path: Path) -> None:
    for file in ("rust/p1", "rust/p2", "scab/p1", "scab/p2"):
        make_class(tmp_path / file, 3 + len(list(tmp_path.rglob("*.png"))))
    assert [c.name for c in survey(tmp_path).classes] == ["rust", "scab"]
