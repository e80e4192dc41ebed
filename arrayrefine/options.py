"""Every option of a refinement, once. The command line, the TOML file and the documentation follow from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Xray:
    """Structure factors and the X-ray target."""

    target: Literal["ml", "gaussian"] = "ml"
    """X-ray target: maximum likelihood on amplitudes, or Gaussian least squares."""
    method: Literal["fft", "direct"] = "fft"
    """Structure factors by FFT or by direct summation."""
    accuracy: float = 3e-4
    """Relative error of F_calc to be expected of the FFT, at most."""
    precision: Literal["single", "double"] = "single"
    """Floating-point precision of the density grids."""
    sigma_a_bins: int = 30
    """Largest number of resolution bins for sigma_A."""


@dataclass(frozen=True)
class Geometry:
    """Restraints on coordinates and B factors: which terms act, and how tightly."""

    torsions: bool = True
    """Use torsion restraints."""
    contacts: bool = True
    """Use non-bonded contacts, symmetry mates included."""
    contact_sigma: float = 0.2
    """Standard uncertainty of a contact distance, Å."""
    adp_distance: float = 4.0
    """Atoms closer than this (Å) share similar B factors."""
    rigid_bond_sigma: float = 0.01
    """Standard uncertainty of the difference of two anisotropic displacements along a bond, Å² (0: no restraint)."""
    sphericity_sigma: float = 0.5
    """Standard uncertainty of an anisotropic U about its mean, relative to it (0: no restraint)."""


@dataclass(frozen=True)
class Weighting:
    """How the weights of the restraint terms are found."""

    ratio: float = 0.2
    """X-ray gradient over weighted geometry gradient on the perturbed copy (smaller is tighter)."""
    ratio_adp: float = 2.0
    """The same for B factors."""
    adp_prior: float = 0.33
    """Prior of the ADP weight as a multiple of that of the geometry weight."""
    perturb_xyz: float = 0.1
    """Displacement (Å, per coordinate) of the perturbed copy on which gradient norms are measured."""
    perturb_b: float = 0.1
    """Relative change of B on the perturbed copy."""
    clamp: float = 3.0
    """Weights stay within this factor of the resolution prior."""
    geometry: float = 0.0
    """Weight of the geometry term with --weights fixed (0: the resolution prior)."""
    adp: float = 0.0
    """Weight of the ADP term with --weights fixed (0: the resolution prior)."""
    rmsz_low: float = 0.5
    """Bond RMSZ below which restraints are loosened."""
    rmsz_high: float = 0.75
    """Bond RMSZ above which restraints are tightened."""
    angle_rmsz_high: float = 1.1
    """Angle RMSZ above which restraints are tightened."""


@dataclass(frozen=True)
class RidingHydrogens:
    """Riding hydrogens: how far from their parents, how blurred, and what turns."""

    distance: Literal["electron", "nucleus"] = "electron"
    """Distance from the parent: to the centre of the electrons, or to the nucleus."""
    b_ratio: float = 1.2
    """B of a hydrogen over that of its parent."""
    b_ratio_turning: float = 1.5
    """The same for groups that turn: OH, SH, NH3, CH3."""
    turn: Literal["none", "polar", "all"] = "all"
    """Groups turned to contacts, hydrogen bonds and density between cycles: none (then OH and SH do not scatter);
    polar: OH, SH and NH3; all: CH3 too."""


@dataclass(frozen=True)
class Minimiser:
    """L-BFGS-B."""

    max_iterations: int = 40
    """Largest number of iterations in a step."""
    tolerance: float = 4e-3
    """A step ends when an iteration lowers the objective by less than this fraction."""
    early_stop: bool = True
    """Leave out the remaining macro-cycles once a cycle no longer changes R-work and the likelihood."""
    precondition: bool = True
    """Change variables by the Gauss-Newton matrix of the restraints."""


@dataclass(frozen=True)
class Options:
    """Options of a refinement."""

    cycles: int = 5
    """Number of macro-cycles; each runs the list of targets once."""
    targets: tuple[str, ...] = ("xyz", "b")
    """What is refined in turn within a cycle: scale, xyz, b, occupancy, or several joined by '+', such as xyz+b."""
    weights: Literal["robust", "literal", "stale", "fixed"] = "robust"
    """Weighting scheme. 'literal' and 'stale' are known to fail and are kept to show why."""
    adp: Literal["kl", "variance", "none"] = "kl"
    """Restraint on B factors: Kullback-Leibler divergence of neighbours, variance about the mean, or none."""
    anisotropic: str = "auto"
    """Atoms with anisotropic displacements: auto (by resolution and number of reflections), none, keep (those with
    ANISOU in the model), or a selection, such as all or 'not water'."""
    restraints: tuple[Path, ...] = ()
    """Restraint CIF files for ligands; they win over every library."""
    monomers: Path | None = None
    """Monomer library folder (default: $CLIBD_MON, then the embedded library)."""
    unknown: Literal["error", "hold"] = "error"
    """Components without restraints: stop, or hold them in place."""
    hydrogens: Literal["add", "keep", "strip"] = "add"
    """Hydrogens: add the dictionary's, riding on their parents; keep the model's, riding where they sit; or strip."""
    write_hydrogens: Literal["auto", "yes", "no"] = "auto"
    """Write riding hydrogens to the output; auto: if the model had hydrogens."""
    columns: str | None = None
    """Data columns, such as FP,SIGFP (default: found by type and name)."""
    free: str | None = None
    """Free-flag column and the value of the test set, such as FreeR_flag=0 (default: found), or 'random': choose a
    new test set by the seed."""
    d_min: float | None = None
    """Cut the data at this resolution, Å."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 1
    """Threads that share a run's FFTs, density and restraints."""
    seed: int = 0
    """Seed of every random number."""
    perturb: float = 0.0
    """Displace the start by this rms distance, Å, and B by up to 5 Å²."""
    start: int = 0
    """Which of the displaced starts that the seed allows; everything else that is random stays as it is."""
    timings: bool = False
    """Print the time spent in each part of an evaluation."""
    xray: Xray = field(default_factory=Xray)
    geometry: Geometry = field(default_factory=Geometry)
    weighting: Weighting = field(default_factory=Weighting)
    riding: RidingHydrogens = field(default_factory=RidingHydrogens)
    minimiser: Minimiser = field(default_factory=Minimiser)
