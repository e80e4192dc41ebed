"""Starts that lack a part of the crystal, as partial solutions of molecular replacement do, or its waters alone.

    python tests/benchmarks/cut.py 1aba 1cbs --share 0.55 --into FOLDER
    python tests/benchmarks/cut.py 1aba 1cbs --waters --into FOLDER
    ARRAYREFINE_DATA=FOLDER python tests/benchmarks/cases.py 1aba 1cbs --start cut --servalcat servalcat ...

Of each chain the first residues of its polymer stay; all other residues, ligands and waters are taken out. With
--waters only these are.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import gemmi

SHORTEST = 8
"""Polymers of fewer residues stay whole."""


def cut(structure: gemmi.Structure, share: float) -> gemmi.Structure:
    """The structure with a share of the residues of each polymer, and nothing else."""
    short = structure.clone()
    short.setup_entities()
    for chain in short[0]:
        polymer = [k for k, residue in enumerate(chain) if residue.entity_type == gemmi.EntityType.Polymer]
        kept = set(polymer[: int(share * len(polymer))] if len(polymer) > SHORTEST else polymer)
        for k in reversed(range(len(chain))):
            if k not in kept:
                del chain[k]
    short.remove_empty_chains()
    short.connections.clear()
    short.helices.clear()
    short.sheets.clear()
    return short


def dry(structure: gemmi.Structure) -> gemmi.Structure:
    """The structure without waters."""
    out = structure.clone()
    out.remove_waters()
    out.remove_empty_chains()
    return out


def main() -> None:
    from programs import DATA, ligand_files, start_of  # beside this file; the tests import `cut` alone

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--into", type=Path, required=True, help="folder of the cases that are made")
    parser.add_argument("--share", type=float, default=0.55, help="of the residues that stay")
    parser.add_argument("--waters", action="store_true", help="take out waters alone")
    parser.add_argument("--start", default="shaken", help="name of the model that is cut")
    args = parser.parse_args()
    for name in args.cases:
        case, into = DATA / name, args.into / name
        into.mkdir(parents=True, exist_ok=True)
        for path in (case / "norm.mtz", *ligand_files(case), *case.glob("model.*")):
            shutil.copy(path, into)
        start = gemmi.read_structure(str(start_of(case, args.start)))
        (dry(start) if args.waters else cut(start, args.share)).write_pdb(str(into / "cut.pdb"))


if __name__ == "__main__":
    main()
