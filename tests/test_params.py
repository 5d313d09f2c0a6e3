"""params.yaml is refused before any work starts, in one sentence that names the key."""

import copy
import itertools
import random
import re
import typing

import pytest

from pipeline import MATCHED_CONTROL, InputError, params, shown
from pipeline.params import RECIPES, SHAPE, Params, check_values, load_params
from pipeline.params_edit import edit_params
from pipeline.params_reading import read_values

ARM = {
    "train": "data/arrays/train",
    "sampling": "natural",
    "augment": "none",
    "background": "keep",
    "resolution": "photo",
}
LONGEST = 500  # characters of a message, the file's path aside


@pytest.fixture(scope="module")
def text(root):
    return (root / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shipped(root):
    return read_values(root / "params.yaml")


@pytest.fixture
def said(shipped):
    """What is said of the shipped values with some replaced (with KeyError: removed); "" where they are taken."""

    def said(*changes):
        values = copy.deepcopy(shipped)
        for path, value in changes:
            *parents, last = path.split("/") if isinstance(path, str) else path
            at = values
            for part in parents:
                at = at[part]
            if value is KeyError:
                del at[last]
            else:
                at[last] = value
        try:
            check_values(values, "params.yaml")
        except InputError as error:
            message = str(error).removeprefix("params.yaml: ")
            assert message.splitlines() == [message] and len(message) < LONGEST and message.endswith(".")
            return message
        return ""

    return said


@pytest.fixture
def read(tmp_path):
    """What is said of a file's content; "" where it is taken."""

    def read(content):
        path = tmp_path / "params.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        try:
            load_params(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
            message = str(error).removeprefix(f"{path}: ")
            assert message.splitlines() == [message] and len(message) < LONGEST and message.endswith(".")
            return message
        return ""

    return read


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("split/img_resolution", 48, r"split\.img_resolution: .*32, 64, 128 or 256.*got 48"),
        ("split/test_share", 1.2, r"split\.test_share: .*less than 1.*got 1\.2"),
        ("train_gan/total_kimg", -1, r"train_gan\.total_kimg: .*greater than 0.*got -1"),
        ("train_gan/total_kimg", "lots", r"train_gan\.total_kimg: .*got 'lots'"),
        ("train_gan/loss", "hinj", r"train_gan\.loss: .*'nonsaturating', 'hinge', .*got 'hinj'"),
        ("train_gan/loss", "wasserstein", r"train_gan: expected gradient_penalty above 0 .* got 0"),
        ("train_gan/augment_p", "adaptively", r"train_gan\.augment_p.*got 'adaptively'"),
        (
            "train_gan/transition_kimg",
            [4, 2],
            r"train_gan: expected transition_kimg as \[begin, end\].*got \[4.0, 2.0\]",
        ),
        (
            "train_gan/num_processes",
            3,
            r"train_gan: expected batch_size to be a multiple of num_processes \(3\), got 16",
        ),
        ("train_gan/learning_rate", 1, r"train_gan\.learning_rate: not a known key"),
        ("train_sgan/tuning", [], r"train_sgan\.tuning: .*at least 1"),
        (
            "train_sgan/tuning",
            [{"lr": 0.001, "dropout": 1.0, "input_noise": 0.0}],
            r"train_sgan\.tuning\.0\.dropout: .*less than 1.*got 1\.0",
        ),
        ("train_sgan/tuning", [{"lr": 0.001, "dropout": 0.1}], r"train_sgan\.tuning\.0\.input_noise: expected a value"),
        ("train_sgan/consistency_confidence", 1, r"train_sgan\.consistency_confidence: .*less than 1.*got 1"),
        ("train_sgan/views", "leaves", r"train_sgan\.views: .*'none' or 'leaf'.*got 'leaves'"),
        ("train_extractor/steps", 0, r"train_extractor\.steps: .*got 0"),
        ("train_extractor/seed", 42, r"train_extractor\.seed: expected neither assess\.seed nor the next.*got 42"),
        ("assess/seed", 6, r"train_extractor\.seed: expected neither assess\.seed nor the next.*got 7"),
        ("filter_synthetic/seed", 7, r"filter_synthetic\.seed: expected none of train_extractor\.seed.*got 7"),
        ("filter_synthetic/seed", 43, r"filter_synthetic\.seed: expected none of .*assess\.seed.*got 43"),
        ("repeat_gan/seeds", [43], r"repeat_gan\.seeds: expected none, or 2, one less than train_classifier\.seeds"),
        (
            "repeat_gan/seeds",
            [42, 43],
            r"repeat_gan\.seeds: expected others than train_gan\.seed, which would be the same",
        ),
        ("repeat_gan/seeds", [43, 43], r"repeat_gan\.seeds: expected each entry once"),
        ("filter_synthetic/seed", 2, r"filter_synthetic\.seed: expected none of .*train_classifier\.seeds.*got 2"),
        (
            "filter_synthetic/steps",
            300,
            r"filter_synthetic: expected no steps with kind: probe, on which it has no",
        ),
        ("filter_synthetic/views", KeyError, r"filter_synthetic: expected views with kind: probe, found none; add"),
        ("filter_synthetic/weights", None, r"filter_synthetic: expected weights: pretrained .* kind: probe, got None"),
        (
            "filter_synthetic/kind",
            "finetune",
            r"filter_synthetic: expected steps, batch_size, .* kind: finetune",
        ),
        ("filter_synthetic/rules/density", 1.5, r"filter_synthetic\.rules\.density: .*less than 1.*got 1\.5"),
        ("filter_synthetic/rules/confidense", 0.9, r"filter_synthetic\.rules\.confidense: not a known key"),
        (
            "filter_synthetic/enabled",
            False,
            r"arms\.filtered: expected no arm on .*_filtered .* got \['filtered', 'filtered_classic'\]; remove",
        ),
        ("train_gan/seed", KeyError, r"train_gan\.seed: expected a value, found none"),
        ("sweep_mixture/ratios", [], r"sweep_mixture\.ratios: .*at least 1.*got \[\]"),
        ("sweep_mixture/ratios", [0.5, 0], r"sweep_mixture\.ratios\.1: .*greater than 0.*got 0"),
        ("sweep_mixture/ratios", [1, 1.0], r"sweep_mixture\.ratios: expected each entry once"),
        ("minority_counts", [5, 5], r"minority_counts: expected each entry once"),
        ("study_minority/class_name", "mildew", r"study_minority\.class_name: expected null or one of .*got 'mildew'"),
        ("generate/target", "3y", r"generate\.target"),
        ("generate/target", 0, r"generate\.target"),
        ("classes", ["healthy"], r"classes: .*at least 2"),
        ("classes", ["rust", "rust"], r"classes: expected each entry once"),
        ("classes", ["Rust", "rust"], r"classes: expected names that differ by more"),
        ("classes", ["a/b", "rust"], r"got 'a/b'"),
        ("classes", ['x"; rm -rf ~ #', "rust"], r"expected letters"),
        ("arms/real", KeyError, r"arms: expected real, .* one of synthetic, .*add real to params"),
        (
            "arms/real",
            {
                "train": "data/arrays/test",
                "sampling": "natural",
                "augment": "none",
                "background": "keep",
                "resolution": "photo",
            },
            r"arms\.real\.train",
        ),
        ("arms/classic/background", "mask", r"arms\.classic\.background: expected keep, .*got 'mask'; give an arm"),
        ("arms/synthetic/augment", "classic", r"arms\.synthetic\.augment: expected none, .*got 'classic'; give an arm"),
        ("arms/classic/effort", 4, r"arms\.classic\.effort: expected 1, .*got 4; give an arm with another effort"),
        (
            "arms/classic_long/effort",
            1,
            r"arms\.classic_long\.effort: expected more than 1, .*got 1; set it, or remove",
        ),
        ("arms/Real", ARM, r"arms: expected names that differ by more"),
        ("arms/-rf", ARM, r"arms\.-rf: expected letters"),
        ("arms", [], r"arms: expected a section with keys, got \[\]"),
        (
            "arms",
            {},
            r"arms: expected real, .* one of synthetic, .* found \[\]; add real, balanced, classic, synthetic or",
        ),
        ("arms", {f"a{k}": ARM for k in range(51)}, r"arms: expected at most 50 entries"),
        ("classes", 5, r"classes: expected a list, got 5"),
        ("classes", [1, "rust"], r"classes\.0: expected text, got 1"),
        ("classes", ["..", "rust"], r"classes\.0: expected letters"),
        ("classes", ["-rust", "rust"], r"classes\.0: expected letters"),
        ("classes", ["rust\n", "scab"], r"classes\.0: expected letters"),
        ("classes", ["é" * 101, "rust"], r"classes\.0: expected at most 200 bytes, .*got 202"),
        (
            "classes",
            ["rust", "stripe_rust"],
            r"classes: expected classes of render_sample\.class_counts .*'stripe_rust'",
        ),
        (
            "classes",
            [f"c{k}" for k in range(501)],
            r"classes: expected at most 500 entries, got \['c0', .*\[\.\.\.\]; ",
        ),
        (
            "render_sample/class_counts/stripe",
            5,
            r"render_sample\.class_counts\.stripe: expected 'healthy', .*got 'stripe'",
        ),
        (
            "render_sample/class_counts/rust",
            4,
            r"class_counts\.rust: expected at least split\.min_images_per_class \(5\)",
        ),
        ("render_sample/class_counts", {"rust": 9}, r"classes: expected classes of render_sample\.class_counts"),
        ("data", 5, r"data: expected a section with keys, got 5"),
        ("data/raw_dir", "/data/raw/x", r"data\.raw_dir: expected data/sample, or a folder under data/raw/"),
        ("data/raw_dir", "data/raw/../../etc", r"data\.raw_dir: expected data/sample, or"),
        ("data/raw_dir", "data/raw", r"data\.raw_dir: expected data/sample, or"),
        ("data/raw_dir", "data/raw/leaves/", r"data\.raw_dir: expected data/sample, or"),
        ("data/raw_dir", "data/split", r"data\.raw_dir: expected data/sample, or"),
        ("split/group_pattern", "((", r"split\.group_pattern: expected a regular expression, got '\(\('"),
        ("split/group_pattern", "a{99999999999}", r"split\.group_pattern: expected a regular expression"),
        ("split/groups_csv", "", r"split\.groups_csv: expected text"),
        ("split/groups_csv", "x" * 501, r"split\.groups_csv: expected at most 500 characters, .*\[\.\.\.\]"),
        ("split/fot", "pad", r"split\.fot: not a known key; check its spelling"),
        ("label_budgets", [2.0], r"label_budgets\.0: expected a whole number, got 2\.0"),
        ("label_budgets", ["2; rm"], r"label_budgets\.0: expected a whole number, got '2; rm'"),
        ("minority_counts", ["../x"], r"minority_counts\.0: expected a whole number"),
        ("train_classifier/weights", None, r"train_classifier: expected weights: pretrained .* kind: probe, got None"),
        ("train_classifier/kind", "scratch", r"train_classifier: expected weights: null with kind: scratch, got .pack"),
        (
            "train_extractor/weights",
            "../w.pth",
            r"train_extractor\.weights: expected a file in weights/, .*'\.\./w\.pth'",
        ),
        ("assess/dinov2_weights", "w.pth", r"assess\.dinov2_weights: expected a file in weights/, .*got 'w\.pth'"),
        ("assess/weights", "weights/../w.pth", r"assess\.weights: expected a file in weights/"),
        ("arms/a.b", ARM, r"arms\..*: expected letters, digits, '_' or '-' in an arm's name, got 'a\.b'; rename it"),
        ("train_classifier/seeds", [1, 1], r"train_classifier\.seeds: expected each entry once"),
        ("train_classifier/seeds", [[1]], r"train_classifier\.seeds\.0: expected a whole number, got \[1\]"),
        ("train_classifier/seeds", list(range(101)), r"train_classifier\.seeds: expected at most 100 entries"),
        ("train_gan/augmentation", ["cutout", "cutout"], r"train_gan\.augmentation: expected each entry once"),
        ("train_gan/flips", ["vertical", "vertical"], r"train_gan\.flips: expected each entry once"),
        ("train_gan/augment_p", {"a": 1}, r"train_gan\.augment_p: expected a number or 'adaptive', got \{'a': 1\}"),
        (
            "train_gan/network",
            "slides_conditional",
            r"split\.img_resolution: expected 256 .* got 64; .*train_gan\.network",
        ),
        (
            "train_gan/z_dim",
            64,
            r"specialise_gan\.z_dim: expected train_gan's 64 with init: joint, .*got 100; set both",
        ),
        ("generate/num_processes", 2, r"generate\.num_processes: expected 1 with launcher: none, got 2"),
        ("generate/target", "0.5x", r"generate\.target: expected a whole number or largest, .* got '0\.5x'"),
        ("generate/target", "٣x", r"generate\.target"),
        ("train_sgan/img_resolution", 128, r"train_sgan\.img_resolution: expected 32 or 64, got 128"),
        ("train_sgan/img_resolution", 32, r"train_sgan: expected no img_resolution with space: features, where it"),
        ("train_sgan/space", "pixels", r"train_sgan: expected img_resolution, channels, views with space: pixels"),
        ("train_sgan/weights", None, r"train_sgan\.weights: expected text, got None"),
        ("train_sgan/augmented_views", 0, r"train_sgan\.augmented_views: .*at least 1"),
        ("sweep_mixture/ratios", [0.1, 0.10000001], r"sweep_mixture: expected ratios that differ"),
        ("sweep_mixture/photo_shares", [0.5, 0.50000001], r"sweep_mixture: expected photo_shares that differ"),
        ("sweep_mixture/photo_shares", [1], r"sweep_mixture\.photo_shares\.0: .*less than 1.*got 1"),
        ("assess/extractors", ["leaf"], r"assess: expected no leaf in extractors with kind: probe, .*set kind"),
        ("assess/lr", 0.05, r"assess: expected no lr with kind: probe"),
        ("assess/extractors", ["random", "random"], r"assess\.extractors: expected each entry once"),
        ("assess/model", None, r"assess\.model: expected text, got None"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_key(said, path, value, expected):
    assert re.search(expected, said((path, value)))


OF_A_TRAINING = {"steps": 100, "batch_size": 32, "optimiser": "sgd", "lr": 0.05, "weight_decay": 0.0005,
                 "label_smoothing": 0.1, "eval_every": 25}  # fmt: skip


def trained(section):
    """Changes that make a section's judge one from scratch."""
    changes = {"kind": "scratch", "weights": None, "views": KeyError} | OF_A_TRAINING
    return [(f"{section}/{key}", value) for key, value in changes.items()]


PIXELS = [
    ("train_sgan/space", "pixels"),
    ("train_sgan/units", KeyError),
    ("train_sgan/channels", 16),
    ("train_sgan/views", "leaf"),
    ("train_sgan/img_resolution", 32),
]
LITE0_CHOSE = [("train_extractor/model", "tf_efficientnet_lite0"), ("train_extractor/weights", "packaged")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            LITE0_CHOSE,
            r"^assess\.extractors: expected no lite0 with train_extractor\.model: tf_efficientnet_lite0, whose .* "
            r"choose the GANs' checkpoints, got \['lite0', 'random'\]; take it out, or set train_extractor\.w",
        ),
        (
            [*LITE0_CHOSE, ("assess/extractors", ["random"])],
            r"^assess\.model: expected another network than train_extractor\.model, .*; set assess\.kind to scratch",
        ),
        (
            [*LITE0_CHOSE, *trained("assess"), ("assess/extractors", ["leaf"])],
            r"^filter_synthetic\.model: expected another network than train_extractor\.model",
        ),
        (
            [("specialise_gan/init", "scratch")],
            r"^assess\.extractors: expected no random with specialise_gan\.init: scratch, .*; take it out\.$",
        ),
        (
            [("specialise_gan/init", "scratch"), ("specialise_gan/freeze_D", 1)],
            r"specialise_gan: expected freeze_D of 0 with init: scratch",
        ),
        (
            [("train_gan/G_conditioning", "none"), ("train_gan/D_conditioning", "none"),
             ("train_gan/transition_kimg", [1, 2])],
            r"train_gan: expected transition_kimg of null with networks that see no label",
        ),
        (
            [("train_gan/G_conditioning", "none"), ("specialise_gan/G_conditioning", "none"),
             ("minority_counts", [5])],
            r"minority_counts: expected \[\] where train_gan's generator sees no label",
        ),
        (
            [("split/img_resolution", 32), *PIXELS, ("train_sgan/img_resolution", 64)],
            r"train_sgan\.img_resolution: expected at most split\.img_resolution \(32\)",
        ),
        (
            [("split/fit", KeyError), ("split/fot", "pad")],
            r"^split\.fot: not a known key; write fit\.$",
        ),
        (
            [(f"arms/{name}", KeyError) for name in RECIPES if name in MATCHED_CONTROL],
            r"^arms: expected real, .*; add synthetic or .* to params.yaml, for without it there is no fair verdict\.$",
        ),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_together(said, changes, expected):
    assert re.search(expected, said(*changes))


@pytest.mark.parametrize(
    "changes",
    [
        [("specialise_gan/init", "scratch"), ("train_gan/z_dim", 64), ("assess/extractors", ["lite0"])],
        [*LITE0_CHOSE, *trained("assess"), *trained("filter_synthetic"), ("assess/extractors", ["leaf", "random"])],
        [*LITE0_CHOSE, ("train_extractor/weights", None)],
        [("data/raw_dir", "data/raw/tea leaves/2024"), ("data/rendered", []), ("classes", ["a", "b"])],
        [("generate/target", "1.5x")],
        [("generate/target", 300)],
        [("train_gan/transition_kimg", [2, 4.5]), ("train_gan/augment_p", 1), ("train_gan/G_lr", 1)],
        [("train_gan/launcher", "torchrun"), ("train_gan/num_processes", 4)],
        [("arms/mine", ARM)],
        [("split/group_pattern", r"^(\d+)_"), ("split/groups_csv", "groups.csv")],
    ],
)
def test_what_is_right_is_taken(said, changes):
    assert said(*changes) == ""


def leaves(values, path=()):
    """Every number or null: its path."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))
    if values is None or (isinstance(values, int | float) and not isinstance(values, bool)):
        yield path


def test_every_number_is_finite_bounded_and_none_but_a_number(said, shipped):
    paths = list(leaves(shipped))
    numbers = [path for path in paths if "number" in said((path, True)) or path[-1] == "img_resolution"]
    assert len(paths) > 130 and {"transition_kimg", "input_size", "ema_rampup", "rules"} <= {
        *(path[-1] for path in paths), *(path[1] for path in numbers if len(path) > 1),
    }  # fmt: skip
    assert all(path in numbers for path in paths if _at(shipped, path) is not None)
    for path in paths:
        key = ".".join(map(str, path))
        bad = [float("inf"), float("-inf"), float("nan"), True, [], {}, 10**30, -(10**30), -1e-300]
        for value in [*bad, *(["12", "1e3"] if path in numbers else [])]:
            if value == [] and path[-1] == "transition_kimg":
                continue
            message = said((path, value))
            assert message.startswith((f"{key}: ", f"{key}.")), (key, value, message)


def _at(values, path):
    for part in path:
        values = values[part]
    return values


@pytest.mark.parametrize(
    "written", [".inf", "-.inf", ".nan", "'12'", '"12"', "true", "1e999", "!!str 12", "0x", "1,5", "~"]
)
def test_numbers_as_they_are_written(read, text, written):
    assert read(text.replace("  lr: 0.05", f"  lr: {written}", 1)).startswith("train_extractor.lr: expected a ")


@pytest.mark.parametrize(
    ("written", "value"), [("2e-4", 2e-4), ("2E-4", 2e-4), ("1", 1.0), (".5", 0.5), ("+1.5e-3", 1.5e-3), ("1_0", 10.0)]
)
def test_a_number_stays_a_number(root, tmp_path, text, written, value):
    """2e-4 without a dot among them, which YAML 1.1 takes for text."""
    (tmp_path / "params.yaml").write_text(text.replace("G_lr: 0.001", f"G_lr: {written}", 1))
    got = load_params(tmp_path / "params.yaml").train_gan.G_lr
    assert got == value and isinstance(got, float)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in itertools.pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", r"expected sections such as `split:` with their keys, found nothing; "),
        ("# a comment\n", r"found nothing"),
        ("~", r"found nothing"),
        ("- a\n- b\n", r"expected sections .*, found a list"),
        ("hello", r"expected sections .*, found 'hello'"),
        ("classes: [a, b\nseed: 1\n", r"syntax error in line 2"),
        ("a: 1\n\tb: 2\n", r"syntax error in line 2"),
        ("a: @x\n", r"syntax error in line 1"),
        ("a: 1\nb: \x00\n", r"syntax error in line 2"),
        ('a: "\\0"\n', r"line 1: expected text of one line without control characters, found '\\x00'"),
        ('a: "\\ud800"\n', r"line 1: .*control characters, found '\\ud800'"),
        ('a: "\\Uffffffff"\n', r"syntax error in line 1"),
        ('a: |\n  b\n', r"line 1: expected text of one line"),
        ("a: !!int abc\n", r"line 1: expected a whole number, found 'abc' with the tag"),
        ("a: !!python/object:os.system x\n", r"line 1: expected plain values, found 'x' with the tag"),
        ("a: !!set {b}\n", r"line 1: expected plain values, found the tag"),
        ("a: 2024-13-45\n", r"line 1: .*found a date: '2024-13-45'; put it in quotes"),
        ("a: 2024-01-01\n", r"line 1: .*found a date"),
        (f"a: {'9' * 5000}\n", r"line 1: expected at most 1,000 characters .*, found 5,000: '9+\[\.\.\.\]"),
        (f"device: {'9' * 900}\n", r"device: expected .*, got 9+\[\.\.\.\]"),
        (f"{'k' * 900}: 1\n", r"^'k+\[\.\.\.\]: not a known key"),
        ("[" * 3000 + "]" * 3000, r"line 1: expected at most 8 levels"),
        ("a: " + "[" * 3000, r"line 1: expected at most 8 levels"),
        ("{a: " * 3000, r"line 1: expected at most 8 levels"),
        ("a: &a [*a]\n", r"line 1: expected a value, found the alias 'a' inside itself"),
        ("a: *a\n", r"line 1: expected an anchor for the alias 'a'"),
        (BOMB, r"line 5: expected at most 20,000 values, aliases written out"),
        ("a: 1\na: 1\n", r"line 2: expected each key once in a section, found 'a' again"),
        ("1: x\n", r"line 1: expected text as a key, found '1'; put it in quotes"),
        ("~: x\n", r"line 1: expected text as a key, found '~'"),
        (": x\n", r"line 1: expected text as a key"),
        ("? [a]\n: b\n", r"line 1: expected text as a key, found a list"),
        ("a: {{b: 1}: 2}\n", r"line 1: expected text as a key, found a list, a section"),
        ("&a a: 1\n*a : 2\n", r"line 2: expected text as a key"),
        ("<<: 5\n", r"line 1: expected a section behind `<<:`"),
        ("a: 1\n---\nb: 2\n", r"line 2: expected one document, found a second one"),
        ("%YAML 1.1\n---\na: yes\n", r"line 2: expected YAML 1\.2"),
        ("a: 1\n" + "#" * 300_000, r"expected at most 256 kB"),
        ("x: [" + "1, " * 20_001 + "]\n", r"line 1: expected at most 20,000 values"),
        ("a: é\n".encode("utf-16"), r"expected UTF-8, found other bytes in line 1"),
        (b"a: 1\nb: \xff\n", r"expected UTF-8, found other bytes in line 2"),
        (b"a: \xed\xa0\x80\n", r"expected UTF-8"),
    ],
)  # fmt: skip
def test_odd_files_are_one_short_sentence(read, content, expected):
    assert re.search(expected, read(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "%YAML 1.2\n---\n" + text + "\n...\n",
        lambda text: text.replace("D_lr: 0.002", "D_lr: &rate 0.002").replace("D_lr: 0.001", "D_lr: *rate"),
        lambda text: text.replace("  min_detectable", "  <<: {min_detectable: 0.2}\n  min_detectable"),
        lambda text: text.replace("raw_dir: data/sample", 'raw_dir: !!str "data\\u002Fsample"'),
    ],
)
def test_what_yaml_allows_is_read(read, text, change):
    assert change(text) != text and read(change(text)) == ""


def test_any_change_of_the_text_is_taken_or_one_short_sentence(read, text):
    """Bits of odd YAML in odd places; what comes out otherwise is no InputError, and fails here."""
    odd = [
        *"[]{}'\"#%\x85\\\u2028=~😀\n\t",
        ": ",
        "- ",
        "? ",
        "&a ",
        "*a",
        "!!float ",
        "|\n",
        "\n---\n",
        "<<: ",
        "0o9",
        ".inf",
    ]
    dice = random.Random(0)
    short = text[: text.index("# Training recipes")] + "split:\n  fit: [crop, {a: 1}]\n  seed: 42\n"
    for _ in range(400):
        changed = short
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(changed))
            changed = changed[:at] + dice.choice(odd) + changed[at + dice.randrange(3) :]
        assert read(changed)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="found no file"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(InputError, match="found no file"):
        load_params(tmp_path)


def test_an_edit_names_the_file_itself_and_leaves_no_other(tmp_path, text):
    path = tmp_path / "params.yaml"
    for content, expected in [(text, r"device: expected 'auto'"), ("a: &a [*a]\n", r"line 1: .*inside itself")]:
        path.write_text(content)
        with pytest.raises(InputError, match=rf"{re.escape(str(path))}: {expected}"):
            edit_params(path, {"device": "tpu"})
        assert path.read_text() == content and list(tmp_path.iterdir()) == [path]


def test_values_are_shown_short_and_on_one_line():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in ["x" * 10**6, "\n" * 200, 10**4000, [[["x" * 500] * 500] * 500] * 500, {"k" * 900: 1}, deep]:
        assert len(shown(value)) <= 80 and "\n" not in shown(value)
    assert shown([1, "a"]) == "[1, 'a']" and shown("x" * 100).endswith("[...]")
    while deep:  # from the outside: Python takes a deep list apart by recursion
        deep = deep.pop()


def test_the_longest_name_fits_into_a_file_name():
    longest = max(f".{stage}@.json.partial" for stage in ("train_classifier", "specialise_gan"))
    assert len(longest) + params.MOST_NAME_BYTES <= 255


def _choices(section, key):
    found = []

    def walk(annotation):
        if typing.get_origin(annotation) is typing.Literal:
            found.extend(typing.get_args(annotation))
        for part in typing.get_args(annotation):
            walk(part)

    walk(typing.get_type_hints(section)[key])
    return sorted(found)


def test_choices_and_constants_are_those_of_the_libraries():
    """`pipeline.params` cannot import them: it starts in a moment, and they load torch."""
    from pipeline.features import extractors
    from pipeline.gan import architectures, augment, losses, networks, training_loop
    from pipeline.gan.distributed import LAUNCHERS
    from pipeline.images import background, sample, split, transforms
    from pipeline.learn import batches, classifier, judge, sgan_views
    from pipeline.measure.acceptance import RULES
    from pipeline.measure.effects import EFFECTS

    for section, key, known in [
        (params.Gan, "network", architectures.NETWORKS),
        (params.Gan, "G_conditioning", networks.G_CONDITIONINGS),
        (params.Gan, "D_conditioning", networks.D_CONDITIONINGS),
        (params.Gan, "loss", losses.LOSSES),
        (params.Gan, "augmentation", augment.AUGMENTATIONS),
        (params.Gan, "flips", training_loop.FLIPS),
        (params.TrainGan, "launcher", LAUNCHERS),
        (params.Classifier, "optimiser", classifier.OPTIMISERS),
        (params.TrainExtractor, "sampling", batches.SAMPLING),
        (params.TrainExtractor, "augment", transforms.POLICIES),
        (params.Arm, "sampling", batches.SAMPLING),
        (params.Arm, "augment", transforms.POLICIES),
        (params.Arm, "background", background.BACKGROUNDS),
        (params.Assess, "extractors", extractors.EXTRACTORS),
        (params.TrainSgan, "views", sgan_views.VIEWS),
        (params.Split, "fit", split.FITS),
        (params.RenderSample, "class_counts", sample.CLASSES),
    ]:
        assert _choices(section, key) == sorted(known), key
    assert list(params.AcceptanceRules.model_fields) == list(RULES)
    assert params.OF_A_TRAINING == judge.OF_A_TRAINING
    assert set(SHAPE) == set(architectures.SHAPE) - {"img_resolution", "transitional"}
    assert max(_choices(params.Split, "img_resolution")) == max(networks.RESOLUTIONS)
    for pair in [*EFFECTS.values(), *MATCHED_CONTROL.items()]:
        with_it, without = ((*RECIPES[arm], arm == "classic_long") for arm in pair)  # that alone has more `effort`
        assert sum(a != b for a, b in zip(with_it, without, strict=True)) == 1, pair


def test_the_slides_say_the_same_as_the_check(said):
    from pipeline.gan.slides import SlidesDiscriminator

    with pytest.raises(InputError) as caught:
        SlidesDiscriminator(num_classes=2, img_resolution=64, conditional=True)
    assert said(("train_gan/network", "slides_conditional")) == str(caught.value)


def test_no_section_is_lenient():
    def sections(section):
        yield section
        for child in section.__subclasses__():
            yield from sections(child)

    for section in [Params, *sections(params.Section)]:
        config = section.model_config
        assert config["strict"] and config["allow_inf_nan"] is False and config["extra"] == "forbid", section
