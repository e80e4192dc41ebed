"""Restraints from other sources than the dictionary: which act, and what is said about them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.further_restraints.base_pairs import base_pairs
from arrayrefine.further_restraints.metal_coordination import metal_coordination
from arrayrefine.further_restraints.neighbour_distances import jelly_body, local_ncs, reference_distances
from arrayrefine.further_restraints.ramachandran import ramachandran, rotamers
from arrayrefine.further_restraints.secondary_structure import secondary_structure
from arrayrefine.options import External
from arrayrefine.restraints import Distances, JellyBody, Restraints, TorsionClass
from arrayrefine.topology.polymers import residues_of


def calls(d_min: float, reflections: int | None, atoms: Atoms, options: External) -> str:
    """Why data call for the classes that are "auto", in words; empty where they do not.

    Parameters
    ----------
    d_min : float
        Å.
    reflections : int or None
        That are refined against; None where that is not known.
    atoms : Atoms
    options : External
        `low_resolution` and `few_reflections` are used.
    """
    if d_min > options.low_resolution:
        return f"the data end at {d_min:.2f} Å, no further than {options.low_resolution:g} Å"
    values = 4 * int((~atoms.is_hydrogen).sum())
    if reflections is not None and values and reflections < options.few_reflections * values:
        ratio = reflections / values
        return f"there are {ratio:.2f} reflections for each coordinate and B, fewer than {options.few_reflections:g}"
    return ""


def with_external(
    restraints: Restraints, atoms: Atoms, d_min: float, options: External, reference: Path | None = None,
    reflections: int | None = None, crystal: Crystal | None = None,
) -> Restraints:  # fmt: skip
    """Add the classes that the options ask for, and say so in the notes.

    Parameters
    ----------
    restraints : Restraints
        From the dictionary.
    atoms : Atoms
    d_min : float
        Of the data, Å.
    options : External
    reference : Path, optional
        Of a reference model.
    reflections : int, optional
        That are refined against.
    crystal : Crystal, optional
        Whose symmetry mates metals may bind; none are looked for without it.

    Raises
    ------
    InputError
        The reference model cannot be used.
    """
    o = options
    residues = residues_of(atoms)
    choices = {
        "secondary-structure": o.secondary_structure, "Ramachandran": o.ramachandran, "rotamer": o.rotamers,
        "NCS": o.ncs, "base-pair": o.base_pairs, "jelly-body": o.jelly_body,
    }  # fmt: skip
    weights = {
        "secondary-structure": o.secondary_structure_weight, "Ramachandran": o.ramachandran_weight,
        "rotamer": o.rotamers_weight, "NCS": o.ncs_weight, "base-pair": o.base_pairs_weight,
        "jelly-body": o.jelly_body_weight,
    }  # fmt: skip
    why = calls(d_min, reflections, atoms, o)
    act = {
        name: (choice == "on" or bool(choice == "auto" and why)) and weights[name] > 0.0
        for name, choice in choices.items()
    }
    automatic = [name for name, choice in choices.items() if choice == "auto" and act[name]]
    found: list[tuple[Distances, list[str]]] = []
    if act["secondary-structure"]:
        how = o.secondary_structure_sigma, o.loss, o.secondary_structure_weight
        found.append(secondary_structure(atoms, restraints, residues, *how))
    if act["NCS"]:
        found.append(local_ncs(atoms, restraints, residues, o.distance, o.ncs_sigma, o.loss, o.ncs_weight))
    if act["base-pair"]:
        found.append(base_pairs(atoms, residues, o.base_pairs_sigma, o.loss, o.base_pairs_weight))
    across = restraints.across
    if o.metals and o.metals_weight > 0.0:
        metals = metal_coordination(atoms, restraints, o.metals_sigma, o.metals_weight, crystal)
        found += [(metals.classes[0], metals.notes), (metals.classes[1], [])]
        if len(metals.mates.source):
            across = across.with_distances(metals.mates, *(d for d in metals.to_mates if len(d)))
    if reference is not None:
        bounds = o.distance, o.reference_sigma, o.loss, o.reference_weight
        found.append(reference_distances(atoms, restraints, residues, reference, *bounds))
    notes = []
    if automatic:
        notes.append(
            f"{why}: {', '.join(automatic)} restraints act where the model has something for them "
            "(--external.* auto)"
        )
    notes += [note for _, sentences in found for note in sentences]
    torsions: list[TorsionClass] = []
    if act["Ramachandran"]:
        backbone, sentences = ramachandran(atoms, restraints, residues)
        torsions.append(TorsionClass("Ramachandran", backbone, o.ramachandran_weight))
        notes += sentences
    if act["rotamer"]:
        torsions.append(TorsionClass("rotamer", rotamers(atoms, restraints, residues), o.rotamers_weight))
    jelly = None
    if act["jelly-body"]:
        jelly = JellyBody(o.distance, o.jelly_body_sigma, o.jelly_body_weight)
        pairs = len(jelly_body(atoms, restraints, jelly))
        notes.append(
            f"jelly body: {pairs} distances up to {o.distance:g} Å are held at what they are at the start of each "
            f"step, with a sigma of {o.jelly_body_sigma:g} Å"
            + (", less firmly while the model is far from its data" if o.jelly_body == "auto" else "")
        )
    empty = {d.kind for d, _ in found if not len(d)} | {t.kind for t in torsions if not len(t.torsions.index)}
    kinds = {
        "secondary-structure": "secondary structure", "NCS": "local NCS", "base-pair": "base pairs",
        "Ramachandran": "Ramachandran", "rotamer": "rotamer",
    }  # fmt: skip
    for name, kind in kinds.items():
        if choices[name] == "on" and kind in empty:
            notes.append(f"the model has nothing for {name} restraints, which are on: none were made")
    return dataclasses.replace(
        restraints,
        distances=tuple(distances for distances, _ in found if distances.weight > 0.0 and len(distances)),
        jelly_body=jelly,
        conformation=tuple(t for t in torsions if t.weight > 0.0 and len(t.torsions.index)),
        across=across,
        notes=(*restraints.notes, *notes),
    )
