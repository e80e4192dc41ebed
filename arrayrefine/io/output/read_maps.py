"""Reading back the map coefficients of a `refined.mtz`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError

_COLUMNS = ("FP", "SIGFP", "FREE", "FC", "PHIC", "FWT", "PHWT", "FWT_nofill", "PHWT_nofill", "DELFWT", "PHDELWT", "FOM")
_TEST_SET = re.compile(r"FREE (-?\d+) is the test set")


def read_maps(path: Path) -> tuple[Crystal, dict[str, NDArray[Any]]]:
    """Read what `mtz_bytes` has written.

    Returns
    -------
    crystal : Crystal
    columns : dict
        The fields of `MapCoefficients` by name; "anomalous" where there are FAN and PHAN.

    Raises
    ------
    InputError
        The file is missing, no MTZ file, or was not written by a refinement.
    """
    try:
        mtz = gemmi.read_mtz_file(str(path))
    except (OSError, RuntimeError) as error:
        raise InputError(f"'{path}' cannot be read as MTZ: {error}; expected the output of a refinement") from error
    found = {column.label: np.array(column.array, dtype=float) for column in mtz.columns}
    missing = [name for name in _COLUMNS if name not in found]
    if missing or mtz.spacegroup is None:
        what = f"no column {', '.join(missing)}" if missing else "no space group"
        raise InputError(f"'{path}' has {what}; expected the refined.mtz that a refinement writes")

    def complex_of(amplitude: str, phase: str) -> NDArray[np.complex128]:
        return np.asarray(found[amplitude] * np.exp(1j * np.radians(found[phase])))

    crystal = Crystal.from_gemmi(mtz.get_cell(), mtz.spacegroup)
    told = _TEST_SET.search("".join(mtz.history))
    test = 0.0 if told is None else float(told[1])
    in_maps = np.isfinite(found["FC"])
    columns = {
        "hkl": np.asarray(mtz.make_miller_array(), dtype=np.int32),
        "f_obs": found["FP"],
        "sigma": found["SIGFP"],
        "free": np.isfinite(found["FP"]) & (found["FREE"] == test),
        "fc": complex_of("FC", "PHIC"),
        "fwt": complex_of("FWT", "PHWT"),
        "delfwt": complex_of("DELFWT", "PHDELWT"),
        "fwt_nofill": complex_of("FWT_nofill", "PHWT_nofill"),
        "fom": found["FOM"],
    }
    if "FAN" in found and "PHAN" in found:
        columns["anomalous"] = complex_of("FAN", "PHAN")
    return crystal, {name: values[in_maps] for name, values in columns.items()}
