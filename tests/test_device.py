"""What the device says when its memory ends, and the mask that it draws."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from synthetic import crystal, random_atoms

from arrayrefine.device.choice import memory_errors_named
from arrayrefine.errors import DeviceError
from arrayrefine.solvent import mask_of


def test_the_end_of_the_memory_is_an_error_with_figures(
    emulated_cuda: ModuleType, pytestconfig: pytest.Config
) -> None:
    real = pytestconfig.getoption("--device") == "cuda"
    free, total = (r"[\d.]+ [GM]iB", r"[\d.]+ GiB") if real else (r"70\.00 GiB", r"80\.00 GiB")
    full = type("OutOfMemoryError", (MemoryError,), {"__module__": "cupy.cuda.memory"})
    words = rf"no memory left: out of 5 bytes; {free} of its {total} are free"
    with pytest.raises(DeviceError, match=words), memory_errors_named():
        raise full("out of 5 bytes")
    with pytest.raises(MemoryError, match="of the host"), memory_errors_named():
        raise MemoryError("of the host")


@pytest.mark.parametrize("space_group", ["P 1", "C 1 2 1", "P 61 2 2"])
def test_mask_is_that_of_numpy(space_group: str, emulated_cuda: ModuleType) -> None:
    box = crystal(space_group)
    atoms = random_atoms(box, 12)
    host, found = (mask_of(atoms, box, 2.0, device=where) for where in ("cpu", "cuda"))
    assert found.dtype == bool
    assert 0.01 < host.mean() < 0.99
    assert np.mean(host != found) < 1e-4  # points on a sphere fall either way
