"""Comparisons on one test split are counted: other results are a further one, the same again are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.comparisons import comparison_sentence, number_of_comparison

HEAD = "file,split,class,group,source,sha256\n"


def asked(folder: Path, results: str, test: str = "a") -> int:
    manifest = folder / "manifest.csv"
    manifest.write_text(HEAD + f"test/rust/1.png,test,rust,,,{test}\ntrain/rust/2.png,train,rust,,,{results}\n")
    (folder / "metrics.json").write_text(results)
    return number_of_comparison(folder / "state" / "ledger.csv", manifest, folder / "metrics.json")


def test_other_results_are_counted_and_the_same_are_not(tmp_path):
    assert [asked(tmp_path, of) for of in ("x", "x", "y", "z", "y", "x")] == [1, 1, 2, 3, 2, 1]


def test_another_test_split_starts_anew_whatever_train_holds(tmp_path):
    assert [asked(tmp_path, "x"), asked(tmp_path, "y", test="b"), asked(tmp_path, "z", test="b")] == [1, 1, 2]


def test_the_first_needs_no_word_and_a_later_one_has_its_number():
    assert comparison_sentence(1) == ""
    assert "comparison no. 7 on these test photos" in comparison_sentence(7)


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\x00", b"", None])
def test_a_damaged_ledger_is_counted_anew_and_one_that_cannot_be_written_stops_nothing(tmp_path, content):
    (tmp_path / "state").mkdir()
    place = tmp_path / "state" / "ledger.csv"
    place.mkdir() if content is None else place.write_bytes(content)
    assert asked(tmp_path, "x") == 1
    assert asked(tmp_path, "y") == (1 if content is None else 2)
