"""The likelihood as a function of arrays: its gradient, that it remembers nothing, and what other libraries see."""

from __future__ import annotations

import dataclasses
import pickle
import re
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from checks import check_direction
from test_interchange import Producer

import arrayrefine as ar
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Xray

DOUBLE = Xray(precision="double")
COARSE = ar.Options(d_min=3.0)


@pytest.fixture(scope="module")
def model() -> Any:
    return ar.read_model(MODEL)


@pytest.fixture(scope="module")
def double(model: Any) -> ar.LikelihoodTarget:
    """The example to 3 Å in float64, with restraints; on the CPU, where differences over small steps meet no jumps."""
    return ar.target(
        model, DATA, dataclasses.replace(COARSE, xray=DOUBLE, device="cpu"), geometry="prior", adp=0.05
    )


@pytest.fixture(scope="module")
def plain(model: Any) -> ar.LikelihoodTarget:
    """The same as it comes by default."""
    return ar.target(model, DATA, COARSE)


def values(target: ar.LikelihoodTarget) -> dict[str, Any]:
    atoms = target.atoms
    return {"xyz": atoms.xyz, "b": atoms.b_iso, "occupancy": atoms.occupancy}


def check_gradients(
    target: ar.LikelihoodTarget, step: float, tolerance: float, kinds: tuple[str, ...] = ("xyz", "b", "occupancy")
) -> None:
    given = values(target)
    _, gradients = target(**given)
    rng = np.random.default_rng(3)
    for name in kinds:
        direction = rng.normal(size=given[name].shape)
        check_direction(
            lambda t, name=name, d=direction: target(**given | {name: given[name] + t * d})[0],  # type: ignore[misc]
            float((getattr(gradients, name) * direction).sum()), step, tolerance, f"by {name}",
        )  # fmt: skip


def test_atoms_are_those_of_the_file(plain: ar.LikelihoodTarget, model: Any) -> None:
    assert len(plain.atoms) == len(model.atoms) == 1503
    assert np.array_equal(plain.atoms.identity.atom_name, model.atoms.identity.atom_name)
    assert np.array_equal(plain.atoms.xyz, model.atoms.xyz)  # scale does not move into B
    assert np.array_equal(plain.atoms.b_iso, model.atoms.b_iso)
    assert plain.statistics.r_work < 0.2
    assert "r_free" in repr(plain)
    assert "R-free" in plain._repr_html_()


def test_hydrogens_of_the_file_are_left_out_where_that_is_asked_for(plain: ar.LikelihoodTarget) -> None:
    structure = gemmi.read_structure(str(MODEL))
    for residue in list(structure[0]["A"])[:20]:
        hydrogen = residue["N"][0].clone()
        hydrogen.name, hydrogen.element = "H", gemmi.Element("H")
        hydrogen.pos = hydrogen.pos + gemmi.Position(0.0, 0.0, 0.9)
        residue.add_atom(hydrogen)
    stripped = ar.target(structure, DATA, COARSE, hydrogens="strip")
    assert not stripped.atoms.is_hydrogen.any()
    assert any("20 hydrogens were removed" in note for note in stripped.notes)
    assert stripped(**values(stripped))[0] == plain(**values(plain))[0]
    assert ar.read_model(structure).atoms.is_hydrogen.sum() == 20


def test_gradients_in_double_precision(double: ar.LikelihoodTarget) -> None:
    check_gradients(double, 1e-6, 1e-6)
    terms = double.terms(double.atoms.xyz)
    assert set(terms) == {"xray", "geometry", "adp"}
    assert terms["adp"] == pytest.approx(0.05 * double.problem.adp(double.atoms)[0])
    assert min(terms["adp"], terms["geometry"]) > 0.0
    assert sum(double.terms(double.atoms.xyz).values()) == pytest.approx(double(double.atoms.xyz)[0])


def test_gradients_by_direct_summation(model: Any) -> None:
    check_gradients(ar.target(model, DATA, ar.Options(d_min=8.0, xray=Xray(method="direct"))), 1e-5, 1e-6, ("xyz",))


def test_gradients_with_riding_hydrogens(model: Any) -> None:
    options = ar.Options(d_min=4.0, xray=DOUBLE, device="cpu")
    target = ar.target(model, DATA, options, hydrogens="riding")
    assert len(target.atoms) == 1503
    assert len(target.state.atoms) > 2500
    check_gradients(target, 1e-5, 1e-6)  # with steps of 1e-6 rounding of the value alone is 2e-6 of the slope by B


def test_default_precision_is_close(model: Any, double: ar.LikelihoodTarget) -> None:
    """By the same cut-offs, which a device has others of."""
    single = ar.target(model, DATA, dataclasses.replace(COARSE, device="cpu"))
    given = values(single)
    value, gradients = single(**given)
    exact, other = double.terms(**given)["xray"], double(**given)[1]
    assert value == pytest.approx(exact, rel=1e-5)
    # occupancies have no restraints here
    error = np.linalg.norm(gradients.occupancy - other.occupancy) / np.linalg.norm(other.occupancy)
    assert error < 1e-4


