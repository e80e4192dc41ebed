"""Small made-up models and data for tests."""

from __future__ import annotations

import dataclasses

import gemmi
import numpy as np

from arrayrefine.atoms import Atoms, Identity
from arrayrefine.crystal import Crystal
from arrayrefine.example import MODEL
from arrayrefine.reflections import Reflections

# One setting of every lattice type and several classes; both settings of R.
CELLS: dict[str, tuple[float, float, float, float, float, float]] = {
    "P 1": (12.0, 14.0, 17.0, 80.0, 95.0, 105.0),
    "P -1": (12.0, 14.0, 17.0, 80.0, 95.0, 105.0),
    "P 1 21 1": (12.0, 15.0, 16.0, 90.0, 104.0, 90.0),
    "C 1 2 1": (22.0, 13.0, 16.0, 90.0, 104.0, 90.0),
    "I 1 2 1": (22.0, 13.0, 16.0, 90.0, 104.0, 90.0),
    "P 21 21 21": (13.0, 16.0, 19.0, 90.0, 90.0, 90.0),
    "F 2 2 2": (22.0, 24.0, 26.0, 90.0, 90.0, 90.0),
    "I 41 2 2": (19.0, 19.0, 25.0, 90.0, 90.0, 90.0),
    "P 43 21 2": (17.0, 17.0, 21.0, 90.0, 90.0, 90.0),
    "R 3:H": (24.0, 24.0, 20.0, 90.0, 90.0, 120.0),
    "R 3 2:R": (17.0, 17.0, 17.0, 84.0, 84.0, 84.0),
    "P 61 2 2": (19.0, 19.0, 27.0, 90.0, 90.0, 120.0),
    "P 63": (19.0, 19.0, 17.0, 90.0, 90.0, 120.0),
    "P 21 3": (23.0, 23.0, 23.0, 90.0, 90.0, 90.0),
    "F 4 3 2": (36.0, 36.0, 36.0, 90.0, 90.0, 90.0),
    "I 2 3": (28.0, 28.0, 28.0, 90.0, 90.0, 90.0),
}


def crystal(space_group: str) -> Crystal:
    return Crystal(CELLS[space_group], space_group)


def atoms_from(xyz: np.ndarray, element: list[str], b_iso: np.ndarray, occupancy: np.ndarray) -> Atoms:
    """Atoms of one chain, one atom per residue, all on general positions."""
    n = len(xyz)
    identity = Identity(
        chain=np.array(["A"] * n), residue_name=np.array(["UNK"] * n), atom_name=np.array(element),
        altloc=np.array([""] * n), insertion_code=np.array([""] * n), sequence_number=np.arange(1, n + 1),
        residue=np.arange(n),
    )  # fmt: skip
    return Atoms(
        xyz, b_iso, occupancy, np.array(element), identity, np.tile(np.eye(3), (n, 1, 1)), np.ones(n, dtype=np.int64)
    )


def random_atoms(crystal: Crystal, n: int = 12, seed: int = 0) -> Atoms:
    """Atoms anywhere, also outside the unit cell, of three elements."""
    rng = np.random.default_rng(seed)
    fractional = rng.uniform(-0.7, 1.6, (n, 3))
    element = list(rng.choice(["C", "N", "S"], n))
    return atoms_from(crystal.cartesian(fractional), element, rng.uniform(4.0, 40.0, n), rng.uniform(0.3, 1.0, n))


def random_hkl(crystal: Crystal, d_min: float, n: int, seed: int = 0) -> np.ndarray:
    """Some unique reflections, the highest resolution among them."""
    every = crystal.unique_reflections(d_min, 1e3)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(every))[:n]
    highest = np.argmax(crystal.inverse_d_squared(every))
    return every[np.unique(np.append(chosen, highest))]


def wilson(
    crystal: Crystal, domains: int = 1, noise: float = 0.05, tensor: np.ndarray | None = None, amplitudes: bool = False
) -> Reflections:
    """Intensities by Wilson's distribution, the mean of `domains` unrelated ones: 2 for a perfect twin."""
    rng = np.random.default_rng(11)
    hkl = crystal.unique_reflections(2.8, 60.0)
    s = hkl @ crystal.frac
    n = len(hkl)
    centric = crystal.centric(hkl)
    parts = [np.where(centric, rng.chisquare(1, n), rng.exponential(size=n)) for _ in range(domains)]
    mean = 900.0 * crystal.epsilon(hkl) * np.exp(-0.5 * 30.0 * (s**2).sum(axis=1))
    if tensor is not None:
        mean *= np.exp(-0.5 * np.einsum("ri,ij,rj->r", s, tensor, s))
    sigma = noise * float(np.median(mean)) * np.linspace(0.999, 1.001, n)  # equal ones would be warned of
    intensity = mean * np.mean(parts, axis=0) + sigma * rng.normal(size=n)
    f = np.sqrt(np.maximum(intensity, 0.0))
    sigma_f = sigma / (2.0 * np.maximum(f, np.sqrt(sigma)))
    free = np.zeros(n, dtype=bool)
    if amplitudes:
        return Reflections(crystal, hkl, f, sigma_f, free)
    return Reflections(crystal, hkl, f, sigma_f, free, i_obs=intensity, sigma_i=sigma)


def as_data(structure: gemmi.Structure, d_min: float = 1.8) -> gemmi.Mtz:
    """Structure factors of a model as data."""
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min, calculator.rate = d_min, 2.0
    calculator.grid.setup_from(structure)
    calculator.set_refmac_compatible_blur(structure[0])
    calculator.put_model_density_on_grid(structure[0])
    hkl = gemmi.make_miller_array(structure.cell, structure.find_spacegroup(), d_min)
    values = np.abs(gemmi.transform_map_to_f_phi(calculator.grid).get_value_by_hkl(hkl, unblur=calculator.blur)) + 0.1
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.cell = structure.find_spacegroup(), structure.cell
    mtz.add_dataset("data")
    for label, kind in (("FP", "F"), ("SIGFP", "Q"), ("FREE", "I")):
        mtz.add_column(label, kind)
    free = np.random.default_rng(3).integers(0, 20, len(hkl))
    mtz.set_data(np.column_stack([hkl, values, 0.02 * values + 0.05, free]).astype(np.float32))
    return mtz


def with_tensors(atoms: Atoms, seed: int = 1) -> Atoms:
    """Atoms of which all but waters have a tensor, drawn by chance, and 30 Å² of B more."""
    rng = np.random.default_rng(seed)
    mask = ~atoms.is_water
    u_aniso = np.where(mask[:, None], 0.02 * rng.normal(size=(len(atoms), 6)), 0.0)
    u_aniso[:, :3] -= u_aniso[:, :3].mean(axis=1, keepdims=True)
    return dataclasses.replace(atoms, anisotropic=mask, u_aniso=u_aniso, b_iso=atoms.b_iso + 30.0)


def example_of_two_conformers() -> gemmi.Structure:
    """The example with a second conformer, B, of Asp 116, of which it has one; 0.37 Å from it."""
    structure = gemmi.read_structure(str(MODEL))
    residue = structure[0]["A"]["116"]["ASP"]
    for other in [atom.clone() for atom in residue]:
        other.altloc, other.pos = "B", other.pos + gemmi.Position(0.3, 0.2, -0.1)
        residue.add_atom(other)
    return structure
