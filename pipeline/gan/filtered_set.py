"""The synthetic set once more, of those candidates alone that a judge accepts: as many of each class as before.

Candidate i of a class is the image that `balanced_set` draws for seed i. Candidates are judged in the order of
their seeds, on this thread; a few batches ahead of it others draw and look, a whole batch at a time. So neither the
number of threads nor where the walk ends can change what is accepted.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils import parametrize
from tqdm import tqdm

from pipeline import InputError
from pipeline.gan.balanced_set import assemble_augmented, image_file
from pipeline.gan.checkpoint import generator_sha256
from pipeline.gan.class_images import class_sampler
from pipeline.gan.sampling import BATCH, Sampler, one_thread
from pipeline.images.demands import images_per_class
from pipeline.images.manifest import write_csv
from pipeline.images.png import encode_png
from pipeline.images.row_file import RowFile
from pipeline.images.store import Store

LAST = ("copies", "duplicates")  # rules that reject what the set has already
EXAMPLES = 8  # rejected images of a class that are kept, the first ones, to be looked at

# From what is known of the next candidates of a class to one pair each: the rule that rejects it, or None, and its
# scores by rule.
ClassJudge = Callable[[Any], list[tuple[str | None, dict[str, float]]]]


class Candidate(NamedTuple):
    """One image that was judged.

    Attributes:
        index: Its seed.
        d_logit: Of the class's own discriminator.
        rejected_by: The rule; None: accepted.
        scores: By rule.
        filled: Rejected, and in the set all the same, since its class starves.
    """

    index: int
    d_logit: float
    rejected_by: str | None
    scores: dict[str, float]
    filled: bool = False


def write_filtered_set(
    store: Store,
    real_dir: str | Path,
    models_dir: str | Path,
    filtered_dir: str | Path,
    augmented_dir: str | Path,
    filtered_store: str | Path,
    augmented_store: str | Path,
    log_dir: str | Path,
    *,
    examine: Callable[[np.ndarray], Any],
    judges: dict[str, ClassJudge],
    target: str | int,
    seed: int,
    truncation: float,
    max_candidates_factor: float,
    when_starving: str = "fail",
    device: str = "cpu",
    workers: int | None = None,
) -> dict[str, list[Candidate]]:
    """Walk the candidates of every class until `target` are accepted, and add what each class of train lacks to it.

    No byte depends on `workers`.

    Args:
        store: The train split.
        real_dir: Its images as files, `<class>/<file>`.
        models_dir: One model folder a class.
        filtered_dir: Gets the accepted as `<class>/<class>_seed000000.png`, and `manifest.csv`.
        augmented_dir: Gets train and the first accepted images of each class, and `manifest.csv`.
        filtered_store: The pixels of `filtered_dir` as an array store.
        augmented_store: The pixels of `augmented_dir` as an array store.
        log_dir: Gets `candidates.csv`, a row a candidate, and the first rejected as `rejected/<class>/<file>`.
        examine: From (N, H, W, 3) uint8 candidates, `BATCH` or fewer, to what a judge knows of them; called by several
            threads at a time, and of more candidates than are judged.
        judges: Class to what accepts or rejects; called with what was found of the candidates, in order.
        target: Images a class, see `images_per_class`.
        seed: Of the latents.
        truncation: Factor on z.
        max_candidates_factor: A class may see this many times `target` candidates.
        when_starving: What then: "fail", or "fill" it up with those rejected that the teacher is surest of, and say
            so of each.
        device: cpu or cuda.
        workers: Threads that draw; None for as many as torch computes with.

    Returns:
        Class to all the candidates that were judged, in order.

    Raises:
        InputError: A class starves, and is to fail then; or a model is missing, or of another class or resolution.
        OSError: The disk is full, or a place cannot be written.
    """
    filtered_dir, filtered_store, log_dir = Path(filtered_dir), Path(filtered_store), Path(log_dir)
    models_dir = Path(models_dir)
    counts = np.bincount(store.labels, minlength=len(store.classes))
    count = images_per_class(target, int(counts.max()))
    limit = math.ceil(count * max_candidates_factor)
    shape = (count, *store.images.shape[1:])
    for folder in (filtered_store, log_dir):
        folder.mkdir(parents=True, exist_ok=True)
    pixels = {name: RowFile(filtered_store / f"{name}.npy", shape, np.uint8) for name in store.classes}
    judged: dict[str, list[Candidate]] = {}
    workers = workers or torch.get_num_threads()
    with (
        one_thread(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        tqdm(total=count * len(store.classes), unit="img", desc="filter_synthetic", disable=None) as bar,
    ):
        try:
            for name in store.classes:
                sampler = class_sampler(
                    models_dir / name, name, shape[1], seed=seed, truncation=truncation, device=device
                )
                (filtered_dir / name).mkdir(parents=True)
                rejected_dir = log_dir / "rejected" / name
                pixels[name].create()
                seen = judged[name] = []
                accepted = rejected = 0
                with parametrize.cached():  # see balanced_set
                    for first, images, logits, found in _in_order(pool, sampler, examine, limit, ahead=2 * workers):
                        verdicts = judges[name](found)
                        kept = []
                        for i, (rule, scores) in enumerate(verdicts):
                            if accepted + len(kept) == count:
                                break
                            seen.append(Candidate(first + i, float(logits[i]), rule, scores))
                            if rule is None:
                                kept.append(i)
                            elif rejected < EXAMPLES:
                                rejected_dir.mkdir(parents=True, exist_ok=True)
                                _write_images(rejected_dir, name, images, [i], first)
                                rejected += 1
                        _write_images(filtered_dir / name, name, images, kept, first)
                        if kept:
                            pixels[name].write(accepted, images[kept])
                        accepted += len(kept)
                        bar.update(len(kept))
                        if accepted == count:
                            break
                if accepted < count:
                    if when_starving == "fail":
                        raise InputError(_starving(name, count, seen))
                    _fill(sampler, seen, accepted, count, filtered_dir / name, name, pixels[name])
        except BaseException:  # a full disk, Ctrl-C: what has not begun never will
            pool.shutdown(cancel_futures=True)
            raise
    files = _describe(models_dir, filtered_dir, filtered_store, log_dir, judged)
    assemble_augmented(
        store, Path(real_dir), filtered_dir, files, pixels, Path(augmented_dir), Path(augmented_store),
        home="data/filtered",
    )  # fmt: skip
    return judged


def _in_order(
    pool: ThreadPoolExecutor,
    sampler: Sampler,
    examine: Callable[[np.ndarray], Any],
    limit: int,
    *,
    ahead: int,
) -> Iterator[tuple[int, np.ndarray, np.ndarray, Any]]:
    """The first `limit` images in batches: (index of the first, images, logits, found); `ahead` are in work."""

    def work(batch: int) -> tuple[np.ndarray, np.ndarray, Any]:
        images = sampler.draw(batch)
        own = images[: limit - batch * BATCH]
        return own, sampler.score(images)[: len(own)], examine(own)

    batches = -(-limit // BATCH)
    waiting: deque[Future] = deque(pool.submit(work, batch) for batch in range(min(ahead, batches)))
    try:
        for batch in range(batches):
            images, logits, found = waiting.popleft().result()
            if batch + ahead < batches:
                waiting.append(pool.submit(work, batch + ahead))
            yield batch * BATCH, images, logits, found
    finally:
        for future in waiting:
            future.cancel()
        for future in waiting:  # those that run use this sampler's networks
            if not future.cancelled():
                future.exception()


def _fill(
    sampler: Sampler, seen: list[Candidate], accepted: int, count: int, folder: Path, name: str, pixels: RowFile
) -> None:
    """Those rejected candidates that the teacher is surest of, drawn again, behind the accepted ones."""
    rejected = [i for i, candidate in enumerate(seen) if candidate.rejected_by is not None]
    # Copies and repeats, of which the teacher may be surest of all, come last; of equals the first is taken
    order = sorted(rejected, key=lambda i: (seen[i].rejected_by in LAST, -seen[i].scores.get("confidence", 0.0)))
    for row, i in enumerate(sorted(order[: count - accepted]), accepted):
        seen[i] = seen[i]._replace(filled=True)
        batch, place = divmod(seen[i].index, BATCH)
        images = sampler.draw(batch)
        _write_images(folder, name, images, [place], batch * BATCH)
        pixels.write(row, images[[place]])


def _write_images(folder: Path, name: str, images: np.ndarray, rows: list[int], first: int) -> None:
    if rows:
        for i, png in zip(rows, encode_png(images[rows]), strict=True):
            (folder / image_file(name, first + i)).write_bytes(png)


def _starving(name: str, count: int, seen: list[Candidate]) -> str:
    accepted = sum(candidate.rejected_by is None for candidate in seen)
    rejections = Counter(candidate.rejected_by for candidate in seen if candidate.rejected_by is not None)
    rule, most = rejections.most_common(1)[0]
    return (
        f"class '{name}': expected {count} accepted images, got {accepted} of {len(seen)} candidates, of which the "
        f"rule '{rule}' rejected most ({most}); loosen filter_synthetic.rules.{rule} or switch it off, raise "
        "filter_synthetic.max_candidates_factor, set filter_synthetic.when_starving to fill, or go on without "
        "filtering: set filter_synthetic.enabled to false and remove the arms whose train is "
        "data/arrays/augmented_filtered."
    )


def _describe(
    models_dir: Path, filtered_dir: Path, filtered_store: Path, log_dir: Path, judged: dict[str, list[Candidate]]
) -> dict[str, list[str]]:
    """The manifest, the store's index and the log of all candidates; class to its accepted files."""
    rules = list(dict.fromkeys(rule for seen in judged.values() for c in seen for rule in c.scores))
    manifest, index, log = [], [], []
    files: dict[str, list[str]] = {name: [] for name in judged}
    for name, seen in judged.items():
        sha256 = generator_sha256(models_dir / name)
        for candidate in seen:
            scores = [_number(candidate.scores[rule]) for rule in rules]
            log.append([name, candidate.index, candidate.rejected_by or "", f"{candidate.d_logit:.6f}", *scores])
        for candidate in sorted((c for c in seen if c.rejected_by is None or c.filled), key=lambda c: c.filled):
            file = image_file(name, candidate.index)
            files[name].append(file)
            described = [f"{candidate.d_logit:.6f}", candidate.rejected_by or ""]
            scores = [_number(candidate.scores[rule]) for rule in rules]
            manifest.append([f"{name}/{file}", name, candidate.index, sha256, *described, *scores])
            index.append([file, name])
    head = ["file", "class", "seed", "generator_sha256", "d_logit", "rejected_by", *rules]
    write_csv(filtered_dir / "manifest.csv", head, manifest)
    write_csv(filtered_store / "index.csv", ["file", "class"], index)
    write_csv(log_dir / "candidates.csv", ["class", "seed", "rejected_by", "d_logit", *rules], log)
    return files


def _number(score: float) -> str:
    """Nothing where there was nothing to measure against: the first accepted image has no earlier one."""
    return f"{score:.6f}" if math.isfinite(score) else ""
