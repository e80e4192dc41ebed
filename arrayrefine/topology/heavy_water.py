"""Heavy water, which the CCP4 library takes for three bonded N, O and N, drawn as the water that it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gemmi

NAME = "DOD"


def mend_heavy_water(monlib: gemmi.MonLib, names: Sequence[str], library: Path) -> None:
    """Put water with deuterium in place of the component DOD.

    Parameters
    ----------
    monlib : gemmi.MonLib
        Changed in place.
    names : sequence of str
        Components that were read from libraries, and not brought by the user.
    library : Path
        Folder of a monomer library that has HOH.
    """
    if NAME not in names:
        return
    water = gemmi.make_chemcomp_from_block(gemmi.cif.read(str(library / "h" / "HOH.cif"))[-1])
    named = {atom.id: atom.id.replace("H", "D", 1) for atom in water.atoms if atom.is_hydrogen()}
    for atom in water.atoms:
        if atom.id in named:
            atom.id, atom.el = named[atom.id], gemmi.Element("D")
    for bond in water.rt.bonds:
        for end in (bond.id1, bond.id2):
            end.atom = named.get(end.atom, end.atom)
    for angle in water.rt.angles:
        for end in (angle.id1, angle.id2, angle.id3):
            end.atom = named.get(end.atom, end.atom)
    water.name = NAME
    monlib.monomers[NAME] = water
