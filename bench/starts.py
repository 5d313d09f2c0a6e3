"""Processor seconds until a stage has imported what it works with, each in an interpreter of its own.

    python -m bench.starts

What a stage imports later, albumentations for an arm that augments, is not in it.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "starts_cpu.json"
REPEATS = 2
MEASURE = """
import resource, sys
from pipeline.no_compiler import stand_in_for_compiler
stand_in_for_compiler()
exec(sys.argv[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


def imports(stage: Path) -> str:
    """Every import of its file, those in functions too."""
    nodes = ast.walk(ast.parse(stage.read_text(encoding="utf-8")))
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def main() -> None:
    from bench.machine import describe

    seconds = {}
    for stage in sorted((ROOT / "stages").glob("[!_]*.py")):
        command = [sys.executable, "-c", MEASURE, imports(stage)]
        runs = [subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True) for _ in range(REPEATS)]
        seconds[stage.stem] = round(min(float(run.stdout) for run in runs), 2)  # the others were disturbed
        print(f"{stage.stem:20} {seconds[stage.stem]:5.2f}", flush=True)
    record = {"machine": describe("cpu"), "cpu_seconds": seconds}
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
