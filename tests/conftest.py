"""Fixtures shared by all tests."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import emulator
import pytest
from threadpoolctl import threadpool_limits

LONGEST = (
    "test_processes.py", "test_waters.py", "test_docs.py", "test_rotamers.py", "test_twin_refine.py",
    "test_refine.py", "test_weight_schemes.py",
    "test_foresight.py", "test_refine_command.py", "test_many_processes.py", "test_tensors.py", "test_nearness.py",
    "test_page.py", "test_incomplete.py", "test_device_objective.py", "test_options.py", "test_hydrogens.py",
)  # fmt: skip
"""Files that come first, the longest before the others: no process is to wait at the end for one of them."""
DATA = Path(os.environ.get("ARRAYREFINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


if sys.dont_write_bytecode:
    # Every process of the tests would compile all that it imports, and rewrite all assertions: they keep it in a folder
    # that goes with them.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = tempfile.mkdtemp(prefix="arrayrefine-bytecode-")
    atexit.register(shutil.rmtree, sys.pycache_prefix, ignore_errors=True)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", choices=("cpu", "cuda"), default="cpu",
        help="cpu: NumPy, and CUDA kernels on the emulator; cuda: kernels and refinements on a real device",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Options(device="auto") is the default of every test: it takes the device that is visible, or none."""
    os.environ.pop("CLIBD_MON", None)  # a library of whoever runs them: what components look like is the embedded one's
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files of many tests, short as they are
    if config.getoption("--device") == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take three quarters of the memory
    from arrayrefine.device.choice import cuda_unfit_reason

    if reason := cuda_unfit_reason():
        raise pytest.UsageError(f"--device cuda: {reason}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first; what is asked of the emulator alone, as to find mistakes, would hang or spoil a real device."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    if config.getoption("--device") == "cuda":
        for item in items:
            if item.get_closest_marker("emulator") or item.path.name == "test_emulator.py":
                item.add_marker(pytest.mark.skip(reason="of the emulator alone"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """As in a refinement: threads of one process would spin on the cores of others, and all take twice the time."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


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
def emulated_cuda(pytestconfig: pytest.Config) -> Iterator[ModuleType]:
    """`cupy` as the emulator offers it, for one test; the real one with `--device cuda`."""
    if pytestconfig.getoption("--device") == "cuda":
        yield importlib.import_module("cupy")
        return
    reason = emulator.unavailable_reason()
    if reason:
        pytest.skip(reason)
    with emulator.installed() as cupy:
        yield cupy
