"""How far hydrogens are from what they sit on: to their electrons or to the nucleus, where a dictionary gives both, and
where it gives one and does not say which."""

from __future__ import annotations

from collections.abc import Iterable

import gemmi
import numpy as np

NUCLEUS = 1.1
"""Distance to a nucleus over that to the electrons of a hydrogen."""
_BETWEEN = {"C": 1.03, "N": 0.95, "O": 0.91, "S": 1.27}
"""Å; distances to electrons (0.97, 0.86 to 0.91, 0.84, 1.20) are shorter than this, those to nuclei (1.09, 1.01, 0.97,
1.34) longer."""


def give_both_distances(monlib: gemmi.MonLib, names: Iterable[str]) -> None:
    """Complete, in the components `names`, bonds to hydrogens of which only one distance is known.

    Older dictionaries have one distance only, some that to the nucleus, most that to the electrons.
    """
    for name in names:
        component = monlib.monomers[name]
        element = {atom.id: atom.el for atom in component.atoms}
        for bond in component.rt.bonds:
            ends = [element[end.atom] for end in (bond.id1, bond.id2) if end.atom in element]
            if len(ends) < 2 or sum(end.is_hydrogen for end in ends) != 1:
                continue
            if np.isfinite(bond.value_nucleus) and bond.value_nucleus > 0:
                continue
            parent = next(end.name for end in ends if not end.is_hydrogen)
            if bond.value > _BETWEEN.get(parent, np.inf):
                bond.value_nucleus, bond.value = bond.value, bond.value / NUCLEUS
            else:
                bond.value_nucleus = NUCLEUS * bond.value


def bond_length(bond: gemmi.Topo.Bond, at_nuclei: bool) -> tuple[float, float]:
    """Ideal length of a bond and its standard uncertainty, Å; of one to hydrogen that to its nucleus or electrons."""
    restraint = bond.restr
    if at_nuclei and any(atom.is_hydrogen() for atom in bond.atoms):
        known = np.isfinite(restraint.value_nucleus) and restraint.value_nucleus > 0
        known_esd = np.isfinite(restraint.esd_nucleus) and restraint.esd_nucleus > 0
        value = restraint.value_nucleus if known else NUCLEUS * restraint.value
        return value, restraint.esd_nucleus if known and known_esd else restraint.esd
    return restraint.value, restraint.esd
