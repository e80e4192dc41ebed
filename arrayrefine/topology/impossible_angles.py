"""Phosphates whose library gives the angles between four neighbours the 120° that only three can have."""

from __future__ import annotations

from collections.abc import Iterable

import gemmi
import numpy as np

from arrayrefine.topology.atom_names import bonded_atoms, prime_for_star
from arrayrefine.wording import listed

_TETRAHEDRAL = float(np.degrees(np.arccos(-1.0 / 3.0)))
"""Degrees; four directions cannot all be further apart: the mean cosine of their angles is -1/3 or more."""
_TOO_WIDE, _ALIKE = 2.0, 0.5
"""Degrees beyond it, and within which angles are one value."""
_BETWEEN_ENDS, _TO_ENDS = 112.9, 105.8
"""Degrees; between the oxygens at the end of a phosphate, and of these with its fourth neighbour, as phosphoserine and
phosphothreonine have them in the CCP4 library: means over crystals of small molecules. Their mean cosine is -0.33."""
_NEIGHBOURS, _PAIRS, _ENDS = 4, 6, 3
_OF_CHAINS = (gemmi.ChemComp.Group.Dna, gemmi.ChemComp.Group.Rna, gemmi.ChemComp.Group.DnaRna)
_WITHIN_CHAINS = {"O5'", "O3'"}
"""Links of these, and of what has these two, the first at the phosphate, whatever its group, replace an oxygen of the
phosphate, and rely on the other angles."""


def mend_impossible_angles(monlib: gemmi.MonLib, components: Iterable[str]) -> list[str]:
    """Give phosphates whose angles cannot be had together those that they have, in place.

    Centres of four neighbours whose six angles are alike and too wide get those of a tetrahedron, and phosphates with
    three oxygens at their end and angles of two sizes those of phosphates. Metals and their neighbours are left alone,
    and so is what has other angles, which links may rely on.

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
        bonded = bonded_atoms(component)
        for atom in component.atoms:
            near = bonded.get(atom.id, set())
            if len(near) != _NEIGHBOURS or metals & {atom.id, *near}:
                continue
            angles = [
                angle for angle in component.rt.angles
                if angle.id2.atom == atom.id and {angle.id1.atom, angle.id3.atom} <= near and angle.esd > 0
            ]  # fmt: skip
            values = np.array([angle.value for angle in angles])
            if len(values) != _PAIRS or not _impossible(values):
                continue
            ends = _ends(atom, bonded, component)
            between = np.array([{angle.id1.atom, angle.id3.atom} <= ends for angle in angles])
            others = f"which four neighbours ({listed(sorted(near))}) cannot have"
            if np.ptp(values) <= _ALIKE:
                wanted = np.full(_PAIRS, _TETRAHEDRAL)
                notes.append(
                    f"{name}, whose dictionary has six angles of {values[0]:.1f}° at {atom.id}, {others}, is "
                    f"restrained to {_TETRAHEDRAL:.1f}° there"
                )
            elif (
                len(ends) == _ENDS and not _may_be_in_a_chain(near, component)
                and max(np.ptp(values[between]), np.ptp(values[~between])) <= _ALIKE
            ):  # fmt: skip
                wanted = np.where(between, _BETWEEN_ENDS, _TO_ENDS)
                notes.append(
                    f"{name}, whose dictionary has angles of {values[between][0]:.1f} and {values[~between][0]:.1f}° "
                    f"at {atom.id}, {others}, is restrained to {_BETWEEN_ENDS} and {_TO_ENDS}° there"
                )
            else:
                continue
            for angle, value in zip(angles, wanted.tolist()):
                angle.value = value
    return notes


def _impossible(angles: np.ndarray) -> bool:
    """Whether no four directions have these six angles, degrees, or nearly these."""
    return bool(np.cos(np.radians(angles)).mean() < np.cos(np.radians(_TETRAHEDRAL + _TOO_WIDE)))


def _may_be_in_a_chain(near: set[str], component: gemmi.ChemComp) -> bool:
    """Whether a phosphate, by its neighbours, may join nucleotides."""
    named, beside = ({prime_for_star(name) for name in names} for names in ((a.id for a in component.atoms), near))
    return component.group in _OF_CHAINS or (named >= _WITHIN_CHAINS and "O5'" in beside)


def _ends(centre: gemmi.ChemComp.Atom, bonded: dict[str, set[str]], component: gemmi.ChemComp) -> set[str]:
    """Oxygens of a phosphorus that are bonded to nothing else."""
    if centre.el.name != "P":
        return set()
    oxygens = {atom.id for atom in component.atoms if atom.el.name == "O"}
    return {name for name in bonded[centre.id] & oxygens if len(bonded[name]) == 1}
