"""Options from a TOML file, and the check of option values."""

from __future__ import annotations

import dataclasses
import math
import numbers
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arrayrefine.errors import InputError
from arrayrefine.options import TLS_KEYWORDS, TWIN_KEYWORDS, Options
from arrayrefine.scattering.wavelengths import WAVELENGTHS

_ABOVE_0 = (sys.float_info.min, math.inf, "a number above 0")
_FROM_0 = (0.0, math.inf, "0 or more")
_FROM_1 = (1.0, math.inf, "1 or more")
_LIMITS = {
    "cycles": _FROM_0,
    "d_min": (sys.float_info.min, math.inf, "a resolution in Å above 0"),
    "d_max": (sys.float_info.min, math.inf, "a resolution in Å above 0"),
    "wavelength": (*WAVELENGTHS, "a wavelength of 0.2 to 5 Å"),
    "threads": (1.0, 256.0, "1 to 256 cores"),
    "seed": _FROM_0,
    "start": _FROM_0,
    "perturb": (0.0, 2.0, "a distance of 0 to 2 Å"),
    "xray.accuracy": (sys.float_info.min, 0.1, "above 0, at most 0.1"),
    "xray.sigma_a_bins": _FROM_1,
    "xray.outlier_probability": (sys.float_info.min, 1e-3, "above 0, at most 0.001"),
    "solvent.probe": (0.0, 3.0, "a distance of 0 to 3 Å"),
    "solvent.shrink": (0.0, 3.0, "a distance of 0 to 3 Å"),
    "solvent.smallest_island": _FROM_0,
    "solvent.step": (0.1, 1.0, "a distance of 0.1 to 1 Å"),
    "ordered_solvent.gain": _FROM_0,
    "ordered_solvent.rounds": _FROM_1,
    "ordered_solvent.shortest": (2.0, 3.0, "a distance of 2 to 3 Å"),
    "ordered_solvent.longest": (3.0, 4.5, "a distance of 3 to 4.5 Å"),
    "ordered_solvent.largest": _FROM_0,
    "ordered_solvent.most_r_work": (sys.float_info.min, 1.0, "above 0, at most 1"),
    "geometry.outlier_z": _ABOVE_0,
    "geometry.outlier_weight": _FROM_0,
    "geometry.contact_sigma": _ABOVE_0,
    "geometry.adp_distance": _ABOVE_0,
    "geometry.shape_ratio": _FROM_0,
    "geometry.rigid_ratio": _FROM_0,
    "geometry.sphericity_sigma": _FROM_0,
    "external.low_resolution": _FROM_0,
    "external.few_reflections": _FROM_0,
    "external.distance": (2.0, 10.0, "a distance of 2 to 10 Å"),
    "external.secondary_structure_sigma": _ABOVE_0,
    "external.secondary_structure_weight": _FROM_0,
    "external.ramachandran_weight": _FROM_0,
    "external.metals_sigma": _ABOVE_0,
    "external.metals_weight": _FROM_0,
    "external.base_pairs_sigma": _ABOVE_0,
    "external.base_pairs_weight": _FROM_0,
    "external.rotamers_weight": _FROM_0,
    "external.puckers_weight": _FROM_0,
    "external.ncs_sigma": _ABOVE_0,
    "external.ncs_weight": _FROM_0,
    "external.jelly_body_sigma": _ABOVE_0,
    "external.jelly_body_weight": _FROM_0,
    "external.reference_sigma": _ABOVE_0,
    "external.reference_weight": _FROM_0,
    "external.loss": (-20.0, 2.0, "-20 to 2"),
    "riding.b_ratio": _ABOVE_0,
    "riding.b_ratio_turning": _ABOVE_0,
    "weighting.ratio": _ABOVE_0,
    "weighting.ratio_adp": _ABOVE_0,
    "weighting.evidence_adp": _ABOVE_0,
    "weighting.adp_prior": _ABOVE_0,
    "weighting.perturb_xyz": _ABOVE_0,
    "weighting.perturb_b": _ABOVE_0,
    "weighting.clamp": _FROM_1,
    "weighting.geometry": _FROM_0,
    "weighting.adp": _FROM_0,
    "weighting.rmsz_low": _FROM_0,
    "weighting.rmsz_high": _ABOVE_0,
    "weighting.angle_rmsz_high": _ABOVE_0,
    "minimiser.max_iterations": _FROM_1,
    "minimiser.tolerance": _FROM_0,
}
"""Smallest and largest value of every number among the options, and both in words."""


