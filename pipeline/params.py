"""The typed sections of params.yaml: every key and every range, checked before any work starts.

There are no defaults: params.yaml holds every value, so that what it says is what ran.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import InputError

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Resolution = Literal[32, 64, 128, 256]
Augmentation = Literal["color", "translation", "cutout"]
Flip = Literal["horizontal", "vertical"]
Launcher = Literal["none", "torchrun", "slurm"]
Precision = Literal["auto", "fp32", "bf16"]

CLASS_NAME = re.compile(r"\w[\w.-]*")


def _class_name(name: str) -> str:
    if not CLASS_NAME.fullmatch(name):
        raise ValueError(
            f"expected letters, digits, '_', '-' or '.', got '{name}'; `leafsynth init` renames class folders so"
        )
    return name


ClassName = Annotated[str, AfterValidator(_class_name)]


class Section(BaseModel):
    """A misspelled key is an error, and a checked section does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    raw_dir: str
    rendered: list[Literal["sample"]]

    @model_validator(mode="after")
    def _drawn_where_it_is_used(self) -> Data:
        wanted = ["sample"] if self.raw_dir == "data/sample" else []
        if self.rendered != wanted:
            raise ValueError(f"expected rendered: {wanted} with raw_dir: {self.raw_dir}, got {self.rendered}")
        return self


class Arm(Section):
    train: Literal[
        "data/arrays/train", "data/arrays/augmented", "data/arrays/synthetic", "data/arrays/augmented_filtered"
    ]
    sampling: Literal["natural", "balanced"]
    augment: Literal["none", "classic"]
    background: Literal["keep", "mask", "only"]


class RenderSample(Section):
    img_resolution: Annotated[int, Field(ge=16, le=1024)]
    class_counts: dict[ClassName, Count]
    seed: Seed


class Split(Section):
    img_resolution: Resolution
    fit: Literal["crop", "pad", "stretch"]
    test_share: Share
    val_share: Share
    seed: Seed
    groups_csv: str | None
    group_pattern: str | None
    near_duplicate_distance: Annotated[int, Field(ge=0, le=16)]
    max_pixels: Count
    min_images_per_class: Annotated[int, Field(ge=3)]


class Gan(Section):
    """What train_gan and specialise_gan share; the arguments of `gan.training_loop.train`."""

    seed: Seed
    total_kimg: Positive
    batch_size: Annotated[int, Field(ge=2)]
    network: Literal["dcgan", "slides_conditional", "slides_unconditional"]
    z_dim: Count
    G_channels: Count
    D_channels: Count
    G_conditioning: Literal["none", "embedding", "concat", "batch_norm"]
    D_conditioning: Literal["none", "concat", "projection"]
    spectral_norm: bool
    G_lr: Positive
    D_lr: Positive
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    D_steps: Count
    loss: Literal["nonsaturating", "hinge", "least_squares", "wasserstein"]
    r1_gamma: NotNegative
    r1_interval: Count
    gradient_penalty: NotNegative
    lecam: NotNegative
    lecam_from_kimg: NotNegative
    augmentation: list[Augmentation]
    augment_p: Annotated[float, Field(ge=0, le=1)] | Literal["adaptive"]
    ada_target: Annotated[float, Field(gt=0, lt=1)]
    ada_kimg: Positive
    flips: list[Flip]
    ema_half_life_kimg: Positive
    ema_rampup: Positive | None
    preview_kimg: Positive
    precision: Precision

    @model_validator(mode="after")
    def _fitting(self) -> Gan:
        if self.loss == "wasserstein" and self.gradient_penalty == 0:
            raise ValueError(
                "expected gradient_penalty above 0 (10 in the paper) with loss: wasserstein, whose critic is else "
                f"unbounded, got {self.gradient_penalty}"
            )
        return self


class TrainGan(Gan):
    transition_kimg: tuple[NotNegative, NotNegative] | None
    launcher: Launcher
    num_processes: Count

    @model_validator(mode="after")
    def _in_order(self) -> TrainGan:
        if self.transition_kimg is not None and self.transition_kimg[0] >= self.transition_kimg[1]:
            raise ValueError(
                f"expected transition_kimg as [begin, end] with begin below end, got {list(self.transition_kimg)}"
            )
        if self.batch_size % self.num_processes:
            raise ValueError(
                f"expected batch_size to be a multiple of num_processes ({self.num_processes}), got {self.batch_size}"
            )
        return self


class SpecialiseGan(Gan):
    init: Literal["joint", "scratch"]
    freeze_D: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _something_to_freeze(self) -> SpecialiseGan:
        if self.init == "scratch" and self.freeze_D:
            raise ValueError(
                f"expected freeze_D of 0 with init: scratch, which has no weights to keep, got {self.freeze_D}"
            )
        return self


class Generate(Section):
    target: Count | Annotated[str, Field(pattern=r"^(largest|\d+(\.\d+)?x)$")]
    seed: Seed
    truncation: Annotated[float, Field(gt=0, le=2)]
    launcher: Launcher
    num_processes: Count


class Classifier(Section):
    model: str
    weights: str | None
    input_size: Annotated[int, Field(ge=16)] | None
    steps: Count
    batch_size: Annotated[int, Field(ge=2)]
    optimiser: Literal["sgd", "adamw"]
    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    eval_every: Count


class TrainExtractor(Classifier):
    seed: Seed
    sampling: Literal["natural", "balanced"]
    augment: Literal["none", "classic"]


class Assess(TrainExtractor):
    extractors: Annotated[list[Literal["leaf", "random", "inception", "dinov2"]], Field(min_length=1)]
    inception_weights: str | None
    dinov2_weights: str | None

    @model_validator(mode="after")
    def _each_once(self) -> Assess:
        if len(set(self.extractors)) < len(self.extractors):
            raise ValueError(f"expected each of extractors once, got {self.extractors}")
        return self


