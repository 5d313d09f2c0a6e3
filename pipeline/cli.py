"""`leafsynth`: point the pipeline at your own leaves, or back at the rendered sample."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from pipeline import InputError
from pipeline.budget import (
    ENOUGH_KIMG,
    GOAL_MINUTES,
    RESOLUTIONS,
    SAMPLE,
    choose_budget,
    choose_device,
    choose_resolution,
    choose_threads,
    of_photos,
)
from pipeline.budget import measure_images_per_second as measure
from pipeline.held import look_at, version_at, way_back
from pipeline.images.capture_order import name_hint
from pipeline.images.groups import groups_csv_columns, pattern_groups, read_groups_csv
from pipeline.images.listing import class_name, list_class, printable, subfolders, text
from pipeline.images.survey import Survey, survey
from pipeline.intake import (
    CLASS_NAMES,
    Entry,
    bring_in,
    check_length,
    check_versioned,
    class_names_csv,
    dvc_add,
    leftovers,
    list_entries,
    readable,
    rename_in_groups_csv,
    safe_names,
)
from pipeline.params import CLASS_NAME, Params, load_params
from pipeline.params_edit import edit_params, edited
from pipeline.stage_lock import running_stages
from pipeline.usefulness import what_can_show, what_to_expect

RAW = Path("data/raw")


def main(argv: list[str] | None = None) -> int:
    """The console script; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a screen without a class name's letters shows their numbers
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except InputError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("leafsynth: interrupted; everything is as it was.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough: leafsynth show | head
        _drop_output()
        return 141
    except OSError as error:  # the system's refusals that nobody further down had better words for
        if error.filename is None:
            _drop_output()  # most likely the screen, or the full disk that it is written to
        what = text(error.filename) if isinstance(error.filename, str) else "system"
        return _refuse(
            f"{what}: expected to read or write here, found: {error.strerror or error}; check permissions and room."
        )
    return 0


def _refuse(sentence: str) -> int:
    print(f"leafsynth: {printable(sentence)}", file=sys.stderr)  # one line, whatever a name in it holds
    return 1


def _drop_output() -> None:
    """Nothing more to a screen that takes no more, or Python complains at its exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="leafsynth",
        description="Class-balanced synthetic leaf images, and an honest verdict on whether they help.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser(
        "init",
        help="train on your own leaves: a folder with one sub-folder of photos a class",
        description="Look at a folder of class folders, copy it to data/raw/, put it under DVC, and write into "
        "params.yaml what suits it and this machine. Nothing is changed unless all of it succeeds.",
        epilog="Then run: dvc repro",
    )
    init.add_argument("path", metavar="PATH", nargs="?", help="folder with one sub-folder a class")
    init.add_argument("--sample", action="store_true", help="go back to the rendered sample")
    init.add_argument(
        "--img-resolution", type=int, choices=RESOLUTIONS, metavar="PX", help="32, 64, 128 or 256; default: by device"
    )
    init.add_argument(
        "--groups",
        metavar="CSV",
        help="file,group or file,class,leaf_id: photos that must stay on one side of the split; "
        "default: such a csv in PATH",
    )
    init.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help="on file names; photos with the same first bracket (or match) stay on one side of the split",
    )
    init.add_argument("--name", help="folder name under data/raw/; default: that of PATH")
    init.add_argument(
        "--replace", action="store_true", help="take the place of another set of that name, which DVC's cache keeps"
    )
    init.add_argument("--minutes", type=float, metavar="M", help="what dvc repro should take; default: 20, on a GPU 45")
    init.add_argument("--dry-run", action="store_true", help="print what would be chosen and change nothing")
    init.set_defaults(command=_init)
    show = commands.add_parser("show", help="print the last comparison and its verdict, and say where everything is")
    show.set_defaults(command=_show)
    sync = commands.add_parser(
        "sync",
        help="send to MLflow what no execution could",
        description="Send to MLflow what stages have left in .state/mlflow while the store was slow, locked or away. "
        "MLFLOW_TRACKING_URI must be as it was then.",
    )
    sync.set_defaults(command=_sync)
    return parser


def _sync(arguments: argparse.Namespace) -> None:
    from pipeline.report.tracking import sync

    sent, left, why = sync(_find_root())
    print(f"Sent to MLflow: {sent} runs.")
    if why is not None:
        raise InputError(why)
    if left:
        print(f"Still at work: {left} stages; their runs grow while they last.")


def _show(arguments: argparse.Namespace) -> None:
    from pipeline.report.table import summary

    root = _find_root()
    raw_dir = load_params(root / "params.yaml").data.raw_dir
    print(summary(root / "results/compare", width=shutil.get_terminal_size().columns))
    print(f"""
raw set              {raw_dir}{" (a rendered sample: no real leaves)" if raw_dir == SAMPLE["data.raw_dir"] else ""}
report               results/compare/report.html
synthetic set        data/synthetic/   (with the real train images, balanced: data/augmented/)
audit of the photos  data/split/audit.md
MLflow UI            make ui, then http://127.0.0.1:5000""")


class _Groups(NamedTuple):
    """What keeps photos together: a csv to take along, its name in the set, a pattern; a word on them, or a hint."""

    csv: Path | None
    name: str | None
    pattern: str | None
    words: str
    hint: str


def _init(arguments: argparse.Namespace) -> None:
    root = _find_root()
    check_versioned(root)
    params = load_params(root / "params.yaml")
    if not arguments.dry_run:
        _refuse_while_running(root)
    if arguments.sample:
        if arguments.path is not None:
            raise InputError(f"--sample: expected no PATH beside it, found '{arguments.path}'; give one of the two.")
        _back_to_sample(root, dry_run=arguments.dry_run)
        return
    if arguments.path is None:
        raise InputError("init: expected the PATH of a folder with one sub-folder a class, or --sample; give one.")
    if arguments.minutes is not None and not 0 < arguments.minutes < math.inf:
        raise InputError(f"--minutes: expected more than 0, found {arguments.minutes:g}; correct it.")
    source = _check_place(arguments.path, root)
    params = of_photos(params)

    print(f"Looking at {printable(text(arguments.path))} ...", flush=True)
    found = survey(source, max_pixels=params.split.max_pixels, min_images_per_class=params.split.min_images_per_class)
    classes = _classes(source, found)
    groups = _choose_groups(arguments, source, found, list(classes))

    in_place = source.parent == (root / RAW).resolve()
    name = _target_name(arguments.name, source, in_place)
    target = root / RAW / name
    before = version_at(target)
    counts_by_folder = {c.folder: c.images for c in found.classes if c.folder in classes}
    if in_place:
        names = {folder: class_name(folder) for folder in classes}
        notes = _check_in_place(source, list(classes), groups)
        entries, held = [], "in place"
    else:
        names = safe_names(classes, taken=[text(p.name) for p in subfolders(source) if text(p.name) not in classes])
        entries, notes = list_entries(source, {folder: new for folder, new in names.items() if folder != new})
        entries = _with_own_files(entries, names, groups)
        held = look_at(entries, target, replace=arguments.replace)
    renamed = {folder: new for folder, new in names.items() if folder != new}
    class_counts = {names[folder]: count for folder, count in counts_by_folder.items()}

    device = choose_device(params.device)
    side = min(found.width, found.height)
    img_resolution, why = choose_resolution(side, device)
    if arguments.img_resolution is not None:
        img_resolution, why = arguments.img_resolution, "--img-resolution"
    goal = arguments.minutes or GOAL_MINUTES[device]
    print("Timing a few training steps ...", flush=True)
    threads = choose_threads()
    speed = measure(
        params, num_classes=len(class_counts), img_resolution=img_resolution, device=device, threads=threads
    )
    budget = choose_budget(
        params, class_counts=class_counts, median_size=(found.width, found.height), speed=speed, goal_minutes=goal,
        device=device,
    )  # fmt: skip
    changes = {
        "threads": threads,
        "classes": list(class_counts),
        "data.raw_dir": (RAW / name).as_posix(),
        "data.rendered": [],
        "split.img_resolution": img_resolution,
        "split.test_share": params.split.test_share,
        "split.val_share": params.split.val_share,
        "split.groups_csv": groups.name,
        "split.group_pattern": groups.pattern,
        **budget.changes,
    }
    # A GAN may be asked for more than the photos have; the judge sees no less than it
    changes["split.photo_resolution"] = max(img_resolution, changes["split.photo_resolution"])
    edited((root / "params.yaml").read_text(encoding="utf-8"), changes)  # a missing section shows before copying

    _print_set(found, class_counts, notes, renamed)
    _print_choices(params, changes, budget.minutes, groups, device, (img_resolution, why), speed.gan, side, goal)
    print("\n" + what_can_show(root, class_counts, params, gans=1 + len(changes["repeat_gan.seeds"])))
    print("\n" + what_to_expect(root, class_counts, params))
    if arguments.dry_run:
        print("\nDry run: nothing was changed.")
        return
    _refuse_while_running(root)  # once more: looking and timing took a while
    with ExitStack() as undo:
        if held == "same":
            print(f"data/raw/{name} holds this set already.")
        elif held != "in place":
            bring_in(entries, target, undo, _progress(name))
        print("Putting it under DVC ...", flush=True)
        dvc_add(target, undo)
        edit_params(root / "params.yaml", changes)
        undo.pop_all()
    for path in leftovers(target):
        shutil.rmtree(path, ignore_errors=True)
    if before is not None and before != version_at(target):
        other = "another set" if held == "other" else "another version"
        there = f"data/raw/{name} held {other} ({before.files} files, in DVC's cache as {before.md5})"
        if held == "nothing":  # a clone without the photos, or they were removed by hand: DVC's cache may lack them
            there = f"data/raw/{name}.dvc named {other} ({before.files} files, md5 {before.md5})"
        back = way_back(target, before, f"data/raw/{name}")
        print(f"\n{there}{'; ' if back else ''}{back}.")
    print(f"\nWrote params.yaml and data/raw/{name}.dvc (`git add -A` takes both). Next:\n\n    dvc repro")


def _back_to_sample(root: Path, *, dry_run: bool) -> None:
    for key, value in SAMPLE.items():
        print(f"  {key}: {_shown(value)}")
    if dry_run:
        print("\nDry run: nothing was changed.")
        return
    edit_params(root / "params.yaml", SAMPLE)
    print("\nparams.yaml is back at the rendered sample; data/raw/ was left alone. Next:\n\n    dvc repro")


def _find_root() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise InputError(
        f"{here}: expected leafsynth's repository, found no params.yaml and dvc.yaml here or above; "
        "change into the repository."
    )


def _refuse_while_running(root: Path) -> None:
    """A stage that meets another params.yaml or other photos at its end keeps nothing of what it made."""
    for stage, process in running_stages(root).items():
        raise InputError(f"init: expected no stage at work, found {stage} ({process}); wait for it to end, or stop it.")


def _user_path(option: str, path: str) -> Path:
    """What the user gave as a path, `~` spelled out; it need not exist."""
    if "\0" in path:
        raise InputError(f"{option}: expected a path, found one with a NUL character in it; correct it.")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{option}: expected a path, found '{text(path)}', whose `~` names no user's home; write the path out."
        ) from None


