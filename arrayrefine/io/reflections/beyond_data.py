"""Rows beyond the resolution of the data, as a file has them whose data an earlier run cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.wording import counted

_FEW = 0.05
"""Of the measured rows; fewer beyond them are worth no word."""


def rows_beyond(
    path: Path, crystal: Crystal, unmeasured: NDArray[np.int32], measured: NDArray[np.int32]
) -> list[str]:
    """A sentence where many rows without a value lie beyond all that have one.

    Parameters
    ----------
    path : Path
        For the message.
    crystal : Crystal
    unmeasured, measured : (R, 3) int32
        Miller indices of rows without and with a usable value.
    """
    s_squared, end = crystal.inverse_d_squared(unmeasured), crystal.inverse_d_squared(measured).max()
    beyond = s_squared[s_squared > end]
    if len(beyond) < max(1.0, _FEW * len(measured)):
        return []
    have = "has" if len(beyond) == 1 else "have"
    return [
        f"the data of '{path}' end at {end**-0.5:.2f} Å, and {counted(len(beyond), 'row')} beyond, to "
        f"{beyond.max()**-0.5:.2f} Å, {have} no value: if an earlier run cut them (--d-min), its input has them; "
        "--free FILE takes the test set of this one"
    ]
