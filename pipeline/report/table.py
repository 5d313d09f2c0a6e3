"""The comparison as text for the terminal, and the csv it is read from."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import InputError

Row = Mapping[str, "str | float | int"]


def write_rows(path: str | Path, rows: Sequence[Row]) -> None:
    """Write rows of equal keys as csv; floats with 6 decimals, "" where a row has no such figure."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            values = (row.get(name, "") for name in columns)
            writer.writerow([f"{v + 0.0:.6f}" if isinstance(v, float) else v for v in values])


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """Rows of `comparison.csv`.

    Raises:
        InputError: It does not exist.
    """
    try:
        with open(path, newline="", encoding="utf-8") as f:
            return list(csv.DictReader(f))
    except FileNotFoundError:
        raise InputError(f"{path}: expected the comparison, found no such file; run `dvc repro`.") from None


def format_table(comparison: Sequence[Row]) -> str:
    """The comparison as an aligned table for the terminal.

    Args:
        comparison: Rows of `comparison.csv`, as `read_rows` or `compare_predictions` give them.

    Returns:
        Lines without a trailing newline; arms first, then SGAN and supervised by label budget.
    """
    arms = [row for row in comparison if not row.get("budget")]
    budgets = [row for row in comparison if row.get("budget")]
    blocks = []
    if arms:
        header = ["arm", "macro-F1", "accuracy", "bal. acc.", "minus real", "minus classic"]
        blocks.append(_aligned(header, [_cells(row, str(row["arm"]), ("real", "classic")) for row in arms]))
    if budgets:
        header = ["labels a class", "macro-F1", "accuracy", "bal. acc.", "minus supervised", "minus its classic"]
        controls = ("supervised", "supervised_classic")
        blocks.append(_aligned(header, [_cells(row, f"{row['budget']} {row['method']}", controls) for row in budgets]))
    return "\n\n".join(blocks)


def summary(folder: str | Path, width: int = 100) -> str:
    """What `make repro` prints at its end: what to do, the table, and the verdict of a finished comparison.

    Args:
        folder: Output folder of `compare`.
        width: Columns to wrap the verdict to.

    Raises:
        InputError: The comparison has not been made.
    """
    folder = Path(folder)
    table = format_table(read_rows(folder / "comparison.csv"))
    lines = (folder / "verdict.txt").read_text(encoding="utf-8").splitlines()
    advice, *verdict = (textwrap.fill(line, width) for line in lines)
    return "\n\n".join([advice, table, *verdict])


def _cells(row: Row, name: str, controls: Sequence[str]) -> list[str]:
    cells = [name, _with_interval(row, "macro_f1", "{:.3f}")]
    cells += [f"{float(row['accuracy']):.3f}", f"{float(row['balanced_accuracy']):.3f}"]
    for control in controls:
        cells.append(_with_interval(row, f"macro_f1_minus_{control}", "{:+.3f}"))
    return cells


def _with_interval(row: Row, key: str, spec: str) -> str:
    if row.get(key, "") == "":
        return ""
    mean, lower, upper = (spec.format(float(row[k])) for k in (key, f"{key}_lower", f"{key}_upper"))
    return f"{mean} [{lower}, {upper}]"


def _aligned(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)