def _check_place(path: str, root: Path) -> Path:
    """PATH, resolved; it may lie anywhere but around the repository, or among what the pipeline makes."""
    source = _user_path("PATH", path)
    if not source.exists():
        return source  # the survey says so
    place = source.resolve()
    if root.is_relative_to(place):
        raise InputError(f"{source}: expected a folder of class folders, found one that holds this repository.")
    if place == root / "data" / "sample":
        raise InputError(f"{source}: this is the rendered sample; run `leafsynth init --sample`.")
    inside_raw = place.is_relative_to(root / RAW) and place != root / RAW
    for made in ("data", "models", "results", ".git", ".dvc"):
        if place.is_relative_to(root / made) and not inside_raw:
            raise InputError(f"{source}: expected a raw set, found what the pipeline makes; give your own folder.")
    return place


def _classes(source: Path, found: Survey) -> dict[str, Path]:
    """Folder name to folder of every class; a folder that is only a link to another is none."""
    paths = {text(p.name): p for p in subfolders(source)}
    classes = {c.folder: paths[c.folder] for c in found.classes if not paths[c.folder].is_symlink()}
    if len(classes) < 2:
        raise InputError(
            f"{source}: expected at least 2 class folders, found {len(classes)} that are no links; "
            "add the other classes' folders."
        )
    return classes


