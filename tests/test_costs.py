"""What the synthetic images cost, and what seconds on the photos alone gave, in a sentence at the end of a run."""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.learn.judge import with_effort
from pipeline.params import load_params
from stages._costs import costs_sentence, note_cost, noted

ROOT = Path(__file__).resolve().parent.parent
GAIN = "classic_long/test/macro_f1_minus_classic"
METRICS = {GAIN: 0.0081, f"{GAIN}_lower": -0.004, f"{GAIN}_upper": 0.02}


def test_seconds_of_what_is_inside_are_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with noted("train_classifier@classic_long"):
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
    assert 0.4 <= float((tmp_path / ".state/costs/train_classifier@classic_long").read_text()) <= 1


def test_what_more_work_on_the_photos_gave_stands_beside_what_the_gan_took(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = load_params(ROOT / "params.yaml")
    assert costs_sentence(params, METRICS) is None
    stages = ["train_gan", *(f"specialise_gan@{name}" for name in params.classes), "generate", "filter_synthetic"]
    for name in (*stages, "train_classifier"):
        note_cost(name)
        (tmp_path / ".state/costs" / name).write_text("10.0\n")
    assert costs_sentence(params, METRICS) == (
        "The GAN and the images took 60 seconds of processor time here, the filter 10; all 13 recipes together 10."
    )
    (tmp_path / ".state/costs/train_classifier@classic_long").write_text("4.2\n")
    assert costs_sentence(params, METRICS).endswith(
        " Seconds could be spent on the photos alone: `classic_long`, with 4 times the views or steps, took 4 and "
        "gained +0.008 macro-F1 (-0.004 to +0.020) on `classic`."
    )


def test_effort_is_more_views_and_steps_and_no_more_looks_at_val():
    settings = {"views": 1, "steps": 300, "eval_every": 50, "seeds": [0], "lr": 0.1}
    assert with_effort(settings, 4) == {"views": 4, "steps": 1200, "eval_every": 200, "seeds": [0], "lr": 0.1}
    assert with_effort({"kind": "probe"}, 4) == {"kind": "probe"}
