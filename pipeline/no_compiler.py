"""Stages compile nothing, and need not load what torch would compile by.

`torch._dynamo`, with sympy and some thousand modules behind it, takes 1.5 s of processor time. Every optimiser loads it
to say that its step is not to be compiled (torch/optim/optimizer.py), and torchvision for one layer of its detectors.
Here both find something that takes the word and does nothing. Whoever asks it for more gets the real one.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


class _StandIn(ModuleType):
    """Of `torch._dynamo` or its `utils`."""

    def __init__(self, name: str, answers: dict[str, Any]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # its sub-modules are found by `_Real`
        vars(self).update(answers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what looks through all modules, as `inspect` does, wants nothing of this one
            raise AttributeError(name)
        return getattr(_load_real(self.__name__), name)


class _Real(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds sub-modules of the stand-in: those of the real one."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name.startswith(f"{NAME}.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _load_real(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """It has been."""


def stand_in_for_compiler() -> None:
    """For the rest of this process; call it before torch is used."""
    if NAME in sys.modules:
        return
    sys.modules[NAME] = _StandIn(NAME, {"disable": _as_it_is, "graph_break": _nothing})
    sys.modules[f"{NAME}.utils"] = _StandIn(f"{NAME}.utils", {"is_compile_supported": _no})
    sys.meta_path.insert(0, _Real())


def _load_real(name: str) -> ModuleType:
    for module in [module for module in sys.modules.values() if isinstance(module, _StandIn)]:
        del sys.modules[module.__name__]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Real)]
    return importlib.import_module(name)


def _as_it_is(function: Any, recursive: bool = True, **_: Any) -> Any:
    return function


def _nothing(*_: Any) -> None:
    """No graph is recorded, none is broken."""


def _no(device_type: str) -> bool:
    return False