def _target_name(name: str | None, source: Path, in_place: bool) -> str:
    if in_place:
        if name not in (None, source.name):
            raise InputError(f"--name: expected none for a set that lies in data/raw/ already, found '{name}'.")
        if source.name != readable(source.name):
            raise InputError(f"{text(source)}: expected a name in UTF-8, the only ones that DVC holds; rename it.")
        check_length(str(source), source)
        return source.name
    if name is None:
        return class_name(text(source.name))
    if not CLASS_NAME.fullmatch(name):
        raise InputError(f"--name: expected letters, digits, '_', '-' or '.', found '{name}'; correct it.")
    check_length("--name", source.with_name(name))
    return name


def _check_in_place(source: Path, classes: list[str], groups: _Groups) -> list[str]:
    """A set that lies in data/raw/ is used as it is; refuse what would have to be mended in it."""
    _, notes = list_entries(source, {})
    if notes:
        what = notes[0].split(";")[0]
        raise InputError(f"{source}: {what}, which DVC cannot hold; remove it, or move the set elsewhere.")
    if groups.csv is not None and not groups.csv.is_relative_to(source):
        raise InputError(f"{groups.csv}: expected the groups csv in {source}, where DVC has it; move it there.")
    folded = [class_name(folder).casefold() for folder in classes]
    if len(set(folded)) < len(folded):
        raise InputError(f"{source}: expected class folders that differ by more than case and signs; rename one.")
    return notes


