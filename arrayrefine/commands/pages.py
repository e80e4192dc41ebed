"""Pages of what was refined. The models are on the disk by then: what goes wrong with a page must not look worse."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arrayrefine.options import Options
from arrayrefine.wording import Caution

if TYPE_CHECKING:
    from arrayrefine.result import Result


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import without collecting garbage; what was imported stays, and later collections need not look at it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


def write_page(result: Result, out: Path, wanted: bool) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write report.html, if wanted; the file, and what went wrong."""
    from arrayrefine.page.write import retire

    if not wanted:
        retire(out)
        return (), ()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it has much to say of folders that it may not write to
    try:
        with loading():
            return (result.write_report(out),), ()
    except BaseException as error:
        retire(out)
        if not isinstance(error, Exception):
            raise
        said = f"report.html is not written: {type(error).__name__}: {error}; the other files are complete"
        return (), (Caution(said),)


def write_pages(results: dict[Path, Result], options: Options) -> dict[Path, tuple[str, ...]]:
    """Write report.html into every folder, each by one of several processes; what went wrong with each."""
    from arrayrefine.kernels.crew import Ask, crew
    from arrayrefine.kernels.processes import possible

    found: dict[Path, tuple[str, ...]] = {}

    def work(folders: list[Path], ask: Ask) -> None:
        for folder in folders:
            ask((folder, write_page(results[folder], folder, options.report)[1]))

    def add(done: tuple[Path, tuple[str, ...]]) -> None:
        found[done[0]] = done[1]

    folders = list(results)
    count = min(len(folders), options.threads) if possible() else 1
    if count > 1:
        crew([partial(work, folders[first::count]) for first in range(count)], add)
    for folder in folders:
        if folder not in found:  # all, or those of a process that was lost
            found[folder] = write_page(results[folder], folder, options.report)[1]
    return found