def test_same_input_same_output_whatever_came_before(double: ar.LikelihoodTarget) -> None:
    given = values(double)
    rng = np.random.default_rng(0)
    first = double(**given)
    given["xyz"].setflags(write=False)
    contacts = double.problem.geometry.contacts
    assert contacts is not None
    listed = list(contacts._list)
    double(given["xyz"] + rng.normal(0.0, 0.5, given["xyz"].shape), np.full(1503, 3.0))  # samples anew, lists anew
    again = double(**given)
    assert first[0] == again[0]
    assert contacts._list == listed
    for one, two in zip(first[1], again[1]):
        assert np.array_equal(one, two)
    assert not np.shares_memory(first[1].xyz, again[1].xyz)


def test_threads_and_processes(double: ar.LikelihoodTarget) -> None:
    rng = np.random.default_rng(0)
    places = [double.atoms.xyz + rng.normal(0.0, 0.2, double.atoms.xyz.shape) for _ in range(3)]
    alone = [double(xyz) for xyz in places]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(double, places))
    sent = pickle.loads(pickle.dumps(double))
    for one, *others in zip(alone, together, [sent(xyz) for xyz in places]):
        for other in others:
            assert one[0] == other[0]
            assert all(np.array_equal(a, b) for a, b in zip(one[1], other[1]))


def test_defaults_and_updates(plain: ar.LikelihoodTarget) -> None:
    given = values(plain)
    assert plain(given["xyz"])[0] == plain(**given)[0]
    moved = given["xyz"] + np.random.default_rng(1).normal(0.0, 0.15, given["xyz"].shape)
    new = plain.updated(moved)
    assert np.array_equal(new.atoms.xyz, moved)
    assert new.statistics.r_work > plain.statistics.r_work + 0.02
    assert new(moved)[0] < plain(moved)[0]  # sigma_A has learned how wrong the model is
    assert plain(**given)[0] == plain(given["xyz"])[0]  # the old one is as it was


def test_kind_and_precision_of_the_gradients(plain: ar.LikelihoodTarget) -> None:
    given = values(plain)
    _, exact = plain(**given)
    _, single = plain(*(array.astype(np.float32) for array in given.values()))
    assert all(array.dtype == np.float32 for array in single)
    assert np.allclose(single.xyz, exact.xyz, atol=0.01 * np.abs(exact.xyz).max())
    value, others = plain(Producer(given["xyz"]), Producer(given["b"]), given["occupancy"])
    assert isinstance(value, float)
    assert isinstance(others.xyz, Producer)
    assert isinstance(others.b, Producer)
    assert isinstance(others.occupancy, np.ndarray)
    assert np.array_equal(np.from_dlpack(others.xyz), exact.xyz)


def test_cupy_arrays(plain: ar.LikelihoodTarget, emulated_cuda: Any) -> None:
    value, gradients = plain(emulated_cuda.asarray(plain.atoms.xyz))
    assert value == plain(plain.atoms.xyz)[0]
    assert isinstance(gradients.xyz, emulated_cuda.ndarray)
    assert isinstance(gradients.b, emulated_cuda.ndarray)


def test_memory_is_of_the_order_of_the_grids(plain: ar.LikelihoodTarget) -> None:
    xyz = plain.atoms.xyz
    tracemalloc.start()
    try:
        plain(xyz)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    factors = plain.state.xray.structure_factors
    grids = 4 * len(factors._factor) * np.prod(factors.sampling.shape)
    assert peak < 5 * grids
    assert peak < 0.2 * 16 * len(factors.hkl) * len(xyz)  # a complex number for each atom and reflection


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: {"xyz": g["xyz"][:-1]}, r"xyz has the shape \(1502, 3\); expected \(1503, 3\)"),
        (lambda g: {"b": g["b"][:, None]}, r"b has the shape \(1503, 1\); expected \(1503,\)"),
        (lambda g: {"b": np.where(np.arange(1503) == 7, -1.0, g["b"])}, "b of A/MET 1/CE is -1 Å²; expected at least"),
        (lambda g: {"b": np.where(np.arange(1503) == 7, 1e9, g["b"])}, "b of A/MET 1/CE is 1e.09 Å²; expected at most"),
        (lambda g: {"occupancy": g["occupancy"].astype(np.int64)}, "occupancy is of type int64"),
    ],
)
def test_arrays_that_cannot_be_used(
    plain: ar.LikelihoodTarget, change: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    given = values(plain)
    with pytest.raises(ar.InputError, match=words):
        plain(**given | change(given))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), True, "much"])
def test_weights_that_cannot_be_used(model: Any, weight: Any) -> None:
    with pytest.raises(ar.InputError, match=r"expected a weight of 0 or more, 'prior', or None"):
        ar.target(model, DATA, ar.Options(d_min=6.0), geometry=weight)


