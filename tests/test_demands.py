"""What params.yaml asks of train is refused before anything is trained where train does not hold it."""

import pytest

from pipeline import InputError
from pipeline.images.demands import check_demands

CLASSES = ["healthy", "rust"]
FINE = {
    "classes": CLASSES,
    "label_budgets": [2, 4],
    "minority_counts": [3],
    "minority_class": None,
    "target": "largest",
}


@pytest.fixture
def manifest(tmp_path):
    """9 healthy and 4 rust in train; rust has more in test."""
    counts = {("train", "healthy"): 9, ("train", "rust"): 4, ("test", "healthy"): 1, ("test", "rust"): 2}
    path = tmp_path / "manifest.csv"
    path.write_text("split,class\n" + "".join(f"{side},{name}\n" * n for (side, name), n in counts.items()))
    return path


def test_what_train_holds_passes(manifest):
    check_demands(manifest, **FINE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_budgets": [2, 5]}, "label_budgets: expected at most the 4 images that 'rust'.* got 5"),
        ({"minority_counts": [4]}, "minority_counts: expected between 1 and 3 .* of 'rust' in train, got 4"),
        ({"minority_counts": [9], "minority_class": "healthy"}, "minority_counts: .* of 'healthy' in train, got 9"),
        ({"target": 8}, r"generate\.target: expected at least the largest class of train \(9 images\), got 8"),
        ({"target": "0.5x"}, r"generate\.target: expected at least the largest class"),
    ],
)
def test_what_it_does_not_hold_is_a_sentence(manifest, changes, said):
    with pytest.raises(InputError, match=said):
        check_demands(manifest, **{**FINE, **changes})
