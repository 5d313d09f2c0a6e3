"""What only torch and torchvision can tell of params.yaml is asked before any work, and in a moment."""

import re
import time

import pytest
import torch

from pipeline import InputError
from pipeline.images.sample import CLASSES
from pipeline.learn.classifier_model import build_classifier, check_classifier
from pipeline.params import load_params
from pipeline.params_rules import check_with_libraries

SCRATCH = {"weights": None, "input_size": None}
UNSEEN = {"assess.weights": None}


@pytest.fixture(scope="module")
def shipped(root):
    return load_params(root / "params.yaml")


def changed(params, changes):
    for key, value in changes.items():
        section, name = key.split(".")
        of_section = getattr(params, section).model_copy(update={name: value})
        params = params.model_copy(update={section: of_section})
    return params


def test_the_shipped_ones_pass_quickly_and_leave_the_generator_alone(shipped, root):
    state = torch.get_rng_state()
    start = time.process_time()
    check_with_libraries(shipped, root)
    assert time.process_time() - start < 3
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_classifier.model": "resnet5"}, r"train_classifier\.model: .*found 'resnet5'; near it are resnet50"),
        ({"train_extractor.model": "vit_b_16"}, r"train_extractor\.model: .*64 px, found that 'vit_b_16' cannot"),
        (
            {"assess.model": "inception_v3", "assess.weights": None},
            r"assess\.model: .*64 px, found that 'inception_v3' cannot",
        ),
        (
            {"assess.model": "maxvit_t", "assess.weights": None, "assess.input_size": 100},
            r"assess\.model: .*'maxvit_t' cannot",
        ),
        ({"filter_synthetic.weights": "NONE_SUCH"}, r"filter_synthetic\.weights: .*'packaged'.*found 'NONE_SUCH'"),
        (
            {"train_classifier.weights": "weights/x.pth"},
            r"train_classifier\.weights: expected a file at .*weights/x\.pth",
        ),
        ({"specialise_gan.freeze_D": 5}, r"specialise_gan\.freeze_D: expected at most D's 4 layers, got 5"),
        ({"split.groups_csv": "groups.csv"}, r"split\.groups_csv: expected a csv in .*'groups\.csv'"),
        (
            {"assess.extractors": ["dinov2"], "assess.dinov2_weights": "weights/x.pth"},
            r"assess\.(extractors: expected the package|dinov2_weights: expected a file at .*weights/x\.pth)",
        ),
    ],
)
def test_what_a_stage_would_refuse_after_hours(shipped, tmp_path, changes, said):
    (tmp_path / shipped.data.raw_dir).mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        check_with_libraries(changed(shipped, changes), tmp_path)
    assert re.match(rf"params\.yaml: {said}", str(caught.value)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"second_judge.model": "vit_b_16", "second_judge.input_size": 224},
        {"second_judge.model": "regnet_y_400mf"},  # cannot be built on the meta device
        {"train_classifier.model": "resnet18", "train_classifier.weights": "DEFAULT"},  # and nothing is downloaded
        {"filter_synthetic.enabled": False, "filter_synthetic.model": "none such"},
        {"train_gan.transition_kimg": (1.0, 2.0), "train_gan.G_conditioning": "concat", "specialise_gan.freeze_D": 4},
        {"split.groups_csv": "groups.csv"},  # may come with the set, which is not there yet
    ],
)
def test_what_can_be_run_is_taken(shipped, tmp_path, changes, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *args, **kwargs: pytest.fail("a download"))
    check_with_libraries(changed(shipped, changes), tmp_path)


def test_paths_are_the_projects(shipped, tmp_path):
    (tmp_path / "weights").mkdir()
    network = build_classifier("mobilenet_v3_small", num_classes=4, img_resolution=64, **SCRATCH)[1]
    torch.save(network.state_dict(), tmp_path / "weights/mine.pth")
    (tmp_path / "data/sample").mkdir(parents=True)
    (tmp_path / "data/sample/groups.csv").write_text("file,group\n")
    own = {
        "train_classifier.model": "mobilenet_v3_small",
        "train_classifier.weights": "weights/mine.pth",
        "split.groups_csv": "groups.csv",
    }
    check_with_libraries(changed(shipped, own), tmp_path)
    with pytest.raises(InputError, match=r"train_classifier\.weights: expected \d+ tensors that fit the model in "):
        check_with_libraries(changed(shipped, own | {"train_classifier.model": "resnet18"}), tmp_path)


@pytest.mark.parametrize("settings", [{}, {"input_size": 16}, {"weights": "x.pth"}, {"weights": "NONE_SUCH"}])
@pytest.mark.parametrize("name", ["none such", "alexnet"])
def test_the_check_says_what_building_says(name, settings):
    settings = SCRATCH | settings | {"num_classes": len(CLASSES), "img_resolution": 32}
    said = []
    for ask in (check_classifier, build_classifier):
        with pytest.raises(InputError) as caught:
            ask(name, **settings)
        said.append(str(caught.value))
    assert said[0] == said[1]
