"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import emulator
import pytest

DATA = Path(os.environ.get("ARRAYREFINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def case() -> Callable[[str], Path]:
    """Folder of a real crystal by its name; the test is skipped where the data are not installed."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.is_dir():
            pytest.skip(f"real crystal '{name}' not found under {DATA} (set ARRAYREFINE_DATA)")
        return folder

    return find


@pytest.fixture
def emulated_cuda() -> Iterator[ModuleType]:
    """`cupy` as the emulator offers it, for one test."""
    reason = emulator.unavailable_reason()
    if reason:
        pytest.skip(reason)
    with emulator.installed() as cupy:
        yield cupy
