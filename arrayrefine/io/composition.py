"""What a model is made of: atoms and mean B by kind, disorder, sums of occupancies."""

from __future__ import annotations

from typing import Any

import gemmi
import numpy as np

KINDS = ("protein", "nucleic acid", "sugar", "ligand", "water")
"""Kinds of residues; ions count as ligands."""


def composition(structure: gemmi.Structure) -> dict[str, Any]:
    """Return counts of the first model of a structure, as JSON types.

    Parameters
    ----------
    structure : gemmi.Structure
        Not changed. Entity types are used where they are known, else the table of residues.

    Returns
    -------
    dict
        "atoms_by_kind", "b_mean_by_kind" (Å², None for none; hydrogens left out), "n_residues",
        "n_disordered_residues" (those with alternate conformers), "occupancy_sum_hydrogen",
        "occupancy_sum_non_hydrogen", "occupancy_min", "occupancy_max", and "b_min", "b_max" (Å²).
    """
    counts = dict.fromkeys(KINDS, 0)
    heavy: dict[str, list[float]] = {kind: [] for kind in KINDS}
    residues, disordered = 0, 0
    sums = {True: 0.0, False: 0.0}
    b_iso: list[float] = []
    occupancy: list[float] = []
    for chain in structure[0]:
        residues += sum(1 for _ in chain.first_conformer())
        for residue in chain:
            kind = _kind(residue)
            counts[kind] += len(residue)
            disordered += any(atom.has_altloc() for atom in residue)
            for atom in residue:
                sums[atom.is_hydrogen()] += atom.occ
                b_iso.append(atom.b_iso)
                occupancy.append(atom.occ)
                if not atom.is_hydrogen():
                    heavy[kind].append(atom.b_iso)
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


def _kind(residue: gemmi.Residue) -> str:
    if residue.is_water():
        return "water"
    if residue.entity_type == gemmi.EntityType.Branched:
        return "sugar"
    known = gemmi.find_tabulated_residue(residue.name)
    polymer = residue.entity_type in (gemmi.EntityType.Polymer, gemmi.EntityType.Unknown)
    if polymer and known.is_nucleic_acid():
        return "nucleic acid"
    if polymer and (known.is_amino_acid() or residue.entity_type == gemmi.EntityType.Polymer):
        return "protein"
    return "ligand"
