"""Options: names that others script against, TOML, and values that are refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

from arrayrefine import example
from arrayrefine.configuration import _LIMITS, check_options, read_config
from arrayrefine.errors import InputError
from arrayrefine.io.models.reading import read_model
from arrayrefine.macrocycle import check_targets
from arrayrefine.options import (
    External,
    Geometry,
    Minimiser,
    Options,
    OrderedSolvent,
    RidingHydrogens,
    Solvent,
    Weighting,
    Xray,
)
from arrayrefine.preparation import prepare
from arrayrefine.reporting.option_effects import without_effect

GROUPS = ("xray", "solvent", "ordered_solvent", "geometry", "external", "weighting", "riding", "minimiser")
FIXED = {
    "cycles",
    "targets",
    "weights",
    "adp",
    "restraints",
    "monomers",
    "unknown",
    "columns",
    "free",
    "d_min",
    "device",
    "threads",
    "seed",
    "perturb",
    "timings",
}


def write(folder: Path, text: str) -> Path:
    path = folder / "options.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_fixed_names_and_defaults() -> None:
    options = Options()
    assert {f.name for f in dataclasses.fields(options)} >= FIXED
    assert options.weights == "robust"
    assert options.xray.target == "ml"
    assert options.weighting.ratio == 0.2
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.cycles = 3  # type: ignore[misc]


def test_every_option_is_documented() -> None:
    """The help text of the command line is the string below each field."""
    import inspect

    for group in (Options, Xray, Solvent, OrderedSolvent, Geometry, External, Weighting, Minimiser):
        source = inspect.getsource(group)
        for field in dataclasses.fields(group):
            if not dataclasses.is_dataclass(field.default_factory):
                after = source.split(f"    {field.name}: ", 1)[1].split("\n", 2)[1]
                assert after.strip().startswith('"""'), f"{group.__name__}.{field.name}"


def test_toml_values_and_types(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'cycles = 3\ntargets = ["xyz+b"]\nd-min = 2\nrestraints = ["a.cif", "b.cif"]\nmonomers = "lib"\n'
        'timings = true\n[weighting]\nratio = 0.5\n[xray]\nsigma-a-bins = 7\nprecision = "double"\n',
    )
    options = read_config(path)
    assert options == dataclasses.replace(
        Options(),
        cycles=3,
        targets=("xyz+b",),
        d_min=2.0,
        restraints=(Path("a.cif"), Path("b.cif")),
        monomers=Path("lib"),
        timings=True,
        weighting=Weighting(ratio=0.5),
        xray=Xray(sigma_a_bins=7, precision="double"),
    )
    assert isinstance(options.d_min, float)


def test_toml_of_groups(tmp_path: Path) -> None:
    text = 'tls = ["chain A", "chain B"]\noccupancy-groups = "chain L"\nfreeze = ["xyz: chain B"]\n'
    options = read_config(write(tmp_path, text))
    assert options == Options(tls=("chain A", "chain B"), occupancy_groups=("chain L",), freeze=("xyz: chain B",))
    assert read_config(write(tmp_path, 'tls = "none"')).tls == ("none",)


