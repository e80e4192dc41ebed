"""A model brought to its restraints without data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arrayrefine import preconditioner
from arrayrefine.atoms import Atoms
from arrayrefine.configuration import check_options
from arrayrefine.errors import InputError
from arrayrefine.evaluation import Known, geometry_of_file
from arrayrefine.further_restraints.choice import with_external
from arrayrefine.further_restraints.tables import with_tables
from arrayrefine.hydrogens.placing import output_atoms
from arrayrefine.hydrogens.turning import turn_hydrogens
from arrayrefine.io.in_memory import ModelSource
from arrayrefine.io.models.reading import Model, with_atoms
from arrayrefine.io.output import exports
from arrayrefine.io.output.write import left_out
from arrayrefine.io.output.write_moved import write_moved
from arrayrefine.kernels.blas import one_blas_thread_throughout
from arrayrefine.minimize import INTERRUPTED, Objective, minimise
from arrayrefine.options import TETHER, Minimiser, Options
from arrayrefine.parameters import Parameters
from arrayrefine.report import json_ready
from arrayrefine.restraints import Restraints
from arrayrefine.strict_ncs.consensus import agreed
from arrayrefine.strict_ncs.copies import Copies
from arrayrefine.strict_ncs.finding import strict_copies
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.targets.geometry_curvature import normal_matrix
from arrayrefine.targets.tether import Tether
from arrayrefine.validation import Validation, validate_model
from arrayrefine.validation.labels import atom_label
from arrayrefine.weights import Weights
from arrayrefine.wording import parted

SCHEMA = "arrayrefine.regularise/1"
STEM = "regularised"
"""What the files are called."""
_PASSES = 10
"""Each begins with what is an outlier and which contacts there are at its start."""
_WORTH = 1e-3
"""A pass that gains less of the energy that is left is the last."""
_MINIMISER = Minimiser(max_iterations=200, tolerance=1e-3)
_NEVER_POOR = 0.0
"""Å; resolution at which nothing that is for poor data alone acts by itself."""


@dataclass(frozen=True)
class Agreement:
    """A kind of restraint before and after.

    Attributes
    ----------
    kind : str
    count : int
        Without those of hydrogens.
    before, after : float or None
        RMSZ; None where there are none.
    """

    kind: str
    count: int
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Regularised:
    """A model that was brought to its restraints.

    Attributes
    ----------
    model : Model
        As read, with the hydrogens that are written.
    atoms : Atoms
        Those of `model`, where they are now.
    shift : (N,) float64
        How far each went, Å.
    agreement : tuple of Agreement
    before, after : Validation
        Of all atoms, added hydrogens too.
    passes, evaluations : int
    reason : str
        Why it ended.
    stopped : bool
        Whether that was asked for.
    tether : float
        Å; infinite for none.
    in_box : bool
        Whether the model names no unit cell; the files then name none either.
    options : Options
    notes : tuple of str
        What was fixed up or assumed, and what the files leave out.
    """

    model: Model
    atoms: Atoms
    shift: np.ndarray[Any, np.dtype[np.float64]]
    agreement: tuple[Agreement, ...]
    before: Validation
    after: Validation
    passes: int
    evaluations: int
    reason: str
    stopped: bool
    tether: float
    in_box: bool
    options: Options
    notes: tuple[str, ...]

    @property
    def furthest(self) -> int | None:
        """The atom that went furthest; None without atoms other than hydrogens."""
        heavy = np.flatnonzero(~self.atoms.is_hydrogen)
        return int(heavy[np.argmax(self.shift[heavy])]) if len(heavy) else None

    @property
    def rms_shift(self) -> float:
        """Å, over atoms that are no hydrogens."""
        heavy = self.shift[~self.atoms.is_hydrogen]
        return float(np.sqrt(np.mean(heavy**2))) if len(heavy) else 0.0

    def to_gemmi(self) -> exports.Structure:
        """The model as a gemmi.Structure, with all that the input says besides."""
        return with_atoms(self.model, self.atoms)

    def as_dict(self) -> dict[str, Any]:
        """What `regularised.json` holds: nothing but JSON types."""
        far = self.furthest
        return {
            "schema": SCHEMA,
            "inputs": {"model": {"path": str(self.model.path), "sha256": self.model.sha256}},
            "options": json_ready(self.options),
            "tether": None if np.isinf(self.tether) else self.tether,
            "passes": self.passes,
            "evaluations": self.evaluations,
            "reason": self.reason,
            "shift": {
                "rms": self.rms_shift,
                "largest": None if far is None else float(self.shift[far]),
                "atom": None if far is None else atom_label(self.atoms.identity, far),
            },
            "restraints": [dataclasses.asdict(row) for row in self.agreement],
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            **parted(self.notes),
        }

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write regularised.cif, regularised.pdb and regularised.json; returns their paths."""
        return write_moved(Path(folder), self.model, self.atoms, STEM, self.as_dict(), self.in_box)


