"""What a user sees while a refinement runs, and the summary at its end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arrayrefine.commands.tables import number
from arrayrefine.report import Report, Step
from arrayrefine.wording import Caution, kind_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# rich is imported where there is a terminal to write to: a run in a queue does without it.

_SUMMARY = (
    ("R-work", "r_work", 4),
    ("R-free", "r_free", 4),
    ("bond RMSD, Å", "bond_rmsd", 4),
    ("bond RMSZ", "bond_rmsz", 2),
    ("angle RMSD, °", "angle_rmsd", 2),
    ("angle RMSZ", "angle_rmsz", 2),
    ("mean B, Å²", "b_mean", 1),
)
_COLUMNS = (
    f"{'cycle':>5}  {'free':<12} {'params':>7}  {'w(geometry)':>11} {'w(ADP)':>8}  "
    f"{'R-work':>7} {'R-free':>7}  {'bond Z':>6} {'angle Z':>7}  {'evals':>5} {'seconds':>7}"
)


_TERMINAL_VARIABLES = ("FORCE_COLOR", "TTY_COMPATIBLE")
"""With these rich may take what is no terminal for one."""


class _Plain:
    """Standard output that is no terminal, with as much of a rich console as lines of text need."""

    is_terminal = False

    def print(self, text: str, *, markup: bool = False, soft_wrap: bool = True) -> None:
        """Print a line as it is."""
        print(text, flush=True)


def _standard_output() -> Console | _Plain:
    if not sys.stdout.isatty() and not any(name in os.environ for name in _TERMINAL_VARIABLES):
        return _Plain()
    from rich.console import Console

    return Console(highlight=False)


class Progress:
    """Prints a refinement: on a terminal line by line, elsewhere only notes, steps rolled back, and the summary.

    Parameters
    ----------
    console : rich.console.Console, optional
        Default: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _standard_output()
        self.live = self.console.is_terminal
        self._header_done = False
        self._said: set[str] = set()
        self._turn = threading.Lock()

    def start(self, *lines: str) -> None:
        """Say what is going to happen."""
        for line in lines:
            self._live("[bold]{}[/]", line)

    def message(self, text: str) -> None:
        """Say a note of the refinement: something fixed up, left out or assumed."""
        if self.live and text not in self._said:
            self._said.add(text)
            self._live("[bold yellow]![/] {}" if isinstance(text, Caution) else "[dim]•[/] {}", text)

    def step(self, step: Step) -> None:
        """Print one line for a step; the first call prints the header of the table before it."""
        if not self._header_done:
            self._header_done = True
            self._live()
            self._live("[dim]{}[/]", _COLUMNS)
        self._live("{}", step_line(step))
        if step.weights.get("sentence"):
            self._live(f"[dim]{'':7}weights {{}}[/]", str(step.weights["sentence"]))
        if step.note:
            self._live(f"[dim]{'':7}{{}}[/]", step.note)

    def message_of(self, run: int, text: str) -> None:
        """A note of one of several refinements; said once, as all have the same input."""
        with self._turn:
            self.message(text)

    def step_of(self, run: int, step: Step) -> None:
        """Print one line for a step of one of several refinements."""
        with self._turn:
            if not self._header_done:
                self._header_done = True
                self._live()
                self._live("[dim]{}[/]", f"{'run':>5} {_COLUMNS}")
            self._live("{}", f"{run + 1:>5} {step_line(step)}")

    def starts(self, reports: Mapping[int, Report], folder: Path, timings: bool = False) -> None:
        """Print how several starts of one refinement ended, by their numbers, and where they lie."""
        for warning in dict.fromkeys(w for report in reports.values() for w in report.warnings):
            if warning not in self._said:
                self._plain(f"{kind_of(warning)}: {warning}")
        if timings:
            for line in timing_lines([step for report in reports.values() for step in report.steps]):
                self._plain(line)
        self._plain(f"{'start':>5} {'R-work':>7} {'R-free':>7} {'bond Z':>6} {'angle Z':>7} {'evals':>6}  ended")
        for start, report in reports.items():
            final = report.final
            self._plain(
                f"{start:>5} {number(final.r_work, 4):>7} {number(final.r_free, 4):>7} "
                f"{number(final.bond_rmsz, 2):>6} {number(final.angle_rmsz, 2):>7} "
                f"{sum(step.evaluations for step in report.steps):>6}  {report.stopped}"
            )
        # The test set must not choose, or it would cease to be one.
        best = min(reports, key=lambda start: reports[start].final.r_work)
        self._plain(f"lowest R-work: start {best}, in {folder / str(best)}; the others lie beside it")
        first = next(iter(reports.values()))
        self._plain(f"{max(report.seconds for report in reports.values()):.1f} s on {first.device or 'cpu'}")

    def summary(self, report: Report, files: Sequence[Path] = (), timings: bool = False) -> None:
        """Print what was not yet said of notes and steps rolled back, the timings if wanted, and start → final."""
        for warning in report.warnings:
            if warning not in self._said:
                self._plain(f"{kind_of(warning)}: {warning}")
        if not self.live:
            for step in report.steps:
                if "rolled back" in step.note:
                    self._plain(f"note: cycle {step.cycle}, {step.target}: {step.note}")
        if timings:
            for line in timing_lines(report.steps):
                self._plain(line)
        if not isinstance(self.console, _Plain) and self.live:
            self._live()
            self.console.print(_summary_table(report))
        else:
            for label, name, digits in _SUMMARY:
                start, final = (number(getattr(s, name), digits) for s in (report.start, report.final))
                self._plain(f"{label:<14} {start:>8} -> {final:>8}")
        if report.stopped:
            self._plain(f"ended: {report.stopped}")
        self._plain(f"{report.seconds:.1f} s on {report.device or 'cpu'}")
        for path in files:
            self._plain(f"wrote {path}")

    def _live(self, markup: str = "", text: str = "") -> None:
        """Print a line on a terminal only: `text` in the braces of `markup`."""
        if self.live:
            from rich.markup import escape

            self.console.print(markup.format(escape(text)), markup=True, soft_wrap=True)

    def _plain(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def step_line(step: Step) -> str:
    """Return one row of the table of steps, as text."""
    weights = step.weights
    return (
        f"{step.cycle:>5}  {step.target:<12} {step.free_parameters:>7}  "
        f"{_weight(weights.get('geometry')):>11} {_weight(weights.get('adp')):>8}  "
        f"{number(step.r_work, 4):>7} {number(step.r_free, 4):>7}  "
        f"{number(step.bond_rmsz, 2):>6} {number(step.angle_rmsz, 2):>7}  "
        f"{step.evaluations:>5} {step.seconds:>7.1f}"
    )


def timing_lines(steps: Sequence[Step]) -> list[str]:
    """Return the time spent in each part of the evaluations: total and per evaluation.

    A part's time per evaluation counts only the evaluations of steps in which that part ran.
    """
    parts: dict[str, tuple[float, int]] = {}
    for step in steps:
        for name, seconds in step.timings.items():
            total, evaluations = parts.get(name, (0.0, 0))
            parts[name] = (total + seconds, evaluations + step.evaluations)
    lines = [f"{'part':<16} {'seconds':>9} {'ms per evaluation':>18}"]
    for name, (total, evaluations) in sorted(parts.items(), key=lambda item: -item[1][0]):
        each = f"{1e3 * total / evaluations:.2f}" if evaluations else "–"
        lines.append(f"{name:<16} {total:>9.3f} {each:>18}")
    evaluations = sum(step.evaluations for step in steps)
    seconds = sum(step.seconds for step in steps)
    each = f"{1e3 * seconds / evaluations:.2f}" if evaluations else "–"
    lines.append(f"{'all of the steps':<16} {seconds:>9.3f} {each:>18}   ({evaluations} evaluations)")
    launches = sorted({step.launches for step in steps if step.launches is not None})
    if launches:
        counts = " to ".join(str(n) for n in dict.fromkeys((launches[0], launches[-1])))
        lines.append(f"kernels launched per evaluation: {counts}")
    return lines


def _summary_table(report: Report) -> Table:
    from rich.table import Table

    table = Table(title="Refinement", title_justify="left")
    table.add_column("")
    for heading in ("start", "final"):
        table.add_column(heading, justify="right")
    for label, name, digits in _SUMMARY:
        table.add_row(label, *(number(getattr(s, name), digits) for s in (report.start, report.final)))
    return table


def _weight(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "–"
