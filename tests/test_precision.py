from __future__ import annotations

import pytest
import torch

from pipeline.gan import precision
from pipeline.gan.precision import autocast_dtype, cpu_is_faster_in_bf16, product_seconds


@pytest.fixture(autouse=True)
def _forget():
    cpu_is_faster_in_bf16.cache_clear()
    yield
    cpu_is_faster_in_bf16.cache_clear()


def test_what_is_asked_for_is_given():
    assert autocast_dtype("cpu", "bf16") is torch.bfloat16
    assert autocast_dtype("cpu", "fp32") is None


def test_auto_does_not_choose_the_slower_precision_of_this_machine():
    """On larger matrices than the rule looks at; a chosen precision may be level, and never half as fast."""
    chosen = autocast_dtype("cpu", "auto") or torch.float32
    other = torch.float32 if chosen is torch.bfloat16 else torch.bfloat16
    assert product_seconds(chosen, side=1200) < 1.5 * product_seconds(other, side=1200)


@pytest.mark.parametrize(
    ("instructions", "seconds", "wanted"),
    [
        (True, {torch.float32: 2.0, torch.bfloat16: 1.0}, torch.bfloat16),
        (True, {torch.float32: 1.0, torch.bfloat16: 1.9}, None),  # an Intel Xeon whose matrix unit is not to be had
        (True, {torch.float32: 1.0, torch.bfloat16: 1.0}, None),
        (False, {torch.float32: 2.0, torch.bfloat16: 1.0}, None),
    ],
)
def test_bf16_where_it_is_faster_by_enough(monkeypatch, instructions, seconds, wanted):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(precision, "product_seconds", seconds.__getitem__)
    assert autocast_dtype("cpu", "auto") is wanted
