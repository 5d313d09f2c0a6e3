"""What of params.yaml only torch and torchvision can tell: whether its networks can be built, and its files be read.

The libraries are asked themselves, on the meta device: nothing is drawn, trained or downloaded.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline import InputError
from pipeline.features.backbones import weights_file
from pipeline.features.extractors import check_extractors
from pipeline.gan.architectures import build, check_freeze_D
from pipeline.images.groups import find_groups_csv
from pipeline.learn.classifier_model import check_classifier
from pipeline.learn.sgan_networks import Discriminator, Generator
from pipeline.params import SHAPE, Params, SpecialiseGan, TrainGan

PHOTO_SECTIONS = ("train_classifier", "second_judge", "train_sgan")  # whose networks see photos, not what a GAN sees


def check_with_libraries(params: Params, root: Path) -> None:
    """Refuse what a stage would refuse after hours, beyond the rules of `load_params`.

    Args:
        params: Of `load_params`.
        root: The project, which paths in params.yaml are relative to.

    Raises:
        InputError: A model, weights, extractor or csv that is not there, does not fit or cannot be read; networks
            that cannot be built. Names the key.
    """
    root = Path(root)
    try:
        _check_groups(params, root)
        _check_gans(params)
        _check_sgan(params)
        _check_classifiers(params, root)
        _check_extractors(params, root)
    except InputError as error:
        raise InputError(f"params.yaml: {error}") from error


def _check_extractors(params: Params, root: Path) -> None:
    section = params.assess
    check_extractors(
        section.extractors,
        inception_weights=_below(root, section.inception_weights),
        dinov2_weights=_below(root, section.dinov2_weights),
    )


def _below(root: Path, path: str | None) -> str | None:
    return None if path is None else str(root / path)


def _check_groups(params: Params, root: Path) -> None:
    groups_csv, raw_dir = params.split.groups_csv, root / params.data.raw_dir
    # A set that is not there yet, such as the sample before it is rendered, may bring its csv
    if groups_csv is not None and raw_dir.is_dir():
        try:
            find_groups_csv(raw_dir, groups_csv)
        except InputError as error:
            raise InputError(f"split.{error}") from None


def _check_gans(params: Params) -> None:
    joint = params.specialise_gan.init == "joint"
    of_sections: list[tuple[str, TrainGan | SpecialiseGan, list[str]]] = [
        ("train_gan", params.train_gan, params.classes),
        ("specialise_gan", params.specialise_gan, params.classes if joint else params.classes[:1]),
    ]
    for section, gan, classes in of_sections:
        config = {key: getattr(gan, key) for key in SHAPE}
        config |= {"classes": classes, "img_resolution": params.split.img_resolution}
        config["transitional"] = params.train_gan.transition_kimg is not None and (joint or section == "train_gan")
        labels = torch.zeros(2, dtype=torch.long, device="meta")
        with torch.device("meta"):  # spectral norm changes no shape, and takes a second to set up here
            G, D = build({**config, "spectral_norm": False})
            D(G(torch.zeros(2, gan.z_dim), labels), labels)
        check_freeze_D(D, getattr(gan, "freeze_D", 0), stage=section)


def _check_sgan(params: Params) -> None:
    sgan = params.train_sgan
    if sgan.space == "features":  # networks that fit any
        return
    with torch.device("meta"):
        G = Generator(sgan.z_dim, sgan.img_resolution, channels=sgan.channels)
        D = Discriminator(len(params.classes), channels=sgan.channels, dropout=0.0, input_noise=0.0)
        D(G(torch.zeros(2, sgan.z_dim)))


def _check_classifiers(params: Params, root: Path) -> None:
    sections = ["train_extractor", "assess", *PHOTO_SECTIONS]
    sections += ["filter_synthetic"] if params.filter_synthetic.enabled else []
    checked = set()
    for section in sections:
        of = getattr(params, section)
        weights = of.weights if of.weights is None or weights_file(of.weights) is None else str(root / of.weights)
        seen = params.split.photo_resolution if section in PHOTO_SECTIONS else params.split.img_resolution
        if (of.model, weights, of.input_size, seen) in checked:
            continue
        checked.add((of.model, weights, of.input_size, seen))
        try:
            check_classifier(
                of.model,
                num_classes=len(params.classes),
                weights=weights,
                input_size=of.input_size,
                img_resolution=seen,
            )
        except InputError as error:
            raise InputError(f"{section}.{error}") from None