class AcceptanceRules(Section):
    """Keys of `pipeline.measure.acceptance.RULES`."""

    agreement: bool
    confidence: Share | None
    density: Share | None
    copies: Share | None
    duplicates: Share | None


class FilterSynthetic(TrainExtractor):
    enabled: bool
    rules: AcceptanceRules
    max_candidates_factor: Annotated[float, Field(ge=1)]
    when_starving: Literal["fail", "fill"]


class TrainClassifier(Classifier):
    seeds: Annotated[list[Seed], Field(min_length=1)]


class SganSetting(Section):
    lr: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    input_noise: NotNegative


class TrainSgan(Section):
    seeds: Annotated[list[Seed], Field(min_length=1)]
    tuning: Annotated[list[SganSetting], Field(min_length=1)]
    steps: Count
    batch_size: Annotated[int, Field(ge=2)]
    z_dim: Count
    img_resolution: Literal[32, 64]
    channels: Annotated[int, Field(ge=4)]
    unlabelled_weight: NotNegative
    consistency_weight: NotNegative
    consistency_confidence: Annotated[float, Field(ge=0, lt=1)]
    views: Literal["none", "leaf"]
    flips: list[Flip]
    eval_every: Count


class SweepMixture(Section):
    ratios: Annotated[list[Annotated[float, Field(gt=0, le=20)]], Field(min_length=1)]


class StudyMinority(Section):
    class_name: ClassName | None
    seed: Seed
    total_kimg: Positive


class Compare(Section):
    seed: Seed
    resamples: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    min_detectable: Share


class Params(Section):
    """All of params.yaml."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Annotated[int, Field(ge=1, le=256)]
    classes: Annotated[list[ClassName], Field(min_length=2)]
    data: Data
    arms: dict[ClassName, Arm]
    label_budgets: Annotated[list[Count], Field(min_length=1)]
    minority_counts: list[Count]
    render_sample: RenderSample
    split: Split
    train_extractor: TrainExtractor
    train_gan: TrainGan
    specialise_gan: SpecialiseGan
    generate: Generate
    filter_synthetic: FilterSynthetic
    assess: Assess
    train_classifier: TrainClassifier
    train_sgan: TrainSgan
    sweep_mixture: SweepMixture
    study_minority: StudyMinority
    compare: Compare

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        for key, values in [
            ("classes", self.classes),
            ("label_budgets", self.label_budgets),
            ("minority_counts", self.minority_counts),
            ("sweep_mixture.ratios", self.sweep_mixture.ratios),
        ]:
            if len(set(values)) < len(values):
                raise ValueError(f"{key}: expected each entry once, got {values}")
        folded = {name.casefold() for name in self.classes}
        if len(folded) < len(self.classes):
            raise ValueError(
                f"classes: expected names that differ by more than upper and lower case, got {self.classes}"
            )
        if self.train_extractor.seed in (self.assess.seed, self.assess.seed + 1):
            raise ValueError(
                "train_extractor.seed: expected neither assess.seed nor the next, so that no GAN is judged by the "
                f"classifier that it was chosen by, got {self.train_extractor.seed}"
            )
        if self.study_minority.class_name not in (None, *self.classes):
            raise ValueError(
                f"study_minority.class_name: expected null or one of {self.classes}, got "
                f"'{self.study_minority.class_name}'"
            )
        judges = [self.assess.seed, self.assess.seed + 1, *self.train_classifier.seeds]
        if self.filter_synthetic.seed in (self.train_extractor.seed, *judges):
            raise ValueError(
                "filter_synthetic.seed: expected none of train_extractor.seed, assess.seed, the next, and "
                "train_classifier.seeds, so that no image is chosen by a classifier that judges it before or after, "
                f"got {self.filter_synthetic.seed}"
            )
        filtered = [name for name, arm in self.arms.items() if arm.train == "data/arrays/augmented_filtered"]
        if filtered and not self.filter_synthetic.enabled:
            raise ValueError(
                f"arms.{filtered[0]}: expected no arm on data/arrays/augmented_filtered with filter_synthetic.enabled: "
                f"false, got {', '.join(filtered)}; remove them, or set it to true"
            )
        for needed in ("real", "balanced", "classic"):
            if needed not in self.arms:
                raise ValueError(
                    f"arms: expected the arm '{needed}', which the verdict compares with, got {list(self.arms)}"
                )
            if self.arms[needed].background != "keep":
                raise ValueError(
                    f"arms.{needed}.background: expected keep, since the verdict compares with this arm, got "
                    f"'{self.arms[needed].background}'; give the arm with another background a name of its own"
                )
        return self


def load_params(path: str | Path) -> Params:
    """Read and check params.yaml.

    Raises:
        InputError: The file is missing or not YAML, or a value is out of its range; names the key.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: expected the pipeline's parameters here, found no file; run this from the project's root."
        )
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        where = f" in line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise InputError(f"{path}: expected YAML, found a syntax error{where}; mend it.") from error
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    """The first problem as `key: what was expected, got what`."""
    first = error.errors()[0]
    key = ".".join(
        str(part) for part in first["loc"] if not str(part).startswith(("constrained", "function", "int", "str"))
    )
    if first["type"] == "missing":
        return f"{key}: expected a value, found none; add the key."
    if first["type"] == "extra_forbidden":
        return f"{key}: not a known key; check its spelling."
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key}: {message}." if key else f"{message}."
    return f"{key}: {message[0].lower()}{message[1:]}, got {first['input']!r}; correct it."
