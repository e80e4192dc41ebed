"""Options from a TOML file, and the check of option values."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arrayrefine.errors import InputError
from arrayrefine.options import Options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
    """Refuse values that no refinement can use.

    Raises
    ------
    InputError
        Naming the option, its value, and what is expected.
    """
    _require(options.cycles >= 0, "--cycles", options.cycles, "0 or more")
    _require(options.d_min is None or options.d_min > 0, "--d-min", options.d_min, "a resolution in Å above 0")
    _require(options.threads >= 1, "--threads", options.threads, "1 or more")
    _require(options.seed >= 0, "--seed", options.seed, "0 or more")
    _require(0 <= options.perturb <= 2, "--perturb", options.perturb, "a distance of 0 to 2 Å")
    xray, geometry, weighting, minimiser = (
        options.xray,
        options.geometry,
        options.weighting,
        options.minimiser,
    )
    _require(0 < xray.accuracy <= 0.1, "--xray.accuracy", xray.accuracy, "above 0, at most 0.1")
    _require(xray.sigma_a_bins >= 1, "--xray.sigma-a-bins", xray.sigma_a_bins, "1 or more")
    for name in ("contact_sigma", "adp_distance"):
        value = getattr(geometry, name)
        _require(value > 0, f"--geometry.{name.replace('_', '-')}", value, "above 0")
    for name in ("ratio", "perturb_xyz", "perturb_b"):
        value = getattr(weighting, name)
        _require(value > 0, f"--weighting.{name.replace('_', '-')}", value, "above 0")
    _require(weighting.clamp >= 1, "--weighting.clamp", weighting.clamp, "1 or more")
    _require(weighting.geometry >= 0, "--weighting.geometry", weighting.geometry, "0 or more")
    _require(weighting.adp >= 0, "--weighting.adp", weighting.adp, "0 or more")
    low, high = weighting.rmsz_low, weighting.rmsz_high
    _require(0 <= low < high, "--weighting.rmsz-low", low, f"0 or more and below --weighting.rmsz-high ({high})")
    _require(minimiser.max_iterations >= 1, "--minimiser.max-iterations", minimiser.max_iterations, "1 or more")
    _require(minimiser.tolerance >= 0, "--minimiser.tolerance", minimiser.tolerance, "0 or more")


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
    known = _names(Options())
    close = difflib.get_close_matches(key, known, 1, 0.6)
    if not close:  # perhaps the right name in the wrong table
        last = {name.rsplit(".", 1)[-1]: name for name in known}
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
