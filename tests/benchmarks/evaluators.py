"""Structure factors of given atoms by one program, timed; run by the Python that has this program.

    python evaluators.py PROGRAM CASE.npz OUT.npz [--threads N] [--device cuda] [--repeats N]

CASE.npz is what `evaluation.make_case` writes. A line of JSON is printed: version, the least seconds of the forward
calculation ("forward") and of it with the gradient by coordinates, B and occupancies ("both"), for atoms that move a
little before every evaluation; and what comes once, the plan and what the first two evaluations take longer than later
ones ("once"). OUT.npz receives F and the gradient of Re Σ conj(w) F for the weights w of the subset, for the comparison
with direct summation. Only NumPy and the program itself are needed here.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module  # no peer need be installed where types are checked
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import Seconds, least, nothing, timed

Array = Any
Gradients = tuple[Array, Array, Array]
"""By coordinates (N, 3) per Å, B (N,) per Å² and occupancy (N,)."""
SHIFT = 0.02
"""Å along each axis, by which atoms differ from their places in the case, anew for every evaluation."""


class Case(NamedTuple):
    """What is to be calculated: atoms of the asymmetric unit and reflections."""

    cell: Array
    space_group: str
    d_min: float
    hkl: Array
    xyz: Array
    b_iso: Array
    occupancy: Array
    element: list[str]
    weight: Array
    subset: Array
    model: str
    data: str

    @classmethod
    def load(cls, path: Path) -> Case:
        """Read what `evaluation.make_case` wrote."""
        with np.load(path) as held:
            v = {name: held[name] for name in cls._fields}
        for name in ("space_group", "model", "data"):
            v[name] = str(v[name])
        return cls(**{**v, "d_min": float(v["d_min"]), "element": [str(e) for e in v["element"]]})

    def subset_weight(self) -> Array:
        """The weights, zero outside the subset."""
        weight = np.zeros_like(self.weight)
        weight[self.subset] = self.weight[self.subset]
        return weight


class Evaluator(NamedTuple):
    """A program, ready to calculate.

    `move(xyz)` puts the atoms elsewhere, `forward()` gives F (R,), and `both(w)` F and the gradient of Re Σ conj(w) F,
    with w as `convert` makes it of an array (R,).
    """

    version: str
    plan: Seconds
    move: Callable[[Array], Any]
    forward: Callable[[], Array]
    both: Callable[[Any], tuple[Array, Gradients]] | None = None
    convert: Callable[[Array], Any] = np.asarray
    synchronise: Callable[[], Any] = nothing
    used: Callable[[], bool] = lambda: True


def arrayrefine(case: Case, threads: int, device: str, accuracy: float | None = None) -> Evaluator:
    """This repository, as accurate as a refinement asks for by default, or with another bound on the error of F."""
    ar = import_module("arrayrefine")
    backend = import_module("arrayrefine.kernels.backend")
    limits = import_module("threadpoolctl").threadpool_limits
    limits(limits=1, user_api="blas")  # as `refine` does
    options = ar.Options(hydrogens="strip", threads=threads, device=device)
    if accuracy is not None:
        options = dataclasses.replace(options, xray=dataclasses.replace(options.xray, accuracy=accuracy))
    _, problem, start, _ = ar.prepare(case.model, case.data, options)
    atoms = [start]
    held: list[Any] = []
    plan = timed(lambda: held.append(problem.structure_factors(start)))
    factors = held[0]

    def move(xyz: Array) -> None:
        atoms[0] = start.replace(xyz=xyz)

    def both(weight: Array) -> tuple[Array, Gradients]:
        f = factors(atoms[0])
        gradient = factors.pullback(weight, atoms[0])
        return f, (gradient.xyz, gradient.b_iso, gradient.occupancy)

    synchronise = import_module("cupy").cuda.runtime.deviceSynchronize if device == "cuda" else nothing

    def used() -> bool:
        return device != "cuda" or bool(backend.launch_counts())

    return Evaluator(
        ar.__version__, plan, move, lambda: factors(atoms[0]), both, synchronise=synchronise, used=used
    )


def _gemmi_structure(case: Case) -> Any:
    gemmi = import_module("gemmi")
    structure = gemmi.Structure()
    structure.cell = gemmi.UnitCell(*case.cell.tolist())
    structure.spacegroup_hm = case.space_group
    chain = gemmi.Chain("A")
    make_model: Any = gemmi.Model
    try:
        model = make_model(1)
    except TypeError:  # gemmi 0.6, which SFcalculator asks for
        model = make_model("1")
    for i, (xyz, b_iso, occupancy, element) in enumerate(zip(case.xyz, case.b_iso, case.occupancy, case.element)):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "UNK", gemmi.SeqId(str(i % 9999 + 1))
        atom.name, atom.element = element.upper(), gemmi.Element(element)
        atom.pos, atom.b_iso, atom.occ = gemmi.Position(*xyz), b_iso, occupancy
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_cell_images()
    return structure


def gemmi(case: Case, threads: int, device: str) -> Evaluator:
    """gemmi's density calculator with its blur and its usual rate, and its FFT; forward only."""
    gemmi = import_module("gemmi")
    structure = _gemmi_structure(case)
    atoms = [place.atom for place in structure[0].all()]
    calculator = gemmi.DensityCalculatorX()

    def prepare() -> None:
        calculator.d_min, calculator.rate = case.d_min, 1.5
        calculator.set_grid_cell_and_spacegroup(structure)
        calculator.set_refmac_compatible_blur(structure[0])

    def move(xyz: Array) -> None:
        for atom, position in zip(atoms, xyz.tolist()):
            atom.pos = gemmi.Position(*position)

    def forward() -> Array:
        calculator.put_model_density_on_grid(structure[0])
        grid = gemmi.transform_map_to_f_phi(calculator.grid, half_l=True)
        return grid.get_value_by_hkl(case.hkl, unblur=calculator.blur)

    return Evaluator(gemmi.__version__, timed(prepare), move, forward)


