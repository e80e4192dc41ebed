"""Components of the user that cannot hold a molecule together."""

from __future__ import annotations

from pathlib import Path

import gemmi

from arrayrefine.errors import InputError, MonomerError
from arrayrefine.wording import listed


def check_values(name: str, block: gemmi.cif.Block, path: Path) -> None:
    """Refuse a component whose bonds have no lengths, such as a PDB component definition."""
    if block.find_values("_chem_comp_bond.atom_id_1") and not block.find_values("_chem_comp_bond.value_dist"):
        raise InputError(
            f"{path}: component {name} lists bonds without lengths (a chemical definition, not restraints); "
            "make a restraint CIF with AceDRG, grade2 or eLBOW"
        )


def check_connected(monlib: gemmi.MonLib, name: str, block: gemmi.cif.Block, path: Path) -> None:
    """Refuse a component with several heavy atoms of which some have no usable bond."""
    if name not in monlib.monomers:
        raise InputError(
            f"{path}: component {name} cannot be read as restraints: its block is data_{block.name}; expected "
            f"data_comp_{name}: name block, _chem_comp.id and comp_id alike, also where a component is renamed"
        )
    component = monlib.monomers[name]
    heavy = [atom.id for atom in component.atoms if not atom.is_hydrogen()]
    bonded = set()
    for bond in component.rt.bonds:
        if bond.value > 0 and bond.esd > 0:
            bonded |= {bond.id1.atom, bond.id2.atom}
    loose = [atom for atom in heavy if atom not in bonded]
    if len(heavy) > 1 and loose:
        raise MonomerError(
            f"{path}: component {name} leaves {len(loose)} of {len(heavy)} heavy atoms "
            f"without any restrained bond ({listed(loose)}); "
            "they would drift apart. Make complete restraints with AceDRG, grade2 or eLBOW"
        )
