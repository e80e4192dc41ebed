"""Copies that stay the same: which atoms they are, and how they move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from checks import check_direction, dot_test
from synthetic import with_tensors

import arrayrefine as ar
from arrayrefine.atoms import Atoms, Gradient, Riding
from arrayrefine.displacements.displacement import NOT_ROUND, total_u
from arrayrefine.displacements.tls import Tls
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels import symmetric
from arrayrefine.kernels.rotations import rotations
from arrayrefine.options import External
from arrayrefine.parameters import Parameters
from arrayrefine.reporting.option_effects import without_effect
from arrayrefine.selection import select
from arrayrefine.strict_ncs.carried import turned_strains
from arrayrefine.strict_ncs.consensus import agreed
from arrayrefine.strict_ncs.copies import superposed, turned
from arrayrefine.strict_ncs.finding import find_copies


@pytest.fixture(scope="module")
def atoms(request: pytest.FixtureRequest) -> Atoms:
    """3G70: two chains of one protein, with a ligand each."""
    return read_model(request.getfixturevalue("case")("3g70") / "model.pdb").atoms


def _renamed(atoms: Atoms, chosen: np.ndarray, chain: str) -> Atoms:
    names = np.where(chosen, chain, atoms.identity.chain)
    return dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, chain=names))


def test_what_alike_chains_have_in_common_is_the_same(atoms: Atoms) -> None:
    copies, (said, doubt) = find_copies(atoms)
    who = atoms.identity
    assert copies.names == ("A to B",)
    assert len(copies) == len(np.unique(copies.child)) == len(np.unique(copies.parent)) > 2400
    assert not set(copies.child) & set(copies.parent)
    assert (who.atom_name[copies.child] == who.atom_name[copies.parent]).all()
    assert (who.residue_name[copies.child] == who.residue_name[copies.parent]).all()
    assert (who.altloc[copies.child] == who.altloc[copies.parent]).all()
    assert "A5T" in who.residue_name[copies.child]  # the ligand, which lies alike in both
    assert not atoms.is_water[copies.child].any()
    assert "chains A to B (" in said
    assert f"{int(atoms.is_water.sum())} waters" in said
    assert "copies differ by up to 0.9" in doubt  # their lobes lie otherwise


def test_chains_that_move_together_have_one_operator(atoms: Atoms) -> None:
    late = atoms.identity.sequence_number % 2 == 1
    two = atoms
    for old, new in ("AC", "BD"):
        two = _renamed(two, late & (atoms.identity.chain == old), new)
    assert find_copies(two)[0].names == ("A, C to B, D",)
    apart = two.replace(xyz=two.xyz + 2.0 * (two.identity.chain == "D")[:, None])
    assert find_copies(apart)[0].names == ("A to B", "C to D")


def test_what_a_copy_lacks_or_has_elsewhere_is_free(atoms: Atoms) -> None:
    every, _ = find_copies(atoms)
    who = atoms.identity
    keep = ~((who.chain == "B") & (who.sequence_number >= 20) & (who.sequence_number < 30))
    fewer, _ = find_copies(atoms.taken(np.flatnonzero(keep)))
    taken = np.isin(who.residue[every.child], who.residue[~keep])
    assert len(fewer) == len(every) - taken.sum()
    loop = (who.chain == "B") & (who.sequence_number >= 20) & (who.sequence_number < 30)
    moved, _ = find_copies(atoms.replace(xyz=atoms.xyz + 6.0 * loop[:, None]))
    assert len(moved) == len(fewer)
    multiplicity = atoms.multiplicity.copy()
    multiplicity[every.child[0]] = 2
    assert len(find_copies(dataclasses.replace(atoms, multiplicity=multiplicity))[0]) == len(every) - 1
    altloc = who.altloc.copy()
    altloc[every.child[0]] = "C"
    other = dataclasses.replace(atoms, identity=dataclasses.replace(who, altloc=altloc))
    assert len(find_copies(other)[0]) == len(every) - 1
    riding = Riding(every.child[5:6], every.child[4:5])
    assert len(find_copies(dataclasses.replace(atoms, riding=riding))[0]) == len(every) - 1


def test_what_is_the_same_is_found_again(atoms: Atoms) -> None:
    """Residues that lay elsewhere may join, as the operator now fits them better; none that was the same leaves."""
    copies, _ = find_copies(atoms)
    again, _ = find_copies(agreed(copies, atoms))
    first, second = ({*zip(found.child.tolist(), found.parent.tolist())} for found in (copies, again))
    assert first <= second


def test_a_copy_that_is_frozen_is_named_as_the_reason(atoms: Atoms) -> None:
    """Alike chains are there, so that the model is not to blame."""
    copies, (said,) = find_copies(atoms, atoms.identity.chain == "B")
    assert not len(copies)
    assert "what stays in one copy stays in all" in said


def test_chains_of_another_fold_are_no_copies(atoms: Atoms) -> None:
    """Half of the second chain is moved away; two such models are two of each."""
    who = atoms.identity
    half = (who.chain == "B") & (who.sequence_number > 170)
    bent = atoms.replace(xyz=atoms.xyz + 8.0 * half[:, None])
    assert not len(find_copies(bent)[0])
    rows = np.concatenate([np.arange(len(atoms))] * 2)
    twice = bent.taken(rows)
    again = np.arange(len(rows)) >= len(atoms)
    names = np.where(again, np.where(twice.identity.chain == "A", "C", "D"), twice.identity.chain)
    residue = twice.identity.residue + again * (1 + who.residue.max())
    identity = dataclasses.replace(twice.identity, chain=names, residue=residue)
    twice = dataclasses.replace(twice, identity=identity, xyz=twice.xyz + 60.0 * again[:, None])
    copies, _ = find_copies(twice)
    assert copies.names == ("A, B to C, D",)
    assert len(copies) > 4900


def test_waters_are_copies_only_where_an_operator_made_them(atoms: Atoms) -> None:
    who = atoms.identity
    copies, _ = find_copies(atoms)
    motions = copies.motions(atoms)
    first = np.flatnonzero(atoms.is_water & (who.chain == "A"))[:20]
    second = np.flatnonzero(atoms.is_water & (who.chain == "B"))[:20]
    xyz = atoms.xyz.copy()
    xyz[second] = motions.applied(np.zeros(20, dtype=int), xyz[first])
    made, _ = find_copies(atoms.replace(xyz=xyz))
    assert set(second) >= set(made.child[atoms.is_water[made.child]])
    assert atoms.is_water[made.child].sum() > 10  # those near the other chain have this for a parent
    xyz[second] += 0.1
    assert not atoms.is_water[find_copies(atoms.replace(xyz=xyz))[0].child].any()


def test_no_chains_alike_is_said(atoms: Atoms) -> None:
    copies, (said,) = find_copies(atoms.taken(np.flatnonzero(atoms.identity.chain == "A")))
    assert not len(copies)
    assert "--external.ncs strict has no effect" in said
    options = ar.Options(external=External(ncs="strict", ncs_sigma=0.2))
    (said,) = [note for note in without_effect(options, atoms, on_cpu=True) if "ncs" in note]
    assert said == "--external.ncs-sigma has no effect: --external.ncs is strict"


def _quadratic(seed: int, n: int) -> Callable[[Atoms], tuple[float, Gradient]]:
    """A function of everything that atoms have, and its gradient."""
    rng = np.random.default_rng(seed)
    of_xyz, of_b, of_u = rng.normal(size=(n, 3)), rng.normal(size=n), rng.normal(size=(n, 6))

    def target(atoms: Atoms) -> tuple[float, Gradient]:
        value = float(
            (of_xyz * atoms.xyz + 0.01 * atoms.xyz**2).sum() + (of_b * atoms.b_iso + 0.01 * atoms.b_iso**2).sum()
            + (of_u * atoms.u_aniso + atoms.u_aniso**2).sum()
        )  # fmt: skip
        by_u = of_u + 2.0 * atoms.u_aniso
        gradient = Gradient(of_xyz + 0.02 * atoms.xyz, of_b + 0.02 * atoms.b_iso, np.zeros(n), by_u)
        return value, gradient

    return target


@pytest.mark.parametrize("kind", ["isotropic", "anisotropic", "TLS"])
def test_the_gradient_by_what_is_free_is_the_adjoint(atoms: Atoms, kind: str) -> None:
    copies, _ = find_copies(atoms)
    if kind == "anisotropic":
        atoms = with_tensors(atoms)
    if kind == "TLS":
        chains = np.unique(atoms.identity.chain, return_inverse=True)[1]
        group = np.where(atoms.is_water, -1, chains)
        tls = Tls(group, np.array([atoms.xyz[group == k].mean(axis=0) for k in range(2)]), np.zeros((2, 20)))
        u_aniso = np.zeros((len(atoms), 6))
        u_aniso[group >= 0, 3] = NOT_ROUND
        atoms = atoms.replace(tls=tls, u_aniso=u_aniso)
    atoms = copies.alike(atoms)
    parameters = Parameters.of(atoms, "tls+b+xyz" if kind == "TLS" else "xyz+b", copies=copies)
    x0 = parameters.pack(atoms)
    same = parameters.unpack(x0)
    assert np.allclose(same.xyz, atoms.xyz)
    assert np.allclose(total_u(same), total_u(atoms), atol=1e-9)
    rng = np.random.default_rng(2)
    step = rng.normal(size=len(x0))
    step[parameters.slices["u"]] *= 1e-3
    step[parameters.slices["tls"]] *= 1e-4
    target = _quadratic(3, len(atoms))
    slope = float(parameters.pullback(target(atoms)[1]) @ step)
    check_direction(lambda t: target(parameters.unpack(x0 + t * step))[0], slope, 1e-3, 1e-6)
    moved = parameters.unpack(x0 + 0.1 * step)
    dot_test(float(((moved.xyz - atoms.xyz) * (y := rng.normal(size=atoms.xyz.shape))).sum()), float(
        parameters.pullback(Gradient(y, np.zeros(len(atoms)), np.zeros(len(atoms))))[parameters.slices["xyz"]]
        @ (0.1 * step)[parameters.slices["xyz"]]
    ), 1e-9)  # fmt: skip


def test_atoms_and_operators_move_copies(atoms: Atoms) -> None:
    """A shift of the first copy is turned in the other; the operator moves the other alone, as a body."""
    copies, _ = find_copies(atoms)
    atoms = copies.alike(atoms)
    parameters = Parameters.of(atoms, "xyz+b", copies=copies)
    free = len(atoms) - len(copies)
    assert parameters.sizes[:2] == (3 * free + 6, free)
    assert not (parameters.xyz | parameters.b)[copies.child].any()
    x = parameters.pack(atoms)
    shift = np.zeros_like(x)
    shift[parameters.slices["xyz"]][: 3 * free] = np.random.default_rng(0).normal(0.0, 0.1, 3 * free)
    shift[parameters.slices["b"]] = 3.0
    moved = parameters.unpack(x + shift)
    motions = copies.motions(atoms)
    assert np.allclose(motions.applied(copies.operator, moved.xyz[copies.parent]), moved.xyz[copies.child])
    assert np.allclose(moved.b_iso, atoms.b_iso + 3.0)
    shift[:] = 0.0
    shift[parameters.slices["xyz"]][3 * free :] = 0.02 * np.arange(1, 7)
    moved = parameters.unpack(x + shift)
    assert np.array_equal(moved.xyz[copies.parent], atoms.xyz[copies.parent])
    one, two = atoms.xyz[copies.child], moved.xyz[copies.child]
    rotation, along = superposed(one, two)
    assert np.linalg.norm(two - one, axis=1).max() > 0.05
    assert np.abs(one @ rotation.T + along - two).max() < 1e-3


def test_weights_know_whether_copies_share_their_b(atoms: Atoms) -> None:
    """Weights are refused where they were found for another freeze state."""
    copies, _ = find_copies(atoms)
    own, _ = find_copies(atoms, given_b=atoms.identity.chain == "B")
    atoms = copies.alike(atoms)
    prints = {Parameters.of(atoms, "xyz", copies=found).fingerprint for found in (copies, own)}
    assert len(prints) == 2


def test_tensors_turn_with_their_copy(atoms: Atoms) -> None:
    copies, _ = find_copies(atoms)
    atoms = copies.alike(with_tensors(atoms))
    motions = copies.motions(atoms)
    u = total_u(atoms)
    assert np.allclose(turned(motions.rotation[copies.operator], u[copies.parent]), u[copies.child])
    parameters = Parameters.of(atoms, "b", copies=copies)
    assert not parameters.u[copies.child].any()
    moved = total_u(parameters.unpack(parameters.pack(atoms) + 0.01))
    assert np.allclose(turned(motions.rotation[copies.operator], moved[copies.parent]), moved[copies.child])
    mixed = dataclasses.replace(atoms, anisotropic=atoms.anisotropic & (atoms.identity.chain == "A"))
    every = Parameters.of(mixed, "b", copies=copies)
    assert every.b[copies.child].all()  # a tensor and a B are nothing that could be the same


def test_components_of_strains_turn_as_strains_do() -> None:
    rotation = rotations(np.array([[0.3, -1.2, 0.8], [2.0, 0.1, 0.4]]))
    components = np.random.default_rng(5).normal(size=6)
    expected = turned(rotation, np.broadcast_to(components @ symmetric.STRAINS, (2, 6)))
    assert np.allclose((turned_strains(rotation) @ components) @ symmetric.STRAINS, expected)


def test_what_is_frozen_in_one_copy_is_in_all_and_holds_the_operator(atoms: Atoms) -> None:
    copies, _ = find_copies(atoms)
    chosen = select(atoms, "chain B and 50-60")
    others, (said, *_) = find_copies(atoms, held=chosen, given_b=select(atoms, "all"))
    assert not chosen[others.child].any()
    assert len(others) < len(copies)
    assert "have one set of coordinates;" in said
    start = agreed(others, atoms)
    assert np.array_equal(start.xyz[chosen], atoms.xyz[chosen])
    assert np.array_equal(start.b_iso, atoms.b_iso)
    assert Parameters.of(atoms, "b", copies=others).b.all()
    free = Parameters.of(atoms, "xyz+b", copies=copies)
    held = free.without(("xyz: chain B and 50-60",))
    where = select(atoms, "chain A and 50-60")
    assert not held.xyz[where & copies.every(np.ones(len(atoms), dtype=bool))][:1].any()
    assert held.sizes.xyz % 3 == 0
    assert held.carried.operators(held.xyz) == 0
    x = held.pack(atoms)
    moved = held.unpack(x + 0.1)
    still = select(atoms, "chain B and 50-60")
    still[np.setdiff1d(np.arange(len(atoms)), copies.child)] = False
    assert np.array_equal(moved.xyz[still], atoms.xyz[still])
    assert held.fingerprint != free.fingerprint != Parameters.of(atoms, "xyz+b").fingerprint


def test_copies_start_as_the_mean_of_those_that_agree(atoms: Atoms) -> None:
    """Errors average out; a residue in another conformation has no part."""
    copies, _ = find_copies(atoms)
    true = copies.alike(atoms)
    rng = np.random.default_rng(4)
    xyz, b_iso = true.xyz + rng.normal(0.0, 0.1, true.xyz.shape), true.b_iso + rng.normal(0.0, 2.0, len(true))
    noisy = true.replace(xyz=xyz, b_iso=b_iso)
    mean = agreed(copies, noisy)
    off = np.sqrt(((mean.xyz - true.xyz)[copies.parent] ** 2).mean())
    assert off < 0.08  # 0.1 by one of them
    assert np.allclose(mean.b_iso[copies.parent], 0.5 * (noisy.b_iso[copies.parent] + noisy.b_iso[copies.child]))
    assert np.allclose(mean.b_iso[copies.child], mean.b_iso[copies.parent])
    residue = true.identity.residue[copies.child[700]]
    chosen = true.identity.residue == residue
    other = true.replace(xyz=true.xyz + 2.0 * chosen[:, None])
    assert np.abs(agreed(copies, other).xyz - true.xyz).max() < 0.01
