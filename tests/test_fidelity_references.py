"""The same figures as the packages that everyone uses, on the same features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.measure.fidelity import frechet_distance, kernel_distance, squared_mmd
from pipeline.measure.prdc import prdc

fid = pytest.importorskip("torch_fidelity.metric_fid", reason="torch-fidelity, of the extra `dev`, is not installed")
kid = pytest.importorskip("torch_fidelity.metric_kid")
prc = pytest.importorskip("torch_fidelity.metric_prc")
# To 1e-4 relative, as is asked; what is counted is equal but for counts divided in float32.
CLOSE = 1e-4
SETS = [(300, 260, 32, np.float32), (120, 140, 200, np.float32), (90, 90, 16, np.float64)]  # N, M, D


def features(n: int, m: int, dim: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Like what networks give: nothing below 0, skewed, correlated, of unequal scale."""
    rng = np.random.default_rng([n, m, dim])
    mix, scale = rng.normal(size=(dim, dim)) / np.sqrt(dim), rng.gamma(2.0, size=dim)

    def drawn(count: int, shift: float) -> np.ndarray:
        return (np.maximum(rng.normal(shift, 1.0, size=(count, dim)) @ mix, 0) * scale).astype(dtype)

    return drawn(n, 0.0), drawn(m, 0.3)


@pytest.mark.parametrize(("n", "m", "dim", "dtype"), SETS)
def test_frechet_distance_is_that_of_torch_fidelity(n, m, dim, dtype):
    """Also with fewer images than features, where theirs takes roots of rounding errors."""
    x, y = features(n, m, dim, dtype)
    statistics = [fid.fid_features_to_statistics(torch.from_numpy(f.astype(np.float64))) for f in (x, y)]
    theirs = fid.fid_statistics_to_metric(*statistics, verbose=False)[fid.KEY_METRIC_FID]
    assert frechet_distance(x, y) == pytest.approx(theirs, rel=CLOSE)
    assert frechet_distance(y, x) == pytest.approx(theirs, rel=CLOSE)


@pytest.mark.parametrize(("n", "m", "dim", "dtype"), SETS)
def test_kernel_distance_is_that_of_torch_fidelity(n, m, dim, dtype):
    """On their own subsets one by one, and on subsets of our own drawing to within the spread of draws."""
    x, y = (f.astype(np.float64) for f in features(n, m, dim, dtype))
    size, subsets, seed = 60, 20, 2020
    settings = {"kid_subset_size": size, "kid_subsets": subsets, "rng_seed": seed, "verbose": False}
    theirs = kid.kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **settings)
    rng = np.random.RandomState(seed)  # as theirs draws
    drawn = [(x[rng.choice(n, size, replace=False)], y[rng.choice(m, size, replace=False)]) for _ in range(subsets)]
    ours = [squared_mmd(*pair) for pair in drawn]
    assert np.mean(ours) == pytest.approx(theirs[kid.KEY_METRIC_KID_MEAN], rel=CLOSE)
    assert np.std(ours) == pytest.approx(theirs[kid.KEY_METRIC_KID_STD], rel=CLOSE)
    many = kernel_distance(x, y, subset_size=size, num_subsets=200)
    assert abs(many - np.mean(ours)) < 4 * np.std(ours) * np.sqrt(1 / subsets + 1 / 200)


@pytest.mark.parametrize("n", [60, 90])
def test_whole_sets_of_equal_size_are_one_subset_of_torch_fidelity(n):
    x, y = (f.astype(np.float64) for f in features(n, n, 24, np.float32))
    settings = {"kid_subset_size": n, "kid_subsets": 1, "verbose": False}
    theirs = kid.kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **settings)
    assert kernel_distance(x, y) == pytest.approx(theirs[kid.KEY_METRIC_KID_MEAN], rel=CLOSE)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m", "dim", "dtype"), SETS)
def test_precision_and_recall_are_those_of_torch_fidelity(n, m, dim, dtype, k):
    real, fake = features(n, m, dim, dtype)
    theirs = prc.prc_features_to_metric(  # generated first
        torch.from_numpy(fake.astype(np.float64)), torch.from_numpy(real.astype(np.float64)), prc_neighborhood=k,
        verbose=False,
    )  # fmt: skip
    ours = prdc(real, fake, k=k)
    assert ours["precision"] > 0 and ours["recall"] > 0 and ours["precision"] != ours["recall"]
    assert ours["precision"] == pytest.approx(theirs[prc.KEY_METRIC_PRECISION], rel=CLOSE)
    assert ours["recall"] == pytest.approx(theirs[prc.KEY_METRIC_RECALL], rel=CLOSE)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m", "dim", "dtype"), SETS)
def test_all_four_are_those_of_the_package_prdc(n, m, dim, dtype, k, capsys):
    compute_prdc = pytest.importorskip("prdc", reason="prdc, of the extra `dev`, is not installed").compute_prdc
    real, fake = features(n, m, dim, dtype)
    # scikit-learn takes float32 distances by another formula; theirs is asked in float64, of the same features
    theirs = compute_prdc(real.astype(np.float64), fake.astype(np.float64), nearest_k=k)
    assert prdc(real, fake, k=k) == pytest.approx({name: float(value) for name, value in theirs.items()}, rel=CLOSE)
