"""What are unlabelled leaf photographs worth? The tea set with ten labels a class.

    python -m bench.sgan_tea --data PATH    # PATH/<class>/*.jpg

The split is the pipeline's own, by groups (near duplicates and, with `--groups`, photos of one leaf), with the shipped
params.yaml's shares and seed. Ten images a class of its val side are what is chosen on; of train ten a class are
labelled, drawn anew with each seed, and the rest is unlabelled. What the networks see has 32 px.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.sgan_protocol import METHODS, first_of_each_class, measure, rows_of, told
from pipeline.images.split import split_images
from pipeline.images.store import Store, load_store
from pipeline.params import load_params

LABELS = 10  # a class; val has as many
CHANGES: dict[str, Any] = {"label_budget": LABELS, "steps": 200, "eval_every": 40}  # to params.yaml's train_sgan


def stores(data: Path, groups: str | None) -> tuple[Store, Store, Store]:
    """Train, val and test of the pipeline's own split."""
    classes = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    section = load_params("params.yaml").split.model_dump() | {"groups_csv": groups}
    with tempfile.TemporaryDirectory() as folder:
        split_images(data, Path(folder) / "split", Path(folder) / "arrays", classes=classes, **section)
        sides = [load_store(Path(folder) / "arrays" / side, classes) for side in ("train", "val", "test")]
    train, val, test = sides
    return train, rows_of(val, first_of_each_class(val, LABELS, seed=42, purpose="val")), test


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sgan_tea", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--groups", help="CSV of file,group")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", type=json.loads, default={}, help='other settings, as JSON: {"steps": 500}')
    parser.add_argument("--tune", action="store_true", help="test on val: what settings are compared by")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()

    train, val, test = stores(arguments.data, arguments.groups)
    settings = load_params("params.yaml").train_sgan.model_dump() | CHANGES | {"device": arguments.device}
    settings |= arguments.set
    seeds = list(range(arguments.seeds))
    del settings["seeds"]
    figures = measure(
        train, val, val if arguments.tune else test, seeds=seeds, settings=settings, methods=arguments.methods
    )
    print(told(figures))
    if arguments.json:
        figures = {"data": arguments.data.name, "classes": train.classes, **figures}
        arguments.json.write_text(json.dumps({**describe(arguments.device), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