def _choose_groups(arguments: argparse.Namespace, source: Path, found: Survey, classes: list[str]) -> _Groups:
    paths = {text(p.name): p for p in subfolders(source)}
    sources = [s for label, folder in enumerate(classes) for s in list_class(source, paths[folder], label)[0]]
    csv_path, words = None, []
    if arguments.groups is not None:
        candidates = [_user_path("--groups", arguments.groups), source / arguments.groups]
        csv_path = next((p.resolve() for p in candidates if p.is_file()), None)
        if csv_path is None:
            raise InputError(f"--groups: expected a csv, found no file '{arguments.groups}'; check the path.")
    elif found.groups_csv is not None:
        csv_path = next(p for p in source.iterdir() if text(p.name) == found.groups_csv)
    if csv_path is not None:
        if groups_csv_columns(csv_path) is None:
            raise InputError(
                f"{csv_path.name}: expected a UTF-8 csv with columns `file,group` or `file,class,leaf_id`, "
                "found others; rename its columns."
            )
        matched = read_groups_csv(csv_path, sources, [class_name(c) for c in classes], classes).groups
        if not any(matched):
            raise InputError(
                f"{csv_path.name}: expected paths of images such as '{sources[0].file}' in its column `file`, "
                "found none that names a file of the set; correct them."
            )
        distinct = len({group for ids in matched for group in ids})
        words.append(f"{distinct} in {csv_path.name} for {sum(map(bool, matched))} of {len(sources)} images")
    if arguments.group_pattern is not None:
        if arguments.group_pattern != readable(arguments.group_pattern):
            raise InputError(
                "--group-pattern: expected UTF-8, as params.yaml is written in, found other bytes; mend it."
            )
        matches = pattern_groups(sources, arguments.group_pattern)
        if not any(matches):
            raise InputError(
                f"--group-pattern: expected a pattern found in file names such as "
                f"'{sources[0].inside}', found it in none; correct it."
            )
        number = sum(m is not None for m in matches)
        words.append(f"{len(set(matches) - {None})} by pattern for {number} of {len(sources)} images")
    name = None
    if csv_path is not None:
        inside = csv_path.is_relative_to(source)
        name = csv_path.relative_to(source).as_posix() if inside else _free_name(source, csv_path.name)
        name = readable(name)  # as its copy is called
    hint = "" if words else name_hint([s.inside for s in sources], np.array([s.label for s in sources]))
    return _Groups(csv_path, name, arguments.group_pattern, " and ".join(words) or "near duplicates only", hint)


def _free_name(source: Path, name: str) -> str:
    plain = re.sub(r"[^\w.-]+", "_", name).lstrip(".-") or "groups.csv"
    return plain if not (source / plain).exists() else f"leafsynth_{plain}"