def test_tables_of_restraints_are_among_them(model: Any, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("kind,atom1,atom2,ideal,sigma\ndistance,A/10/CA,A/30/CA,3.0,0.1\n")
    options = ar.Options(d_min=5.0, restraint_tables=(table,))
    target = ar.target(model, DATA, options, geometry=1.0)
    assert any("1 distance" in note for note in target.notes)


def test_options_that_are_none(model: Any) -> None:
    with pytest.raises(ar.InputError, match=r"hydrogens='add'\): expected one of 'file', 'strip', 'riding'"):
        ar.target(model, DATA, COARSE, hydrogens="add")  # type: ignore[arg-type]
    with pytest.raises(ar.InputError, match=r"options: found a dict; expected Options\(...\)"):
        ar.target(model, DATA, {"d_min": 3.0})  # type: ignore[arg-type]


def test_atoms_may_be_taken_as_isotropic(model: Any, plain: ar.LikelihoodTarget) -> None:
    tensors = np.tile([0.02, -0.01, -0.01, 0.0, 0.0, 0.0], (len(model.atoms), 1))
    atoms = dataclasses.replace(model.atoms, u_aniso=tensors, anisotropic=np.ones(len(model.atoms), dtype=bool))
    target = ar.target(
        dataclasses.replace(model, atoms=atoms), DATA, dataclasses.replace(COARSE, anisotropic="none")
    )
    assert not target.atoms.u_aniso.any()
    assert target(target.atoms.xyz)[0] == plain(target.atoms.xyz)[0]


def test_its_atoms_cannot_be_moved_in_place(plain: ar.LikelihoodTarget) -> None:
    for target in (plain, plain.updated(plain.atoms.xyz + 0.01)):
        for array in (target.atoms.xyz, target.atoms.b_iso, target.atoms.occupancy):
            with pytest.raises(ValueError, match="read-only"):
                array += 1.0


def test_torch_gradcheck_at_its_own_tolerances(double: ar.LikelihoodTarget) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Likelihood(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, xyz: Any, b: Any, occupancy: Any) -> Any:
            value, gradients = double(xyz, b, occupancy)
            ctx.save_for_backward(*gradients)
            return xyz.new_tensor(value)

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:
            return tuple(upstream * gradient for gradient in ctx.saved_tensors)

    whole = [torch.tensor(array) for array in values(double).values()]
    assert torch.autograd.gradcheck(Likelihood.apply, [t.clone().requires_grad_() for t in whole], fast_mode=True)
    rows = torch.tensor([10, 1400])
    few = [t[rows].clone().requires_grad_() for t in whole]
    assert torch.autograd.gradcheck(
        lambda *parts: Likelihood.apply(*(t.index_put((rows,), p) for t, p in zip(whole, parts))), few
    )


PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "likelihood-layer.md"
BLOCKS = re.findall(
    r"^(?:<!-- needs: (\w+) -->\n)?```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def run_blocks(*libraries: str) -> dict[str, Any]:
    """Run the blocks of the page that need no other libraries than these; returns their names."""
    namespace: dict[str, Any] = {}
    for needed, text in BLOCKS:
        if needed in ("", *libraries):
            exec(compile(text, PAGE.name, "exec"), namespace)
    return namespace


@pytest.fixture
def page_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    structure = gemmi.read_structure(str(MODEL))
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(tmp_path / "model.cif"))
    mtz = gemmi.read_mtz_file(str(DATA))
    mtz.set_data(np.array(mtz)[mtz.make_d_array() > 3.0])
    mtz.write_to_file(str(tmp_path / "data.mtz"))
    monkeypatch.chdir(tmp_path)


def test_the_page_about_it(page_files: None) -> None:
    made = run_blocks()
    assert made["numeric"] == pytest.approx((made["gradients"].xyz * made["direction"]).sum(), rel=1e-5)


def test_adam_of_torch_mends_coordinates(page_files: None) -> None:
    """The page's example: 20 lines with an optimiser that is not ours."""
    pytest.importorskip("torch", reason="torch is not installed")
    made = run_blocks("torch")
    before, after = made["before"], made["after"]
    assert after.r_work < before.r_work - 0.015
    assert after.bond_rmsz < 0.2 * before.bond_rmsz
    # towards the model that was shaken, solvent aside
    kept = made["target"].atoms.identity.residue_name != "HOH"
    rms = [float((x.detach() - made["true"])[kept].square().sum(1).mean().sqrt()) for x in (made["xyz"],)]
    assert rms[0] < 0.17


def test_jit_and_grad_of_jax(page_files: None) -> None:
    pytest.importorskip("jax", reason="jax is not installed")
    made = run_blocks("jax")
    _, gradients = made["target"](made["atoms"].xyz.astype(np.float32))
    assert np.array_equal(np.asarray(made["slope"]), gradients.xyz)
