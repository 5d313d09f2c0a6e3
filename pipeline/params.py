"""The typed sections of params.yaml: every key, every range and what must fit together, checked before any work starts.

There are no defaults: params.yaml holds every value, so that what it says is what ran. Nothing is converted either: a
number in quotes is text, and `true` is no number. Bounds that no one should meet keep a slip of the finger from
becoming a year of training.

Every stage starts with this, so it loads neither numpy nor torch; what only they can tell is in `params_rules`.
"""

from __future__ import annotations

import difflib
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline import InputError, check_arms, shown
from pipeline.params_reading import read_text, values_of

# A class or an arm becomes part of file names; the longest is `.train_classifier@<arm>.json.partial`, of 255 bytes
MOST_NAME_BYTES = 200

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(gt=0, lt=1)]
Kimg = Annotated[float, Field(gt=0, le=1e6)]
NotNegativeKimg = Annotated[float, Field(ge=0, le=1e6)]
Rate = Annotated[float, Field(gt=0, le=10)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Steps = Annotated[int, Field(ge=1, le=10**7)]
Batch = Annotated[int, Field(ge=2, le=2**16)]
Images = Annotated[int, Field(ge=1, le=10**6)]
Length = Annotated[int, Field(ge=1, le=4096)]
Channels = Annotated[int, Field(ge=1, le=512)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Resolution = Literal[32, 64, 128, 256]
Launcher = Literal["none", "torchrun", "slurm"]
Precision = Literal["auto", "fp32", "bf16"]

CLASS_NAME = re.compile(r"\w[\w.-]*")


def _class_name(name: str) -> str:
    if not CLASS_NAME.fullmatch(name):
        raise ValueError(
            f"expected letters, digits, '_', '-' or '.', got {shown(name)}; `leafsynth init` renames class folders so"
        )
    if len(name.encode()) > MOST_NAME_BYTES:
        raise ValueError(
            f"expected at most {MOST_NAME_BYTES} bytes, since it becomes part of file names, got {len(name.encode())}: "
            f"{shown(name)}; shorten it"
        )
    return name


def _arm_name(name: str) -> str:
    if "." in _class_name(name):  # DVC takes `arms.a.b` for a key of a section
        raise ValueError(f"expected letters, digits, '_' or '-' in an arm's name, got {shown(name)}; rename it")
    return name


def _weights(weights: str) -> str:
    """A name of weights, or a file where every stage that loads weights depends on its folder."""
    is_file = "/" in weights or weights.endswith((".pth", ".pt", ".safetensors"))
    if is_file and (not weights.startswith("weights/") or ".." in weights.split("/")):
        raise ValueError(f"expected a file in weights/, such as weights/mine.pth, got {shown(weights)}; put it there")
    return weights


def _raw_dir(path: str) -> str:
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") and "\\" not in part for part in parts)
    if path != "data/sample" and not (plain and parts[:2] == ["data", "raw"] and len(parts) > 2):
        raise ValueError(
            f"expected data/sample, or a folder under data/raw/ such as data/raw/leaves, got {shown(path)}; "
            "`leafsynth init PATH` brings a set there"
        )
    return path


def _pattern(pattern: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"expected a regular expression, got {shown(pattern)} ({error}); correct it, or set it to null"
        ) from None
    return pattern


def _target(target: str) -> str:
    if target != "largest" and not (
        re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?x", target) and 1 <= float(target[:-1]) <= 100
    ):
        raise ValueError("largest, or a multiple of the largest class from 1x to 100x, such as 1.5x")
    return target


def _each_once(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError(f"expected each entry once, got {shown(list(values))}; remove the second")
    return values


ClassName = Annotated[str, AfterValidator(_class_name)]
ArmName = Annotated[str, AfterValidator(_arm_name)]
Weights = Annotated[Text, AfterValidator(_weights)]
Once = AfterValidator(_each_once)
Seeds = Annotated[list[Seed], Field(min_length=1, max_length=100), Once]
Augmentations = Annotated[list[Literal["color", "translation", "cutout"]], Field(max_length=10), Once]
Augment = Literal["none", "flips", "classic", "strong"]  # policies of images/transforms.py
Flips = Annotated[list[Literal["horizontal", "vertical"]], Field(max_length=10), Once]


class Section(BaseModel):
    """A misspelled key is an error, nothing is converted, and a checked section does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(Section):
    raw_dir: Annotated[Text, AfterValidator(_raw_dir)]
    rendered: Annotated[list[Literal["sample"]], Field(max_length=1)]

    @model_validator(mode="after")
    def _drawn_where_it_is_used(self) -> Data:
        wanted = ["sample"] if self.raw_dir == "data/sample" else []
        if self.rendered != wanted:
            raise ValueError(
                f"expected rendered: {wanted} with raw_dir: {shown(self.raw_dir)}, got {shown(self.rendered)}"
            )
        return self


class Arm(Section):
    train: Literal[
        "data/arrays/train", "data/arrays/augmented", "data/arrays/synthetic", "data/arrays/augmented_filtered"
    ]
    sampling: Literal["natural", "balanced"]
    augment: Augment
    background: Literal["keep", "mask", "only"]
    resolution: Literal["photo", "gan"]
    effort: Annotated[int, Field(ge=1, le=64)] = 1

    @property
    def is_rival(self) -> bool:
        """Whether it sees of the photos all that the others see; else it answers a question of its own."""
        return self.background == "keep" and self.resolution == "photo"


class RenderSample(Section):
    img_resolution: Annotated[int, Field(ge=16, le=1024)]
    class_counts: dict[Literal["healthy", "rust", "scab", "blight"], Annotated[int, Field(ge=1, le=100_000)]]
    seed: Seed


class Split(Section):
    img_resolution: Resolution
    photo_resolution: Annotated[int, Field(ge=32, le=1024)]
    fit: Literal["crop", "pad", "stretch"]
    test_share: Share
    val_share: Share
    seed: Seed
    groups_csv: Text | None
    group_pattern: Annotated[Text, AfterValidator(_pattern)] | None
    near_duplicate_distance: Annotated[int, Field(ge=0, le=16)]
    max_pixels: Annotated[int, Field(ge=1, le=10**10)]
    min_images_per_class: Annotated[int, Field(ge=3, le=100_000)]

    @model_validator(mode="after")
    def _judge_sees_no_less(self) -> Split:
        if self.photo_resolution < self.img_resolution:
            raise ValueError(
                f"expected photo_resolution of at least img_resolution ({self.img_resolution}), so that the judge sees "
                f"no less of a photo than the GANs, got {self.photo_resolution}"
            )
        return self


class Gan(Section):
    """What train_gan and specialise_gan share; the arguments of `gan.training_loop.train`."""

    seed: Seed
    total_kimg: Kimg
    batch_size: Batch
    network: Literal["dcgan", "slides_conditional", "slides_unconditional"]
    z_dim: Length
    G_channels: Channels
    D_channels: Channels
    G_conditioning: Literal["none", "embedding", "concat", "batch_norm"]
    D_conditioning: Literal["none", "concat", "projection"]
    spectral_norm: bool
    G_lr: Rate
    D_lr: Rate
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)]  # from a list; the numbers in it stay strict
    D_steps: Annotated[int, Field(ge=1, le=100)]
    loss: Literal["nonsaturating", "hinge", "least_squares", "wasserstein"]
    r1_gamma: Weight
    r1_interval: Annotated[int, Field(ge=1, le=10_000)]
    gradient_penalty: Weight
    lecam: Weight
    lecam_from_kimg: NotNegativeKimg
    augmentation: Augmentations
    augment_p: Annotated[float, Field(ge=0, le=1)] | Literal["adaptive"]
    ada_target: Share
    ada_kimg: Kimg
    flips: Flips
    ema_half_life_kimg: Kimg
    ema_rampup: Annotated[float, Field(gt=0, le=100)] | None
    preview_kimg: Kimg
    precision: Precision

    @model_validator(mode="after")
    def _fitting(self) -> Gan:
        if self.loss == "wasserstein" and self.gradient_penalty == 0:
            raise ValueError(
                "expected gradient_penalty above 0 (10 in the paper) with loss: wasserstein, whose critic is else "
                f"unbounded, got {self.gradient_penalty}"
            )
        return self

    @property
    def G_sees_labels(self) -> bool:
        """Whether G can be told which class to draw."""
        return self.network == "slides_conditional" or (self.network == "dcgan" and self.G_conditioning != "none")

    @property
    def D_sees_labels(self) -> bool:
        """Whether D is told which class it looks at."""
        return self.network == "slides_conditional" or (self.network == "dcgan" and self.D_conditioning != "none")


class Launched(Section):
    """A stage that can run as several processes."""

    launcher: Launcher
    num_processes: Annotated[int, Field(ge=1, le=1024)]


class TrainGan(Gan, Launched):
    transition_kimg: Annotated[tuple[NotNegativeKimg, NotNegativeKimg], Field(strict=False)] | None

    @model_validator(mode="after")
    def _in_order(self) -> TrainGan:
        if self.transition_kimg is not None and self.transition_kimg[0] >= self.transition_kimg[1]:
            raise ValueError(
                f"expected transition_kimg as [begin, end] with begin below end, got {list(self.transition_kimg)}"
            )
        if self.transition_kimg is not None and not (self.G_sees_labels or self.D_sees_labels):
            raise ValueError(
                f"expected transition_kimg of null with networks that see no label, got {list(self.transition_kimg)}"
            )
        if self.batch_size % self.num_processes:
            raise ValueError(
                f"expected batch_size to be a multiple of num_processes ({self.num_processes}), got {self.batch_size}"
            )
        return self


class SpecialiseGan(Gan):
    init: Literal["joint", "scratch"]
    freeze_D: Annotated[int, Field(ge=0, le=100)]

    @model_validator(mode="after")
    def _something_to_freeze(self) -> SpecialiseGan:
        if self.init == "scratch" and self.freeze_D:
            raise ValueError(
                f"expected freeze_D of 0 with init: scratch, which has no weights to keep, got {self.freeze_D}"
            )
        return self


class Generate(Launched):
    target: Images | Annotated[str, AfterValidator(_target)]
    seed: Seed
    truncation: Annotated[float, Field(gt=0, le=2)]


class Classifier(Section):
    model: Text
    weights: Weights | None
    input_size: Annotated[int, Field(ge=16, le=2048)] | None
    steps: Steps
    batch_size: Batch
    optimiser: Literal["sgd", "adamw"]
    lr: Rate
    weight_decay: Annotated[float, Field(ge=0, le=10)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    eval_every: Steps


class TrainExtractor(Classifier):
    seed: Seed
    sampling: Literal["natural", "balanced"]
    augment: Augment


# Which keys a judge has beside those of every kind, by its kind
OF_A_PROBE = ("views",)
OF_A_TRAINING = ("steps", "batch_size", "optimiser", "lr", "weight_decay", "label_smoothing", "eval_every")


class Judge(Section):
    """A classifier of train by its kind, with the keys that have an effect on that kind and no others."""

    seed: Seed
    kind: Literal["scratch", "finetune", "probe"]
    model: Text
    weights: Weights | None
    input_size: Annotated[int, Field(ge=16, le=2048)] | None
    sampling: Literal["natural", "balanced"]
    augment: Augment
    views: Annotated[int, Field(ge=0, le=100)] = Field(default=None)
    steps: Steps = Field(default=None)
    batch_size: Batch = Field(default=None)
    optimiser: Literal["sgd", "adamw"] = Field(default=None)
    lr: Rate = Field(default=None)
    weight_decay: Annotated[float, Field(ge=0, le=10)] = Field(default=None)
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(default=None)
    eval_every: Steps = Field(default=None)

    @model_validator(mode="after")
    def _of_its_kind(self) -> Judge:
        check_seen(self.kind, self.weights)
        wanted, foreign = (OF_A_PROBE, OF_A_TRAINING) if self.kind == "probe" else (OF_A_TRAINING, OF_A_PROBE)
        if lacking := [key for key in wanted if key not in self.model_fields_set]:
            raise ValueError(f"expected {', '.join(lacking)} with kind: {self.kind}, found none; add what lacks")
        if found := [key for key in foreign if key in self.model_fields_set]:
            raise ValueError(
                f"expected no {', '.join(found)} with kind: {self.kind}, on which it has no effect; take it out"
            )
        return self


def check_seen(kind: str, weights: str | None) -> None:
    """Refuse a judge from scratch that starts from weights, and one of another kind that has none."""
    if (weights is None) != (kind == "scratch"):
        wanted = "null" if kind == "scratch" else "pretrained weights, such as packaged,"
        raise ValueError(f"expected weights: {wanted} with kind: {kind}, got {shown(weights)}")


class Assess(Judge):
    extractors: Annotated[
        list[Literal["lite0", "leaf", "random", "inception", "dinov2"]], Field(min_length=1, max_length=10), Once
    ]
    inception_weights: Weights | None
    dinov2_weights: Weights | None

    @model_validator(mode="after")
    def _leaf_is_trained(self) -> Assess:
        if "leaf" in self.extractors and self.kind == "probe":
            raise ValueError(
                f"expected no leaf in extractors with kind: probe, which trains no network, got {self.extractors}; "
                "take it out, or set kind to scratch"
            )
        return self


class AcceptanceRules(Section):
    """Keys of `pipeline.measure.acceptance.RULES`."""

    agreement: bool
    confidence: Share | None
    density: Share | None
    copies: Share | None
    duplicates: Share | None


class FilterSynthetic(Judge):
    enabled: bool
    rules: AcceptanceRules
    max_candidates_factor: Annotated[float, Field(ge=1, le=10_000)]
    when_starving: Literal["fail", "fill"]


class RepeatGan(Section):
    seeds: Annotated[list[Seed], Field(max_length=99), Once]


class TrainClassifier(Classifier):
    kind: Literal["scratch", "finetune", "probe"]
    views: Annotated[int, Field(ge=0, le=100)]
    seeds: Seeds

    @model_validator(mode="after")
    def _has_seen_something(self) -> TrainClassifier:
        check_seen(self.kind, self.weights)
        return self


class SecondJudge(TrainClassifier):
    enabled: bool


class SganSetting(Section):
    lr: Rate
    dropout: Annotated[float, Field(ge=0, lt=1)]
    input_noise: Annotated[float, Field(ge=0, le=100)]


# Which keys the SGAN has beside those of either space
OF_FEATURES = ("units",)
OF_PIXELS = ("img_resolution", "channels", "views")


class TrainSgan(Section):
    """With the keys that have an effect in its space and no others; `model` is the probe's too."""

    space: Literal["features", "pixels"]
    model: Text
    weights: Weights
    input_size: Annotated[int, Field(ge=16, le=2048)] | None
    augmented_views: Annotated[int, Field(ge=1, le=100)]
    units: Length = Field(default=None)
    seeds: Seeds
    tuning: Annotated[list[SganSetting], Field(min_length=1, max_length=50)]
    steps: Steps
    batch_size: Batch
    z_dim: Length
    img_resolution: Literal[32, 64] = Field(default=None)
    channels: Annotated[int, Field(ge=4, le=512)] = Field(default=None)
    unlabelled_weight: Weight
    consistency_weight: Weight
    consistency_confidence: Annotated[float, Field(ge=0, lt=1)]
    views: Literal["none", "leaf"] = Field(default=None)
    flips: Flips
    eval_every: Steps

    @model_validator(mode="after")
    def _of_its_space(self) -> TrainSgan:
        wanted, foreign = (OF_FEATURES, OF_PIXELS) if self.space == "features" else (OF_PIXELS, OF_FEATURES)
        if lacking := [key for key in wanted if key not in self.model_fields_set]:
            raise ValueError(f"expected {', '.join(lacking)} with space: {self.space}, found none; add what lacks")
        if found := [key for key in foreign if key in self.model_fields_set]:
            raise ValueError(
                f"expected no {', '.join(found)} with space: {self.space}, where it has no effect; take it out"
            )
        return self


class SweepMixture(Section):
    ratios: Annotated[list[Annotated[float, Field(gt=0, le=20)]], Field(min_length=1, max_length=20), Once]
    photo_shares: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(max_length=10), Once]

    @model_validator(mode="after")
    def _told_apart(self) -> SweepMixture:
        for key in ("ratios", "photo_shares"):
            values = getattr(self, key)
            if len({f"{value:g}" for value in values}) < len(values):  # as the training sets are called
                raise ValueError(f"expected {key} that differ in their first six digits, got {shown(values)}")
        return self


class StudyMinority(Section):
    class_name: ClassName | None
    seed: Seed
    total_kimg: Kimg


class Compare(Section):
    seed: Seed
    resamples: Annotated[int, Field(ge=100, le=200_000)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    min_detectable: Share


# What the verdict and its effects take for granted of the arms that they know by name: train, sampling, augment,
# background, resolution. Two of them that are compared differ in one of these.
RECIPES = {
    "real": ("data/arrays/train", "natural", "none", "keep", "photo"),
    "balanced": ("data/arrays/train", "balanced", "none", "keep", "photo"),
    "flips": ("data/arrays/train", "balanced", "flips", "keep", "photo"),
    "classic": ("data/arrays/train", "balanced", "classic", "keep", "photo"),
    "strong": ("data/arrays/train", "balanced", "strong", "keep", "photo"),
    "classic_long": ("data/arrays/train", "balanced", "classic", "keep", "photo"),
    "synthetic": ("data/arrays/augmented", "balanced", "none", "keep", "photo"),
    "synthetic_classic": ("data/arrays/augmented", "balanced", "classic", "keep", "photo"),
    "filtered": ("data/arrays/augmented_filtered", "balanced", "none", "keep", "photo"),
    "filtered_classic": ("data/arrays/augmented_filtered", "balanced", "classic", "keep", "photo"),
    "classic_masked": ("data/arrays/train", "balanced", "classic", "mask", "photo"),
    "classic_small": ("data/arrays/train", "balanced", "classic", "keep", "gan"),
}
# Extractors of assess that are pretrained networks which params.yaml can name elsewhere too
NETWORKS = {"lite0": "tf_efficientnet_lite0", "dinov2": "vit_small_patch14_dinov2"}
# What specialise_gan takes from the joint model with `init: joint`
SHAPE = ("network", "z_dim", "G_channels", "D_channels", "G_conditioning", "D_conditioning", "spectral_norm")


class Params(Section):
    """All of params.yaml."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Annotated[int, Field(ge=1, le=256)]
    classes: Annotated[list[ClassName], Field(min_length=2, max_length=500), Once]
    data: Data
    arms: Annotated[dict[ArmName, Arm], Field(max_length=50)]
    label_budgets: Annotated[list[Images], Field(min_length=1, max_length=20), Once]
    minority_counts: Annotated[list[Images], Field(max_length=20), Once]
    render_sample: RenderSample
    split: Split
    train_extractor: TrainExtractor
    train_gan: TrainGan
    specialise_gan: SpecialiseGan
    generate: Generate
    filter_synthetic: FilterSynthetic
    repeat_gan: RepeatGan
    assess: Assess
    train_classifier: TrainClassifier
    second_judge: SecondJudge
    train_sgan: TrainSgan
    sweep_mixture: SweepMixture
    study_minority: StudyMinority
    compare: Compare

    @model_validator(mode="after")
    def _names(self) -> Params:
        for key, names in [("classes", self.classes), ("arms", list(self.arms))]:
            if len({name.casefold() for name in names}) < len(names):
                raise ValueError(
                    f"{key}: expected names that differ by more than upper and lower case, got {shown(names)}"
                )
        if self.study_minority.class_name not in (None, *self.classes):
            raise ValueError(
                f"study_minority.class_name: expected null or one of {shown(self.classes)}, got "
                f"{shown(self.study_minority.class_name)}"
            )
        return self

    @model_validator(mode="after")
    def _arms(self) -> Params:
        check_arms(self.arms)
        filtered = [name for name, arm in self.arms.items() if arm.train == "data/arrays/augmented_filtered"]
        if filtered and not self.filter_synthetic.enabled:
            raise ValueError(
                f"arms.{filtered[0]}: expected no arm on data/arrays/augmented_filtered with filter_synthetic.enabled: "
                f"false, got {shown(filtered)}; remove them, or set it to true"
            )
        for name, recipe in RECIPES.items():
            if name not in self.arms:
                continue
            for key, value in zip(("train", "sampling", "augment", "background", "resolution"), recipe, strict=True):
                if (got := getattr(self.arms[name], key)) != value:
                    raise ValueError(
                        f"arms.{name}.{key}: expected {value}, since the verdict or an effect compares with this arm, "
                        f"got '{got}'; give an arm with another {key} a name of its own"
                    )
            effort, is_long = self.arms[name].effort, name == "classic_long"
            if (effort > 1) != is_long:
                raise ValueError(
                    f"arms.{name}.effort: expected {'more than 1' if is_long else '1'}, since the verdict or an effect "
                    f"compares with this arm, got {effort}; "
                    + ("set it, or remove the arm" if is_long else "give an arm with another effort a name of its own")
                )
        return self

    @model_validator(mode="after")
    def _a_gan_for_each_seed(self) -> Params:
        repeats = self.repeat_gan.seeds
        if not repeats:
            return self
        gans, wanted = len(repeats) + 1, len(self.train_classifier.seeds)
        if gans != wanted:
            raise ValueError(
                f"repeat_gan.seeds: expected none, or {wanted - 1}, one less than train_classifier.seeds has, so that "
                f"each of these gets a GAN of its own, got {shown(repeats)}"
            )
        if self.train_gan.seed in repeats:
            raise ValueError(
                f"repeat_gan.seeds: expected others than train_gan.seed, which would be the same GAN again, got "
                f"{shown(repeats)}"
            )
        if self.second_judge.enabled and len(self.second_judge.seeds) > gans:
            raise ValueError(
                f"second_judge.seeds: expected at most {gans}, one for each GAN of repeat_gan and train_gan, got "
                f"{shown(self.second_judge.seeds)}"
            )
        return self

    @model_validator(mode="after")
    def _sample(self) -> Params:
        if self.data.raw_dir != "data/sample":
            return self
        counts = self.render_sample.class_counts
        for name in self.classes:
            if name not in counts:
                raise ValueError(
                    f"classes: expected classes of render_sample.class_counts with data.raw_dir: data/sample, got "
                    f"{shown(name)}; add it there, or set data.raw_dir to a set that has it"
                )
            if counts[name] < self.split.min_images_per_class:
                raise ValueError(
                    f"render_sample.class_counts.{name}: expected at least split.min_images_per_class "
                    f"({self.split.min_images_per_class}), got {counts[name]}"
                )
        return self

    @model_validator(mode="after")
    def _no_judge_of_its_own(self) -> Params:
        if self.train_extractor.seed in (self.assess.seed, self.assess.seed + 1):
            raise ValueError(
                "train_extractor.seed: expected neither assess.seed nor the next, so that no GAN is judged by the "
                f"classifier that it was chosen by, got {self.train_extractor.seed}"
            )
        judges = [self.assess.seed, self.assess.seed + 1, *self.train_classifier.seeds]
        if self.filter_synthetic.seed in (self.train_extractor.seed, *judges):
            raise ValueError(
                "filter_synthetic.seed: expected none of train_extractor.seed, assess.seed, the next, and "
                "train_classifier.seeds, so that no image is chosen by a classifier that judges it before or after, "
                f"got {self.filter_synthetic.seed}"
            )
        return self

    @model_validator(mode="after")
    def _no_eye_twice(self) -> Params:
        """No GAN is judged, and none of its images chosen, by the network whose features chose its checkpoint."""
        chooser = self.train_extractor
        if chooser.weights is not None:
            for name in self.assess.extractors:
                if NETWORKS.get(name) == chooser.model:
                    raise ValueError(
                        f"assess.extractors: expected no {name} with train_extractor.model: {chooser.model}, whose "
                        f"features choose the GANs' checkpoints, got {self.assess.extractors}; take it out, or set "
                        "train_extractor.weights to null"
                    )
            judges: list[tuple[str, Judge]] = [("assess", self.assess)]
            judges += [("filter_synthetic", self.filter_synthetic)] if self.filter_synthetic.enabled else []
            for section, judge in judges:
                if judge.weights is not None and judge.model == chooser.model:
                    raise ValueError(
                        f"{section}.model: expected another network than train_extractor.model, whose features choose "
                        f"the GANs' checkpoints, got {judge.model} for both; set {section}.kind to scratch, or "
                        "train_extractor.weights to null"
                    )
        if self.specialise_gan.init == "scratch" and "random" in self.assess.extractors:
            raise ValueError(
                "assess.extractors: expected no random with specialise_gan.init: scratch, whose checkpoints its "
                f"features choose, got {self.assess.extractors}; take it out"
            )
        return self

    @model_validator(mode="after")
    def _networks(self) -> Params:
        for section, gan in (("train_gan", self.train_gan), ("specialise_gan", self.specialise_gan)):
            if gan.network != "dcgan" and self.split.img_resolution != 256:
                raise ValueError(
                    f"split.img_resolution: expected 256 for the networks of the slides, got "
                    f"{self.split.img_resolution}; set it in params.yaml, or set {section}.network to dcgan"
                )
        if self.specialise_gan.init == "joint":
            for key in SHAPE:
                own, joint = getattr(self.specialise_gan, key), getattr(self.train_gan, key)
                if own != joint:
                    raise ValueError(
                        f"specialise_gan.{key}: expected train_gan's {joint} with init: joint, which goes on from that "
                        f"model, got {own}; set both to the same, or init to scratch"
                    )
        for section, launched in (("train_gan", self.train_gan), ("generate", self.generate)):
            if launched.launcher == "none" and launched.num_processes > 1:
                raise ValueError(
                    f"{section}.num_processes: expected 1 with launcher: none, got {launched.num_processes}; set "
                    f"{section}.launcher to torchrun or slurm"
                )
        if self.minority_counts and not self.train_gan.G_sees_labels:
            raise ValueError(
                "minority_counts: expected [] where train_gan's generator sees no label, since it cannot be asked for "
                f"the one class, got {shown(self.minority_counts)}; set train_gan.G_conditioning or network"
            )
        if self.train_sgan.space == "pixels" and self.train_sgan.img_resolution > self.split.img_resolution:
            raise ValueError(
                f"train_sgan.img_resolution: expected at most split.img_resolution ({self.split.img_resolution}), "
                f"since images are averaged down to it, got {self.train_sgan.img_resolution}"
            )
        return self


def load_params(path: str | Path) -> Params:
    """Read and check params.yaml.

    Raises:
        InputError: The file is missing or not YAML, or a value is out of its range; names the key or the line.
    """
    return _params(read_text(path), str(path))


@lru_cache(maxsize=1)  # a stage looks several times whether the file is still the same
def _params(text: str, path: str) -> Params:
    return check_values(values_of(text, path), path)


def check_values(values: dict[str, Any], path: str | Path) -> Params:
    """Parameters of plain values; the path is for errors.

    Raises:
        InputError: A value is out of its range; names the key.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error, values)}") from error


def _sentence(error: ValidationError, values: dict[str, Any]) -> str:
    """The first problem as `key: what was expected, got what`."""
    problems = error.errors(include_url=False)
    # A misspelled key lacks under its right name too: that it is there is the better news
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    path = _path(first, values)
    key = ".".join(part if re.fullmatch(r"[\w.-]{1,80}", part) else shown(part) for part in map(str, path))
    if first["type"] == "missing":
        return f"{key}: expected a value, found none; add the key."
    if first["type"] == "extra_forbidden":
        lacking = [str(p["loc"][-1]) for p in problems if p["type"] == "missing" and p["loc"][:-1] == first["loc"][:-1]]
        near = difflib.get_close_matches(str(path[-1]), lacking, n=1)
        return f"{key}: not a known key; {f'write {near[0]}' if near else 'check its spelling, or remove it'}."
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"]).rstrip(".")
        return f"{key}: {message}." if key else f"{message}."
    # Of what may be of several kinds, each kind has a problem of its own
    ways = dict.fromkeys(_expected(problem) for problem in problems if _path(problem, values) == path)
    return f"{key}: expected {' or '.join(ways)}, got {shown(first['input'])}; correct it."


def _path(problem: Any, values: Any) -> tuple[str | int, ...]:
    """A problem's keys and indices, without what pydantic adds: which kind of a union, that it is a key."""
    path: list[str | int] = []
    at = values
    for part in problem["loc"]:
        there = part in at if isinstance(at, dict) else isinstance(at, list) and isinstance(part, int)
        if there:
            at = at[part] if isinstance(at, dict) or part < len(at) else None
        elif problem["type"] != "missing":
            break
        path.append(part)
    return tuple(path)


_EXPECTED = {
    "model_type": "a section with keys",
    "dict_type": "a section with keys",
    "list_type": "a list",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "string_too_short": "text",
    "string_too_long": "at most {max_length} characters",
    "missing": "{count} entries",
}


def _expected(problem: Any) -> str:
    if problem["type"] == "value_error":  # of one kind among several
        return str(problem["ctx"]["error"])
    if problem["type"] in _EXPECTED:
        return _EXPECTED[problem["type"]].format_map(problem.get("ctx", {}))
    return problem["msg"][0].lower() + problem["msg"][1:]
