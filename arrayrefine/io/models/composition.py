"""What a model is made of: atoms and mean B by kind, disorder, sums of occupancies."""

from __future__ import annotations

from typing import Any

import gemmi
import numpy as np

KINDS = ("protein", "nucleic acid", "sugar", "ligand", "water")
"""Kinds of residues; ions count as ligands."""
_SUGARS = (gemmi.ResidueKind.PYR, gemmi.ResidueKind.KET)
"""Pyranoses and ketopyranoses of the table: what a PDB file, which has no branched entities, knows of sugars."""
_NUCLEIC = (gemmi.PolymerType.Rna, gemmi.PolymerType.Dna, gemmi.PolymerType.DnaRnaHybrid)


def composition(structure: gemmi.Structure) -> dict[str, Any]:
    """Return counts of the first model of a structure, as JSON types.

    Parameters
    ----------
    structure : gemmi.Structure
        Not changed. Entity types are used where they are known, else they are found as gemmi does.

    Returns
    -------
    dict
        "atoms_by_kind", "b_mean_by_kind" (Å², None for none), "n_residues" (of polymers),
        "n_disordered_residues" (those with alternate conformers), "occupancy_sum_hydrogen",
        "occupancy_sum_non_hydrogen", "occupancy_min", "occupancy_max", and "b_min", "b_max" (Å²). As in the mean B of
        the refinement, hydrogens are left out of everything but counts and sums.
    """
    counts = dict.fromkeys(KINDS, 0)
    heavy: dict[str, list[float]] = {kind: [] for kind in KINDS}
    residues, disordered = 0, 0
    sums = {True: 0.0, False: 0.0}
    occupancy: list[float] = []
    structure = structure.clone()
    structure.add_entity_types()
    for chain in structure[0]:
        nucleic = chain.get_polymer().check_polymer_type() in _NUCLEIC
        residues += sum(_kind(residue, nucleic) in KINDS[:2] for residue in chain.first_conformer())
        for residue in chain:
            kind = _kind(residue, nucleic)
            counts[kind] += len(residue)
            disordered += any(atom.has_altloc() for atom in residue)
            for atom in residue:
                sums[atom.is_hydrogen()] += atom.occ
                if not atom.is_hydrogen():
                    heavy[kind].append(atom.b_iso)
                    occupancy.append(atom.occ)
    b_iso = [b for values in heavy.values() for b in values]
    return {
        "atoms_by_kind": counts,
        "b_mean_by_kind": {kind: float(np.mean(values)) if values else None for kind, values in heavy.items()},
        "n_residues": residues,
        "n_disordered_residues": disordered,
        "occupancy_sum_hydrogen": sums[True],
        "occupancy_sum_non_hydrogen": sums[False],
        "occupancy_min": min(occupancy, default=None),
        "occupancy_max": max(occupancy, default=None),
        "b_min": min(b_iso, default=None),
        "b_max": max(b_iso, default=None),
    }


def _kind(residue: gemmi.Residue, nucleic: bool) -> str:
    """Kind of a residue; `nucleic` is said of its chain, for monomers that are in no table."""
    if residue.is_water():
        return "water"
    known = gemmi.find_tabulated_residue(residue.name)
    if residue.entity_type == gemmi.EntityType.Polymer:
        nucleic = known.is_nucleic_acid() or (nucleic and not known.is_amino_acid())
        return "nucleic acid" if nucleic else "protein"
    sugar = residue.entity_type == gemmi.EntityType.Branched or known.kind in _SUGARS
    return "sugar" if sugar else "ligand"
