"""Every option of a refinement, once. The command line, the TOML file and the documentation follow from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from arrayrefine.arguments import file_and_names

TLS_KEYWORDS = ("none", "auto", "chain", "segments")
"""What `Options.tls` can be instead of selections."""
ANISOTROPIC_KEYWORDS = ("auto", "none", "keep")
"""What `Options.anisotropic` can be instead of a selection."""
TWIN_KEYWORDS = ("auto", "none")
"""What `Options.twin` can be instead of operators."""


@dataclass(frozen=True)
class Xray:
    """Structure factors and the X-ray target."""

    target: Literal["ml", "gaussian"] = "ml"
    """X-ray target: maximum likelihood on amplitudes, or Gaussian least squares."""
    method: Literal["fft", "direct"] = "fft"
    """Structure factors by FFT or by direct summation."""
    accuracy: float = 2e-3
    """Relative error of F_calc to be expected of the FFT, at most; far below the misfit of any model."""
    precision: Literal["single", "double"] = "single"
    """Floating-point precision of the density grids."""
    sigma_a_bins: int = 30
    """Largest number of resolution bins for sigma_A."""
    outliers: Literal["reject", "downweight", "keep"] = "reject"
    """Work reflections that neither Wilson statistics nor the model allow: leave them out, down-weight them, or keep
    them. Those of the test set stay in R-free."""
    outlier_probability: float = 1e-6
    """A reflection is an outlier where the model gives its amplitude a smaller chance than this."""


@dataclass(frozen=True)
class Solvent:
    """Bulk solvent."""

    model: Literal["flat", "none"] = "flat"
    """Flat bulk solvent, or none."""
    radii: Literal["refmac", "cctbx"] = "refmac"
    """Radii of the atoms, with the probe and the shrink distance that belong to them."""
    probe: float | None = None
    """Distance added to every radius, Å (default: that of the set, 1.0 of refmac, 1.1 of cctbx)."""
    shrink: float | None = None
    """Distance by which the solvent grows back, Å (default: that of the set, 0.8 of refmac, 0.9 of cctbx)."""
    smallest_island: float = 50.0
    """Pockets of solvent that are smaller than this, Å³, are filled; 0 keeps all."""
    step: float = 0.6
    """Largest step of the mask's grid, Å."""
    search: bool = False
    """Choose probe and shrink distance at the start from a grid, by R-work."""


@dataclass(frozen=True)
class OrderedSolvent:
    """Waters that `--waters` adds or leaves out."""

    gain: float = 4.0
    """What log p must gain by a water, as expected before it is refined, for it to be added; twice that, once refined,
    for it to stay."""
    rounds: int = 3
    """Times that waters are looked for, with cycles of refinement after each, at most."""
    shortest: float = 2.3
    """Shortest distance of a water from an N or O, Å."""
    longest: float = 3.5
    """Longest distance from one that binds it, Å."""
    largest: float = 12.0
    """Largest region of unmodelled density that may hold waters, Å³, or the cube of the resolution where that is more:
    ligands have more of it than this, and waters less than 8 at 2 Å."""
    most_r_work: float = 0.35
    """R-work above which none are looked for: what the model lacks is hardly water then."""


@dataclass(frozen=True)
class Geometry:
    """Restraints on coordinates and B factors: which terms act, and how tightly."""

    torsions: bool = True
    """Use torsion restraints."""
    outlier_z: float = 2.5
    """Bonds, angles and chiral volumes that are further from their ideals than this, in standard uncertainties, are
    restrained more firmly; where bonds or angles have an RMSZ above 1, than so many times that, and none above 3."""
    outlier_weight: float = 4.0
    """How much more firmly: the stiffness that is added far beyond, relative to what it is (0: as all others)."""
    contacts: bool = True
    """Use non-bonded contacts, symmetry mates included."""
    contact_sigma: float = 0.14
    """Standard uncertainty of a contact distance, Å. The 0.2 of REFMAC leaves twice the clashes, at the same R-free."""
    adp_distance: float = 4.0
    """Atoms closer than this (Å) share similar B factors."""
    shape_ratio: float = 0.2
    """Standard uncertainty of the difference of the shapes of two neighbours' anisotropic displacements, over that of
    their sizes (0, or 1 and more: no firmer)."""
    rigid_ratio: float = 0.2
    """The same for their displacements along the line between them, which are alike in a rigid body (0: no
    restraint)."""
    sphericity_sigma: float = 0.5
    """Standard uncertainty of an anisotropic U about its mean, relative to it (0: no restraint)."""


