"""Which parts of a structure are polymers, ligands and waters."""

from __future__ import annotations

import gemmi


def set_up_entities(structure: gemmi.Structure) -> None:
    """Set up the entities of a structure in place, those of polymers in chains without a name too.

    gemmi names the entity of a polymer by its chain. A chain with a blank name got none, and no links within it. Where
    one label_asym_id is that of a polymer and of its ligands or waters, as programs without entities write it, these
    get others. A lone ligand with a TER behind it, which gemmi takes for a polymer, is none.

    Parameters
    ----------
    structure : gemmi.Structure
    """
    structure.add_entity_types()
    _free_lone_ligands(structure)
    if _mixes_polymers(structure):
        for residue in (residue for model in structure for chain in model for residue in chain):
            residue.entity_id = ""
        structure.assign_subchains(force=True)
    structure.setup_entities()
    nameless = [chain.get_polymer() for model in structure for chain in model if not chain.name]
    taken = {entity.name for entity in structure.entities}
    for polymer in nameless:
        if not len(polymer) or structure.get_entity_of(polymer) is not None:
            continue
        entity = gemmi.Entity(next(name for name in map(str, range(1, len(taken) + 2)) if name not in taken))
        entity.entity_type = gemmi.EntityType.Polymer
        entity.polymer_type = polymer.check_polymer_type()
        entity.subchains = [polymer.subchain_id()]
        structure.entities.append(entity)


def _free_lone_ligands(structure: gemmi.Structure) -> None:
    """Make a residue that is all of a "polymer", and of no kind that polymers are of, a ligand; not with a sequence."""
    stated = {entity.name for entity in structure.entities if entity.full_sequence}
    for chain in (chain for model in structure for chain in model):
        polymer = chain.get_polymer()
        if len(polymer) != 1 or chain.name in stated or polymer[0].entity_id in stated:
            continue
        if polymer.check_polymer_type() == gemmi.PolymerType.Unknown:
            polymer[0].entity_type = gemmi.EntityType.NonPolymer


def _mixes_polymers(structure: gemmi.Structure) -> bool:
    """Whether a subchain of the first model holds a polymer and something else."""
    polymers: set[str] = set()
    others: set[str] = set()
    for chain in structure[0] if len(structure) else ():
        for residue in chain:
            (polymers if residue.entity_type == gemmi.EntityType.Polymer else others).add(residue.subchain)
    return bool((polymers & others) - {""})


def name_for_nameless(structure: gemmi.Structure) -> str | None:
    """A name for the chain that has none, in files that need one: the first capital letter, or number, that is free.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model is used, and is not changed.

    Returns
    -------
    str or None
        None where all chains have names.
    """
    names = {chain.name for chain in structure[0]}
    if "" not in names:
        return None
    candidates = [chr(code) for code in range(ord("A"), ord("Z") + 1)] + [str(k) for k in range(1, len(names) + 1)]
    return next(name for name in candidates if name not in names)
