"""What stands in for torch's compiler: trains the same, and gives way to the real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAIN = """
import hashlib, sys
import torch, torchvision

torch.manual_seed(0)
network = torchvision.models.mobilenet_v3_small(num_classes=3)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
for _ in range(2):
    optimizer.zero_grad()
    network(torch.rand(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
digest = hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in network.state_dict().values())).hexdigest()
print(digest, "torch._dynamo.convert_frame" in sys.modules)
"""
SPARED = "from pipeline.no_compiler import stand_in_for_compiler; stand_in_for_compiler()\n"


def said(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_training_ends_with_the_same_bytes_and_loads_no_compiler() -> None:
    digest, loaded = said(TRAIN)
    assert loaded == "True", "torch has mended this: remove pipeline/no_compiler.py"
    assert said(SPARED + TRAIN) == [digest, "False"]


@pytest.mark.parametrize(
    "asked",
    [
        "import torch._dynamo; found = torch._dynamo.config",
        "import torch._dynamo.config as found",
        "from torch._dynamo import config as found",
        "import torch._dynamo.utils; found = torch._dynamo.config; torch._dynamo.utils.counters",
        "import torchvision, torch._dynamo as real; found = real.config",
    ],
)
def test_whoever_asks_for_more_gets_the_real_one(asked: str) -> None:
    code = f"""{SPARED}import torch
{asked}
import sys, inspect
inspect.getmodule(print)
import torch._dynamo
assert found is sys.modules["torch._dynamo.config"] is torch._dynamo.config and found.recompile_limit > 0
compiled = torch.compile(lambda x: x + 1, backend="eager")
print(compiled(torch.zeros(1)).item())
"""
    assert said(code) == ["1.0"]