def cctbx(case: Case, threads: int, device: str) -> Evaluator:
    """cctbx's FFT with its defaults."""
    return _cctbx(case)


def cctbx_accurate(case: Case, threads: int, device: str) -> Evaluator:
    """cctbx's FFT with the settings found cheapest for about our accuracy: 3.6e-4 in F on 1aba."""
    return _cctbx(case, quality_factor=1e4, wing_cutoff=1e-5, exp_table_one_over_step_size=-1000)


def _cctbx(case: Case, **settings: float) -> Evaluator:
    crystal, miller, xray = (import_module(f"cctbx.{name}") for name in ("crystal", "miller", "xray"))
    flex, factors = import_module("cctbx.array_family.flex"), import_module("cctbx.xray.structure_factors")
    symmetry = crystal.symmetry(unit_cell=tuple(case.cell.tolist()), space_group_symbol=case.space_group)
    special = crystal.special_position_settings(symmetry, min_distance_sym_equiv=1e-6)
    structure = xray.structure(special)
    cell = symmetry.unit_cell()
    for i, (xyz, b_iso, occupancy, element) in enumerate(zip(case.xyz, case.b_iso, case.occupancy, case.element)):
        structure.add_scatterer(
            xray.scatterer(str(i), cell.fractionalize(tuple(xyz.tolist())), b=b_iso, occupancy=occupancy,
                           scattering_type=element)
        )  # fmt: skip
    structure.scattering_type_registry(table="it1992")
    xray.set_scatterer_grad_flags(scatterers=structure.scatterers(), site=True, u_iso=True, occupancy=True)
    indices = flex.miller_index([tuple(h) for h in case.hkl.tolist()])
    reflections = miller.set(symmetry, indices, anomalous_flag=False)
    managers: list[Any] = []

    def prepare() -> None:
        managers.append(factors.from_scatterers(miller_set=reflections, **settings))
        managers.append(factors.gradients(miller_set=reflections, **settings))

    def move(xyz: Array) -> None:
        structure.set_sites_cart(flex.vec3_double(np.ascontiguousarray(xyz)))

    def forward() -> Array:
        found = managers[0](xray_structure=structure, miller_set=reflections, algorithm="fft")
        return found.f_calc().data().as_numpy_array()

    def both(weight: Any) -> tuple[Array, Gradients]:
        f = forward()
        found = managers[1](
            xray_structure=structure, u_iso_refinable_params=None, miller_set=reflections,
            d_target_d_f_calc=weight, n_parameters=0, algorithm="fft",
        )  # fmt: skip
        by_xyz = found.d_target_d_site_cart().as_double().as_numpy_array().reshape(-1, 3)
        by_b = found.d_target_d_u_iso().as_numpy_array() / (8.0 * np.pi**2)
        return f, (by_xyz, by_b, found.d_target_d_occupancy().as_numpy_array())

    version = importlib.metadata.version("cctbx-base")
    return Evaluator(
        version, timed(prepare), move, forward, both, lambda weight: flex.complex_double(weight.tolist())
    )


