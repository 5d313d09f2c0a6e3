"""Each fault of a training is named when it has lasted, and a healthy training is left alone."""

import math

import pytest

from pipeline.gan.health import RULES, Tick, diagnose

HEALTHY = Tick(0.1, (1.0, 0.5), {"rust": 0.8, "scab": 0.7}, 0.7, 0.05, 0.6)


def _run(*changes):
    """Ten healthy ticks, then those."""
    ticks = [HEALTHY._replace(progress=0.05 * (k + 1), kid=0.2 - 0.01 * k) for k in range(10)]
    return [*ticks, *(HEALTHY._replace(progress=0.55 + 0.05 * k, **change) for k, change in enumerate(changes))]


def _flat(spread):
    return {"spread": {"rust": spread, "scab": 0.7}}


FAULTS = {
    "not_a_number": _run({"losses": (math.nan, 0.5)}),
    "collapse": _run(*[_flat(0.1)] * 3),
    "lost_coverage": _run(*[{"coverage": 0.0}] * 3),
    "divergence": _run({"kid": 0.05}, *[{"kid": 0.3}] * 3),
    "saturation": _run(*[{"D_accuracy": 0.999, "kid": 0.2}] * 3),
}


def test_every_rule_has_a_fault_here():
    assert set(FAULTS) == set(RULES)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_lasts_is_named_and_says_what_to_do(name):
    found = diagnose(FAULTS[name])
    assert found is not None and found[0] == name
    assert any(key in found[1] for key in ("lr", "r1_gamma", "rates"))


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "not_a_number"])
def test_one_bad_tick_is_not_a_fault(name):
    ticks = FAULTS[name]
    assert diagnose([*ticks[:-1], HEALTHY._replace(progress=0.9)]) is None


def test_a_healthy_run_and_its_beginning_are_left_alone():
    for length in range(1, 14):
        assert diagnose(_run({}, {}, {})[:length]) is None


def test_a_run_that_starts_flat_has_time_until_its_middle():
    early = [HEALTHY._replace(progress=0.1 * k, spread={"rust": 0.1}) for k in range(1, 5)]
    assert diagnose(early) is None
    late = [HEALTHY._replace(progress=0.1 * k, spread={"rust": 0.1}) for k in range(1, 9)]
    assert diagnose(late)[0] == "collapse"
    assert "'rust'" in diagnose(late)[1]
    growing = [tick._replace(spread={"rust": 0.02 * k}) for k, tick in enumerate(late, 1)]
    assert diagnose(growing) is None


def test_without_val_no_rule_needs_its_figures():
    ticks = [HEALTHY._replace(progress=0.1 * k, kid=math.nan, coverage=math.nan) for k in range(1, 9)]
    assert diagnose(ticks) is None


def test_a_sure_D_is_no_fault_while_G_improves():
    ticks = _run(*[{"D_accuracy": 0.999, "kid": 0.1 - 0.01 * k} for k in range(3)])
    assert diagnose(ticks) is None
