"""params.yaml is refused before any work starts, in one sentence that names the key."""

import pytest
from ruamel.yaml import YAML

from pipeline import InputError
from pipeline.params import load_params


@pytest.fixture
def write(root, tmp_path):
    """The shipped params.yaml with one key replaced (or removed, with None as its path's last part's value)."""

    def write(path, value):
        values = YAML(typ="safe", pure=True).load((root / "params.yaml").read_text())
        at = values
        *parents, last = path.split("/")
        for part in parents:
            at = at[part]
        if value is KeyError:
            del at[last]
        else:
            at[last] = value
        file = tmp_path / "params.yaml"
        with open(file, "w") as f:
            YAML().dump(values, f)
        return file

    return write


@pytest.mark.parametrize(
    ("path", "value", "said"),
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
        ("filter_synthetic/seed", 2, r"filter_synthetic\.seed: expected none of .*train_classifier\.seeds.*got 2"),
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
            {"train": "data/arrays/test", "sampling": "natural", "augment": "none", "background": "keep"},
            r"arms\.real\.train",
        ),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_key(write, path, value, said):
    with pytest.raises(InputError, match=said) as caught:
        load_params(write(path, value))
    assert "\n" not in str(caught.value)


def test_nothing_is_frozen_that_starts_from_scratch(root, tmp_path):
    text = (
        (root / "params.yaml").read_text().replace("init: joint", "init: scratch").replace("freeze_D: 0", "freeze_D: 1")
    )
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError, match="specialise_gan: expected freeze_D of 0 with init: scratch"):
        load_params(tmp_path / "params.yaml")


def test_2e_4_without_a_dot_is_a_number(root, tmp_path):
    text = (root / "params.yaml").read_text().replace("G_lr: 0.0004", "G_lr: 2e-4", 1)
    (tmp_path / "params.yaml").write_text(text)
    assert load_params(tmp_path / "params.yaml").train_gan.G_lr == pytest.approx(2e-4)


def test_a_missing_file_and_broken_yaml(tmp_path):
    with pytest.raises(InputError, match="found no file"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("classes: [a, b\nseed: 1\n")
    with pytest.raises(InputError, match="syntax error in line"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("")
    with pytest.raises(InputError):
        load_params(tmp_path / "params.yaml")
