"""The command line: refine, regularise, demo, crossvalidate, report, view, validate, peaks, omit, doctor,
completion.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import tyro
from tyro.conf import Positional, arg, subcommand

from arrayrefine.commands import standard_streams
from arrayrefine.commands.crossvalidate import CrossValidate
from arrayrefine.commands.help import with_examples
from arrayrefine.commands.inputs import output_folders
from arrayrefine.commands.omit import Omit
from arrayrefine.commands.pages import loading, write_page
from arrayrefine.commands.peaks import Peaks
from arrayrefine.commands.regularise import Regularise
from arrayrefine.commands.report import Report
from arrayrefine.commands.starts import refine_starts
from arrayrefine.commands.stopping import StopRequest, cleaned_up
from arrayrefine.commands.validate import Validate
from arrayrefine.commands.view import View
from arrayrefine.configuration import check_options, read_config
from arrayrefine.errors import ArrayRefineError, message
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import DISPLACED, Options
from arrayrefine.version import version

# Whatever reads a file or computes is imported inside the commands, so that help and version come at once.

DESCRIPTION = """Refine a macromolecular crystal structure against its diffraction data.
'arrayrefine COMMAND --help' shows the options of a command and an example;
'arrayrefine --version' prints the version."""
USER_ERROR = 2
LISTS = (
    "--targets", "--rigid-groups", "--tls", "--twin", "--occupancy-groups", "--freeze", "--restraints",
    "--restraint-tables",
)  # fmt: skip
"""Flags that take several values."""


@dataclass(frozen=True)
class Refine:
    """Refine a model against measured reflections."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Model: PDB or mmCIF, .gz too."""
    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """Reflections: MTZ or sf-mmCIF."""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("refined")
    """Folder for refined.cif, refined.pdb, refined.mtz, report.json and report.html."""
    config: Path | None = None
    """TOML file with options; flags override it."""
    starts: int = 1
    """Refine this many displaced starts (see --perturb) side by side: --start and those after it, each with a folder of
    its number in --out."""
    options: Annotated[Options, arg(name="")] = field(default_factory=Options)

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        if self.starts != 1:
            return refine_starts(self.model, self.data, self.out, self.options, self.starts)
        return _refine(self.model, self.data, self.out, self.options, f"{self.model} against {self.data}")


@dataclass(frozen=True)
class Demo:
    """Refine the embedded example from a perturbed start."""

    out: Annotated[Path, arg(aliases=("-o",))] = Path("arrayrefine-demo")
    """Folder for refined.cif, refined.pdb, refined.mtz, report.json and report.html."""
    config: Path | None = None
    """TOML file with options; flags override it."""
    options: Annotated[Options, arg(name="")] = DISPLACED

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        what = "PDB entry 1RX2, dihydrofolate reductase with folate and NADP+, at 1.8 Å"
        return _refine(MODEL, DATA, self.out, self.options, what)


@dataclass(frozen=True)
class Doctor:
    """Say what works on this machine and what does not."""

    def __call__(self) -> int:
        """Run the command; the diagnosis is its result, so the exit status is 0 whatever it says."""
        from arrayrefine.doctor import examine, report_lines

        print("\n".join(report_lines(examine())))
        return 0


@dataclass(frozen=True)
class Completion:
    """Print what makes a shell complete commands and options."""

    shell: Annotated[Positional[Literal["bash", "zsh", "fish"]], arg(metavar="SHELL")]
    """Shell: bash, zsh or fish."""

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        with contextlib.suppress(SystemExit):
            parse(("--tyro-print-completion", self.shell))
        return 0


