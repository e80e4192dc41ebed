"""Starts as far from the data as predicted models are, made from deposited ones.

    python tests/benchmarks/bend.py 1aba 1cbs --into FOLDER --servalcat servalcat --monomers MONOMER_LIBRARY
    ARRAYREFINE_DATA=FOLDER python tests/benchmarks/cases.py 1aba 1cbs --start bent --servalcat servalcat ...

Ligands, waters, hydrogens and all conformers but the first are taken out, a tenth of the side chains turned to another
rotamer and the others a little, each chain bent by a smooth random field (0.4 Å along each axis over 15 Å and 0.2 Å
over 6 Å, more where B is high), all B set to their mean, and the geometry idealised by Servalcat without data.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray
from programs import DATA, Servalcat, ligand_files, run, start_of

Float = NDArray[np.float64]

FIELDS = ((15.0, 0.4), (6.0, 0.2))
"""Correlation length and standard deviation along each axis, Å."""
WAVES = 200
FLIPPED, FLIP, WOBBLE = 0.1, 120.0, 10.0
"""Share of side chains that are turned to another rotamer, by how much, and how much others are turned, degrees."""
FIXED = frozenset({"N", "CA", "C", "O", "CB", "OXT"})
STIFF = frozenset({"GLY", "ALA", "PRO", "CYS"})


def field(xyz: Float, rng: np.random.Generator) -> Float:
    """Displacements (N, 3), Å, at coordinates (N, 3)."""
    total = np.zeros_like(xyz)
    for length, size in FIELDS:
        wave, phase = rng.normal(0.0, 1.0 / length, (WAVES, 3)), rng.uniform(0.0, 2.0 * np.pi, WAVES)
        total += size * np.sqrt(2.0 / WAVES) * np.cos(xyz @ wave.T + phase) @ rng.normal(0.0, 1.0, (WAVES, 3))
    return total


def turned(residue: gemmi.Residue, degrees: float) -> None:
    """Turn a side chain about CA-CB, where there is one."""
    atoms = {atom.name: np.array(atom.pos.tolist()) for atom in residue}
    if residue.name in STIFF or not {"N", "CA", "C", "CB"} <= set(atoms):
        return
    axis = (atoms["CB"] - atoms["CA"]) / np.linalg.norm(atoms["CB"] - atoms["CA"])
    angle = np.radians(degrees)
    for atom in residue:
        if atom.name not in FIXED:
            v = atoms[atom.name] - atoms["CB"]
            v = v * np.cos(angle) + np.cross(axis, v) * np.sin(angle) + axis * (axis @ v) * (1.0 - np.cos(angle))
            atom.pos = gemmi.Position(*(atoms["CB"] + v))


def bent(structure: gemmi.Structure, seed: int) -> None:
    """Make of a deposited model, in place, one that is as far from its data as a predicted one."""
    rng = np.random.default_rng(seed)
    structure.setup_entities()
    structure.remove_ligands_and_waters()
    structure.remove_hydrogens()
    structure.remove_alternative_conformations()
    structure.remove_empty_chains()
    mean = float(np.mean([cra.atom.b_iso for cra in structure[0].all()]))
    for chain in structure[0]:
        for residue in chain:
            flip = rng.choice([-FLIP, FLIP]) if rng.random() < FLIPPED else 0.0
            turned(residue, flip + rng.normal(0.0, WOBBLE))
        atoms = [atom for residue in chain for atom in residue]
        xyz = np.array([atom.pos.tolist() for atom in atoms])
        loose = [np.clip(np.mean([a.b_iso for a in residue]) / mean, 0.6, 2.5) for residue in chain for _ in residue]
        for atom, position in zip(atoms, xyz + np.array(loose)[:, None] * field(xyz, rng), strict=True):
            atom.pos = gemmi.Position(*position)
    for cra in structure[0].all():
        cra.atom.b_iso, cra.atom.occ, cra.atom.aniso = mean, 1.0, gemmi.SMat33f(0, 0, 0, 0, 0, 0)


def made(case: Path, into: Path, judge: Servalcat) -> None:
    """Write the bent start of a case beside what else it needs."""
    into.mkdir(parents=True, exist_ok=True)
    deposited = start_of(case, "model")
    structure = gemmi.read_structure(str(deposited))
    bent(structure, sum(map(ord, case.name)))
    with tempfile.TemporaryDirectory() as folder:
        rough = Path(folder) / "rough.pdb"
        structure.write_pdb(str(rough))
        command = [judge.executable, "refine_geom", "--model", str(rough), "--hydrogen", "no", "--ncycle", "15"]
        run([*command, "-o", "ideal"], Path(folder), judge.env)
        shutil.copy(Path(folder) / "ideal.pdb", into / "bent.pdb")
    for path in (deposited, case / "norm.mtz", *ligand_files(case)):
        shutil.copy(path, into / path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--into", type=Path, required=True, help="folder of the cases that are made")
    parser.add_argument("--servalcat", required=True)
    parser.add_argument("--monomers", required=True)
    args = parser.parse_args()
    for name in args.cases:
        made(DATA / name, args.into / name, Servalcat(args.servalcat, args.monomers))


if __name__ == "__main__":
    main()
