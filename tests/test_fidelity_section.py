"""The page's section on fidelity: every figure beside its floor and count, warnings, names escaped."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.measure.fidelity import fidelity_report
from pipeline.measure.label_scores import classification_accuracy_score, label_agreement
from pipeline.report.fidelity_section import alarms, fidelity_section

CLASSES = ["healthy", "rust", "rare"]


@pytest.fixture(scope="module")
def fidelity() -> dict[str, float]:
    """What the functions give: `rust` is one leaf again and again, and is taken for another class."""
    rng = np.random.default_rng(0)

    def leaves(*counts: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(3), counts)
        return 4.0 * np.eye(3, 6)[labels] + rng.normal(size=(len(labels), 6)), labels

    train, val, fake = leaves(60, 40, 20), leaves(20, 12, 3), leaves(60, 60, 60)
    fake[0][fake[1] == 1] = fake[0][60] + 0.01 * rng.normal(size=(60, 6))
    metrics = {}
    for extractor in ("leaf", "inception"):
        metrics |= fidelity_report(*train, *val, *fake, CLASSES, extractor=extractor, num_draws=2)
    said, on_val = np.eye(3)[np.where(fake[1] == 1, 0, fake[1])], np.eye(3)[val[1]]
    metrics |= label_agreement(said, fake[1], CLASSES, probabilities_val=on_val, labels_val=val[1])
    return metrics | classification_accuracy_score(
        np.eye(3)[np.where(val[1] == 1, 0, val[1])], val[1], CLASSES, probabilities_real=on_val
    )


def test_what_chance_does_to_distances_stands_below_them(fidelity):
    ends = {"drawn": (4.0, 3.5, 4.6), "drawn/rust": (2.0, 1.0, 3.0), "fold": (1.2, 0.9, 1.6), "fold/rust": (2.1, 1, 3)}
    chance = {
        f"{metric}_{of}{end}{suffix}": value / times
        for key, values in ends.items()
        for of, suffix in [(key.split("/")[0], key[len(key.split("/")[0]) :])]
        for end, value in zip(("", "_lower", "_upper"), values, strict=True)
        for metric, times in (("fd_leaf", 1), ("kid_leaf", 1000))
    }
    chance |= {f"{metric}_p{s}": p for metric in ("fd_leaf", "kid_leaf") for s, p in (("", 0.025), ("/rust", 0.6))}
    assert "of real folds" not in fidelity_section(fidelity, CLASSES)
    html = fidelity_section(fidelity | chance, CLASSES)
    assert html.count("of real folds") == 2 and "Second table" in html  # of `leaf`, not of `inception`
    body = html.split("of real folds", 1)[1].split("<tbody>", 1)[1].split("</tbody>", 1)[0]
    cells = [re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r"<td.*?>(.*?)</td>", body, flags=re.S)]
    assert cells[:4] == [["all", "classes"], ["4", "3.5", "to", "4.6"], ["1.2", "0.9", "to", "1.6"], ["0.025"]]
    assert cells[7:9] == [["rust"], ["2", "1", "to", "3"]] and cells[10] == ["0.600"]


def rows(html: str, heading: str) -> dict[str, list[tuple[str, str]]]:
    """Of the table below a heading: first cell to (figure, what stands below it) of the others."""
    table = html.split(heading, 1)[1].split("<tbody>", 1)[1].split("</tbody>", 1)[0]
    found = {}
    for row in re.findall(r"<tr.*?</tr>", table, flags=re.S):
        name, *cells = re.findall(r"<td.*?>(.*?)</td>", row, flags=re.S)
        found[name] = [
            tuple(re.fullmatch(r'(.*?)<span class="ends">(.*?)</span>', c, flags=re.S).groups()) for c in cells
        ]
    return found


@pytest.mark.parametrize(("extractor", "frechet", "word"), [("leaf", "fd_leaf", "FD"), ("inception", "fid", "FID")])
def test_every_figure_stands_above_its_floor(fidelity, extractor, frechet, word):
    html = fidelity_section(fidelity, CLASSES)
    found = rows(html, f"Seen by <code>{extractor}</code>")
    assert list(found) == ["all classes", "healthy", "rust"]
    for name, suffix in [("all classes", ""), ("rust", "/rust")]:
        (n, below), (fd, fd_floor), (kid, kid_floor), *shares = found[name]
        assert n == f"{fidelity[f'n/scored{suffix}']:.0f}" and below == "floor"
        assert float(fd) == pytest.approx(fidelity[f"{frechet}{suffix}"], rel=0.01)
        assert float(fd_floor) == pytest.approx(fidelity[f"{frechet}_floor{suffix}"], rel=0.01)
        assert float(kid.replace("−", "-")) == pytest.approx(1000 * fidelity[f"kid_{extractor}{suffix}"], rel=0.06)
        floor = 1000 * fidelity[f"kid_{extractor}_floor{suffix}"]
        assert float(kid_floor.replace("−", "-")) == pytest.approx(floor, rel=0.06)
        for metric, cell in zip(("precision", "recall", "density", "coverage"), shares, strict=True):
            wanted = [fidelity[f"{metric}_{extractor}{end}{suffix}"] for end in ("", "_floor")]
            assert [float(x) for x in cell] == pytest.approx(wanted, abs=0.0051)
    heading = html.split(f"Seen by <code>{extractor}</code>", 1)[1].split("</thead>", 1)[0]
    assert f"<th>{word}</th>" in heading and len(re.findall("<th>", heading)) <= 8


def test_labels_stand_beside_what_real_leaves_manage(fidelity):
    found = rows(fidelity_section(fidelity, CLASSES), "Do they carry their class?")
    assert found["rust"] == [("0%", "of 12"), ("0%", "of 60"), ("100%", "of 12")]
    assert found["all classes"] == [("67%", "of 35"), ("67%", "of 180"), ("100%", "of 35")]
    assert found["rare"][0] == ("–", "of 3")


def test_warnings_name_the_class_and_only_where_there_is_cause(fidelity):
    html = fidelity_section(fidelity, CLASSES)
    warnings = re.findall(r'<p class="warning">(.*?)</p>', html, flags=re.S)
    assert len(warnings) == 2 and all("<code>rust</code>" in warning for warning in warnings)
    assert "Only 0% of the synthetic images" in warnings[0] and "is missing" in warnings[1]
    assert "<code>rare</code> (3)" in html  # left out, and named


def test_parts_that_are_absent_are_left_out(fidelity):
    assert fidelity_section({}, CLASSES) == ""
    alone = {name: value for name, value in fidelity.items() if "label" not in name and "cas" not in name}
    assert "Do they carry their class?" not in fidelity_section(alone, CLASSES)
    labels = {name: value for name, value in fidelity.items() if name.startswith(("label", "cas", "n/"))}
    assert "Seen by" not in fidelity_section(labels, CLASSES)


def test_names_are_escaped_and_equal_input_gives_equal_bytes(fidelity):
    odd = {name.replace("rust", "<b>"): value for name, value in fidelity.items()}
    html = fidelity_section(odd, ["healthy", "<b>", "rare"])
    assert "&lt;b&gt;" in html and '<td class="text"><b>' not in html and "<code><b>" not in html
    assert html == fidelity_section(dict(reversed(odd.items())), ["healthy", "<b>", "rare"])


def test_whether_they_can_be_told_stands_first_by_class(fidelity):
    told = {f"c2st_lite0{end}{of}": value for of, values in (("", (0.91, 0.88, 0.94)), ("/rust", (0.6, 0.5, 0.69)))
            for end, value in zip(("", "_lower", "_upper"), values, strict=True)}  # fmt: skip
    html = str(fidelity_section(fidelity | told, CLASSES))
    assert "<strong>91 of 100</strong>" in html and "what <code>lite0</code> sees" in html
    body = html.partition("told apart</th>")[2].partition("</tbody>")[0]
    assert re.findall(r"<td.*?>(.*?)</td>", body) == ["all classes", "91%", "88 to 94%", "rust", "60%", "50 to 69%"]
    assert html.index("Can they be told") < html.index("Do they carry their class?")
    assert "Can they be told" not in fidelity_section(fidelity, CLASSES)


def test_the_gravest_are_handed_to_the_first_screen(fidelity):
    told = {"c2st_lite0": 0.97, "c2st_lite0_lower": 0.95, "c2st_lite0_upper": 0.98}
    found = alarms(fidelity | told, CLASSES)
    assert len(found) == 2 and found[0] == "Synthetic leaves are told from real ones 97 times of 100."
    assert "of the synthetic images of `rust` are taken for `rust`" in found[1]
    assert "told" not in alarms(fidelity | told | {"c2st_lite0_lower": 0.6}, CLASSES)[0]
    assert alarms({}, CLASSES) == []
