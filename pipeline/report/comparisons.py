"""How often these test photos have been asked: what is changed after an answer is chosen by test, too."""

from __future__ import annotations

import csv
import hashlib
from contextlib import suppress
from pathlib import Path

COLUMNS = ("test", "results")


def number_of_comparison(ledger: str | Path, manifest: str | Path, results: str | Path) -> int:
    """Which comparison on this test split this is, from 1; the same results again are no further one.

    What cannot be read or written is counted anew: no result hangs on it.

    Args:
        ledger: A csv that is kept on this machine alone; made if absent, and added to.
        manifest: manifest.csv of the split, whose test rows are the photos.
        results: File with the results.
    """
    with open(manifest, newline="", encoding="utf-8") as f:
        photos = sorted(f"{row['class']}/{row['file']}/{row['sha256']}" for row in csv.DictReader(f) if
                        row["split"] == "test")  # fmt: skip
    own = (_digest("\n".join(photos).encode()), _digest(Path(results).read_bytes()))
    ledger, rows = Path(ledger), []
    with suppress(OSError, KeyError, ValueError, csv.Error), open(ledger, newline="", encoding="utf-8") as f:
        rows = [(row["test"], row["results"]) for row in csv.DictReader(f) if None not in row.values()]
    if own not in rows:
        rows.append(own)
        with suppress(OSError):
            ledger.parent.mkdir(parents=True, exist_ok=True)
            partial = ledger.with_suffix(".partial")
            with open(partial, "w", newline="", encoding="utf-8") as f:
                csv.writer(f, lineterminator="\n").writerows([COLUMNS, *rows])
            partial.replace(ledger)
    return [results for test, results in rows if test == own[0]].index(own[1]) + 1


def comparison_sentence(number: int) -> str:
    """What to think of it; nothing of the first."""
    if number == 1:
        return ""
    return (
        f"This is comparison no. {number} on these test photos on this machine. What was changed since the first was "
        "changed by who had seen its figures, so believe them the less; photos that nobody has asked yet "
        "(`split.seed`, or new ones) settle it."
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
