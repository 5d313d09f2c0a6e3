"""Losses of the semi-supervised GAN (Salimans et al. 2016, "Improved techniques for training GANs", section 5).

A classifier of K classes gets a further class, "generated". Softmax does not change when a number is added to
all logits, so the logit of that class is fixed at 0 and D has K outputs. With Z = logsumexp(logits):

    p(class k | x)  = exp(l_k) / (exp(Z) + 1)
    p(real | x)     = exp(Z) / (exp(Z) + 1) = sigmoid(Z)
    p(generated|x)  = 1 / (exp(Z) + 1)      = sigmoid(-Z)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def labelled_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the K classes, given that the image is real.

    Args:
        logits: (N, K).
        labels: (N,) class indices.

    Returns:
        Scalar, nats.
    """
    log_z = torch.logsumexp(logits, dim=1)  # (N,)
    label_logits = logits.gather(1, labels[:, None]).squeeze(1)  # (N,)
    return (log_z - label_logits).mean()  # -log p(y | x, real)


def unlabelled_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """How badly D tells unlabelled real images from generated ones.

    Args:
        real_logits: (N, K) of real images, their labels unused.
        fake_logits: (M, K) of generated images.

    Returns:
        Scalar, nats.
    """
    z_real = torch.logsumexp(real_logits, dim=1)  # (N,)
    z_fake = torch.logsumexp(fake_logits, dim=1)  # (M,)
    real = (-z_real + softplus(z_real)).mean()  # -log sigmoid(Z)
    fake = softplus(z_fake).mean()  # -log (1 - sigmoid(Z))
    return 0.5 * (real + fake)


def consistency_loss(logits: Tensor, averaged_logits: Tensor, confidence: float = 0.0) -> Tensor:
    """How much D under dropout and noise disagrees with its averaged self about unlabelled images.

    Where the averaged self is unsure it is mostly wrong when labels are few, and agreement would spread the errors:
    such images can be left out (Xie et al. 2020, "Unsupervised data augmentation", section 2, "confidence-based
    masking"; Sohn et al. 2020, "FixMatch", section 2.2). The mean is over all images as there, so that the term is
    weak while little is certain.

    A term of semi-supervised GANs since Wei et al. 2018 ("Improving the improved training of Wasserstein GANs",
    section 3.3), there between two draws of dropout; against averaged weights by Tarvainen & Valpola 2017 ("Mean
    teachers are better role models", section 2), who have no GAN.

    Args:
        logits: (N, K) of D as it is trained.
        averaged_logits: (N, K) of the averaged D in eval mode, on the same images; no gradient flows there.
        confidence: Images count whose likeliest class has at least this probability by the averaged D; 0: all.

    Returns:
        Scalar, 0 to 2.
    """
    averaged = averaged_logits.detach().softmax(dim=1)
    sure = averaged.amax(dim=1) >= confidence  # (N,)
    difference = logits.softmax(dim=1) - averaged
    return (sure * difference.square().sum(dim=1)).mean()  # ||p(y | x, theta, noise) - p(y | x, averaged theta)||^2


def feature_matching_loss(features_real: Tensor, features_fake: Tensor) -> Tensor:
    """What G minimises: the distance between the mean features of real and of generated images (section 3.1).

    The mean absolute difference, as in the authors' own experiments on images; a constant factor aside, the
    paper's formula is its square.

    Args:
        features_real: (N, F) of D's last layer but one.
        features_fake: (M, F).

    Returns:
        Scalar.
    """
    return (features_real.mean(dim=0) - features_fake.mean(dim=0)).abs().mean()  # |E f(x) - E f(G(z))|
