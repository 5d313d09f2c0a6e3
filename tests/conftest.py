"""Shared by all tests: one torch thread a process, and the real leaf sets where they are at hand."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

# A shell's background job ignores Ctrl-C, and would hand that on to every process that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run two at a time on small machines; torch's threads would fight over the cores."""
    import torch

    torch.set_num_threads(1)
