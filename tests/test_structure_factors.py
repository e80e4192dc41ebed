"""F_calc against direct summation, gemmi and a P1 expansion; the adjoint against all of them."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import CELLS, atoms_from, crystal, random_atoms, random_hkl

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels import lookup
from arrayrefine.structure_factors import StructureFactors

D_MIN = 2.0


def _error(f: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(f - reference) / np.linalg.norm(reference))


def _gemmi_direct(atoms: Atoms, box: Crystal, hkl: np.ndarray) -> np.ndarray:
    structure = gemmi.Structure()
    structure.cell = gemmi.UnitCell(*box.cell)
    structure.spacegroup_hm = box.space_group
    structure.setup_cell_images()
    small = gemmi.SmallStructure()
    small.cell = structure.cell
    residue = gemmi.Residue()
    residue.name = "UNK"
    for xyz, b, q, element in zip(atoms.xyz, atoms.b_iso, atoms.occupancy, atoms.element):
        atom = gemmi.Atom()
        atom.element, atom.b_iso, atom.occ = gemmi.Element(str(element)), b, q
        atom.pos = gemmi.Position(*xyz)
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    return np.array([calculator.calculate_sf_from_model(model, [int(i) for i in h]) for h in hkl])


@pytest.mark.parametrize("space_group", list(CELLS))
def test_fft_and_direct_summation_agree_with_gemmi(space_group: str) -> None:
    box = crystal(space_group)
    atoms = random_atoms(box)
    hkl = random_hkl(box, D_MIN, 150)
    reference = _gemmi_direct(atoms, box, hkl)
    assert _error(StructureFactors(box, hkl, atoms, method="direct")(atoms), reference) < 1e-6
    assert _error(StructureFactors(box, hkl, atoms, precision="double")(atoms), reference) < 3e-4
    assert _error(StructureFactors(box, hkl, atoms)(atoms), reference) < 3e-4


def test_plans_serve_others_of_their_method_and_precision() -> None:
    """Direct summation samples nothing: its plan is one for any B."""
    box = crystal("P 1")
    atoms, hkl = random_atoms(box), random_hkl(box, D_MIN, 50)
    sharp = atoms.replace(b_iso=np.full(len(atoms), 1.0))
    direct, fft = (StructureFactors(box, hkl, atoms, method=method) for method in ("direct", "fft"))
    assert direct.serves(StructureFactors(box, hkl, sharp, method="direct"), sharp)
    assert fft.serves(StructureFactors(box, hkl, atoms), atoms)
    assert not fft.serves(StructureFactors(box, hkl, sharp), sharp)
    assert not fft.serves(direct, atoms)
    assert not fft.serves(StructureFactors(box, hkl, atoms, precision="double"), atoms)


@pytest.mark.parametrize("beta", [90.0, 138.0, 164.0])
def test_axes_far_from_right_angles_keep_the_accuracy(beta: float) -> None:
    """The error was 0.03 in a monoclinic cell of 165°, where aliases between the axes are the nearest."""
    box = Crystal((60.0, 12.0, 55.0, 90.0, beta, 90.0), "P 1 21 1")
    atoms, hkl = random_atoms(box).replace(b_iso=np.full(12, 25.0)), random_hkl(box, D_MIN, 400)
    exact = StructureFactors(box, hkl, atoms, method="direct")(atoms)
    assert _error(StructureFactors(box, hkl, atoms)(atoms), exact) < 3e-4


@pytest.mark.parametrize("space_group", list(CELLS))
def test_p1_expansion_gives_the_same_structure_factors(space_group: str) -> None:
    box = crystal(space_group)
    atoms = random_atoms(box, n=6)
    hkl = random_hkl(box, D_MIN, 100)
    fractional = box.fractional(atoms.xyz)
    images = np.concatenate([fractional @ r.T + t for r, t in zip(box.rotations, box.translations)])
    copies = len(box.rotations)
    expanded = atoms_from(
        box.cartesian(images), list(np.tile(atoms.element, copies)), np.tile(atoms.b_iso, copies),
        np.tile(atoms.occupancy, copies),
    )  # fmt: skip
    p1 = Crystal(box.cell, "P 1")
    symmetric = StructureFactors(box, hkl, atoms, precision="double", accuracy=1e-6)(atoms)
    assert _error(StructureFactors(p1, hkl, expanded, precision="double", accuracy=1e-6)(expanded), symmetric) < 1e-5


@pytest.mark.parametrize("space_group", ["P 1", "C 1 2 1", "R 3:H", "R 3 2:R", "P 61 2 2", "F 4 3 2"])
@pytest.mark.parametrize("method", ["fft", "direct"])
def test_pullback_is_the_adjoint(space_group: str, method: str) -> None:
    """F is linear in the occupancies, so the dot test is exact there; xyz and B by finite differences."""
    box = crystal(space_group)
    atoms = random_atoms(box)
    hkl = random_hkl(box, D_MIN, 80)
    sf = StructureFactors(box, hkl, atoms, method=method, precision="double", accuracy=1e-7)
    rng = np.random.default_rng(5)
    y = rng.normal(size=len(hkl)) + 1j * rng.normal(size=len(hkl))
    gradient = sf.pullback(y, atoms)
    dot_test(float(np.vdot(y, sf(atoms)).real), float(gradient.occupancy @ atoms.occupancy), 1e-10)

    def value(moved: Atoms) -> float:
        return float(np.vdot(y, sf(moved)).real)

    shift, change = rng.normal(size=atoms.xyz.shape), rng.normal(size=len(atoms))
    check_direction(
        lambda t: value(atoms.replace(xyz=atoms.xyz + t * shift)), float((gradient.xyz * shift).sum()), 1e-3, 1e-5
    )
    check_direction(
        lambda t: value(atoms.replace(b_iso=atoms.b_iso + t * change)), float(gradient.b_iso @ change), 1e-2, 1e-5
    )


def test_gradients_by_fft_and_direct_summation_agree_within_the_stated_accuracy() -> None:
    box = crystal("P 21 21 21")
    atoms = random_atoms(box, n=30)
    hkl = random_hkl(box, D_MIN, 400)
    sf, exact = StructureFactors(box, hkl, atoms), StructureFactors(box, hkl, atoms, method="direct")
    # A gradient as a target makes it: falling with resolution like F itself.
    d_f = exact(random_atoms(box, n=30, seed=9))
    fast, slow = sf.pullback(d_f, atoms), exact.pullback(d_f, atoms)
    assert _error(fast.xyz, slow.xyz) < 1e-3
    assert _error(fast.b_iso, slow.b_iso) < 1e-3
    assert _error(fast.occupancy, slow.occupancy) < 1e-3


@pytest.mark.parametrize("accuracy", [1e-2, 1e-3, 3e-4, 1e-5])
def test_error_stays_below_the_accuracy_asked_for(accuracy: float, case) -> None:
    model = read_model(case("1aba") / "model.pdb")
    hkl = random_hkl(model.crystal, 2.0, 300)
    exact = StructureFactors(model.crystal, hkl, model.atoms, method="direct")(model.atoms)
    sf = StructureFactors(model.crystal, hkl, model.atoms, accuracy=accuracy, precision="double")
    assert _error(sf(model.atoms), exact) < accuracy


@pytest.mark.parametrize(("name", "hydrogens"), [("1rx2", False), ("3g70", True), ("2r4r", False), ("1ehz", False)])
def test_f_and_gradient_are_as_accurate_as_asked_for_on_real_crystals(name: str, hydrogens: bool, case) -> None:
    model = read_model(next(case(name).glob("shaken.*")))
    box, atoms = model.crystal, model.atoms
    if hydrogens:  # the lightest atoms have the form factor least like the others'
        light = np.flatnonzero(atoms.element == "C")
        element = np.append(atoms.element, np.full(len(light), "H"))
        atoms = atoms_from(
            np.concatenate([atoms.xyz, atoms.xyz[light] + 0.6]), list(element),
            np.append(atoms.b_iso, atoms.b_iso[light]), np.append(atoms.occupancy, atoms.occupancy[light]),
        )  # fmt: skip
    hkl = random_hkl(box, {"1rx2": 1.8, "3g70": 2.0, "2r4r": 3.4, "1ehz": 1.93}[name], 400)
    sf, exact = StructureFactors(box, hkl, atoms), StructureFactors(box, hkl, atoms, method="direct")
    f = exact(atoms)
    assert _error(sf(atoms), f) < 3e-4
    d_f = f * np.random.default_rng(6).normal(size=len(hkl))
    fast, slow = sf.pullback(d_f, atoms), exact.pullback(d_f, atoms)
    assert _error(fast.xyz, slow.xyz) < 1e-3
    assert _error(fast.b_iso, slow.b_iso) < 1e-3
    assert _error(fast.occupancy, slow.occupancy) < 1e-3


def test_threads_change_nothing() -> None:
    box = crystal("P 21 21 21")
    atoms = random_atoms(box, n=60)
    hkl = random_hkl(box, D_MIN, 200)
    one, two = StructureFactors(box, hkl, atoms), StructureFactors(box, hkl, atoms, threads=2)
    f = one(atoms)
    assert np.array_equal(f, two(atoms))
    for a, b in zip(vars(one.pullback(f, atoms)).values(), vars(two.pullback(f, atoms)).values()):
        assert np.array_equal(a, b)


def test_atoms_may_move_on_after_the_first_call() -> None:
    """Bricks are listed once and used until an atom has moved too far."""
    box = crystal("P 63")
    atoms = random_atoms(box, n=20)
    hkl = random_hkl(box, D_MIN, 100)
    sf, exact = StructureFactors(box, hkl, atoms), StructureFactors(box, hkl, atoms, method="direct")
    rng = np.random.default_rng(8)
    for size in (0.0, 0.01, 0.05, 0.3, 0.02, 5.0):
        atoms = atoms.replace(xyz=atoms.xyz + size * rng.normal(size=atoms.xyz.shape))
        assert _error(sf(atoms), exact(atoms)) < 3e-4


def test_a_plan_adapts_to_other_b_factors() -> None:
    box = crystal("P 21 21 21")
    atoms = random_atoms(box, n=60)
    hkl = random_hkl(box, D_MIN, 200)
    sf = StructureFactors(box, hkl, atoms)
    assert sf.adapted(atoms.replace(b_iso=atoms.b_iso + 0.1)) is sf
    for change in (-3.5, 60.0):
        other = atoms.replace(b_iso=atoms.b_iso + change)
        adapted = sf.adapted(other)
        assert adapted is not sf
        assert adapted.sampling != sf.sampling
        assert _error(adapted(other), StructureFactors(box, hkl, other, method="direct")(other)) < 3e-4
    direct = StructureFactors(box, hkl, atoms, method="direct")
    assert direct.adapted(other) is direct


@pytest.mark.parametrize(("was", "now"), [(150.0, 15.0), (90.0, 4.0), (45.0, 1.5), (15.0, 120.0)])
def test_a_plan_for_a_flat_b_adapts_to_the_true_ones(was: float, now: float, case) -> None:
    """Form factors too: their functions are chosen for the resolution at which the atoms scatter."""
    model = read_model(case("5e5z") / "model.pdb")
    hkl = random_hkl(model.crystal, 1.2, 400)
    flat = model.atoms.replace(b_iso=np.full(len(model.atoms), was))
    true = model.atoms.replace(b_iso=model.atoms.b_iso - model.atoms.b_iso.min() + now)
    exact = StructureFactors(model.crystal, hkl, true, method="direct")(true)
    assert _error(StructureFactors(model.crystal, hkl, flat).adapted(true)(true), exact) < 3e-4


@pytest.mark.parametrize("others", [(25.0, 60.0), (40.0, 80.0), (100.0, 200.0)])
def test_one_sharp_atom_among_many(others: tuple[float, float]) -> None:
    """It alone decides what is seen at high resolution; before and after the plan is made."""
    box = Crystal((30.0, 33.0, 36.0, 90.0, 90.0, 90.0), "P 1")
    atoms = random_atoms(box, n=800)
    rng = np.random.default_rng(11)
    warm = atoms.replace(b_iso=rng.uniform(*others, len(atoms)), occupancy=np.ones(len(atoms)))
    sharp = warm.replace(b_iso=np.where(np.arange(len(atoms)) == 7, 2.0, warm.b_iso))
    hkl = random_hkl(box, 1.3, 500)
    exact = StructureFactors(box, hkl, sharp, method="direct")
    f = exact(sharp)
    d_f = f * rng.normal(size=len(hkl))
    slow = exact.pullback(d_f, sharp)
    for plan in (StructureFactors(box, hkl, sharp), StructureFactors(box, hkl, warm)):
        assert _error(plan(sharp), f) < 1e-3
        fast = plan.pullback(d_f, sharp)
        assert _error(fast.xyz, slow.xyz) < 5e-3
        assert _error(fast.xyz[7], slow.xyz[7]) < 5e-3


def test_special_position_counts_every_operator() -> None:
    """An atom on the 2-fold of C2 with occupancy one half scatters like one atom per two operators."""
    box = crystal("C 1 2 1")
    atoms = atoms_from(np.array([[0.0, 3.0, 0.0]]), ["C"], np.array([10.0]), np.array([0.5]))
    f = StructureFactors(box, np.array([[0, 0, 0]]), atoms, method="direct")(atoms)
    form_factor = sum(gemmi.Element("C").it92.a) + gemmi.Element("C").it92.c
    assert f[0].real == pytest.approx(2 * form_factor, rel=1e-9)  # two lattice points


def test_reflections_beyond_a_transform_are_refused() -> None:
    one = np.eye(3, dtype=np.int32)[None]
    with pytest.raises(ValueError, match=r"^reflections reach ±\(3, 1, 2\); a transform of \(4, 8, 8\) does not hold"):
        lookup.plan(np.array([[3, 1, -2]]), one, np.zeros((1, 3)), 1, (4, 8, 8), np.complex64)
