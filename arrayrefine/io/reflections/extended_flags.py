"""A test set that grows with the data: flags at random for reflections that have none, the others as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.io.reflections.free_flags import choose_random
from arrayrefine.reflections import RANDOM
from arrayrefine.wording import Caution, counted

Float = NDArray[np.float64]

_SUFFIX = f"+{RANDOM}"


def without_extension(free: str | None) -> tuple[str | None, bool]:
    """What is said of the flags, and whether reflections without one are to get one."""
    if free is None or not free.strip().endswith(_SUFFIX):
        return free, False
    return free.strip().removesuffix(_SUFFIX) or None, True


def extended(label: str, flag: Float, crystal: Crystal, hkl: NDArray[np.integer], seed: int) -> tuple[Float, str]:
    """Choose among reflections without a flag, evenly over resolution, the share that the test set has of the others.

    Parameters
    ----------
    label : str
        The column.
    flag : (R,) float64
        0 in the test set, 1 in the work set, nan where missing.
    crystal : Crystal
    hkl : (R, 3) int
    seed : int

    Returns
    -------
    flag : (R,) float64
    note : str
    """
    missing = ~np.isfinite(flag)
    share = float(np.mean(flag[~missing] == 0.0)) if not missing.all() else 0.0
    if not missing.any() or share == 0.0:
        why = "every reflection" if not missing.any() else "no reflection of the test set"
        return flag, Caution(f"{_SUFFIX} has no effect: {label} has a flag for {why}")
    full, d = flag.copy(), crystal.inverse_d_squared(hkl[missing]) ** -0.5
    full[missing] = np.where(choose_random(crystal, hkl[missing], share, seed), 0.0, 1.0)
    return full, (
        f"{counted(int(missing.sum()), 'reflection')} ({d.max():.2f}-{d.min():.2f} Å) without a free flag in {label}: "
        f"{int((full[missing] == 0.0).sum())} of them are chosen for the test set at random with seed {seed}. "
        "A refinement writes them to refined.mtz: use those flags from then on"
    )
