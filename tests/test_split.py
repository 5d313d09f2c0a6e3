"""The split: every planted fault is named in the audit and the rest is split; groups stay whole; bytes repeat."""

from __future__ import annotations

import csv
import filecmp
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import InputError
from pipeline.images.audit import RULES, as_markdown
from pipeline.images.decode import fit_square
from pipeline.images.manifest import class_counts, groups_of
from pipeline.images.split import allocate, read_rows, split_images
from pipeline.images.store import load_store
from pipeline.report import results

SETTINGS = {
    "img_resolution": 16,
    "photo_resolution": 24,
    "fit": "crop",
    "test_share": 0.2,
    "val_share": 0.2,
    "seed": 42,
    "groups_csv": None,
    "group_pattern": None,
    "near_duplicate_distance": 2,
    "max_pixels": 10_000,
    "min_images_per_class": 5,
}


def leaf(*seed: int) -> Image.Image:
    """A smooth random picture, 32 px."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((32, 32), Image.Resampling.BICUBIC)


def make_set(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            leaf(*name.encode(), i).save(folder / name / f"{name}_{i:02d}.png")
    return folder


def run(raw: Path, out: Path, classes: list[str], **changes: object) -> dict:
    return split_images(raw, out / "split", out / "arrays", classes=classes, **{**SETTINGS, **changes})


def rows_of(out: Path) -> list[dict[str, str]]:
    with open(out / "split" / "manifest.csv", newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def sides_by_group(out: Path) -> dict[str, set[str]]:
    sides: dict[str, set[str]] = {}
    for row in rows_of(out):
        sides.setdefault(row["group"], set()).add(row["split"])
    return sides


def test_plain_set(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=20, scab=10)
    audit = run(raw, tmp_path, ["scab", "rust"])
    assert audit["classes"]["rust"] == {
        "files": 20,
        "kept": 20,
        "rejected": 0,
        "train": 13,
        "val": 3,
        "test": 4,
        "groups": {"train": 13, "val": 3, "test": 4},
    }
    assert [audit["classes"]["scab"][side] for side in ("train", "val", "test")] == [6, 2, 2]
    assert audit["images"] == {"files": 30, "kept": 30, "rejected": 0, "mended": 0, "enlarged": 0}
    rows = rows_of(tmp_path)
    assert list(rows[0]) == ["file", "split", "class", "group", "source", "sha256", "width", "height", "mended"]
    assert [row["class"] for row in rows if row["split"] == "val"] == ["scab"] * 2 + ["rust"] * 3
    for row in rows:
        with Image.open(tmp_path / "split" / row["file"]) as image:
            assert (image.size, image.mode, image.info) == ((16, 16), "RGB", {})


def test_arrays_hold_the_pixels_of_the_files(tmp_path: Path) -> None:
    run(make_set(tmp_path / "raw", rust=12, scab=12), tmp_path, ["rust", "scab"])
    for side in ("train", "val", "test"):
        store = load_store(tmp_path / "arrays" / side, ["rust", "scab"])
        own = [row for row in rows_of(tmp_path) if row["split"] == side]
        assert [(row["class"], Path(row["file"]).name) for row in own] == [
            (store.classes[k], file) for k, file in zip(store.labels, store.files, strict=True)
        ]
        for row, pixels in zip(own, store.images, strict=True):
            with Image.open(tmp_path / "split" / row["file"]) as image:
                assert np.array_equal(np.asarray(image), pixels)
            with Image.open(tmp_path / "raw" / row["source"]) as source:
                expected = np.asarray(source.resize((16, 16), Image.Resampling.LANCZOS))
            assert np.array_equal(pixels, expected)


def plant_faults(raw: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Plant every fault beside 12 sound images a class; returns the rules expected for rejected and mended files."""
    rust = raw / "rust"
    rejected: dict[str, str] = {}
    mended: dict[str, str] = {}

    def plant(file: str, rule: str, into: dict[str, str]) -> Path:
        into[file] = rule
        (raw / file).parent.mkdir(parents=True, exist_ok=True)
        return raw / file

    leaf(1).save(raw / "whole.png")
    data = (raw / "whole.png").read_bytes()
    (raw / "whole.png").unlink()
    plant("rust/cut.png", "truncated", rejected).write_bytes(data[: len(data) // 2])
    plant("rust/empty.jpg", "zero_byte", rejected).touch()
    plant("rust/notes.txt", "not_an_image", rejected).write_text("ask Ann | which row?\n")
    plant("rust/fake.jpg", "not_an_image", rejected).write_text("not a picture")
    Image.new("RGB", (101, 100), "green").save(plant("rust/bomb.png", "too_many_pixels", rejected))
    leaf(2).resize((7, 7)).save(plant("rust/tiny.png", "too_small", rejected))
    shutil.copy(rust / "rust_00.png", plant("rust/rust_00_copy.png", "duplicate", rejected))
    with Image.open(rust / "rust_01.png") as image:
        image.save(plant("rust/rust_01_again.bmp", "duplicate", rejected))
    leaf(3).save(plant("rust/both.png", "label_conflict", rejected))
    leaf(3).save(plant("scab/both here too.bmp", "label_conflict", rejected))
    (raw.parent / "secret.png").write_bytes(data)
    os.symlink(raw.parent / "secret.png", plant("scab/link.png", "link_leaves_set", rejected))
    os.symlink(raw.parent, plant("scab/up", "link_leaves_set", rejected))
    os.symlink(rust, plant("scab/across", "link_to_folder", rejected))
    os.symlink(raw / "gone.png", plant("scab/dangling.png", "broken_link", rejected))
    os.mkfifo(plant("scab/pipe.png", "not_a_file", rejected))

    leaf(4).save(plant("scab/really a png.jpg", "wrong_extension", mended), "PNG")
    leaf(5).convert("CMYK").save(plant("scab/print.jpg", "cmyk", mended))
    deep = np.asarray(leaf(6).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(plant("scab/deep.png", "deep;grey", mended))
    leaf(7).quantize(32).save(plant("scab/palette.png", "palette", mended))
    clear = leaf(8).convert("RGBA")
    clear.putalpha(128)
    clear.save(plant("scab/clear.png", "alpha", mended))
    leaf(9).convert("L").save(plant("scab/grey.png", "grey", mended))
    exif = Image.Exif()
    exif[0x0112] = 6
    leaf(10).save(plant("scab/turned.jpg", "exif_rotated", mended), exif=exif)
    leaf(11).save(plant("scab/moving.png", "multi_frame", mended), save_all=True, append_images=[leaf(12)])

    leaf(13).save(plant("rust/Blatt größe 葉.PNG", "", mended))
    leaf(14).save(plant("rust/row 1/plant 2/leaf.JPEG", "", mended))
    leaf(15).save(plant("rust/leaf.png", "", mended))
    leaf(16).save(Path(os.fsdecode(os.fsencode(rust) + b"/latin-\xe9.png")))
    mended["rust/latin-\\xe9.png"] = ""
    return rejected, mended


def test_every_planted_fault_is_named_and_the_rest_is_split(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=12, scab=12, old=6, rare=2)
    rejected, mended = plant_faults(raw)
    (raw / "README.md").write_text("about")
    (raw / ".gitignore").touch()
    (raw / ".cache").mkdir()
    (raw / "rust" / "Thumbs.db").write_bytes(b"x")
    (raw / "rust" / ".DS_Store").write_bytes(b"x")
    audit = run(raw, tmp_path, ["rust", "scab"])

    assert {note["file"]: note["rule"] for note in audit["rejected"]} == rejected
    assert {note["file"]: note["rule"] for note in audit["ignored"]} == {
        ".cache": "hidden_or_system",
        ".gitignore": "hidden_or_system",
        "README.md": "beside_class_folders",
        "old": "folder_not_in_classes",
        "rare": "too_few_images",
        "rust/.DS_Store": "hidden_or_system",
        "rust/Thumbs.db": "hidden_or_system",
    }
    rows = {row["source"]: row for row in rows_of(tmp_path)}
    assert {file: rows[file]["mended"] for file in mended} == mended
    listed = Counter(note["file"] for note in audit["mended"])
    assert listed == Counter({file: rules.count(";") + 1 for file, rules in mended.items() if rules})
    assert len(rows) == 24 + len(mended)
    assert audit["images"]["kept"] == len(rows)
    assert audit["images"]["files"] == len(rows) + len(rejected)
    assert audit["label_conflicts"] == [{"files": ["rust/both.png", "scab/both here too.bmp"]}]
    assert sum(c["rejected"] for c in audit["classes"].values()) == len(rejected)

    names = [Path(row["file"]).name for row in rows.values() if row["class"] == "rust"]
    assert len({name.casefold() for name in names}) == len(names)
    assert Path(rows["rust/Blatt größe 葉.PNG"]["file"]).name == "Blatt größe 葉.png"
    assert all((tmp_path / "split" / row["file"]).is_file() for row in rows.values())

    markdown = (tmp_path / "split" / "audit.md").read_text(encoding="utf-8")
    on_disk = json.loads((tmp_path / "split" / "audit.json").read_text(encoding="utf-8"))
    for note in on_disk["rejected"] + on_disk["mended"] + on_disk["ignored"]:
        assert note["rule"] in RULES
        assert note["file"].replace("\\", "\\\\") in markdown
    assert str(tmp_path) not in markdown + json.dumps(on_disk) + (tmp_path / "split" / "manifest.csv").read_text()
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


NAMES = [
    "a\rb",
    "a\nb",
    "a\r\nb",
    'a"b',
    "a,b",
    "a\u2028b",
    "a\x85b",
    "a\x1bb",
    "=1+1",
    "'a",
    "a\\b",
    " a ",
    "a;b|c",
    '"',
]


def test_any_name_comes_back_from_the_manifest_in_every_reader(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=6, scab=6)
    for i, name in enumerate(NAMES):
        leaf(99, i).save(raw / "scab" / f"{name}.png")
        leaf(98, i).save(raw / "rust" / f"{name}.png")
    (raw / "scab" / "bad\r| \x1bname\n.png").write_text("x")
    run(raw, tmp_path, ["rust", "scab"])
    rows = rows_of(tmp_path)
    sources = {f"{folder}/{name}.png" for folder in ("rust", "scab") for name in NAMES}
    assert sources <= {row["source"] for row in rows} and len(rows) == 12 + 2 * len(NAMES)
    assert all(None not in row and None not in row.values() for row in rows)
    assert all((tmp_path / "split" / row["file"]).is_file() for row in rows)
    manifest = tmp_path / "split/manifest.csv"
    frame = pd.read_csv(manifest, keep_default_na=False)
    assert frame["source"].tolist() == [row["source"] for row in rows]
    by_file = {row["file"]: row for row in rows}
    classes = ["rust", "scab"]
    for side in ("train", "val", "test"):
        store = load_store(tmp_path / "arrays" / side, classes)
        own = read_rows(manifest, side, store)
        expected = [by_file[f"{side}/{classes[k]}/{f}"] for k, f in zip(store.labels, store.files, strict=True)]
        assert own == expected and len(own) == sum(row["split"] == side for row in rows)
        assert groups_of(store, manifest, side).tolist() == [row["group"] for row in expected]
        counts = Counter(row["class"] for row in expected)
        assert class_counts(manifest, side, classes) == counts
        assert results.read_manifest(manifest).counts(side, classes) == counts
    markdown = (tmp_path / "split/audit.md").read_text(encoding="utf-8")
    assert "bad \\| \\\\x1bname .png" in markdown and all(line.isprintable() for line in markdown.split("\n"))


def test_ordinary_manifests_hold_no_quotes_nor_carriage_returns(tmp_path: Path) -> None:
    run(make_set(tmp_path / "raw", rust=6), tmp_path, ["rust"])
    manifest = (tmp_path / "split/manifest.csv").read_bytes()
    assert b"\r" not in manifest and b'"' not in manifest and manifest.endswith(b"\n")


def test_thin_pictures_and_files_of_all_shapes_do_not_stop_it(tmp_path: Path) -> None:
    """60000 x 8 px are 5 kB as PNG and 10.8 GB as a square; a scan cut short can't say how many pages it has."""
    raw = make_set(tmp_path / "raw", rust=6)
    for i, size in enumerate([(8, 60_000), (60_000, 8), (8, 8), (8, 129)]):
        stripes = np.zeros((size[1], size[0], 3), np.uint8)
        stripes[:: 3 + i], stripes[:, ::5] = 200, 90
        Image.fromarray(stripes).save(raw / "rust" / f"thin{i}.png")
    leaf(1).save(raw / "rust" / "scan.tif", save_all=True, append_images=[leaf(2), leaf(3)])
    data = (raw / "rust/scan.tif").read_bytes()
    (raw / "rust/scan.tif").write_bytes(data[: int(len(data) * 0.6)])
    audit = run(raw, tmp_path, ["rust"], fit="pad", max_pixels=10**6)
    assert audit["images"]["kept"] == 10
    assert [(note["file"], note["rule"]) for note in audit["rejected"]] == [("rust/scan.tif", "truncated")]


def test_same_input_same_bytes(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=12, scab=12)
    plant_faults(raw)
    for out in ("a", "b"):
        run(raw, tmp_path / out, ["rust", "scab"])
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file())
    assert all(filecmp.cmp(tmp_path / "a" / f, tmp_path / "b" / f, shallow=False) for f in files)


def test_adding_a_class_moves_no_image_of_the_others(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=17, scab=11)
    run(raw, tmp_path / "two", ["rust", "scab"])
    make_set(raw, aphid=14)
    run(raw, tmp_path / "three", ["aphid", "rust", "scab"])
    before = {row["source"]: row for row in rows_of(tmp_path / "two")}
    after = {row["source"]: row for row in rows_of(tmp_path / "three") if row["class"] != "aphid"}
    assert before == after
    run(raw, tmp_path / "seed", ["rust", "scab"], seed=43)
    assert {row["source"]: row for row in rows_of(tmp_path / "seed")} != before


def test_groups_of_csv_pattern_and_near_duplicates_are_merged_and_never_divided(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=24, scab=24)
    lines = ["file,group"] + [f"rust/rust_{i:02d}.png,leaf{i // 4}" for i in range(20)] + ["rust/none.png,leaf9"]
    (raw / "groups.csv").write_text("\n".join(lines) + "\n")
    leaf(*b"rust", 0).resize((40, 40)).save(raw / "rust" / "zoomed.png")  # near rust_00, of leaf0
    leaf(*b"scab", 5).resize((40, 40)).save(raw / "rust" / "zcross.png")  # near scab_05
    audit = run(raw, tmp_path, ["rust", "scab"], groups_csv="groups.csv", group_pattern=r"scab_(\d)")
    groups = {row["source"]: row["group"] for row in rows_of(tmp_path)}
    assert len({groups[f"rust/rust_{i:02d}.png"] for i in range(20)}) == 5
    assert groups["rust/rust_03.png"] == groups["rust/zoomed.png"] == "leaf0"
    assert groups["rust/rust_20.png"] == "file:rust/rust_20.png"
    assert groups["scab/scab_05.png"] == groups["rust/zcross.png"] == groups["scab/scab_00.png"] == "name:0"
    assert all(len(sides) == 1 for sides in sides_by_group(tmp_path).values())
    assert set(audit["leakage"].values()) == {0}
    assert audit["groups"]["csv"] == {
        "rows": 21,
        "unknown_files": ["rust/none.png"],
        "ambiguous_files": [],
        "images_without_row": 30,
    }
    assert audit["groups"]["pattern"] == {"images_not_matched": 26}
    assert audit["groups"]["merged_by_near_duplicates"] == 2
    assert audit["groups"]["spanning_classes"] == ["name:0"]
    assert [(p["a"], p["b"]) for p in audit["suspected_label_conflicts"]] == [("rust/zcross.png", "scab/scab_05.png")]
    assert [note["file"] for note in audit["ignored"]] == []


def test_copies_of_one_picture_join_their_groups(tmp_path: Path) -> None:
    """The rejected copy is of leaf B, the kept one of leaf A: then A and B are one leaf."""
    raw = make_set(tmp_path / "raw", rust=12, scab=12)
    shutil.copy(raw / "rust/rust_00.png", raw / "rust/rust_00b.png")
    (raw / "g.csv").write_text("file,group\nrust/rust_00.png,A\nrust/rust_00b.png,B\nrust/rust_05.png,B\n")
    run(raw, tmp_path, ["rust", "scab"], groups_csv="g.csv")
    groups = {row["source"]: row["group"] for row in rows_of(tmp_path)}
    assert groups["rust/rust_00.png"] == groups["rust/rust_05.png"] == "A"


def test_too_few_images_or_groups(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=12, scab=4)
    (raw / "scab" / "bad.png").write_text("x")
    with pytest.raises(InputError, match=r"scab: expected at least 5 usable .* found 4 \(rejected: 1 not_an_image\)"):
        run(raw, tmp_path, ["rust", "scab"])
    with pytest.raises(InputError, match=r"rust: expected at least 3 groups .* found 1 "):
        run(raw, tmp_path, ["rust"], group_pattern="rust")
    for path in (raw / "scab").iterdir():
        path.write_text("x")
    with pytest.raises(InputError, match=r"scab: .* found 0 \(rejected: 5 not_an_image\)"):
        run(raw, tmp_path, ["rust", "scab"])


def test_bad_settings(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=6)
    with pytest.raises(InputError, match="found rust"):
        run(raw, tmp_path, ["rust", "scab"])
    with pytest.raises(InputError, match="'rust' 2 times"):
        run(raw, tmp_path, ["rust", "rust"])
    with pytest.raises(InputError, match=r"found '\.\./x'"):
        run(raw, tmp_path, ["../x"])
    with pytest.raises(InputError, match="found nothing"):
        run(tmp_path / "absent", tmp_path, ["rust"])
    with pytest.raises(InputError, match="test_share"):
        run(raw, tmp_path, ["rust"], test_share=1.0)
    with pytest.raises(InputError, match="fit"):
        run(raw, tmp_path, ["rust"], fit="zoom")


def test_folder_names_that_cannot_be_class_names(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", **{"gray light (old)": 6, "scab": 6})
    audit = run(raw, tmp_path, ["gray_light_old", "scab"])
    assert audit["classes"]["gray_light_old"]["kept"] == 6
    assert (tmp_path / "split/train/gray_light_old").is_dir()


def test_links_into_a_dvc_cache_are_read(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=6)
    cached = tmp_path / "cache/files/md5/ab" / ("0" * 30)
    cached.parent.mkdir(parents=True)
    (raw / "rust/rust_00.png").rename(cached)
    os.symlink(cached, raw / "rust/rust_00.png")
    audit = run(raw, tmp_path, ["rust"])
    assert audit["images"]["kept"] == 6


def test_no_val(tmp_path: Path) -> None:
    audit = run(make_set(tmp_path / "raw", rust=10), tmp_path, ["rust"], val_share=0)
    assert [audit["classes"]["rust"][side] for side in ("train", "val", "test")] == [8, 0, 2]
    assert not (tmp_path / "split/val").exists()


def test_report_is_called(tmp_path: Path) -> None:
    calls: list[tuple[dict[str, float], int]] = []
    run(make_set(tmp_path / "raw", rust=10), tmp_path, ["rust"], report=lambda m, step: calls.append((m, step)))
    assert calls[-1] == ({"images_decoded": 10, "images_rejected": 0}, 10)


@pytest.mark.parametrize("seed", range(20))
def test_allocate_keeps_shares_near_and_sides_filled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [rng.integers(1, 6, rng.integers(3, 30)) for _ in range(3)]
    groups = [f"{k}-{g}" for k, own in enumerate(sizes) for g, n in enumerate(own) for _ in range(n)]
    labels = np.repeat(range(3), [own.sum() for own in sizes])
    side_of = allocate(groups, labels, "abc", test_share=0.2, val_share=0.25, seed=seed)
    for k in range(3):
        counts = Counter(side_of[g] for g, label in zip(groups, labels, strict=True) if label == k)
        total = sum(counts.values())
        assert set(counts) == {"train", "val", "test"}
        assert abs(counts["test"] - 0.2 * total) <= 5  # the largest group
        assert abs(counts["val"] - 0.25 * (total - counts["test"])) <= 5


def test_allocate_when_every_group_spans_both_classes() -> None:
    """`b` has three groups, all of them shared with `a`: it must not be starved by a's draw."""
    for seed in range(20):
        groups = [*map(str, range(20)), "0", "1", "2"]
        side_of = allocate(groups, np.array([0] * 20 + [1] * 3), "ab", test_share=0.2, val_share=0.2, seed=seed)
        assert {side_of[g] for g in "012"} == {"train", "val", "test"}


def test_plantvillage_leaves_stay_whole(tmp_path: Path, root: Path) -> None:
    raw = root / "../shared/data/plantvillage_apple"
    if not raw.is_dir():
        pytest.skip("../shared/data/plantvillage_apple is absent")
    classes = sorted(p.name for p in raw.iterdir() if p.is_dir())
    audit = run(raw, tmp_path, classes, groups_csv="leaf_groups.csv", max_pixels=10**6)
    with open(raw / "leaf_groups.csv", newline="", encoding="utf-8") as f:
        leaf_of = {row["file"]: row["leaf_id"] for row in csv.DictReader(f)}
    sides: dict[str, set[str]] = {}
    for row in rows_of(tmp_path):
        sides.setdefault(leaf_of[row["source"]], set()).add(row["split"])
    assert len(sides) == 104
    assert all(len(own) == 1 for own in sides.values())
    for counts in audit["classes"].values():
        assert abs(counts["test"] / counts["kept"] - 0.2) < 0.03
    assert audit["groups"]["csv"]["unknown_files"] == []
    assert audit["groups"]["csv"]["images_without_row"] == 0


def test_turned_copies_stay_on_one_side_and_across_classes_are_suspected(tmp_path: Path) -> None:
    raw = make_set(tmp_path / "raw", rust=20, scab=20)
    for i in range(10):
        leaf(*b"rust", i).transpose(Image.Transpose.ROTATE_270).save(raw / "rust" / f"turned_{i:02d}.png")
    leaf(*b"scab", 3).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(raw / "rust" / "mirrored.png")
    audit = run(raw, tmp_path, ["rust", "scab"])
    sides = {row["source"]: row["split"] for row in rows_of(tmp_path)}
    assert all(sides[f"rust/turned_{i:02d}.png"] == sides[f"rust/rust_{i:02d}.png"] for i in range(10))
    assert sides["rust/mirrored.png"] == sides["scab/scab_03.png"]
    assert audit["groups"]["merged_by_near_duplicates"] == 11 == len(audit["near_duplicates"])
    (suspected,) = audit["suspected_label_conflicts"]
    assert (suspected["a"], suspected["b"]) == ("rust/mirrored.png", "scab/scab_03.png")
    assert suspected["orientation"] == "mirrored"


def test_groups_that_near_duplicates_miss_are_counted_and_leaves_in_names_hinted_at(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("rust", "scab"):
        (raw / name).mkdir(parents=True)
        for i in range(12):
            leaf(*name.encode(), i).save(raw / name / f"{name}{i:02d}_1.png")
            again = leaf(*name.encode(), i) if i < 2 else leaf(*name.encode(), i, 1)  # two leaves are known again
            again.resize((30, 30)).save(raw / name / f"{name}{i:02d}_2.png")
    hint = run(raw, tmp_path / "without", ["rust", "scab"])["group_hints"]
    assert hint["name_pattern"]["groups"] == 24 and hint["name_pattern"]["pattern"] in hint["sentences"][0]
    assert hint["sentences"][0] in (tmp_path / "without/split/audit.md").read_text(encoding="utf-8")
    audit = run(raw, tmp_path / "with", ["rust", "scab"], group_pattern=hint["name_pattern"]["pattern"])
    assert audit["group_hints"]["sentences"] == []
    assert audit["groups"]["count"] == audit["groups"]["pairs_given"] == 24
    assert audit["groups"]["pairs_missed_by_near_duplicates"] == 20


def test_photos_are_kept_as_large_as_the_judge_sees_them_and_the_enlarged_are_counted(tmp_path):
    raw = tmp_path / "raw"
    for k, name in enumerate(("a", "b")):
        (raw / name).mkdir(parents=True)
        for i in range(6):
            rng = np.random.default_rng([k, i])
            side = 40 if i else 20  # one of each class is smaller than photo_resolution
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(raw / name / f"{i}.png")
    audit = run(raw, tmp_path, ["a", "b"], img_resolution=16, photo_resolution=32)
    assert audit["images"]["enlarged"] == 2
    assert "The judge sees photos at 32 px; 2 of 12 are smaller and were enlarged." in as_markdown(audit)
    for side in ("train", "val", "test"):
        small, large = (load_store(tmp_path / "arrays" / home / side, ["a", "b"]) for home in (".", "photos"))
        assert small.files == large.files and (small.labels == large.labels).all()
        assert large.images.shape[1:] == (32, 32, 3)
        for file, label, pixels in zip(large.files, large.labels, large.images, strict=True):
            with Image.open(raw / large.classes[label] / file) as photo:
                np.testing.assert_array_equal(pixels, fit_square(photo, img_resolution=32, fit="crop"))
    assert not [path for path in (tmp_path / "arrays").iterdir() if path.is_file()]
