"""`arrayrefine crossvalidate`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from arrayrefine.commands.inputs import check_output, json_bytes, output_folders, print_notes
from arrayrefine.commands.stopping import StopRequest
from arrayrefine.commands.tables import number, table
from arrayrefine.configuration import check_options
from arrayrefine.options import DISPLACED, Options

if TYPE_CHECKING:
    from arrayrefine.cross_validation import CrossValidation

FILES = ("crossvalidation.json", "crossvalidation.mtz")


@dataclass(frozen=True)
class CrossValidate:
    """Refine once for each of several test sets (R-complete)."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Model: PDB or mmCIF, .gz too."""
    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """Reflections: MTZ or sf-mmCIF."""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("crossvalidation")
    """Folder for crossvalidation.json and crossvalidation.mtz."""
    config: Path | None = None
    """TOML file with options; flags override it."""
    folds: int = 10
    """Number of test sets, chosen by --seed, which have all reflections between them."""
    options: Annotated[Options, arg(name="")] = DISPLACED

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        with StopRequest("what the refinements that have ended tell is written") as stop:
            check_options(self.options)
            from arrayrefine.commands.progress import Progress
            from arrayrefine.cross_validation import cross_validate
            from arrayrefine.io.output.write import replace_files
            from arrayrefine.io.output.write_mtz import columns_bytes
            from arrayrefine.report import json_ready
            from arrayrefine.reporting.option_effects import without_models
            from arrayrefine.version import version

            for name in FILES:
                check_output(self.out / name, (self.model, self.data, self.config, *self.options.other_files))
            progress = Progress()
            with output_folders(self.out):
                progress.start(f"arrayrefine {version()}: {self.folds} refinements of {self.model} against {self.data}")
                found = cross_validate(
                    self.model, self.data, self.options, self.folds,
                    on_step=progress.step_of, on_message=progress.message_of, stop=stop,
                )  # fmt: skip
                if not found.ended:
                    print("arrayrefine: interrupted before a refinement ended: nothing is written", file=sys.stderr)
                    return 128 + (stop.signal or 0)
                content = json_ready(found.as_dict())
                history = f"arrayrefine {version()}: FC by the refinement that left the reflection out (FOLD)"
                columns = [
                    ("FP", "F", found.reflections.f_obs), ("SIGFP", "Q", found.reflections.sigma),
                    ("FC", "F", found.f_model), ("FOLD", "I", found.fold + 1.0),
                ]  # fmt: skip
                mtz = columns_bytes(found.reflections, columns, history)
                paths = replace_files(self.out, {FILES[0]: json_bytes(content), FILES[1]: mtz})
            print_notes([*without_models(self.options), *_said(found)])
            print("\n".join([*_lines(content), *(f"wrote {path}" for path in paths)]))
            return 0 if stop.signal is None else 128 + stop.signal


def _said(found: CrossValidation) -> list[str]:
    """Notes of the data, and what all refinements said alike."""
    first, *others = [found.results[k].report.warnings for k in found.ended]
    return [*dict.fromkeys((*found.notes, *(note for note in first if all(note in other for other in others))))]


def _lines(content: dict[str, Any]) -> list[str]:
    rows = [
        (str(row["fold"]), str(row["n"]), number(row["r_work"], 4), number(row["r_free"], 4),
         number(row["bond_rmsz"], 2), number(row["angle_rmsz"], 2), row["stopped"].split(":")[0])
        for row in content["by_fold"]
    ]  # fmt: skip
    heads = ("fold ", "left out ", "R-work ", "R-free ", "bond Z ", "angle Z ", "ended")
    error = content["standard_error"]
    lines = [
        *table("Refinements", heads, rows, len(rows)), "",
        f"R-complete {content['r_complete']:.4f}{'' if error is None else f' +- {error:.4f}'} of {content['n']} "
        f"reflections, each left out once; R-work {content['r_work']:.4f} in the mean",
    ]  # fmt: skip
    own = content["own_test_set"]
    if own["r_complete"] is not None:
        lines.append(f"of these, the {own['n']} of the file's test set: {own['r_complete']:.4f}")
    if len(rows) < content["folds"]:
        lines.append(f"interrupted: {len(rows)} of {content['folds']} refinements had ended")
    return lines
