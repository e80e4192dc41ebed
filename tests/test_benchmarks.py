"""The benchmarks are run by hand; that they still can be is tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).with_name("benchmarks")


def test_speed_of_an_evaluation(tmp_path: Path) -> None:
    """Every row of the example comes out, with errors of F as they are said to be, and so does the floor."""
    command = [
        sys.executable, str(BENCHMARKS / "speed.py"), "--parts", "evaluation", "floor", "--cases", "example",
        "--repeats", "1", "--threads", "1", "--programs", "arrayrefine, 1", "gemmi", "--json", str(tmp_path / "rows"),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "Error" not in ended.stdout
    assert "failed" not in ended.stdout
    rows = json.loads((tmp_path / "rows").read_text())["rows"]
    error = {row["program"]: row["error_f"] for row in rows["evaluation"]}
    assert error["arrayrefine, 1 thread, 5e-5"] < error["gemmi"] < error["arrayrefine, 1 thread, 3e-4"] < 3e-4
    assert error["arrayrefine, 1 thread"] < 2e-3
    parts = {row["program"]: row for row in rows["floor"]}
    assert parts["all"]["seconds"] > parts["all"]["need"] > 0.0
