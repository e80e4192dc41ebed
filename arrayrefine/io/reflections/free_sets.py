"""The test set of reflections that were read: as the flags of the file have it, or chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.reflections.account import Account
from arrayrefine.io.reflections.free_flags import FreeColumn, check_share, choose_random
from arrayrefine.io.reflections.tables import Table
from arrayrefine.reflections import RANDOM, Reflections
from arrayrefine.wording import Caution

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_FEW_FLAGS = 0.05  # share of missing free flags above which the note asks for a look
_BEYOND = 0.5  # share of them beyond all others above which it is a cut at high resolution that they ask for


def random_test_set(
    table: Table, crystal: Crystal, hkl: NDArray[np.integer], fraction: float, seed: int, account: Account,
    overlooked: list[str],
) -> tuple[Bool, dict[str, object]]:  # fmt: skip
    """Flags (R,) of a new test set, and where it came from."""
    if not 0.0 <= fraction < 1.0:
        raise InputError(f"free_fraction = {fraction:g}; expected a number between 0 and 1, such as 0.05")
    if fraction == 0.0:
        no_set: dict[str, object] = {"free_column": None, "free_convention": "none", "free_file_value": None}
        return np.zeros(len(hkl), dtype=bool), no_set
    test_set = choose_random(crystal, hkl, fraction, seed)
    others = f". Column {overlooked[0]} looks like flags: --free {overlooked[0]} takes them" if overlooked else ""
    together = ", all that a symmetry of the lattice relates together" if crystal.twin_laws else ""
    account.notes.append(Caution(
        f"no free flags are taken from '{table.file.path}': {int(test_set.sum())} of {len(test_set)} "
        f"reflections ({100 * test_set.mean():.1f} %) are chosen at random with seed {seed}{together}. "
        "A refinement writes them to refined.mtz: use those flags from then on. R-free starts too low where the model "
        f"was refined against all of them before. Flags of another file are taken with --free FILE{others}"
    ))
    return test_set, {"free_column": None, "free_convention": f"{RANDOM}, seed {seed}", "free_file_value": None}


def flagged_test_set(
    table: Table, column: FreeColumn, source: dict[str, object], flag: Float, s_squared: Float, account: Account
) -> Bool:
    """Flags (R,) of the test set of the file; `flag` is 0 in it, 1 in the work set, nan where missing."""
    check_share(table.file.path, column, flag, float(str(source["free_file_value"])))
    missing = ~np.isfinite(flag)
    if missing.any():
        d = s_squared[missing] ** -0.5
        advice, many = "", bool(missing.mean() > _FEW_FLAGS)
        end = float(s_squared[~missing].max())
        if many and np.mean(s_squared[missing] > end) > _BEYOND:
            limit = end**-0.5
            advice = f"; flags reach to {limit:.2f} Å (--d-min {limit:.2f} leaves out what is beyond"
            advice += f"; +{RANDOM} behind what --free names gives it test reflections, too)"
        said = (
            f"{int(missing.sum())} reflections ({100 * missing.mean():.1f} %, {d.max():.2f}-{d.min():.2f} Å) "
            f"have no free flag in {column.label} and count as work, in refined.mtz too{advice}"
        )
        account.notes.append(Caution(said) if many else said)
    return np.asarray(flag == 0.0)


def check_test_set(table: Table, column: FreeColumn | None, reflections: Reflections, account: Account) -> None:
    """Say where a test set is unusually large, or where there is none."""
    share = float(reflections.free.mean())
    if column is not None and share > 0.2:
        account.notes.append(Caution(f"the test set of '{table.file.path}' is unusually large: {100 * share:.0f} %"))
    if not reflections.free.any():
        said = f"too few reflections ({len(reflections)}) for a test set: there is no R-free"
        account.notes.append(Caution(said))