def test_toml_keeps_what_it_does_not_name(tmp_path: Path) -> None:
    base = Options(perturb=0.2, weighting=Weighting(clamp=5.0))
    options = read_config(write(tmp_path, "[weighting]\nratio = 0.1\n"), base)
    assert options.perturb == 0.2
    assert options.weighting == Weighting(ratio=0.1, clamp=5.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cyles = 3", r"unknown key 'cyles'; did you mean 'cycles'\?"),
        ("[xry]\naccuracy = 1", r"unknown key 'xry'; did you mean 'xray'\?"),
        ("[xray]\nacuracy = 1e-3", r"unknown key 'xray.acuracy'; did you mean 'xray.accuracy'\?"),
        ("ratio = 0.1", r"unknown key 'ratio'; did you mean 'weighting.ratio'\?"),
        ("zzzzzz = 0.1", r"unknown key 'zzzzzz'; known keys: cycles, targets"),
        ("cycles = 2.5", "'cycles' is 2.5, expected an integer"),
        ("cycles = true", "'cycles' is True, expected an integer"),
        ("timings = 1", "'timings' is 1, expected true or false"),
        ("d_min = '2'", "'d_min' is '2', expected a number"),
        ("weights = 'robbust'", "'weights' is 'robbust', expected one of 'robust', 'literal'"),
        ("xray = 3", r"'xray' is 3, expected a table \[xray\]"),
        ("cycles 3", "is no TOML"),
    ],
)
def test_toml_errors_name_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=words) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_missing_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml' cannot be read.*--config"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (Options(cycles=-1), "--cycles"),
        (Options(d_min=0.0), "--d-min"),
        (Options(d_min=float("nan")), "--d-min"),
        (Options(d_max=-1.0), "--d-max"),
        (Options(threads=0), "--threads"),
        (Options(threads=257), "--threads"),
        (Options(seed=-1), "--seed"),
        (Options(perturb=-0.1), "--perturb"),
        (Options(xray=Xray(accuracy=0.0)), "--xray.accuracy"),
        (Options(xray=Xray(sigma_a_bins=0)), "--xray.sigma-a-bins"),
        (Options(xray=Xray(outlier_probability=0.1)), "--xray.outlier-probability"),
        (Options(solvent=Solvent(probe=-0.1)), "--solvent.probe"),
        (Options(geometry=Geometry(contact_sigma=0.0)), "--geometry.contact-sigma"),
        (Options(weighting=Weighting(ratio=0.0)), "--weighting.ratio"),
        (Options(weighting=Weighting(clamp=0.5)), "--weighting.clamp"),
        (Options(weighting=Weighting(rmsz_low=1.5)), "--weighting.rmsz-low"),
        (Options(weighting=Weighting(angle_rmsz_high=0.0)), "--weighting.angle-rmsz-high"),
        (Options(weighting=Weighting(adp_prior=-1.0)), "--weighting.adp-prior"),
        (Options(weighting=Weighting(ratio_adp=-1.0)), "--weighting.ratio-adp"),
        (Options(weighting=Weighting(ratio=float("inf"))), "--weighting.ratio"),
        (Options(minimiser=Minimiser(max_iterations=0)), "--minimiser.max-iterations"),
    ],
)
def test_values_that_no_refinement_can_use(options: Options, flag: str) -> None:
    with pytest.raises(InputError, match=f"{flag}: found .* expected"):
        check_options(options)


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (Options(weighting=Weighting(geometry=0.3)), "--weighting.geometry"),
        (Options(weighting=Weighting(adp=0.1)), "--weighting.adp"),
        (Options(start=3), "--start 3"),
        (Options(rigid_groups=("1-2",), rigid_body="no"), "--rigid-groups"),
        (Options(external=External(rotamers_weight=2.0)), "--external.rotamers-weight"),
        (Options(external=External(puckers="on"), targets=("b",)), "--external.puckers on"),
        (Options(reference=example.MODEL, targets=("b",)), "--reference"),
        (Options(external=External(metals=False, metals_sigma=0.1)), "--external.metals-sigma"),
        (Options(external=External(reference_weight=2.0)), "--external.reference-weight"),
        (Options(hydrogens="strip", riding=RidingHydrogens(b_ratio=1.0)), "--riding.b-ratio"),
        (Options(solvent=Solvent(model="none", step=0.4)), "--solvent.step"),
        (Options(geometry=Geometry(contacts=False, contact_sigma=0.3)), "--geometry.contact-sigma"),
        (Options(adp="none", geometry=Geometry(rigid_ratio=0.5)), "--geometry.rigid-ratio"),
        (Options(freeze=("occupancy: all",)), "--freeze 'occupancy: all'"),
        (Options(threads=2, xray=Xray(method="direct"), device="cpu"), "--threads 2"),
    ],
)
def test_options_that_come_to_nothing_beside_others_are_named(options: Options, flag: str) -> None:
    """And where the other option is as they need it, nothing is said."""
    *_, notes = prepare(example.MODEL, example.DATA, options)
    assert [note.partition(" has no effect")[0] for note in notes if " has no effect" in note] == [flag]
    apt = dataclasses.replace(
        options, weights="fixed", perturb=0.1, rigid_body="auto", threads=1, hydrogens="add", reference=example.MODEL,
        external=dataclasses.replace(options.external, rotamers="on", metals=True),
        solvent=dataclasses.replace(options.solvent, model="flat"), adp="kl", targets=("xyz+b", "occupancy"),
        geometry=dataclasses.replace(options.geometry, contacts=True),
    )  # fmt: skip
    *_, notes = prepare(example.MODEL, example.DATA, apt)
    assert not any(" has no effect" in note for note in notes)


def test_hydrogens_that_are_refined_do_not_ride() -> None:
    """So that how riding ones turn is nothing to them; how far they are from their parents is."""
    atoms = read_model(example.MODEL).atoms
    options = Options(hydrogens="refine", riding=RidingHydrogens(turn="none", distance="nucleus"))
    said = "--riding.turn has no effect: --hydrogens is refine, so that none ride"
    assert without_effect(options, atoms) == [said]


def test_groups_that_nothing_refines_are_named() -> None:
    for options, why in (
        (Options(tls=("chain A",), cycles=0), "there is no cycle"),
        (Options(tls=("chain A",), targets=("xyz",)), "no step names b or tls"),
    ):
        *_, notes = prepare(example.MODEL, example.DATA, options)
        assert any(f"the TLS groups are not refined: {why}" in note for note in notes)