def _torch_parameters(case: Case, threads: int, device: str) -> list[Any]:
    torch = import_module("torch")
    torch.set_num_threads(threads)
    where = torch.device(device)
    values = (case.xyz, case.b_iso, case.occupancy)
    return [torch.tensor(v, dtype=torch.float32, device=where, requires_grad=True) for v in values]


def _torch_evaluator(version: str, plan: Seconds, calculate: Callable[..., Any], parameters: list[Any]) -> Evaluator:
    """Forward, and backward by autograd, of a function of coordinates, B and occupancies."""
    torch = import_module("torch")
    where = parameters[0].device

    def move(xyz: Array) -> None:
        parameters[0] = torch.tensor(xyz, dtype=torch.float32, device=where, requires_grad=True)

    def forward() -> Array:
        with torch.no_grad():
            return calculate(*parameters).cpu().numpy()

    def both(conjugate: Any) -> tuple[Array, Gradients]:
        f = calculate(*parameters)
        found = torch.autograd.grad((conjugate * f).real.sum(), parameters)
        by_xyz, by_b, by_occupancy = (g.cpu().numpy() for g in found)
        return f.detach().cpu().numpy(), (by_xyz, by_b, by_occupancy)

    def convert(weight: Array) -> Any:
        return torch.tensor(weight.conj(), dtype=torch.complex64, device=where)

    synchronise = torch.cuda.synchronize if parameters[0].is_cuda else nothing
    return Evaluator(version, plan, move, forward, both, convert, synchronise)


def torchref(case: Case, threads: int, device: str) -> Evaluator:
    """TorchRef's FFT with its defaults."""
    os.environ["TORCHREF_DEVICE"] = device
    torch, table = import_module("torch"), import_module("torchref.base.scattering.scattering_table")
    symmetry = import_module("torchref.symmetry")
    context_of, engine_of = import_module("torchref.model.context"), import_module("torchref.model.sf_fft")
    parameters = _torch_parameters(case, threads, device)
    where = parameters[0].device
    made: list[Any] = []

    def prepare() -> None:
        context = context_of.ModelContext()
        context.cell = symmetry.Cell(case.cell.tolist(), device=where)
        context.spacegroup = symmetry.SpaceGroup(case.space_group, device=where)
        made.append(engine_of.SfFFT(context, max_res=case.d_min))
        made.extend(table.get_scattering_params_by_z(table.elements_to_z(case.element).to(where)))

    plan = timed(prepare)
    engine, amplitudes, widths = made
    hkl = torch.tensor(case.hkl, dtype=torch.int32, device=where)

    def calculate(xyz: Any, b_iso: Any, occupancy: Any) -> Any:
        return engine.compute_structure_factors(hkl, xyz, b_iso, occupancy, amplitudes, widths)[0]

    return _torch_evaluator(importlib.metadata.version("torchref"), plan, calculate, parameters)


