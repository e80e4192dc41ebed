"""Which reflections lie within the limits of resolution that the user gave."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.errors import InputError
from arrayrefine.io.reflections.account import Account
from arrayrefine.wording import Caution

_SAME = 0.005
"""Å; a limit that lies beyond the data by less is theirs, in fewer digits. At low resolution as a fraction, too."""
_DIGITS = 1e-4
"""Headers print limits with few digits; the reflection at a limit belongs to it."""


class Limits(NamedTuple):
    """High and low limit of resolution, Å; None where there is none."""

    d_min: float | None = None
    d_max: float | None = None

    @property
    def given(self) -> str:
        """The options that give them."""
        flags = {"--d-min": self.d_min, "--d-max": self.d_max}
        return " ".join(f"{flag} {value:g}" for flag, value in flags.items() if value is not None)

    def inside(self, path: Path, s_squared: NDArray[np.float64], account: Account) -> NDArray[np.bool_]:
        """Which reflections (R,) lie within; the others are dropped, and some must be left.

        Raises
        ------
        InputError
            None is left.
        """
        d = s_squared**-0.5
        keep = {"d_min": np.ones(len(d), dtype=bool), "d_max": np.ones(len(d), dtype=bool)}
        if self.d_min is not None:
            keep["d_min"] = d >= self.d_min * (1.0 - _DIGITS)
        if self.d_max is not None:
            keep["d_max"] = d <= self.d_max * (1.0 + _DIGITS)
        inside = keep["d_min"] & keep["d_max"]
        if not (inside.any() and all(value is None or value > 0.0 for value in self)):
            raise InputError(
                f"{self.given} leaves no reflection of '{path}', which reaches from "
                f"{d.max():.2f} to {d.min():.2f} Å; expected a limit inside this range"
            )
        if self.d_min is not None and self.d_min < d.min() - _SAME:
            said = f"--d-min {self.d_min:g} has no effect: the data of '{path}' end at {d.min():.2f} Å"
            account.notes.append(Caution(said))
        if self.d_max is not None and self.d_max > d.max() * (1.0 + _SAME):
            said = f"--d-max {self.d_max:g} has no effect: the data of '{path}' begin at {d.max():.2f} Å"
            account.notes.append(Caution(said))
        for name, limit in self._asdict().items():
            if limit is not None:
                account.drop(f"beyond {name} = {limit:g} Å", int((~keep[name]).sum()))
        return inside
