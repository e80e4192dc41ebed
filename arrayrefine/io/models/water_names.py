"""Waters as other programs name them, and as the PDB does."""

from __future__ import annotations

from collections.abc import Iterator

import gemmi

from arrayrefine.wording import are, counted, listed

_WATERS = {
    **dict.fromkeys(("HOH", "WAT", "H2O", "TIP", "TIP3", "TP3", "T3P", "TIP4", "TP4", "SPC", "SOL"), "HOH"),
    **dict.fromkeys(("DOD", "D2O"), "DOD"),
}
"""Names of AMBER, ARP/wARP, CHARMM, CNS, GROMACS and others, and those of the PDB."""


def use_pdb_names_of_waters(structure: gemmi.Structure) -> list[str]:
    """Name waters HOH (DOD) with the atoms O, H1 and H2 (D1 and D2), in place, and so in the links of the model.

    A residue is a water where it has the name of one and no heavy atom other than one oxygen, conformers aside.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model.

    Returns
    -------
    list of str
        Which residues were renamed.
    """
    renamed: list[str] = []
    new_names: dict[tuple[str, str, str], tuple[str, dict[str, str]]] = {}
    for chain, residue, oxygen in _waters(structure):
        name = _WATERS[residue.name]
        atoms = {"O": [oxygen], **_hydrogens(residue)}
        changed = {old: new for new, olds in atoms.items() for old in olds if old != new}
        if name == residue.name and not changed:
            continue
        renamed.append(f"{chain.name}/{residue.name} {residue.seqid}/{oxygen} as {name}/O")
        new_names[chain.name, str(residue.seqid), residue.name] = name, changed
        residue.name = name
        for atom in residue:
            atom.name = changed.get(atom.name, atom.name)
    for link in structure.connections:
        for end in (link.partner1, link.partner2):
            where = end.chain_name, str(end.res_id.seqid), end.res_id.name
            if where in new_names:
                end.res_id.name, changed = new_names[where]
                end.atom_name = changed.get(end.atom_name, end.atom_name)
    if not renamed:
        return []
    n = len(renamed)
    return [f"{counted(n, 'water')} named as in other programs {are(n)} renamed as in the PDB: {listed(renamed)}"]


def _waters(structure: gemmi.Structure) -> Iterator[tuple[gemmi.Chain, gemmi.Residue, str]]:
    """Waters, with their chains and the names of their oxygens."""
    for chain in structure[0]:
        for residue in chain:
            if residue.name in _WATERS:
                heavy = {(atom.name, atom.element.name) for atom in residue if not atom.is_hydrogen()}
                if len(heavy) == 1 and (only := heavy.pop())[1] == "O":
                    yield chain, residue, only[0]


def _hydrogens(residue: gemmi.Residue) -> dict[str, list[str]]:
    """Names of the PDB for the hydrogens of a water, with those that they have; none where these are more than two."""
    names = list(dict.fromkeys(atom.name for atom in residue if atom.is_hydrogen()))
    letter = "D" if any(atom.element.name == "D" for atom in residue) else "H"
    wanted = [f"{letter}1", f"{letter}2"]
    if len(names) > len(wanted) or set(names) <= {"H1", "H2", "D1", "D2"}:
        return {}
    free = [name for name in wanted if name not in names]
    others = [name for name in names if name not in wanted]
    return {new: [old] for new, old in zip(free, others)}