@dataclass(frozen=True)
class External:
    """Restraints from other sources than the dictionary: the model itself, its other copies, a reference model.

    "auto" is explained in the log: on where the resolution and the model call for it.
    """

    low_resolution: float = 2.8
    """Data say little where they end before this, Å."""
    few_reflections: float = 1.5
    """And where there are fewer reflections than this for each coordinate and B."""
    distance: float = 4.2
    """Longest distance between atoms that NCS, jelly-body and reference restraints use, Å."""
    secondary_structure: Literal["auto", "on", "off"] = "auto"
    """Hydrogen bonds of the helices and sheets that the model has; auto: where the data say little."""
    secondary_structure_sigma: float = 0.1
    """Standard uncertainty of an O...N distance in them, Å."""
    secondary_structure_weight: float = 1.0
    """Weight of these hydrogen bonds within the geometry term."""
    ramachandran: Literal["auto", "on", "off"] = "auto"
    """Phi and psi drawn to the nearest populated region; auto: where the data say little."""
    ramachandran_weight: float = 1.0
    """Weight of the Ramachandran restraints within the geometry term."""
    rotamers: Literal["auto", "on", "off"] = "off"
    """Chi torsions drawn to the nearest rotamer of the dictionary, beyond what its torsions do; auto: where the data
    say little."""
    rotamers_weight: float = 1.0
    """Weight of the rotamer restraints within the geometry term."""
    ncs: Literal["auto", "on", "off", "strict"] = "auto"
    """Local NCS: alike chains have alike short distances; auto: where the data say little. strict: they are the same,
    with one set of coordinates and B, and an operator for each copy."""
    ncs_sigma: float = 0.1
    """Standard uncertainty of the difference of two corresponding distances, Å."""
    ncs_weight: float = 1.0
    """Weight of the NCS restraints within the geometry term."""
    metals: bool = True
    """Restrain metal-ligand distances that the dictionary does not know, to literature means or sums of radii."""
    metals_sigma: float = 0.05
    """Standard uncertainty of a metal-ligand distance, Å."""
    metals_weight: float = 4.0
    """Weight of the metal restraints within the geometry term. A metal scatters so much more than its neighbours that
    with a weight of 1 the data pull distances twice as far from what they should be as with 4, for no lower R-free."""
    base_pairs: Literal["auto", "on", "off"] = "auto"
    """Watson-Crick and wobble pairs and stacks of bases that the model has; auto: where the data say little."""
    base_pairs_sigma: float = 0.1
    """Standard uncertainty of a hydrogen bond in them, Å."""
    base_pairs_weight: float = 1.0
    """Weight of the base-pair restraints within the geometry term."""
    puckers: Literal["auto", "on", "off"] = "off"
    """Sugars of nucleic acids drawn to the nearer of C2'-endo and C3'-endo; auto: where the data say little."""
    puckers_weight: float = 1.0
    """Weight of the pucker restraints within the geometry term."""
    jelly_body: Literal["auto", "on", "off"] = "auto"
    """Distances stay as they are at the start of each step, which keeps the model there; auto: where the data say
    little, less firmly for a model that is far from them, and for one that lacks a large part."""
    jelly_body_sigma: float = 0.05
    """Standard uncertainty of these distances, Å."""
    jelly_body_weight: float = 1.0
    """Weight of the jelly-body restraints within the geometry term; with "auto" down to 1/27 of it for a model that is
    far from its data."""
    reference_sigma: float = 0.1
    """Standard uncertainty of distances in the model given by --reference, Å."""
    reference_weight: float = 1.0
    """Weight of the reference restraints within the geometry term."""
    loss: float = -2.0
    """Shape of the robust loss of these restraints: 2 is least squares, 0 Cauchy, -2 Geman-McClure."""


@dataclass(frozen=True)
class Weighting:
    """How the weights of the restraint terms are found."""

    ratio: float = 0.2
    """X-ray gradient over weighted geometry gradient on the perturbed copy (smaller is tighter)."""
    ratio_adp: float = 2.0
    """The same for B factors, until they have been refined once."""
    evidence_adp: float = 0.4
    """Share of what the data determine that counts in the ADP weight once B have been refined (larger is tighter): the
    curvature is taken atom by atom, and tells what neighbours' overlapping density says more than once."""
    adp_prior: float = 0.04
    """Prior of the ADP weight, on -log p, at the default ratio and any resolution: it stays within `clamp` of it."""
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

    distance: Literal["auto", "electron", "nucleus"] = "auto"
    """Distance from the parent: to the centre of the electrons, or to the nucleus; auto: to what scatters."""
    deuterium: Literal["none", "exchangeable", "all"] = "none"
    """Which of the hydrogens that are added are deuterium, for neutrons: none, those on N, O and S, or all."""
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
    """Leave out the remaining macro-cycles once one gains next to nothing, or is foreseen to."""
    precondition: bool = True
    """Change variables by the Gauss-Newton matrix of the restraints."""


