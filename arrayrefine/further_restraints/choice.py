"""Restraints from other sources than the dictionary: which act, and what is said about them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.further_restraints.base_pairs import base_pairs
from arrayrefine.further_restraints.metal_coordination import metal_coordination
from arrayrefine.further_restraints.neighbour_distances import jelly_body, local_ncs, reference_distances
from arrayrefine.further_restraints.puckers import sugar_puckers
from arrayrefine.further_restraints.ramachandran import ramachandran, rotamers
from arrayrefine.further_restraints.secondary_structure import secondary_structure
from arrayrefine.further_restraints.surroundings import TO_MATE, Surroundings
from arrayrefine.options import External
from arrayrefine.restraints import Across, Distances, JellyBody, Restraints, TorsionClass
from arrayrefine.topology.polymers import Residue, residues_of

_CLASSES = {
    "secondary_structure": ("secondary-structure", "secondary structure"),
    "ramachandran": ("Ramachandran", "Ramachandran"),
    "rotamers": ("rotamer", "rotamer"),
    "ncs": ("NCS", "local NCS"),
    "base_pairs": ("base-pair", "base pairs"),
    "puckers": ("sugar-pucker", "sugar pucker"),
    "jelly_body": ("jelly-body", "jelly body"),
}
"""Classes that can be "auto", by their option in `External`: their name in sentences, and the kind of what is made."""


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
        Whose symmetry mates metals may bind, and bases and strands may pair with; none are looked for without it.

    Raises
    ------
    InputError
        The reference model cannot be used.
    """
    residues = residues_of(atoms)
    why = calls(d_min, reflections, atoms, options)
    acting = [name for name in _CLASSES if _acts(name, options, why)]
    found, across = _distances(acting, restraints, atoms, residues, options, crystal)
    if options.metals and options.metals_weight > 0.0:
        metals = metal_coordination(
            atoms, dataclasses.replace(restraints, across=across), options.metals_sigma, options.metals_weight, crystal
        )
        found += [(metals.classes[0], metals.notes), (metals.classes[1], [])]
        if len(metals.mates.source):
            across = across.with_distances(metals.mates, *(d for d in metals.to_mates if len(d)))
    if reference is not None:
        how = options.distance, options.reference_sigma, options.loss, options.reference_weight
        found.append(reference_distances(atoms, restraints, residues, reference, *how))
    torsions = _torsions(acting, restraints, atoms, residues, options)
    jelly, held = _jelly_body(restraints, atoms, options) if "jelly_body" in acting else (None, [])
    notes = [note for _, sentences in (*found, *torsions) for note in sentences]
    empty = {d.kind for d, _ in found if not len(d)} | {t.kind for t, _ in torsions if not len(t.torsions.index)}
    empty -= {d.kind.removesuffix(TO_MATE) for d in across.distances}
    return dataclasses.replace(
        restraints,
        distances=tuple(distances for distances, _ in found if distances.weight > 0.0 and len(distances)),
        jelly_body=jelly,
        conformation=tuple(t for t, _ in torsions if len(t.torsions.index)),
        across=across,
        notes=(*restraints.notes, *_automatic(acting, options, why), *notes, *held, *_in_vain(options, empty)),
    )


def _acts(name: str, options: External, why: str) -> bool:
    """Whether a class is on, or "auto" where the data call for it, and has a weight."""
    choice = getattr(options, name)
    return (choice == "on" or (choice == "auto" and bool(why))) and getattr(options, f"{name}_weight") > 0.0


def _distances(
    acting: list[str], restraints: Restraints, atoms: Atoms, residues: list[Residue], o: External,
    crystal: Crystal | None,
) -> tuple[list[tuple[Distances, list[str]]], Across]:  # fmt: skip
    """Distances of the classes that act, each with what to say; and those to mates, beside those there."""
    found, across = list[tuple[Distances, list[str]]](), restraints.across

    def add(distances: Distances, around: Surroundings, notes: list[str]) -> None:
        nonlocal across
        within, mates, to_mates = around.split(distances, len(across))
        found.append((within, notes))
        if len(to_mates):
            across = across.with_distances(mates, to_mates)

    if "secondary_structure" in acting:
        how = o.secondary_structure_sigma, o.loss, o.secondary_structure_weight
        add(*secondary_structure(atoms, restraints, residues, *how, crystal))
    if "ncs" in acting:
        found.append(local_ncs(atoms, restraints, residues, o.distance, o.ncs_sigma, o.loss, o.ncs_weight))
    if "base_pairs" in acting:
        add(*base_pairs(atoms, residues, o.base_pairs_sigma, o.loss, o.base_pairs_weight, crystal))
    return found, across


def _torsions(
    acting: list[str], restraints: Restraints, atoms: Atoms, residues: list[Residue], o: External
) -> list[tuple[TorsionClass, list[str]]]:
    """Torsions of the classes that act, each with what to say."""
    found: list[tuple[TorsionClass, list[str]]] = []
    if "ramachandran" in acting:
        backbone, notes = ramachandran(atoms, restraints, residues)
        found.append((TorsionClass("Ramachandran", backbone, o.ramachandran_weight), notes))
    if "rotamers" in acting:
        found.append((TorsionClass("rotamer", rotamers(atoms, restraints, residues), o.rotamers_weight), []))
    if "puckers" in acting:
        rings, notes = sugar_puckers(atoms, residues)
        found.append((TorsionClass("sugar pucker", rings, o.puckers_weight), notes))
    return found


def _jelly_body(restraints: Restraints, atoms: Atoms, o: External) -> tuple[JellyBody, list[str]]:
    jelly = JellyBody(o.distance, o.jelly_body_sigma, o.jelly_body_weight)
    pairs = len(jelly_body(atoms, restraints, jelly))
    return jelly, [
        f"jelly body: {pairs} distances up to {o.distance:g} Å are held at what they are at the start of each "
        f"step, with a sigma of {o.jelly_body_sigma:g} Å"
        + (", less firmly while the model is far from its data" if o.jelly_body == "auto" else "")
    ]


def _automatic(acting: list[str], options: External, why: str) -> list[str]:
    """Which classes act that are "auto", and why."""
    called = [_CLASSES[name][0] for name in acting if getattr(options, name) == "auto"]
    act = f"{', '.join(called)} restraints act where the model has something for them (--external.* auto)"
    return [f"{why}: {act}"] if called else []


def _in_vain(options: External, empty: set[str]) -> list[str]:
    """Which classes are on though the model has nothing for them."""
    return [
        f"the model has nothing for {called} restraints, which are on: none were made"
        for name, (called, kind) in _CLASSES.items() if getattr(options, name) == "on" and kind in empty
    ]  # fmt: skip
