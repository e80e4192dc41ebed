"""Ions such as phosphate whose library gives each angle between four neighbours the 120° that only three can have."""

from __future__ import annotations

from collections.abc import Iterable

import gemmi
import numpy as np

from arrayrefine.topology.atom_names import bonded_to
from arrayrefine.wording import listed

_TETRAHEDRAL = float(np.degrees(np.arccos(-1.0 / 3.0)))
"""Degrees; four directions cannot all be further apart: the mean cosine of their angles is -1/3 or more."""
_TOO_WIDE, _ALIKE = 2.0, 0.5
"""Degrees beyond it, and within which the six angles are one value."""
_NEIGHBOURS, _PAIRS = 4, 6


def mend_impossible_angles(monlib: gemmi.MonLib, components: Iterable[str]) -> list[str]:
    """Give centres of four neighbours whose six angles are alike and too wide those of a tetrahedron, in place.

    Metals and their neighbours are left alone, and so is what has angles of different sizes, which links may rely on.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : iterable of str
        Components that may be changed: those of a library, not the user's own.

    Returns
    -------
    list of str
        What was changed.
    """
    notes = []
    for name in components:
        component = monlib.monomers[name]
        metals = {atom.id for atom in component.atoms if atom.el.is_metal}
        for atom in component.atoms:
            near = bonded_to(atom.id, component)
            if len(near) != _NEIGHBOURS or metals & {atom.id, *near}:
                continue
            angles = [
                angle for angle in component.rt.angles
                if angle.id2.atom == atom.id and {angle.id1.atom, angle.id3.atom} <= near and angle.esd > 0
            ]  # fmt: skip
            values = [angle.value for angle in angles]
            if len(values) != _PAIRS or min(values) < _TETRAHEDRAL + _TOO_WIDE or max(values) - min(values) > _ALIKE:
                continue
            for angle in angles:
                angle.value = _TETRAHEDRAL
            notes.append(
                f"{name}, whose dictionary has six angles of {values[0]:.1f}° at {atom.id}, which four neighbours "
                f"({listed(sorted(near))}) cannot have, is restrained to {_TETRAHEDRAL:.1f}° there"
            )
    return notes