def _with_own_files(entries: list[Entry], names: dict[str, str], groups: _Groups) -> list[Entry]:
    """The set's files, with the groups csv renamed like the folders, and the names that were changed."""
    changed = {folder: name for folder, name in names.items() if folder != name}
    own: dict[PurePosixPath, Entry] = {}
    if groups.csv is not None and groups.name is not None:
        content = rename_in_groups_csv(groups.csv, changed) if changed else groups.csv.read_bytes()
        own[PurePosixPath(groups.name)] = Entry(PurePosixPath(groups.name), None, content)
    if changed:
        own[PurePosixPath(CLASS_NAMES)] = Entry(PurePosixPath(CLASS_NAMES), None, class_names_csv(changed))
    return [entry for entry in entries if entry.path not in own] + list(own.values())


def _progress(name: str) -> Any:
    """A counter on one line, on a terminal only."""

    def show(done: int, total: int) -> None:
        if done % 200 == 0 or done == total:
            end = "\n" if done == total else ""
            print(f"\rCopying to data/raw/{name}: {done} of {total} files", end=end, flush=True)

    return show if sys.stdout.isatty() else None


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(str(item) for item in value)}]"
    return "null" if value is None else str(value)


def _print_set(found: Survey, class_counts: dict[str, int], notes: list[str], renamed: dict[str, str]) -> None:
    total = sum(class_counts.values())
    print(f"\n{total} images in {len(class_counts)} classes, median {found.width} x {found.height} px")
    width = max(len(name) for name in class_counts)
    for name, count in class_counts.items():
        print(f"  {name:{width}}  {count:6d}")
    for folder, name in renamed.items():
        print(f"  renamed: '{printable(folder)}' is class {name}")
    for skipped in found.skipped:
        print(f"  left out: folder '{printable(skipped.folder)}', {skipped.skipped}")
    for file, rule, detail in found.unreadable[:10]:
        print(f"  no usable image: {printable(file)} ({rule}{', ' + detail if detail else ''})")
    if len(found.unreadable) > 10:
        print(f"  ... and {len(found.unreadable) - 10} more; data/split/audit.md will name them all")
    for note in notes:
        print(f"  {printable(note)}")


def _gans_in_words(repeats: int) -> str:
    if repeats:
        return f"{repeats} further GANs, one for each classifier seed: their luck is in the intervals"
    return f"one GAN: for one a classifier seed, of {ENOUGH_KIMG} kimg each, the goal is too short"


def _print_choices(
    params: Params,
    changes: dict[str, Any],
    minutes: dict[str, float],
    groups: _Groups,
    device: str,
    resolution: tuple[int, str],
    gan_speed: float,
    side: int,
    goal: float,
) -> None:
    why = {
        "threads": "of a CPU",
        "data.raw_dir": "the set, under DVC",
        "split.img_resolution": f"px; {resolution[1]}",
        "split.test_share": "of each class",
        "split.val_share": "of what test leaves",
        "split.groups_csv": f"groups: {groups.words}" if groups.name else "",
        "split.group_pattern": f"groups: {groups.words}" if groups.pattern else "",
        "label_budgets": "labelled images a class, no more than the smallest class has in train",
        "train_gan.total_kimg": f"{1000 / gan_speed:.0f} s a kimg on this machine ({device})",
        "specialise_gan.total_kimg": "for each class",
        "repeat_gan.seeds": _gans_in_words(len(changes["repeat_gan.seeds"])),
        "split.photo_resolution": "px, as the judge sees them",
        "train_classifier.kind": f"the judge of {len(params.arms)} arms, the best that there is time for ({device})",
        "second_judge.kind": "beside it, for the controls and the candidate",
        "train_sgan.steps": "for each budget, method and seed",
    }
    print("\nparams.yaml")
    for key, value in changes.items():
        if key in ("classes", "data.rendered"):
            continue
        reason = f"  # {why[key]}" if why.get(key) else ""
        print(printable(f"  {key + ':':36} {_shown(value)}{reason}"))
    if not groups.name and not groups.pattern:
        print("  no leaf ids found: only near duplicates are kept together (--groups, --group-pattern)")
    if groups.hint:
        print(f"  note: {printable(groups.hint)}")
    total = sum(minutes.values())
    print(f"\ndvc repro will take about {total:.0f} minutes (goal {goal:g})")
    for part, time in minutes.items():
        print(f"  {part:18} {time:6.1f}")
    if total > 1.1 * goal:
        print("  more than the goal: less training than this would show nothing")
    if resolution[0] > side:
        print(f"  note: {resolution[0]} px is more than the photos have ({side} px)")


if __name__ == "__main__":
    sys.exit(main())
