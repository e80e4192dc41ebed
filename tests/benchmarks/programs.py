"""Whole programs as they are run from the command line, timed: arrayrefine, Servalcat, TorchRef.

The folder of cases is ARRAYREFINE_DATA (default ../shared/data); each case holds model.*, shaken.* and norm.mtz (F or
I, sigma, FREE with 0 = test set).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ARRAYREFINE_DATA", ROOT.parent / "shared" / "data"))
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TORCHREF_NUM_THREADS")


class Run(NamedTuple):
    """CPU seconds (user + system), wall seconds, and standard output of a process and its children."""

    cpu: float
    wall: float
    output: str


def environment(threads: int = 1) -> dict[str, str]:
    """Environment of a child with so many threads."""
    # Installed programs have their bytecode; one that runs from a source tree shall have it too.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def run(command: list[str], folder: Path, env: dict[str, str] | None = None, threads: int = 1) -> Run:
    """Run a command and wait for it.

    Raises
    ------
    RuntimeError
        With the end of what it printed, if it fails or is not there.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=folder, env={**environment(threads), **(env or {})}, capture_output=True, text=True
        )
    except OSError as error:
        raise RuntimeError(f"{command[0]} cannot be run: {error}") from error
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
    return Run(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, done.stdout)


def start_of(case: Path, name: str = "shaken") -> Path:
    """The model that a case starts from, as PDB where there is one."""
    for path in (case / f"{name}.pdb", case / f"{name}.cif"):
        if path.exists():
            return path
    raise RuntimeError(f"case {case.name}: no {name}.pdb or {name}.cif in {case}; set ARRAYREFINE_DATA")


def ligand_files(case: Path) -> list[Path]:
    """Restraint CIFs that come with a case: those that describe components, and not a model or data."""
    texts = {path: path.read_text() for path in case.glob("*.cif")}
    return sorted(p for p, text in texts.items() if "_chem_comp_atom." in text and "_atom_site." not in text)


def arrayrefine(
    case: Path, start: Path, folder: Path, extra: list[str], threads: int = 1
) -> tuple[Run, Path, dict[str, Any]]:
    """The run, the refined model and the report."""
    command = [sys.executable, "-m", "arrayrefine", "refine", str(start), str(case / "norm.mtz"), "--out", str(folder)]
    ligands = ligand_files(case)
    if ligands:
        command += ["--restraints", *map(str, ligands)]
    if threads != 1:
        command += ["--threads", str(threads)]
    done = run([*command, *extra], ROOT, threads=threads)
    return done, folder / "refined.pdb", json.loads((folder / "report.json").read_text())


class Servalcat:
    """Servalcat as a peer and as the outside judge."""

    def __init__(self, executable: str, monomers: str) -> None:
        self.executable = executable
        self.env = {"CLIBD_MON": monomers.rstrip("/") + "/"}

    def refine(
        self, case: Path, model: Path, folder: Path, cycles: int, extra: Sequence[str] = ()
    ) -> tuple[Run, Path, dict[str, Any]]:
        """The run, the refined model, and the statistics of the last cycle."""
        command = [
            self.executable, "refine_xtal_norefmac", "--model", str(model), "--hklin", str(case / "norm.mtz"),
            "-s", "neutron" if case.name == "1v9g" else "xray", "--ncycle", str(cycles),
            "--allow_unusual_occupancies", "-o", "servalcat", *extra,
        ]  # fmt: skip
        ligands = ligand_files(case)
        if ligands:
            command += ["--ligand", *map(str, ligands)]
        done = run(command, folder, self.env)
        stats = json.loads((folder / "servalcat_stats.json").read_text())[-1]
        return done, folder / "servalcat.pdb", stats

    def score(self, case: Path, model: Path, adp: str = "fix") -> dict[str, Any]:
        """R-work, R-free, bond and angle RMSZ after zero cycles.

        With `adp` "fix" ANISOU records count, with "iso" they do not. Where a component is without restraints the
        model is scored without any, and the RMSZ are None.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                _, _, stats = self.refine(case, model, Path(folder), 0, ["--adp", adp])
            except RuntimeError:
                _, _, stats = self.refine(case, model, Path(folder), 0, ["--adp", adp, "--unrestrained"])
        data, geometry = stats["data"]["summary"], stats.get("geom", {}).get("summary", {}).get("r.m.s.Z", {})
        return {
            "r_work": data.get("Rwork", data.get("R1work")),
            "r_free": data.get("Rfree", data.get("R1free")),
            "bond_rmsz": geometry.get("Bond distances, non H"),
            "angle_rmsz": geometry.get("Bond angles, non H"),
        }


def torchref(executable: str, case: Path, start: Path, folder: Path, device: str = "cpu") -> tuple[Run, Path]:
    """The run of TorchRef with its defaults, and the refined model.

    Restraints come from CLIBD_MON where that is set. TorchRef takes one more dictionary at most: of several that come
    with a case, none is given.
    """
    command = [executable, "-m", str(start), "-sf", str(case / "norm.mtz"), "-o", str(folder), "--device", device]
    ligands = ligand_files(case)
    if len(ligands) == 1:
        command += ["--cif", str(ligands[0])]
    library = os.environ.get("CLIBD_MON")
    done = run(command, folder, {"TORCHREF_MONOMER_LIB": library} if library else None)
    models = sorted(p for p in folder.glob("refined*.pdb"))
    if not models:
        raise RuntimeError(f"TorchRef wrote no refined*.pdb: {done.output[-200:]}")
    return done, models[-1]


class Scorer:
    """An outside script that prints one line of JSON with "Rf" for `script CASE MODEL [--cif DICTIONARY ...]`.

    A script that makes atoms isotropic scores what is left of a model with ANISOU: `Servalcat.score` keeps them.
    """

    def __init__(self, script: str, python: str) -> None:
        self.script, self.python = script, python

    def r_free(self, case: Path, model: Path) -> float:
        """R-free of a model.

        Raises
        ------
        RuntimeError
            Where the script gives none.
        """
        command = [self.python, self.script, str(case), str(model)]
        ligands = ligand_files(case)
        if ligands:
            command += ["--cif", *map(str, ligands)]
        printed = run(command, case).output.strip()
        found = json.loads(printed.splitlines()[-1]) if printed else {}
        if found.get("Rf") is None:
            raise RuntimeError(f"{Path(self.script).name} gives no R-free for {model.name}: {printed[-200:]}")
        return float(found["Rf"])