def sfcalculator(case: Case, threads: int, device: str) -> Evaluator:
    """SFcalculator's direct summation."""
    torch_calculator, parser = import_module("SFC_Torch"), import_module("SFC_Torch.io").PDBParser
    structure = _gemmi_structure(case)
    # Autograd keeps some 40 bytes for each atom, reflection and operator.
    need = 40.0 * len(case.xyz) * len(case.hkl) * len(structure.find_spacegroup().operations()) / 2**30
    room = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    if need > 0.5 * room:
        raise MemoryError(f"autograd needs about {need:.1f} GiB of memory, {room:.1f} GiB are free")
    parameters = _torch_parameters(case, threads, device)
    where = parameters[0].device
    made: list[Any] = []

    def prepare() -> None:
        calculator = torch_calculator.SFcalculator(
            parser(structure), dmin=float(case.d_min), set_experiment=False, device=where
        )
        calculator.Hasu_array, calculator.HKL_array = case.hkl, None
        calculator.dr2asu_array = calculator.unit_cell.calculate_1_d2_array(case.hkl)
        calculator.init_atomic_scattering()
        made.append(calculator)

    plan = timed(prepare)

    def calculate(xyz: Any, b_iso: Any, occupancy: Any) -> Any:
        return made[0].calc_fprotein(
            atoms_position_tensor=xyz, atoms_biso_tensor=b_iso, atoms_occ_tensor=occupancy, Return=True
        )

    return _torch_evaluator(importlib.metadata.version("SFcalculator_torch"), plan, calculate, parameters)


PROGRAMS = {
    "arrayrefine": arrayrefine,
    "arrayrefine_3e-4": partial(arrayrefine, accuracy=3e-4),
    "arrayrefine_5e-5": partial(arrayrefine, accuracy=5e-5),
    "gemmi": gemmi,
    "cctbx": cctbx,
    "cctbx_accurate": cctbx_accurate,
    "torchref": torchref,
    "sfcalculator": sfcalculator,
}


def measure(program: Evaluator, case: Case, repeats: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Seconds, and the arrays for the comparison."""
    rng = np.random.default_rng(0)

    def move() -> None:
        program.move(case.xyz + rng.normal(0.0, SHIFT, case.xyz.shape))

    weight = program.convert(case.weight)

    def evaluate() -> None:
        if program.both:
            program.both(weight)
        else:
            program.forward()

    early = []
    for _ in range(2):
        move()
        early.append(timed(evaluate, program.synchronise))
    found: dict[str, Any] = {"version": program.version}
    found["forward"] = least(program.forward, repeats, synchronise=program.synchronise, before=move)._asdict()
    if program.both:
        found["both"] = least(evaluate, repeats, synchronise=program.synchronise, before=move)._asdict()
    later = found["both" if program.both else "forward"]
    found["once"] = {
        clock: getattr(program.plan, clock) + sum(max(0.0, getattr(e, clock) - later[clock]) for e in early)
        for clock in ("cpu", "wall")
    }
    program.move(case.xyz)
    arrays = {"f": program.forward()}
    if program.both:
        arrays["xyz"], arrays["b_iso"], arrays["occupancy"] = program.both(program.convert(case.subset_weight()))[1]
    return found, arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=sorted(PROGRAMS))
    parser.add_argument("case", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    case = Case.load(args.case)
    try:
        program = PROGRAMS[args.program](case, args.threads, args.device)
    except Exception as error:  # whatever the peer raises, the table says so in one line
        sys.exit(f"{args.program}: {type(error).__name__}: {' '.join(str(error).split())}")
    found, arrays = measure(program, case, args.repeats)
    if not program.used():
        sys.exit(f"{args.program}: no kernel ran on the device, the CPU did the work")
    np.savez(args.out, **arrays)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
