"""What are unlabelled leaf photographs worth? The tea set with ten labels a class.

    python -m bench.sgan_tea --data PATH    # PATH/<class>/*.jpg

The split is the pipeline's own, by groups (near duplicates and, with `--groups`, photos of one leaf), with the shipped
params.yaml's shares and seed. Ten images a class of its val side are what is chosen on; of train ten a class are
labelled, drawn anew with each seed, and the rest is unlabelled. What the networks see has 32 px.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.sgan_protocol import PIXELS, SHARED, first_of_each_class, options, rows_of, run
from pipeline.budget import of_photos
from pipeline.images.split import split_images
from pipeline.images.store import Store, load_store
from pipeline.params import load_params

LABELS = 10  # a class; val has as many
CHANGES: dict[str, Any] = {"label_budget": LABELS, "steps": 600, "eval_every": 60}


def stores(data: Path, groups: str | None, tune: bool) -> tuple[Store, Store, Store]:
    """Train, val and test of the pipeline's own split; to tune by, all of its val side in place of test."""
    classes = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    section = of_photos(load_params("params.yaml")).split.model_dump() | {"groups_csv": groups}
    with tempfile.TemporaryDirectory() as folder:
        split_images(data, Path(folder) / "split", Path(folder) / "arrays", classes=classes, **section)
        sides = [load_store(Path(folder) / "arrays" / side, classes) for side in ("train", "val", "test")]
    train, val, test = sides
    chosen_on = rows_of(val, first_of_each_class(val, LABELS, seed=42, purpose="val"))
    return train, chosen_on, val if tune else test


def main() -> None:
    parser = options("bench.sgan_tea", __doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--groups", help="CSV of file,group")
    arguments = parser.parse_args()
    sides = stores(arguments.data, arguments.groups, arguments.tune)
    settings = load_params("params.yaml").train_sgan.model_dump(include=set(SHARED)) | PIXELS | CHANGES
    run(arguments, sides, settings, data=arguments.data.name, classes=sides[0].classes)


if __name__ == "__main__":
    main()
