"""The second oxygen at the end of a protein, which amino acids of older monomer libraries do not have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import gemmi

_WHOLE = Path(__file__).resolve().parents[1] / "data" / "monomers" / "a" / "ALA.cif"
"""An amino acid that has it."""
_END = "OXT"
_TAKEN_OFF = "DEL-OXT"
"""The modification by which links within chains take it off, and give C and O the values of a peptide."""
_BACKBONE = {"N", "CA", "C", "O"}
_PEPTIDES = (gemmi.ChemComp.Group.Peptide, gemmi.ChemComp.Group.PPeptide, gemmi.ChemComp.Group.MPeptide)


def complete_ends(monlib: gemmi.MonLib, names: Iterable[str]) -> None:
    """Make carboxylates of amino acids that lack OXT, in place, where links take it off within chains.

    Without it the atom at the end of a chain has no bond, and stays where it is while the others move.

    Parameters
    ----------
    monlib : gemmi.MonLib
        With its links.
    names : iterable of str
        Components to look at.
    """
    link = monlib.get_link("TRANS")
    if link is None or link.side1.mod != _TAKEN_OFF:
        return
    lacking = [name for name in names if _lacks_end(monlib.monomers[name])]
    if lacking:
        whole = gemmi.make_chemcomp_from_block(gemmi.cif.read(str(_WHOLE))[-1])
        for name in lacking:
            _complete(monlib.monomers[name], whole)


def _lacks_end(component: gemmi.ChemComp) -> bool:
    atoms = {atom.id for atom in component.atoms}
    return component.group in _PEPTIDES and _END not in atoms and atoms >= _BACKBONE


def _complete(component: gemmi.ChemComp, whole: gemmi.ChemComp) -> None:
    """Take over the atom and what restrains it, and the values of C and O beside it."""
    own = component.rt
    component.atoms.append(whole.get_atom(_END))
    bonds = {frozenset((bond.id1.atom, bond.id2.atom)): bond for bond in own.bonds}
    angles = {(frozenset((a.id1.atom, a.id3.atom)), a.id2.atom): a for a in own.angles}
    for bond in whole.rt.bonds:
        pair = frozenset((bond.id1.atom, bond.id2.atom))
        if _END in pair:
            own.bonds.append(bond)
        elif pair == {"C", "O"} and pair in bonds:
            for item in ("type", "value", "esd", "value_nucleus", "esd_nucleus"):
                setattr(bonds[pair], item, getattr(bond, item))
    for angle in whole.rt.angles:
        place = frozenset((angle.id1.atom, angle.id3.atom)), angle.id2.atom
        if _END in place[0]:
            own.angles.append(angle)
        elif place == (frozenset(("CA", "O")), "C") and place in angles:
            angles[place].value, angles[place].esd = angle.value, angle.esd
    (plane,) = whole.rt.planes  # an alanine has but that of its end
    own.planes.append(plane)
