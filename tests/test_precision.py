from __future__ import annotations

import time

import pytest
import torch

from pipeline import machine
from pipeline.gan import precision
from pipeline.gan.precision import autocast_dtype, cpu_vendor


def test_what_is_asked_for_is_given():
    assert autocast_dtype("cpu", "bf16") is torch.bfloat16
    assert autocast_dtype("cpu", "fp32") is None


def fastest_products(side: int = 1024, tries: int = 25) -> dict[torch.dtype, float]:
    """Seconds of the fastest product of two matrices in each precision, taken in turns: others may keep cores busy."""
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    of = {dtype: torch.full((side, side), 0.5, dtype=dtype) for dtype in seconds}
    for _ in range(tries):
        for dtype, matrix in of.items():
            began = time.perf_counter()
            torch.mm(matrix, matrix)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - began)
    return seconds


def test_auto_does_not_choose_the_slower_precision_of_this_machine():
    """A chosen precision may be level, and never half as fast."""
    seconds = fastest_products()
    chosen = autocast_dtype("cpu", "auto") or torch.float32
    other = torch.float32 if chosen is torch.bfloat16 else torch.bfloat16
    assert seconds[chosen] < 1.5 * seconds[other]


@pytest.mark.parametrize(
    ("matrix_unit", "instructions", "vendor", "wanted"),
    [
        (True, True, "GenuineIntel", torch.bfloat16),
        (False, True, "AuthenticAMD", torch.bfloat16),
        (False, True, "GenuineIntel", None),  # a Xeon whose matrix unit is not to be had: half the rate
        (False, True, "", None),
        (False, False, "AuthenticAMD", None),
    ],
)
def test_bf16_where_the_cpu_is_known_to_be_faster(monkeypatch, tmp_path, matrix_unit, instructions, vendor, wanted):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: matrix_unit)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: some CPU\n")
    monkeypatch.setattr(machine, "CPUINFO", cpuinfo)
    assert autocast_dtype("cpu", "auto") is wanted


def test_a_machine_without_cpuinfo_has_a_vendor_or_none(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(precision.platform, "processor", lambda: "AMD64 Family 25 Model 97, AuthenticAMD")
    assert cpu_vendor() == "AuthenticAMD"
    monkeypatch.setattr(precision.platform, "processor", lambda: "arm")
    assert cpu_vendor() == ""


def test_the_choice_is_not_timed(monkeypatch):
    """Timed on a busy machine it came out one way before a kill and the other way after."""
    before = autocast_dtype("cpu", "auto")
    monkeypatch.setattr(time, "perf_counter", iter(range(0, -10_000, -1)).__next__)
    assert autocast_dtype("cpu", "auto") is before