def test_anisou_that_are_to_be_kept_and_are_not_there_are_named() -> None:
    words = "--anisotropic keep makes no atom anisotropic"
    for options, is_said in ((Options(anisotropic="keep"), True), (Options(anisotropic="keep", cycles=0), False)):
        *_, notes = prepare(example.MODEL, example.DATA, options)
        assert any(words in note for note in notes) == is_said
    model = gemmi.read_structure(str(example.MODEL))
    next(iter(model[0].all())).atom.aniso = gemmi.SMat33f(0.2, 0.2, 0.3, 0.0, 0.0, 0.0)
    *_, notes = prepare(model, example.DATA, Options(anisotropic="keep"))
    assert not any(words in note for note in notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "foo"}, "--weights: found 'foo', expected one of 'robust', 'literal', 'stale', 'fixed'"),
        ({"adp": "varience"}, "--adp: found 'varience', expected one of 'kl', 'variance', 'none'"),
        ({"hydrogens": "none"}, "--hydrogens: found 'none', expected one of 'auto'"),
        ({"write_hydrogens": True}, "--write-hydrogens: found True, expected one of 'auto'"),
        ({"device": "gpu"}, "--device: found 'gpu', expected one of 'auto', 'cpu', 'cuda'"),
        ({"targets": "xyz"}, "--targets: found 'xyz', expected a tuple such as ('xyz',)"),
        ({"targets": ["xyz", "b"]}, "--targets: found ['xyz', 'b'], expected a tuple such as ('xyz', 'b')"),
        ({"targets": 3}, "--targets: found 3, expected a tuple such as ('xyz', 'b')"),
        ({"targets": ("xyz", 3)}, "--targets: found ('xyz', 3), expected a tuple"),
        ({"restraints": "foo.cif"}, "--restraints: found 'foo.cif', expected a tuple such as (Path('foo.cif'),)"),
        ({"monomers": "lib"}, "--monomers: found 'lib', expected a pathlib.Path or None"),
        ({"cycles": 5.5}, "--cycles: found 5.5, expected an integer"),
        ({"cycles": True}, "--cycles: found True, expected an integer"),
        ({"timings": 1}, "--timings: found 1, expected True or False"),
        ({"d_min": "2"}, "--d-min: found '2', expected a number or None"),
        ({"free": 0}, "--free: found 0, expected text or None"),
        ({"xray": Geometry()}, "expected an instance of Xray"),
        ({"tls": "chain"}, "--tls: found 'chain', expected a tuple"),
        ({"tls": ()}, "--tls: found nothing, expected one of none, auto, chain, segments, or selections"),
        ({"tls": ("chain", "chain A")}, "--tls: found 'chain' 'chain A', expected one of none"),
        ({"occupancy_groups": "chain A"}, "--occupancy-groups: found 'chain A', expected a tuple"),
        ({"freeze": "b: all"}, "--freeze: found 'b: all', expected a tuple"),
        ({"hydrogens": "strip", "write_hydrogens": "yes"}, "nothing for --write-hydrogens yes to write"),
    ],
)
def test_values_of_the_wrong_type_or_not_among_the_choices(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        check_options(dataclasses.replace(Options(), **changes))


def test_every_number_has_limits() -> None:
    groups = [("", Options()), *((f"{name}.", getattr(Options(), name)) for name in GROUPS)]
    numbers = {
        f"{prefix}{field.name}"
        for prefix, group in groups
        for field in dataclasses.fields(group)
        if field.type in ("int", "float", "float | None")
    }
    assert numbers == set(_LIMITS)


def test_numpy_numbers_and_whole_numbers_are_numbers() -> None:
    check_options(Options(cycles=np.int64(3), d_min=np.float32(2.0)))  # type: ignore[arg-type]
    check_options(Options(d_min=2))


def test_defaults_are_usable() -> None:
    check_options(Options())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            Options(weights="fixed", weighting=Weighting(ratio=0.3)),
            "--weighting.ratio has no effect: --weights is fixed",
        ),
        (
            Options(weights="stale", weighting=Weighting(clamp=2.0)),
            "--weighting.clamp has no effect: --weights is stale",
        ),
        (
            Options(adp="variance", weighting=Weighting(evidence_adp=0.7)),
            "--weighting.evidence-adp has no effect: --adp is variance",
        ),
        (
            Options(xray=Xray(target="gaussian"), weighting=Weighting(clamp=2.0)),
            "--weighting.clamp has no effect: --xray.target is gaussian",
        ),
        (
            Options(anisotropic="none", geometry=Geometry(rigid_ratio=0.3)),
            "--geometry.rigid-ratio has no effect: --anisotropic is none",
        ),
    ],
)
def test_options_of_weights_and_tensors_that_nothing_asks_for_are_named(options: Options, said: str) -> None:
    atoms = read_model(example.MODEL).atoms
    assert without_effect(options, atoms) == [said]
    asked = dataclasses.replace(options, weights="search", adp="kl", anisotropic="auto", xray=Xray())
    assert without_effect(asked, atoms) == []


def test_waters_have_no_effect_without_a_cycle() -> None:
    atoms = read_model(example.MODEL).atoms
    assert "--waters add has no effect: there is no cycle" in without_effect(Options(waters="add", cycles=0), atoms)
    assert not any("--waters" in said for said in without_effect(Options(waters="add", cycles=1), atoms))


def test_a_list_of_targets_without_any_is_refused() -> None:
    with pytest.raises(InputError, match="--targets: the list is empty; expected steps such as: xyz b"):
        check_targets(())