Command: TypeAlias = (
    Refine | Demo | CrossValidate | Report | View | Validate | Peaks | Omit | Regularise | Doctor | Completion
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0; 2 when the input cannot be used as given; 130 or 143 after SIGINT or SIGTERM.
    """
    standard_streams.prepare()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] in ("--version", "-V"):
        print(f"arrayrefine {version()}")
        return 0
    try:
        command = parse(arguments)
        with cleaned_up():
            return command()
    except (ArrayRefineError, MemoryError) as error:
        print(f"arrayrefine: error: {message(error)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        standard_streams.give_up_output()
        return 141
    except OSError as error:
        if standard_streams.folder_gone():
            print("arrayrefine: error: the working folder does not exist any more: go to another", file=sys.stderr)
            return USER_ERROR
        if not standard_streams.output_refused():
            raise
        print(
            f"arrayrefine: error: standard output could not be written: {error.strerror}; files that were written are "
            "complete; send it elsewhere",
            file=sys.stderr,
        )
        return USER_ERROR


def parse(arguments: Sequence[str]) -> Command:
    """Turn arguments into a command; values of `--config` are the defaults that flags override.

    Raises
    ------
    InputError
        If the configuration cannot be used.
    SystemExit
        On unknown flags (status 2) and after help (status 0).
    """
    arguments = _files_first(arguments)
    config = _config_path(arguments)
    unknown: Any = tyro.MISSING
    refine = Refine(unknown, unknown, options=read_config(config) if config else Options())
    displaced = read_config(config, DISPLACED) if config else DISPLACED
    demo, cross = Demo(options=displaced), CrossValidate(unknown, unknown, options=displaced)
    commands: Any = (
        Annotated[Refine, subcommand("refine", default=refine, prefix_name=False)]
        | Annotated[Demo, subcommand("demo", default=demo, prefix_name=False)]
        | Annotated[CrossValidate, subcommand("crossvalidate", default=cross, prefix_name=False)]
        | Annotated[Report, subcommand("report", prefix_name=False)]
        | Annotated[View, subcommand("view", prefix_name=False)]
        | Annotated[Validate, subcommand("validate", prefix_name=False)]
        | Annotated[Peaks, subcommand("peaks", prefix_name=False)]
        | Annotated[Omit, subcommand("omit", prefix_name=False)]
        | Annotated[Regularise, subcommand("regularise", prefix_name=False)]
        | Annotated[Doctor, subcommand("doctor", prefix_name=False)]
        | Annotated[Completion, subcommand("completion", prefix_name=False)]
    )
    parsed: Command
    with with_examples(arguments):
        parsed = tyro.cli(commands, args=list(arguments), prog="arrayrefine", description=DESCRIPTION)
    return parsed


def _files_first(arguments: Sequence[str]) -> list[str]:
    """Put MODEL and DATA of a refinement before the flags where they follow a flag that takes several values.

    Such a list ends at the next flag only, so that `--targets xyz b MODEL DATA --cycles 3` would lose both files.
    """
    if not arguments or arguments[0] not in ("refine", "crossvalidate"):
        return list(arguments)
    rest = list(arguments[1:])
    files, i = 0, 0
    runs: list[tuple[int, int]] = []
    while i < len(rest):
        flag = rest[i].replace("_", "-")
        i += 1
        if not flag.startswith("-"):
            files += 1
        elif flag in LISTS:
            start = i
            while i < len(rest) and not rest[i].startswith("-"):
                i += 1
            runs.append((start, i))
        elif "=" not in flag and not _is_switch(flag):
            i += 1
    long = [(start, end) for start, end in runs if end - start > 2]
    if files or len(long) != 1:
        return list(arguments)
    _, end = long[0]
    return [arguments[0], *rest[end - 2 : end], *rest[: end - 2], *rest[end:]]


def _is_switch(flag: str) -> bool:
    """Whether a flag takes no value."""
    group, _, name = flag.removeprefix("--").rpartition(".")
    name = name.removeprefix("no-").replace("-", "_")
    if group:
        owner = getattr(Options(), group, None)
        return isinstance(getattr(owner, name, None), bool)
    return flag in ("-h", "--help") or isinstance(getattr(Options(), name, None), bool)


def _config_path(arguments: Sequence[str]) -> Path | None:
    """Value of the last `--config`, needed before the flags are parsed because it sets their defaults."""
    found: Path | None = None
    for i, argument in enumerate(arguments):
        if argument.startswith("--config="):
            found = Path(argument.removeprefix("--config="))
        elif argument == "--config" and i + 1 < len(arguments):
            found = Path(arguments[i + 1])
    return found


def _refine(model: Path, data: Path, out: Path, options: Options, what: str) -> int:
    with StopRequest() as stop:
        check_options(options)
        with loading():
            from arrayrefine.commands.progress import Progress
            from arrayrefine.io.output.write import check_inputs, left_out
            from arrayrefine.refine import refine

        check_inputs(out, (model, data, *options.other_files))
        progress = Progress()
        with output_folders(out):
            progress.start(f"arrayrefine {version()}: {what}")
            result = refine(model, data, options, on_step=progress.step, on_message=progress.message, stop=stop)
            files = result.write(out)
        page, failures = write_page(result, out, options.report)
        report = result.report.with_warnings(*left_out(result.model, result.atoms, result.reflections), *failures)
        progress.summary(report, (*files, *page), options.timings)
        return 0 if stop.signal is None else 128 + stop.signal


if __name__ == "__main__":
    sys.exit(main())
