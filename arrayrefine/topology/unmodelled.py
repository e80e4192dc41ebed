"""Parts of residues that a model leaves out: side chains cut short, or all but one kind of atom."""

from __future__ import annotations

from arrayrefine.atoms import Atoms
from arrayrefine.monomers import MonomerLibrary
from arrayrefine.selection import select
from arrayrefine.topology.atom_names import prime_for_star
from arrayrefine.topology.polymers import Residue, of_polymers, residues_of
from arrayrefine.wording import Caution, are, counted, listed

_OF_ENDS = {"OXT", "OP3", "O3P", "P", "OP1", "OP2", "O1P", "O2P"}
"""Atoms of the dictionary that only residues at one end of a chain have, or that many chains begin without."""
_OF_RNA = "O2'"
"""What a nucleotide of RNA has, and one of DNA has not."""
_RNA = {"A", "C", "G", "I", "U"}
_UNKNOWN = "UNK"
"""A residue whose side chain nobody knows: it has as much of it as was seen, whatever the dictionary has."""
_LEAST = 3
"""Residues from which a model with CA alone is called so: fewer may well be the ends of something."""
_WATERS, _TRACE = "waters", "CA atoms"
_REMEDIES = {
    _WATERS: "give the protein or nucleic acid with them, in the same file",
    _TRACE: "give the whole model that they are of, or build its main and side chains before refinement",
}


def truncated(atoms: Atoms, library: MonomerLibrary) -> list[str]:
    """A sentence about residues of polymers that lack atoms of their dictionary, or about a model of little else.

    Parameters
    ----------
    atoms : Atoms
        With the names of the dictionary, as far as the file has them.
    library : MonomerLibrary
    """
    if what := bare(atoms):
        return [Caution(f"the model has no atoms but {what}, so R stays high wherever they are: {_REMEDIES[what]}")]
    expected: dict[str, list[str]] = {}
    found, deoxy = [], []
    said: list[str] = []
    for residue in residues_of(atoms):
        if residue.name not in expected:
            expected[residue.name] = _heavy(residue.name, library)
        present = {prime_for_star(name) for name in residue.atoms}
        absent = [name for name in expected[residue.name] if name not in present]
        named_otherwise = len(present - {*expected[residue.name]} - _OF_ENDS)
        # A name that the dictionary does not know may be that of an atom that is taken for absent.
        if len(absent) <= named_otherwise:
            continue
        if absent == [_OF_RNA] and residue.name in _RNA:
            deoxy.append(residue)
        else:
            found.append(f"{_label(residue)} ({' '.join(absent)})")
    if found:
        said.append(Caution(
            f"{counted(len(found), 'residue')} of chains lack{'s' if len(found) == 1 else ''} atoms that the "
            f"dictionary has, and {are(len(found))} refined without: {listed(found)}. Build them where the map shows "
            "them"
        ))
    if deoxy:
        names = ", ".join(f"{name} D{name}" for name in sorted({residue.name for residue in deoxy}))
        said.append(Caution(
            f"{counted(len(deoxy), 'nucleotide')} without {_OF_RNA}, as in DNA, {are(len(deoxy))} named as in RNA, as "
            f"in files from before 2007: {listed([_label(residue) for residue in deoxy])}. Their sugars are refined as "
            f"those of RNA, and lack a hydrogen at C2'. If this is DNA, name it as the PDB does ({names}, T DT)"
        ))
    return said


def bare(atoms: Atoms) -> str:
    """What a model has alone where that is too little to tell whether it is in its place: a noun, or ""."""
    heavy = ~atoms.is_hydrogen
    if not (heavy & ~select(atoms, "water")).any():
        return _WATERS
    who = atoms.identity
    names = who.residue_name[heavy]
    chain = of_polymers(names)
    of_chains = who.atom_name[heavy][chain]
    return _TRACE if len(of_chains) >= _LEAST and (of_chains == "CA").all() else ""


def _heavy(name: str, library: MonomerLibrary) -> list[str]:
    """Names of the heavy atoms that a residue within a chain should have; none where its dictionary is not there."""
    if name == _UNKNOWN or name not in library.monlib.monomers:
        return []
    component = library.monlib.monomers[name]
    return [atom.id for atom in component.atoms if not atom.is_hydrogen() and atom.id not in _OF_ENDS]


def _label(residue: Residue) -> str:
    number, code = residue.key
    return f"{residue.chain}/{residue.name} {number}{code}"
