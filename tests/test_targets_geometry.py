"""Restraint targets on real crystals: derivatives, invariance, contacts, statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import check_direction

from arrayrefine import Options, refine
from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels.geometry import Firm, stiffness
from arrayrefine.monomers import load_monomers
from arrayrefine.options import Geometry
from arrayrefine.preparation import prepare
from arrayrefine.restraints import Restraints
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.adp_curvature import log_matrix
from arrayrefine.targets.contacts import Contacts, pair_distances
from arrayrefine.targets.firm_outliers import Limits
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.targets.geometry_curvature import jacobian
from arrayrefine.topology.build import build_restraints

Loaded = tuple[Atoms, Crystal, Restraints]
CELL = "CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 {group}\n"
WATER = "HETATM{n:5d}  O  {alt}HOH A{n:4d}    {x:8.3f}{y:8.3f}{z:8.3f}{q:6.2f} 20.00           O\n"

SIGMA = Geometry().contact_sigma
FIRM = ("bond", "angle", "chirality")


def load(path: Path, **options: str) -> Loaded:
    model = read_model(path)
    library = load_monomers(model.structure[0].get_all_residue_names())
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library, **options)  # type: ignore
    return model.atoms, model.crystal, restraints


@pytest.fixture
def loaded(case: Callable[[str], Path]) -> Callable[..., Loaded]:
    def make(name: str, file: str | None = None, **options: str) -> Loaded:
        folder = case(name)
        path = folder / file if file else next(
            p for p in (folder / "model.pdb", folder / "model.cif") if p.exists()
        )  # fmt: skip
        return load(path, **options)

    return make


def waters(tmp_path: Path, rows: list[tuple[float, float, float, float, str]], group: str = "P 1") -> Loaded:
    """Waters at x, y, z with an occupancy and an altloc."""
    text = CELL.format(group=group) + "".join(
        WATER.format(n=n + 1, x=x, y=y, z=z, q=q, alt=alt) for n, (x, y, z, q, alt) in enumerate(rows)
    )
    path = tmp_path / "waters.pdb"
    path.write_text(text + "END\n")
    return load(path)


def contact_value(loaded: Loaded) -> float:
    atoms, crystal, restraints = loaded
    return GeometryTarget.build(restraints, crystal).terms(atoms)["contact"].value


def shaken(atoms: Atoms, rms: float, seed: int = 0) -> Atoms:
    rng = np.random.default_rng(seed)
    return atoms.replace(xyz=atoms.xyz + rng.normal(0.0, rms / np.sqrt(3), atoms.xyz.shape))


def check_xyz(target: GeometryTarget, atoms: Atoms) -> None:
    """Finite differences by xyz; no gradient by B and occupancy."""
    _, gradient = target(atoms)
    assert not gradient.b_iso.any()
    assert not gradient.occupancy.any()
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=atoms.xyz.shape)
        slope = float((gradient.xyz * direction).sum())
        check_direction(lambda t, d=direction: target(atoms.replace(xyz=atoms.xyz + t * d))[0], slope, 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("name", "file"), [("1aba", "shaken.pdb"), ("1dur", None), ("5uui", None), ("3sb3", "shaken.pdb")]
)
def test_gradient_of_the_whole_target(name: str, file: str | None, loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded(name, file)
    target = GeometryTarget.build(restraints, crystal)
    assert target.terms(atoms)["contact"].count > 100
    check_xyz(target, atoms)


@pytest.mark.parametrize("kind", ["kl", "variance", "none"])
def test_gradient_of_the_adp_target(kind: str, loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("1aba", "shaken.pdb")
    target = AdpTarget.build(restraints, crystal, atoms, kind)  # type: ignore[arg-type]
    value, gradient = target(atoms)
    direction = np.random.default_rng(0).normal(size=len(atoms))
    slope = float(gradient.b_iso @ direction)
    if kind != "none":
        check_direction(lambda t: target(atoms.replace(b_iso=atoms.b_iso + t * direction))[0], slope, 1e-3, 1e-6)
    assert (value > 0) == (kind != "none")
    assert not gradient.xyz.any()


def test_bond_and_angle_statistics_agree_with_servalcat(loaded: Callable[..., Loaded]) -> None:
    """Servalcat 0.4.142, zero cycles: non-H bonds 0.0282 Å, 1.6901 sigma; angles 2.7445°, 1.5147 sigma."""
    atoms, crystal, restraints = loaded("1aba")
    terms = GeometryTarget.build(restraints, crystal).terms(atoms)
    assert terms["bond"].rmsd == pytest.approx(0.0282, rel=0.02)
    assert terms["bond"].rmsz == pytest.approx(1.6901, rel=0.02)
    assert terms["angle"].rmsd == pytest.approx(2.7445, rel=0.02)
    assert terms["angle"].rmsz == pytest.approx(1.5147, rel=0.02)


def test_terms_add_up_to_the_value(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("1dur")
    target = GeometryTarget.build(restraints, crystal)
    terms = target.terms(atoms)
    assert sum(term.value for term in terms.values()) == pytest.approx(target(atoms)[0])
    without = GeometryTarget.build(restraints, crystal, Geometry(torsions=False, contacts=False))
    rest = sum(terms[k].value for k in ("bond", "angle", "chirality", "plane"))
    assert without(atoms)[0] == pytest.approx(rest)
    assert without.terms(atoms)["contact"].rmsz is None


def test_statistics_leave_hydrogens_out(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("4xof")
    heavy = ~atoms.is_hydrogen
    terms = GeometryTarget.build(restraints, crystal).terms(atoms)
    assert terms["bond"].count == int(heavy[restraints.bonds.index].all(axis=1).sum())
    assert terms["bond"].count < len(restraints.bonds.ideal)


def test_jacobian_makes_the_gradient(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("3sb3")
    options = Geometry(torsions=False, outlier_weight=4.0)
    target = GeometryTarget.build(restraints, crystal, options)
    slopes = jacobian(target, atoms)
    terms = list(target._terms(atoms))
    z = np.concatenate([term.z for term in terms])
    stiff = np.concatenate([stiffness(t.z, target.firm(t.index) if t.kind in FIRM else Firm(1.0, 0.0)) for t in terms])
    assert np.count_nonzero(stiff > 1.01) > 20
    assert slopes.shape == (len(z), 3 * len(atoms))
    pull = slopes.T @ (np.sqrt(stiff) * z)
    np.testing.assert_allclose(pull, target(atoms)[1].xyz.ravel(), atol=1e-9 * np.abs(z).max())
    with_torsions = GeometryTarget.build(restraints, crystal)
    rows = jacobian(with_torsions, atoms, torsions=True).shape[0] - jacobian(with_torsions, atoms).shape[0]
    assert rows == len(restraints.torsions.ideal)


def test_outliers_are_restrained_more_firmly(loaded: Callable[..., Loaded]) -> None:
    """Bonds, angles and chiral volumes beyond the limit, and these alone, count more."""
    atoms, crystal, restraints = loaded("1aba")
    start = shaken(atoms, 0.1)
    harmonic = GeometryTarget.build(restraints, crystal, Geometry(outlier_weight=0.0))
    firm = GeometryTarget.build(restraints, crystal, Geometry(outlier_z=2.5, outlier_weight=4.0))
    plain = {term.kind: term.z for term in harmonic._terms(start)}
    beyond = {kind: np.maximum(np.abs(plain[kind]) - 2.5, 0.0) for kind in ("bond", "angle", "chirality")}
    assert all(np.count_nonzero(part) > 10 for part in beyond.values())
    added = 2.0 * sum(float(np.sum(part**3 / (1.0 + part))) for part in beyond.values())
    assert firm(start)[0] - harmonic(start)[0] == pytest.approx(added, rel=1e-9)
    assert firm.of_dictionary(start)[0] == pytest.approx(harmonic(start)[0], rel=1e-12)
    check_xyz(firm, start)
    with_value = firm.terms(start)
    assert firm(start)[0] == pytest.approx(sum(term.value for term in with_value.values()), rel=1e-9)
    assert with_value["angle"].rmsz == harmonic.terms(start)["angle"].rmsz


def wider(restraints: Any) -> Any:
    return dataclasses.replace(restraints, sigma=2.0 * restraints.sigma)


def test_outliers_are_those_of_the_model_at_the_start_of_a_step(loaded: Callable[..., Loaded]) -> None:
    """Where bonds and angles are strained throughout, and at centres of the wrong hand, there are none."""
    atoms, crystal, restraints = loaded("1aba")
    options = Geometry(outlier_z=2.5, outlier_weight=4.0)
    target = GeometryTarget.build(restraints, crystal, options)
    assert target.limits == Limits()
    some, far = shaken(atoms, 0.02), shaken(atoms, 0.1)
    strained = target.firmed(some).limits
    assert 3.0 > strained.spread == max(r for r in target.core_rmsz(some) if r is not None) > 1.5
    assert 0.0 < target.firmed(some).excess(some) < 0.7 * target.excess(some)
    assert target.anchored(some).limits == strained
    assert max(r for r in target.core_rmsz(far) if r is not None) > 3.0
    assert target.firmed(far).excess(far) == 0.0 < target.excess(far)
    assert target.firmed(far)(far)[0] == pytest.approx(target.of_dictionary(far)[0], rel=1e-12)
    loose = dataclasses.replace(restraints, angles=wider(restraints.angles), bonds=wider(restraints.bonds))
    assert GeometryTarget.build(loose, crystal, options).firmed(atoms).limits == Limits()
    without = GeometryTarget.build(restraints, crystal, dataclasses.replace(options, outlier_weight=0.0))
    assert without.firmed(far) is without
    assert without.excess(far) == 0.0

    c = restraints.chiralities
    turned = dataclasses.replace(c, ideal=np.where(np.arange(len(c.ideal)) == 3, -c.ideal, c.ideal))
    other = GeometryTarget.build(dataclasses.replace(restraints, chiralities=turned), crystal, options)
    firmed = other.firmed(atoms)
    around = c.index[3]
    assert firmed.limits.exempt == tuple(sorted(around.tolist()))
    held = dataclasses.replace(other, limits=Limits(firmed.limits.spread)).excess(atoms)
    assert firmed.excess(atoms) < held - 500.0
    for kind, index in (("bond", restraints.bonds.index), ("angle", restraints.angles.index)):
        infinite = np.isinf(np.broadcast_to(firmed.firm(index).limit, len(index)))
        assert np.array_equal(infinite, np.isin(index, around).any(axis=1)), kind
    check_xyz(firmed, shaken(atoms, 0.05))


def test_a_refinement_with_firm_outliers_has_fewer(case: Callable[[str], Path]) -> None:
    files = case("1rx2") / "shaken.pdb", case("1rx2") / "norm.mtz"
    left, r_free = [], []  # what is beyond 2.5, squared
    for weight in (0.0, 4.0):
        options = Options(
            d_min=2.2, hydrogens="strip", tls=("none",), anisotropic="none",
            geometry=Geometry(outlier_weight=weight),
        )  # fmt: skip
        result = refine(*files, options)
        geometry = prepare(*files, options)[1].geometry
        outliers = geometry.outliers(result.atoms, 2.5)
        left.append(sum((abs(o.z) - 2.5) ** 2 for o in outliers if o.kind in ("bond", "angle")))
        r_free.append(result.r_free)
    assert left[0] > 5.0
    assert left[1] < 0.75 * left[0]
    assert r_free[1] < r_free[0] + 0.003


def test_p1_energy_does_not_depend_on_place_or_lattice_copy(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("1aba")
    reference = GeometryTarget.build(restraints, crystal)(atoms)[0]
    lattice = atoms.replace(xyz=atoms.xyz + crystal.cartesian(np.array([[1.0, -2.0, 3.0]])))
    assert GeometryTarget.build(restraints, crystal)(lattice)[0] == pytest.approx(reference, rel=1e-9)
    for rotation, translation in zip(crystal.rotations, crystal.translations):
        moved = crystal.cartesian(crystal.fractional(atoms.xyz) @ rotation.T + translation)
        mate = atoms.replace(xyz=moved)
        assert GeometryTarget.build(restraints, crystal)(mate)[0] == pytest.approx(reference, rel=1e-9)


def test_list_of_pairs_is_renewed_when_atoms_move_far(loaded: Callable[..., Loaded]) -> None:
    """A target made for other coordinates gives the same value as one made for these."""
    atoms, crystal, restraints = loaded("1dur")
    target = GeometryTarget.build(restraints, crystal)
    target(atoms)
    for rms in (0.05, 0.1, 0.15, 0.05, 0.3, 1.5, 0.1):
        moved = shaken(atoms, rms)
        fresh = GeometryTarget.build(restraints, crystal)
        assert target(moved)[0] == pytest.approx(fresh(moved)[0], rel=1e-12)


def test_list_of_pairs_is_renewed_for_a_few_atoms(loaded: Callable[..., Loaded]) -> None:
    """Atoms that alone move far are searched for alone, again and again."""
    atoms, crystal, restraints = loaded("1aba")
    target = GeometryTarget.build(restraints, crystal)
    target(atoms)
    rng = np.random.default_rng(4)
    for _ in range(6):
        xyz = atoms.xyz + rng.normal(0.0, 0.05, atoms.xyz.shape)
        few = rng.permutation(len(atoms))[:8]
        xyz[few] += rng.normal(0.0, 1.5, (8, 3))
        atoms = atoms.replace(xyz=xyz)
        fresh = GeometryTarget.build(restraints, crystal)
        assert target(atoms)[0] == pytest.approx(fresh(atoms)[0], rel=1e-12)


def test_list_of_pairs_follows_the_occupancies(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("6mw0")
    minor = atoms.occupancy < 0.5
    assert minor.any()
    target = GeometryTarget.build(restraints, crystal)
    target(atoms)
    values = []
    for q in (0.0, 1.0, 0.3):
        changed = atoms.replace(occupancy=np.where(minor, q, atoms.occupancy))
        fresh = GeometryTarget.build(restraints, crystal)
        values.append(target(changed)[0])
        assert values[-1] == pytest.approx(fresh(changed)[0], rel=1e-12)
    assert values[0] < values[1]


def test_outliers_name_the_worst_first(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("1aba")
    xyz = atoms.xyz.copy()
    far = np.flatnonzero(atoms.identity.atom_name == "CB")[3]
    xyz[far] += [1.0, 0.0, 0.0]
    moved = atoms.replace(xyz=xyz)
    outliers = GeometryTarget.build(restraints, crystal).outliers(moved, z=5.0)
    assert atoms.identity.label(int(far)) in outliers[0].atoms
    assert sorted((abs(o.z) for o in outliers), reverse=True) == [abs(o.z) for o in outliers]
    assert all(abs(o.z) > 5.0 and o.deviation / o.sigma == pytest.approx(o.z) for o in outliers)


def test_time_is_recorded_per_part(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("1dur")
    timer: dict[str, float] = {}
    target = GeometryTarget.build(restraints, crystal, timer=timer)
    adp = AdpTarget.build(restraints, crystal, atoms, timer=timer)
    target(atoms)
    adp(atoms)
    assert set(timer) == {"geometry", "contacts", "adp"}
    assert all(seconds > 0 for seconds in timer.values())


def test_hydrogen_bonds_may_be_short(tmp_path: Path) -> None:
    close = contact_value(waters(tmp_path, [(5, 5, 5, 1, " "), (7.5, 5, 5, 1, " ")]))
    bonded = contact_value(waters(tmp_path, [(5, 5, 5, 1, " "), (7.8, 5, 5, 1, " ")]))
    assert close == pytest.approx(0.5 * ((2 * 1.52 - 0.3 - 2.5) / SIGMA) ** 2, rel=1e-6)
    assert bonded == 0.0


def test_conformers_and_empty_atoms_do_not_meet(tmp_path: Path) -> None:
    here, there = (5.0, 5.0, 5.0), (6.0, 5.0, 5.0)
    assert contact_value(waters(tmp_path, [(*here, 0.5, "A"), (*there, 0.5, "A")])) > 0
    assert contact_value(waters(tmp_path, [(*here, 0.5, "A"), (*there, 1.0, " ")])) > 0
    assert contact_value(waters(tmp_path, [(*here, 0.5, "A"), (*there, 0.5, "B")])) == 0.0
    assert contact_value(waters(tmp_path, [(*here, 0.0, " "), (*there, 1.0, " ")])) == 0.0


def test_symmetry_mates_that_exclude_each_other(tmp_path: Path) -> None:
    """A water 0.6 Å off a twofold axis: half occupied it may stand there, fully occupied it is repelled."""
    assert contact_value(waters(tmp_path, [(0.6, 0.0, 5.0, 0.5, " ")], "P 1 1 2")) == 0.0
    full = contact_value(waters(tmp_path, [(0.6, 0.0, 5.0, 1.0, " ")], "P 1 1 2"))
    assert full == pytest.approx(0.5 * 0.5 * ((2 * 1.52 - 0.3 - 1.2) / SIGMA) ** 2, rel=1e-6)


def test_an_atom_on_a_special_position_does_not_meet_itself(tmp_path: Path) -> None:
    loaded = waters(tmp_path, [(0.0, 0.0, 5.0, 1.0, " ")], "P 1 1 2")
    assert loaded[0].multiplicity[0] == 2
    assert contact_value(loaded) == 0.0


def test_contact_with_a_symmetry_mate_counts_half_per_atom(tmp_path: Path) -> None:
    """One water and its screw-related neighbours on both sides: one contact per asymmetric unit."""
    text = CELL.replace("30.000   30.000   30.000", " 5.000   30.000   30.000").format(group="P 21 1 1")
    path = tmp_path / "w.pdb"
    path.write_text(text + WATER.format(n=1, x=1.0, y=0.2, z=0.1, q=1.0, alt=" ") + "END\n")
    loaded = load(path)
    distance = np.linalg.norm([2.5, 0.4, 0.2])
    expected = 0.5 * ((2 * 1.52 - 0.3 - distance) / SIGMA) ** 2
    assert contact_value(loaded) == pytest.approx(expected, rel=1e-6)
    atoms, crystal, restraints = loaded
    check_xyz(GeometryTarget.build(restraints, crystal), atoms)


def test_bonded_atoms_are_not_contacts(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("1aba")
    contacts = Contacts.of(restraints, crystal, 0.2)
    _, _, index, _ = contacts.evaluate(atoms)
    pairs = {(int(i), int(j)) for i, j in index}
    for table in (restraints.bonds.index, restraints.angles.index[:, [0, 2]], restraints.non_bonded.excluded):
        assert not pairs & {(int(min(p)), int(max(p))) for p in table}


def test_held_atoms_are_avoided(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("5orl", unknown="hold")
    held = np.flatnonzero(restraints.held)
    water = int(np.flatnonzero(atoms.identity.residue_name == "HOH")[0])
    xyz = atoms.xyz.copy()
    xyz[water] = xyz[held].mean(axis=0) + np.array([0.3, 0.2, 0.1])
    moved = atoms.replace(xyz=xyz)
    contacts = Contacts.of(restraints, crystal, 0.2)
    _, _, index, _ = contacts.evaluate(moved)
    pairs = {(int(i), int(j)) for i, j in index}
    assert any(water in pair and pair[0] in held for pair in pairs)
    assert not any(restraints.held[i] and restraints.held[j] for i, j in pairs)


def test_one_four_is_softer_than_a_contact(loaded: Callable[..., Loaded]) -> None:
    _, _, restraints = loaded("1aba")
    nb = restraints.non_bonded
    i, j = nb.one_four[:, 0], nb.one_four[:, 1]
    soft = pair_distances(nb, i, j, np.ones(len(i), bool))
    hard = pair_distances(dataclasses.replace(nb, acceptor=np.zeros_like(nb.acceptor)), i, j, np.zeros(len(i), bool))
    assert (soft < hard).all()


def test_without_metal_exclusion_the_cluster_would_repel(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("1dur")

    def clash_on_iron(r: Restraints) -> float:
        z, _, index, _ = Contacts.of(r, crystal, 0.2).evaluate(atoms)
        return float(np.abs(z[(atoms.element[index] == "Fe").any(axis=1)]).max(initial=0.0))

    nb = restraints.non_bonded
    opened = dataclasses.replace(
        nb, excluded=nb.excluded[~nb.metal[nb.excluded].any(axis=1)], ion_radius=np.full(len(atoms), np.nan)
    )
    assert clash_on_iron(restraints) < 1.0
    assert clash_on_iron(dataclasses.replace(restraints, non_bonded=opened)) > 4.0


def test_adp_pairs_respect_conformers_and_symmetry(loaded: Callable[..., Loaded]) -> None:
    atoms, crystal, restraints = loaded("3sb3")
    target = AdpTarget.build(restraints, crystal, atoms)
    altloc = atoms.identity.altloc
    one, two = altloc[target.i], altloc[target.j]
    assert ((one == "") | (two == "") | (one == two)).all()
    assert (target.i < target.j).all()
    assert len({(int(i), int(j)) for i, j in zip(target.i, target.j)}) == len(target.i)
    direct = np.linalg.norm(atoms.xyz[target.i] - atoms.xyz[target.j], axis=1)
    assert (direct > 4.0).any()
    bonded = {(int(min(p)), int(max(p))) for p in restraints.bonds.index}
    is_bond = np.array([(int(i), int(j)) in bonded for i, j in zip(target.i, target.j)])
    assert is_bond.sum() > 700
    np.testing.assert_allclose(target.weight[is_bond & (direct < 2.0)], 100.0)


def test_single_atom(tmp_path: Path) -> None:
    atoms, crystal, restraints = waters(tmp_path, [(1.0, 2.0, 3.0, 1.0, " ")])
    for target in (
        GeometryTarget.build(restraints, crystal),
        AdpTarget.build(restraints, crystal, atoms),
    ):
        value, gradient = target(atoms)
        assert value == 0.0
        assert gradient.xyz.shape == (1, 3)
    geometry = GeometryTarget.build(restraints, crystal)
    assert jacobian(geometry, atoms).shape == (0, 3)
    assert geometry.terms(atoms)["bond"].rmsz is None



def test_two_atoms_are_a_pair_that_wants_like_displacements(tmp_path: Path) -> None:
    atoms, crystal, restraints = waters(tmp_path, [(1.0, 2.0, 3.0, 1.0, " "), (1.0, 2.0, 5.8, 1.0, " ")])
    target = AdpTarget.build(restraints, crystal, atoms)
    assert (target.i.tolist(), target.j.tolist()) == ([0], [1])
    value, gradient = target(atoms.replace(b_iso=np.array([20.0, 30.0])))
    assert value > 0.0
    assert gradient.b_iso[0] < 0.0 < gradient.b_iso[1]


def test_log_matrix_is_the_second_derivative_of_the_strong_pairs(loaded: Callable[..., Loaded]) -> None:
    """By ln B, at equal B, where Gauss-Newton is exact; weak pairs keep their diagonal, so the matrix bounds it."""
    atoms, crystal, restraints = loaded("1aba")
    target = AdpTarget.build(restraints, crystal, atoms)
    flat = atoms.replace(b_iso=np.full(len(atoms), 20.0))
    matrix = log_matrix(target, flat)
    rng = np.random.default_rng(0)
    v = rng.normal(size=len(atoms))
    step = 1e-4

    def slope(t: float) -> np.ndarray:
        b = 20.0 * np.exp(t * v)
        return target(flat.replace(b_iso=b))[1].b_iso * b

    exact = float(v @ (slope(step) - slope(-step))) / (2 * step)
    assert exact == pytest.approx(float(v @ (matrix @ v)), rel=0.1)
    unit = np.zeros(len(atoms))
    unit[10] = 1.0
    b = [20.0 * np.exp(t * unit) for t in (step, -step)]
    diagonal = [target(flat.replace(b_iso=x))[1].b_iso[10] * x[10] for x in b]
    assert (diagonal[0] - diagonal[1]) / (2 * step) == pytest.approx(matrix[10, 10], rel=1e-5)
