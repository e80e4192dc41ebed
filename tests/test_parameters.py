"""Masks, selections, and the map between atoms and vector."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from checks import dot_test
from synthetic import crystal, random_atoms

from arrayrefine.atoms import Gradient
from arrayrefine.displacements.displacement import B_BOUNDS
from arrayrefine.displacements.tls import NUMBERS, Tls
from arrayrefine.errors import InputError
from arrayrefine.parameters import Parameters
from arrayrefine.selection import select


@pytest.fixture
def atoms():
    made = random_atoms(crystal("P 1"), n=8)
    projection = made.site_projection.copy()
    projection[2] = np.diag([0.0, 1.0, 0.0])  # on a two-fold along b
    identity = dataclasses.replace(
        made.identity,
        chain=np.array(list("AAAABBBB")),
        residue_name=np.array(["ALA", "ALA", "ZN", "GLY", "HOH", "HOH", "LIG", "LIG"]),
        atom_name=np.array(["N", "CA", "ZN", "C", "O", "O", "C1", "C2"]),
        altloc=np.array(["", "", "", "A", "", "", "B", ""]),
        sequence_number=np.array([9, 10, 11, 40, 1, 2, 3, 3]),
    )
    return dataclasses.replace(made, site_projection=projection, identity=identity)


def test_pack_and_unpack_are_inverse_and_touch_only_what_is_free(atoms) -> None:
    parameters = Parameters.frozen(atoms).unfreeze("xyz", "chain A").unfreeze("b", "chain B")
    x = parameters.pack(atoms)
    assert x.shape == (parameters.size,) == (4 * 3 + 4,)
    same = parameters.unpack(x)
    assert np.array_equal(same.xyz, atoms.xyz)
    assert np.array_equal(same.b_iso, atoms.b_iso)
    moved = parameters.unpack(x + 1.0)
    assert np.array_equal(moved.xyz[4:], atoms.xyz[4:])
    assert np.array_equal(moved.b_iso[:4], atoms.b_iso[:4])
    assert np.allclose(moved.b_iso[4:], atoms.b_iso[4:] + 1.0)
    assert np.array_equal(moved.occupancy, atoms.occupancy)


def test_atom_on_a_special_position_moves_only_along_its_axis(atoms) -> None:
    parameters = Parameters.frozen(atoms).unfreeze("xyz", "element S,C,N")
    moved = parameters.unpack(parameters.pack(atoms) + np.arange(1, parameters.size + 1) * 0.1)
    shift = moved.xyz - atoms.xyz
    assert shift[2, 0] == 0
    assert shift[2, 2] == 0
    assert shift[2, 1] > 0


def test_pullback_is_the_adjoint_of_unpack(atoms) -> None:
    parameters = Parameters.of(atoms, "xyz+b").unfreeze("occupancy")
    rng = np.random.default_rng(0)
    x, dx = parameters.pack(atoms), rng.normal(size=parameters.size)
    y = Gradient(rng.normal(size=atoms.xyz.shape), rng.normal(size=len(atoms)), rng.normal(size=len(atoms)))
    a, b = parameters.unpack(x), parameters.unpack(x + dx)
    left = ((b.xyz - a.xyz) * y.xyz).sum() + (b.b_iso - a.b_iso) @ y.b_iso + (b.occupancy - a.occupancy) @ y.occupancy
    dot_test(float(left), float(parameters.pullback(y) @ dx), 1e-10)


def test_freeze_undoes_unfreeze_and_the_fingerprint_follows_the_masks(atoms) -> None:
    some = Parameters.of(atoms, "xyz")
    assert some.fingerprint != Parameters.of(atoms, "b").fingerprint
    assert some.unfreeze("b").fingerprint == Parameters.of(atoms, "xyz+b").fingerprint
    assert some.unfreeze("b").freeze("b").fingerprint == some.fingerprint
    assert some.freeze("xyz", "water").fingerprint != some.fingerprint
    assert some.freeze("xyz").size == 0


def test_held_atoms_stay_and_full_occupancies_are_not_freed(atoms) -> None:
    held = np.zeros(len(atoms), dtype=bool)
    held[3] = True
    assert not Parameters.of(atoms, "xyz", held).xyz[3]
    full = atoms.replace(occupancy=np.where(np.arange(8) < 4, 1.0, 0.5))
    assert Parameters.of(full, "occupancy").occupancy.tolist() == [False] * 4 + [True] * 4


def test_bounds(atoms) -> None:
    parameters = Parameters.of(atoms, "xyz+b").unfreeze("occupancy")
    lower, upper = parameters.bounds()
    assert np.isinf(lower[:24]).all()
    assert (lower[24:32] == 0.5).all()
    assert (upper[24:32] == B_BOUNDS[1]).all()
    assert (lower[32:] == 0.0).all()
    assert (upper[32:] == 1.0).all()


def test_wrong_kind_and_wrong_length(atoms) -> None:
    with pytest.raises(InputError, match=r"'uij'.*xyz, b, occupancy"):
        Parameters.of(atoms, "uij")
    with pytest.raises(InputError, match="'u'"):
        Parameters.frozen(atoms).unfreeze("u")
    with pytest.raises(ValueError, match="24 free"):
        Parameters.of(atoms, "xyz").unpack(np.zeros(3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chain A and 10-40", [1, 2, 3]),
        ("chain A and (9 or 11)", [0, 2]),
        ("water", [4, 5]),
        ("not (chain A or water)", [6, 7]),
        ("resname ALA,GLY and name CA,C", [1, 3]),
        ("altloc B", [6]),
        ("altloc '' and chain B and resid 3", [7]),
        ("all and not chain A and not water", [6, 7]),
        ("chain 'A' and resid 10 through 40", [1, 2, 3]),
        ("chain 'A','B' and (resseq 10:40 or resi 3)", [1, 2, 3, 6, 7]),
        ("none", []),
        ("CHAIN A AND NOT (10-40 Or 9)", []),
        ("resseq :10 and chain A", [0, 1]),
        ("resseq 40: and chain A", [3]),
        ('chain "A" and name " CA "', [1]),
        ("altid B or altloc ' ' and chain B and resid 3", [6, 7]),
        ("resname AL? or name 'C*' and not chain A", [0, 1, 6, 7]),
        ("element s,c,n and element S,C,N", [*range(8)]),
    ],
)
def test_selection(atoms, text: str, expected: list[int]) -> None:
    assert np.flatnonzero(select(atoms, text)).tolist() == expected


def test_waters_and_calcium_are_no_backbone(atoms) -> None:
    identity = dataclasses.replace(
        atoms.identity,
        atom_name=np.array(["N", "CA", "C", "O", "CB", "O", "CA", "CA"]),
        residue_name=np.array(["ALA", "ALA", "ALA", "ALA", "ALA", "HOH", "CA", "GLY"]),
        residue=np.array([0, 0, 0, 0, 0, 1, 2, 3]),
    )
    element = np.array(["N", "C", "C", "O", "C", "O", "Ca", "C"])
    renamed = dataclasses.replace(atoms, identity=identity, element=element)
    assert np.flatnonzero(select(renamed, "backbone")).tolist() == [0, 1, 2, 3, 7]  # the last of a trace of CA alone


@pytest.mark.parametrize("text", ["", "chain", "chain A and", "(chain A", "10-", "colour red", "chain A chain B"])
def test_unreadable_selection_says_what_is_expected(atoms, text: str) -> None:
    with pytest.raises(InputError, match="selection"):
        select(atoms, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(chain A chain B)", "a parenthesis is not closed"),
        ("(chain A", "ends too early"),
        ("chain A)", "'\\)' is left over"),
        ("chain A chain B", "'chain' is left over"),
    ],
)
def test_what_is_wrong_with_a_selection_is_said(atoms, text: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"^selection '.*': {words}"):
        select(atoms, text)


def test_a_selection_that_cannot_be_read_is_shown_with_the_option_that_it_is_of(atoms) -> None:
    with pytest.raises(InputError, match=r"^--freeze 'xyz: 1-': selection '1-': '1-' is not understood"):
        Parameters.of(atoms, "xyz").without(("xyz: 1-",))


@pytest.mark.parametrize("text", ["chain B", "colour: chain B"])
def test_what_is_frozen_of_a_selection_must_be_named(atoms, text: str) -> None:
    with pytest.raises(InputError, match=rf"^--freeze '{text}': expected one of .*, a colon and a selection"):
        Parameters.of(atoms, "xyz").without((text,))


def test_atoms_that_are_or_may_become_anisotropic() -> None:
    atoms = random_atoms(crystal("P 1"), n=6)
    shape = np.zeros((6, 6))
    shape[1] = [0.01, -0.01, 0.0, 0.0, 0.0, 0.0]  # as a group left it
    tls = Tls(np.array([-1, -1, 0, 0, -1, -1]), np.zeros((1, 3)), np.zeros((1, NUMBERS)))
    atoms = dataclasses.replace(atoms, u_aniso=shape, tls=tls, anisotropic=np.arange(6) == 4)
    assert np.flatnonzero(Parameters.of(atoms, "xyz").tensors).tolist() == [1]
    assert np.flatnonzero(Parameters.of(atoms, "b").tensors).tolist() == [1, 4]
    assert np.flatnonzero(Parameters.of(atoms, "b+tls").tensors).tolist() == [1, 2, 3, 4]
