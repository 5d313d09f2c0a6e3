"""The audit of a raw set: every decision on every file, as JSON for programs and as Markdown tables for people."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from pipeline.images.listing import printable

RULES: dict[str, str] = {
    # rejected
    "broken_link": "A symbolic link whose target does not exist is rejected.",
    "duplicate": "Of files of one class with the same pixels the first in sorted order is kept, others are rejected.",
    "label_conflict": "The same pixels under two classes: all copies are rejected, since none is known to be right.",
    "link_leaves_set": "A symbolic link that leads out of the raw set (other than into a DVC cache) is rejected.",
    "link_to_folder": "A symbolic link to a folder is not followed; its files are read where they lie.",
    "not_a_file": "A pipe, socket or device is rejected without being opened.",
    "not_an_image": "Content that is none of AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF, WebP is rejected.",
    "too_many_pixels": "An image of more than max_pixels pixels is rejected without being decoded.",
    "too_small": "An image with a side under 8 px is rejected.",
    "truncated": "An image whose data end early or are damaged is rejected.",
    "unreadable": "A file or folder that the system refuses to open is rejected.",
    "zero_byte": "An empty file is rejected.",
    # mended
    "alpha": "An image with transparency is composited on white.",
    "cmyk": "A CMYK image is converted to RGB.",
    "colour_space": "A YCbCr, Lab or HSV image is converted to RGB.",
    "deep": "16-bit values (and 32-bit ones) are scaled to 8 bits over their whole range, not clipped.",
    "exif_rotated": "An image with an EXIF orientation is turned upright.",
    "grey": "A grey or black-and-white image is repeated into three channels.",
    "multi_frame": "Of an animation or a multi-page file the first frame is used.",
    "palette": "A palette image is expanded to RGB.",
    "wrong_extension": "A suffix that does not belong to the content is passed over: the content decides.",
    # ignored
    "beside_class_folders": "A file that lies beside the class folders is ignored.",
    "folder_not_in_classes": "A folder that is not in the list of classes is ignored.",
    "hidden_or_system": "Hidden files and folders, and what systems leave (Thumbs.db, desktop.ini), are ignored.",
    "too_few_images": "A folder that is not in the list of classes, and has too few files to be one, is ignored.",
    # grouped
    "near_duplicate": (
        "Images are one group if, in one of eight orientations (quarter turns and their mirror images), their 8x8 "
        "difference hashes lie within near_duplicate_distance bits and their 32-px thumbnails, less their mean colour, "
        "differ by at most 0.16 of their contrast (0.25 where upright hashes lie within 2 bits; flat images are not "
        "compared so); or if at least 10 of their keypoints agree in place and the pictures are alike between these."
    ),
    "suspected_label_conflict": "Near duplicates under two classes are kept, in one group, and listed to be looked at.",
}
SHORTCUT_RULE = (
    "The class of the nearest other train image, of another group, by one thing alone. p: how often classes dealt out "
    "at random to the groups do as well. Val and test are not looked at."
)
_ROWS_SHOWN = 50  # of a list in audit.md; audit.json has all


def write_audit(audit: dict, folder: Path) -> None:
    """Write `audit.json` and `audit.md` into an existing folder."""
    rounded = json.loads(json.dumps(audit), parse_float=lambda number: round(float(number), 6))
    (folder / "audit.json").write_text(
        json.dumps(rounded, sort_keys=True, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "audit.md").write_text(as_markdown(audit), encoding="utf-8")


def count_rules(notes: list[dict]) -> dict[str, int]:
    """How many of the notes each rule has."""
    return dict(sorted(Counter(note["rule"] for note in notes).items()))


def as_markdown(audit: dict) -> str:
    """The audit as a page of tables."""
    images, groups, leakage = audit["images"], audit["groups"], audit["leakage"]
    lines = [
        "# Audit of the raw set",
        "",
        f"{images['files']} files in class folders: {images['kept']} used, {images['rejected']} rejected, "
        f"{images['mended']} mended. {groups['count']} groups, the largest of {groups['largest']} images.",
        "",
        enlarged_sentence(audit),
        "",
        f"Groups on two sides of the split: {leakage['groups_on_two_sides']}. "
        f"Near duplicates on two sides: {leakage['near_duplicates_on_two_sides']}. "
        f"Same pixels on two sides: {leakage['identical_images_on_two_sides']}.",
        "",
        "## Classes",
        "",
    ]
    counts = audit["classes"]
    sides = ("train", "val", "test")
    lines += _table(
        ["class", "files", "rejected", "used", *sides, *(f"groups in {side}" for side in sides)],
        [
            [name, c["files"], c["rejected"], c["kept"], *(c[side] for side in sides)]
            + [c["groups"][side] for side in sides]
            for name, c in counts.items()
        ],
    )
    for title, key in (("Rejected", "rejected"), ("Mended", "mended"), ("Ignored", "ignored")):
        notes = audit[key]
        lines += [f"## {title}: {len(notes)}", ""]
        by_rule = count_rules(notes)
        lines += _table(["rule", "files", "what is done"], [[r, n, RULES[r]] for r, n in by_rule.items()])
        lines += _table(["file", "rule", "found"], [[n["file"], n["rule"], n["detail"]] for n in notes])
    lines += [f"## Label conflicts: {len(audit['label_conflicts'])}", "", RULES["label_conflict"], ""]
    lines += _table(["files with the same pixels"], [[", ".join(c["files"])] for c in audit["label_conflicts"]])
    for title, key, rule in (
        ("Suspected label conflicts", "suspected_label_conflicts", "suspected_label_conflict"),
        ("Near duplicates", "near_duplicates", "near_duplicate"),
    ):
        pairs = audit[key]
        lines += [f"## {title}: {len(pairs)}", "", RULES[rule], ""]
        lines += _table(
            ["one", "other", "found by", "orientation", "Hamming distance", "relative difference", "keypoints"],
            [
                [p["a"], p["b"], p["found_by"], p["orientation"], p["hamming"], f"{p['difference']:.3f}", p["points"]]
                for p in pairs
            ],
        )
    if "shortcut" in audit:  # added by the stage, since it is measured on what the split wrote
        lines += ["## Shortcuts", "", SHORTCUT_RULE, ""]
        keys = ("accuracy", "majority_share", "balanced_accuracy", "chance_balanced_accuracy", "p", "num_images")
        lines += _table(
            ["sees only", *(key.replace("_", " ") for key in keys)],
            [
                [name.replace("_", " "), *(f"{score[key]:g}" for key in keys)]
                for name, score in audit["shortcut"].items()
            ],
        )
    hints = audit["group_hints"]
    if hints["sentences"] or hints["capture_order"]:
        lines += ["## Several photos of one leaf?", "", *(f"{s}\n" for s in hints["sentences"])]
        lines += _table(
            ["class", "images", "neighbours' distance / shuffled", "p", "alike"],
            [
                [n, c["images"], f"{c['ratio']:.3f}", f"{c['p']:.4f}", c["alike"]]
                for n, c in hints["capture_order"].items()
            ],
        )
    lines += ["## Groups", ""]
    lines += _table(["", ""], [[key.replace("_", " "), value] for key, value in _flat(groups)])
    lines += ["## Settings", ""]
    lines += _table(["key", "value"], [[key, value] for key, value in sorted(audit["settings"].items())])
    return "\n".join(lines).rstrip() + "\n"


def enlarged_sentence(audit: dict) -> str:
    """What the judge sees of photos that have fewer pixels than it is shown."""
    images, side = audit["images"], audit["settings"]["photo_resolution"]
    if not images["enlarged"]:
        return f"The judge sees every photo at {side} px, enlarged none."
    of = f"{images['enlarged']} of {images['kept']}"
    return f"The judge sees photos at {side} px; {of} are smaller and were enlarged."


def _flat(values: dict, prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for key, value in sorted(values.items()):
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}: ")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows


def _table(header: list[str], rows: list[list]) -> list[str]:
    """A Markdown table and an empty line; nothing where there are no rows."""
    if not rows:
        return []
    lines = [_row(header), "|" + " --- |" * len(header)]
    lines += [_row(row) for row in rows[:_ROWS_SHOWN]]
    if len(rows) > _ROWS_SHOWN:
        lines += ["", f"… and {len(rows) - _ROWS_SHOWN} more in audit.json."]
    return [*lines, ""]


def _row(cells: list) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: object) -> str:
    if isinstance(value, list):
        more = f", … {len(value) - 10} more" if len(value) > 10 else ""
        value = ", ".join(map(str, value[:10])) + more
    return printable(" ".join(str(value).split())).replace("\\", "\\\\").replace("|", "\\|")