def read_config(path: str | Path, base: Options | None = None) -> Options:
    """Read options from a TOML file.

    Keys are the names of `Options` ("d_min" or "d-min"), tables those of its groups (``[xray]``). Paths are
    relative to the working folder, as on the command line. What the file does not name keeps its value in
    `base`.

    Raises
    ------
    InputError
        If the file cannot be read, is no TOML, has an unknown key (naming the nearest one), or a value of the
        wrong type.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "give the path of a TOML file to --config"
        raise InputError(f"configuration '{path}' cannot be read: {error.strerror}; {remedy}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"configuration '{path}' is no TOML: {error}; expected lines such as 'cycles = 10'") from error
    return typing.cast(Options, _merge(base or Options(), content, f"configuration '{path}'", ""))


def check_options(options: Options) -> None:
    """Refuse values that no refinement can use: of the wrong type, not among the choices, or out of range.

    Raises
    ------
    InputError
        Naming the option, its value, and what is expected.
    """
    if not isinstance(options, Options):
        raise InputError(f"options: found a {type(options).__name__}; expected Options(...), such as Options(cycles=2)")
    _check_group(options, "")
    if options.hydrogens == "strip" and options.write_hydrogens == "yes":
        raise InputError(
            "--hydrogens strip leaves nothing for --write-hydrogens yes to write; "
            "leave out one of them (--hydrogens add computes and writes hydrogens)"
        )
    if not options.tls or (len(options.tls) > 1 and set(options.tls) & set(TLS_KEYWORDS)):
        expected = f"one of {', '.join(TLS_KEYWORDS)}, or selections such as 'chain A and 1-80' 'chain A and 81-200'"
        raise InputError(f"--tls: found {' '.join(map(repr, options.tls)) or 'nothing'}, expected {expected}")
    if not options.twin or (len(options.twin) > 1 and set(options.twin) & set(TWIN_KEYWORDS)):
        raise InputError(
            f"--twin: found {' '.join(map(repr, options.twin)) or 'nothing'}, expected auto, none, or operators such "
            "as --twin=-h,k,-l"
        )
    low, high = options.weighting.rmsz_low, options.weighting.rmsz_high
    _require(low < high, "--weighting.rmsz-low", low, f"a value below --weighting.rmsz-high ({high:g})")


def _check_group(group: Any, prefix: str) -> None:
    """Check every field of a dataclass of options against its type, then against its limits."""
    hints = typing.get_type_hints(type(group))
    for field in dataclasses.fields(group):
        name, value, hint = f"{prefix}{field.name}", getattr(group, field.name), hints[field.name]
        flag = f"--{name.replace('_', '-')}"
        _require(_fits(value, hint), flag, value, _expected(hint, value))
        if dataclasses.is_dataclass(hint):
            _check_group(value, f"{name}.")
        elif name in _LIMITS and value is not None:
            low, high, expected = _LIMITS[name]
            _require(math.isfinite(value) and low <= value <= high, flag, value, expected)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type of an option; NumPy numbers and an integer for a float are."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    return isinstance(value, hint)


def _expected(hint: Any, found: Any = None) -> str:
    """Say what type of value an option takes; of several, with the one that was found as the example."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(argument, found) for argument in arguments)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is tuple:
        items = [found] if isinstance(found, (str, Path)) else found if isinstance(found, list) and found else None
        if items is None or not all(isinstance(item, (str, Path)) for item in items):
            items = ["ligand.cif"] if arguments[0] is Path else ["xyz", "b"]
        shown = [f"Path({str(item)!r})" if arguments[0] is Path else repr(str(item)) for item in items]
        return f"a tuple such as ({', '.join(shown)}{',' if len(shown) == 1 else ''})"
    names = {
        str: "text", float: "a number", int: "an integer", bool: "True or False", Path: "a pathlib.Path",
        type(None): "None",
    }  # fmt: skip
    return names.get(hint, f"an instance of {getattr(hint, '__name__', hint)}")


def _require(condition: bool, flag: str, value: object, expected: str) -> None:
    if not condition:
        raise InputError(f"{flag}: found {value!r}, expected {expected}")


def _merge(base: Any, content: Mapping[str, Any], where: str, prefix: str) -> Any:
    """Return the dataclass `base` with the values of a TOML table."""
    fields = {f.name for f in dataclasses.fields(base)}
    hints = typing.get_type_hints(type(base))
    changes: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise InputError(f"{where}: unknown key '{prefix}{key}'{_nearest(prefix + name)}")
        old = getattr(base, name)
        if dataclasses.is_dataclass(old):
            if not isinstance(value, Mapping):
                raise InputError(f"{where}: '{prefix}{key}' is {value!r}, expected a table [{prefix}{key}]")
            changes[name] = _merge(old, value, where, f"{prefix}{key}.")
        else:
            changes[name] = _convert(value, hints[name], f"{where}: '{prefix}{key}'")
    return dataclasses.replace(base, **changes)


def _nearest(key: str) -> str:
    import difflib

    known = _names(Options())
    last = {name.rsplit(".", 1)[-1]: name for name in known}
    close = [last[key]] if key in last else difflib.get_close_matches(key, known, 1, 0.6)
    if not close:  # perhaps the right name in the wrong table
        close = [last[n] for n in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(last), 1, 0.75)]
    return f"; did you mean '{close[0]}'?" if close else f"; known keys: {', '.join(known)}"


def _names(options: Any, prefix: str = "") -> list[str]:
    """Names of all options and of their groups, such as "cycles", "xray" and "xray.accuracy"."""
    names: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        names.append(f"{prefix}{field.name}")
        if dataclasses.is_dataclass(value):
            names += _names(value, f"{prefix}{field.name}.")
    return names


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Check a TOML value against the type of the option and convert it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is typing.Literal:
        if value not in arguments:
            raise InputError(f"{where} is {value!r}, expected one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        items = value if isinstance(value, list) else [value]
        return tuple(_convert(item, arguments[0], where) for item in items)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is hint:
        return value
    names = {Path: "a path as text", str: "text", float: "a number", int: "an integer", bool: "true or false"}
    raise InputError(f"{where} is {value!r}, expected {names.get(hint, hint)}")