@dataclass(frozen=True)
class Options:
    """Options of a refinement."""

    cycles: int = 10
    """Largest number of macro-cycles; each runs the list of targets once."""
    targets: tuple[str, ...] = ("xyz+b",)
    """What is refined in turn within a cycle: xyz, b, occupancy, tls, or several of them joined by '+', such as xyz+b;
    b stands for tls+b where there are TLS groups and tls has no step of its own. A step of its own, scale, refits
    scale, solvent and sigma_A alone."""
    side_chains: Literal["auto", "keep"] = "auto"
    """Between cycles, turn side chains of proteins to the rotamer that the data fit much better, or keep the one that
    each is in. What turned is listed."""
    peptides: Literal["auto", "keep"] = "auto"
    """Peptides of proteins: between cycles, turn those round of which the data and the torsions on either side show O
    on the other side, or keep each as it is. What turned is listed."""
    ligands: Literal["auto", "keep"] = "auto"
    """Ligands: before each cycle, move those that the data show elsewhere, as rigid fragments about bonds that turn, or
    keep each where it is. What moved is listed."""
    nqh_flips: Literal["auto", "keep"] = "auto"
    """Asn, Gln and His, and carboxamides of ligands: between cycles, turn ends by half where hydrogen bonds, contacts
    and the data say that O is N (or C is), or keep each as it is. What turned is listed."""
    waters: Literal["keep", "add", "update"] = "keep"
    """Ordered waters: keep those of the model; add, once the cycles are done, those that data and hydrogen bonds call
    for, and go on refining; update: leave out, too, those that the data do not bear out. What changed is listed."""
    rigid_body: Literal["auto", "yes", "no"] = "auto"
    """Move chains as rigid bodies before the first cycle, low resolution first; auto: where a look at the gradients
    says that one of them is out of place."""
    rigid_groups: tuple[str, ...] = ()
    """Groups of atoms that move as rigid bodies, as selections such as 'chain A and 1-120' (default: one per chain)."""
    weights: Literal["robust", "literal", "stale", "fixed", "search"] = "robust"
    """Weighting scheme. 'search' lets the test set choose between a few multiples of the robust weights, after the
    first cycle. 'literal' and 'stale' are known to fail and are kept to show why."""
    adp: Literal["kl", "variance", "none"] = "kl"
    """Restraint on B factors: Kullback-Leibler divergence of neighbours, variance about the mean, or none."""
    anisotropic: str = "auto"
    """Atoms with anisotropic displacements: auto (all but waters, once the model is near its data; waters too at atomic
    resolution), none, keep (those with ANISOU in the model), or a selection, such as all or 'not water'."""
    tls: tuple[str, ...] = ("auto",)
    """Groups that move as rigid bodies, TLS: none; chain (one for each chain of a polymer with the ligands that touch
    it); segments (chains, which after the first cycle are cut, and joined, where the data ask for it); auto (segments,
    where no atom starts anisotropic and data are enough, until atoms become anisotropic); or a selection for each
    group, such as 'chain A and 1-80' 'chain A and 81-200'."""
    twin: tuple[str, ...] = ("auto",)
    """Whether the crystal is refined as a twin: auto (by the laws that the data show, where these look twinned), none,
    or operators, such as --twin=-h,k,-l; several are joined by ';'."""
    occupancy_groups: tuple[str, ...] = ()
    """Groups that share one occupancy, besides those found: a selection for each, such as 'chain L and 1'; several
    that exclude each other, so that they add up to 1, joined by '|', such as '10-12 and altloc A | water and 301'."""
    freeze: tuple[str, ...] = ()
    """What is not refined: kinds of selected atoms, such as 'xyz: chain B' 'b: water' 'occupancy: all'."""
    restraints: tuple[Path, ...] = ()
    """Restraint CIF files for ligands; they win over every library."""
    restraint_tables: tuple[Path, ...] = ()
    """Tables of further restraints, CSV or TSV: kind, atom1, atom2, ..., ideal, sigma; or files of REFMAC5's external
    restraints or phenix.refine's geometry_restraints.edits; see the documentation."""
    reference: Path | None = None
    """Reference model, PDB or mmCIF, whose distances the model keeps to where chains match (often one at higher
    resolution)."""
    monomers: Path | None = None
    """Monomer library folder (default: $CLIBD_MON, then the embedded library)."""
    unknown: Literal["error", "hold", "shape"] = "error"
    """Components without restraints: stop, hold them in place, or in the shape that the model gives them."""
    hydrogens: Literal["auto", "add", "keep", "refine", "strip"] = "auto"
    """Hydrogens: add the dictionary's, riding on their parents; keep the model's, riding where they sit; refine the
    model's like other atoms; or strip. auto: add, but refine for neutrons where the model has hydrogens."""
    write_hydrogens: Literal["auto", "yes", "no"] = "auto"
    """Write riding hydrogens to the output; auto: if the model had hydrogens, and for neutrons."""
    columns: str | None = None
    """Data columns, such as FP,SIGFP (default: found by type and name); FP,SIGFP=intensity or I,SIGI=amplitude where
    their types are wrong; FP,5% where there are no sigmas."""
    phases: str | None = None
    """Experimental phases for the likelihood: columns HLA,HLB,HLC,HLD or PHIB,FOM, FILE:HLA,... or FILE.phs (default:
    none)."""
    free: str | None = None
    """Free-flag column and the value of the test set, such as FreeR_flag=0 (default: found); a file that has the flags,
    such as free.mtz or free.mtz:FREER=0; or 'random': choose a new test set by the seed. +random behind a column or a
    file keeps its flags and chooses among reflections that have none, as beyond an earlier limit of resolution."""
    d_min: float | None = None
    """Cut the data at this resolution, Å."""
    d_max: float | None = None
    """Leave out reflections of lower resolution than this, Å, such as those behind the beam stop."""
    radiation: Literal["auto", "xray", "electron", "neutron"] = "auto"
    """What the data were measured with, for the form factors; auto: what the header of the model says, or else
    X-rays."""
    wavelength: float | None = None
    """Wavelength of the X-rays, Å: form factors with f' (default: without), which counts near absorption edges."""
    maps: Literal["none", "model", "asu"] = "none"
    """Write CCP4 files of the 2mFo-DFc and mFo-DFc maps too, and of anomalous differences where there are any: of the
    surroundings of the model, or of an asymmetric unit."""
    uncertainties: bool = False
    """Estimate the standard uncertainty of each coordinate at the end, by the curvature of data and restraints:
    refined.cif has them (Cartn_x_esd)."""
    report: bool = True
    """Write report.html beside the other files: one page with charts, validation and pictures of the density."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 1
    """Cores that share a run, or several runs: processes on Linux, threads elsewhere. The result is the same."""
    seed: int = 0
    """Seed of every random number."""
    perturb: float = 0.0
    """Displace the start by this rms distance, Å, and B by up to 5 Å²."""
    start: int = 0
    """Which of the displaced starts that the seed allows; everything else that is random stays as it is."""
    timings: bool = False
    """Print the time spent in each part of an evaluation."""
    xray: Xray = field(default_factory=Xray)
    solvent: Solvent = field(default_factory=Solvent)
    ordered_solvent: OrderedSolvent = field(default_factory=OrderedSolvent)
    geometry: Geometry = field(default_factory=Geometry)
    external: External = field(default_factory=External)
    weighting: Weighting = field(default_factory=Weighting)
    riding: RidingHydrogens = field(default_factory=RidingHydrogens)
    minimiser: Minimiser = field(default_factory=Minimiser)

    @property
    def kinds(self) -> frozenset[str]:
        """What any step of a cycle names, as `targets` has it."""
        return frozenset(kind for target in self.targets for kind in target.split("+"))

    @property
    def other_files(self) -> tuple[Path, ...]:
        """Files that are read beside model, data and libraries."""
        phases = None if self.phases is None else file_and_names(self.phases)[0]
        single = [file for file in (self.reference, phases) if file is not None]
        return (*self.restraints, *self.restraint_tables, *single)


DISPLACED = Options(perturb=0.2)
"""What the demo and cross-validation do unless told otherwise."""
TETHER = 0.25
"""Å; of models that are regularised. Those shaken by 0.2 Å end nearest to where they were with 0.15 to 0.25; without,
they drift by 0.6 to 1 Å for an energy that is a quarter lower."""