@dataclass(frozen=True)
class _Reached:
    """Where the passes ended."""

    atoms: Atoms
    passes: int
    evaluations: int
    reason: str


def regularise(
    model: ModelSource,
    options: Options | None = None,
    *,
    tether: float = TETHER,
    stop: Callable[[], int | None] = lambda: None,
) -> Regularised:
    """Move the atoms of a model to where its restraints want them, without data.

    Parameters
    ----------
    model : path, gemmi.Structure, gemmi.cif.Document or Model
        PDB or mmCIF, .gz too.
    options : Options, optional
        Those that concern restraints, hydrogens and what is frozen count. `external` acts where it is "on": without
        data nothing is "auto".
    tether : float
        Standard deviation of a pull towards where each atom was, Å: models without data have nothing else to hold them.
        0 for none.
    stop : callable
        Polled before every evaluation; anything but None ends the run with the best model so far.

    Raises
    ------
    InputError, MonomerError
        The input cannot be used as given; the message says what to do.
    """
    if not 0.0 <= tether < np.inf:
        raise InputError(f"--tether: found {tether:g}, expected Å above 0, such as {TETHER:g}, or 0 for none")
    check_options(options := options or Options())
    with one_blas_thread_throughout():
        known = geometry_of_file(model, options)
        restraints = _restraints(known, options)
        _, of_copies = _copies(known.atoms, options)
        target = GeometryTarget.build(restraints, known.crystal, options.geometry)
        reached = _minimised(known, restraints, target, options, tether or np.inf, stop)
        old, new = (target.terms(atoms) for atoms in (known.atoms, reached.atoms))
        agreement = tuple(
            Agreement(kind, new[kind].count, old[kind].rmsz, new[kind].rmsz) for kind in new if new[kind].count
        )
        before, after = (validate_model(atoms, restraints, known.crystal) for atoms in (known.atoms, reached.atoms))
    written, atoms = output_atoms(known.model, known.hydrogens, reached.atoms, options.write_hydrogens)
    _, start = output_atoms(known.model, known.hydrogens, known.atoms, options.write_hydrogens)
    return Regularised(
        written, atoms, np.linalg.norm(atoms.xyz - start.xyz, axis=1), agreement, before, after, reached.passes,
        reached.evaluations, reached.reason, reached.reason == INTERRUPTED, tether or np.inf, known.in_box, options,
        tuple(dict.fromkeys([*known.notes, *restraints.notes, *of_copies, *left_out(written, atoms, stem=STEM)])),
    )  # fmt: skip


def _restraints(known: Known, options: Options) -> Restraints:
    """Those of the dictionary, those of other sources that the options ask for, and those of tables."""
    found = with_external(
        known.restraints, known.atoms, _NEVER_POOR, options.external, options.reference, None, known.crystal
    )
    return with_tables(found, known.atoms, options.restraint_tables, options.external.loss, known.crystal)


def _copies(atoms: Atoms, options: Options) -> tuple[Copies, list[str]]:
    """Atoms that stay the same as others, where that is asked for; B are not looked at here."""
    held = Parameters.frozen_atoms(atoms, "xyz", options.freeze)
    return strict_copies(atoms, options.external, held, np.ones(len(atoms), dtype=bool))


def _minimised(
    known: Known, restraints: Restraints, target: GeometryTarget, options: Options, tether: float,
    stop: Callable[[], int | None],
) -> _Reached:  # fmt: skip
    """Minimise the restraints and the pull, again and again until little is gained."""
    passes, evaluations = 0, 0
    pull = Tether.at(known.atoms, tether)
    copies, _ = _copies(known.atoms, options)
    atoms = known.hydrogens.place(agreed(copies, known.atoms)) if len(copies) else known.atoms
    while passes < _PASSES:
        here = target.anchored(atoms)
        parameters = Parameters.of(atoms, "xyz", copies=copies).without(options.freeze)
        if not parameters.size:
            return _Reached(atoms, 0, 0, "nothing to move: all coordinates are frozen")
        weights = Weights(1.0, None, parameters.fingerprint, {"scheme": "without data"})
        objective = Objective(parameters, weights, pull, here, Tether.at(atoms, np.inf))
        matrix = partial(normal_matrix, here, atoms, parameters.xyz, parameters.carried)
        change = preconditioner.build(parameters, pull.curvature, xyz_matrix=matrix, geometry=1.0)
        solution = minimise(objective, change, _MINIMISER, lambda: stop() is not None)
        passes, evaluations = passes + 1, evaluations + solution.evaluations
        placed = known.hydrogens.place(copies.alike(solution.atoms))  # in a pass each kept its vector from its parent
        atoms = turn_hydrogens(known.hydrogens, placed, restraints.non_bonded, known.crystal)
        if solution.reason == INTERRUPTED or solution.start_value - solution.value <= _WORTH * solution.value:
            break
    return _Reached(atoms, passes, evaluations, solution.reason)
