"""`arrayrefine refine --starts`: several displaced starts of one refinement."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from arrayrefine.commands.inputs import output_folders
from arrayrefine.commands.pages import write_pages
from arrayrefine.commands.stopping import StopRequest
from arrayrefine.configuration import check_options
from arrayrefine.errors import ArrayRefineError, InputError
from arrayrefine.options import Options
from arrayrefine.version import version

if TYPE_CHECKING:
    from arrayrefine.result import Result


def refine_starts(model: Path, data: Path, out: Path, options: Options, count: int) -> int:
    """Refine `count` displaced starts side by side, each into a folder of its number; the exit status."""
    if count < 1:
        raise InputError(f"--starts {count}: expected 1 or more")
    if options.perturb <= 0.0:
        raise InputError(f"--starts {count} would refine the same start again and again; give --perturb, such as 0.2")
    with StopRequest() as stop:
        check_options(options)
        from arrayrefine.commands.progress import Progress
        from arrayrefine.io.output.write import check_inputs, left_out
        from arrayrefine.many import Job, refine_many

        folders = {options.start + k: out / str(options.start + k) for k in range(count)}
        for folder in folders.values():
            check_inputs(folder, (model, data, *options.other_files))
        progress = Progress()
        with output_folders(out, *folders.values()):
            progress.start(f"arrayrefine {version()}: {count} starts of {model} against {data}")
            jobs = [Job(model, data, dataclasses.replace(options, start=start)) for start in folders]
            results = refine_many(jobs, on_step=progress.step_of, on_message=progress.message_of, stop=stop)
            failed = [result for result in results if isinstance(result, ArrayRefineError)]
            found: dict[int, Result] = {}
            for start, result in zip(folders, results):
                if isinstance(result, ArrayRefineError):
                    continue
                try:
                    result.write(folders[start])
                except ArrayRefineError as error:  # the others may have room, and each says where its files are
                    failed.append(error)
                else:
                    found[start] = result
            failures = write_pages({folders[start]: refined for start, refined in found.items()}, options)
            reports = {
                start: refined.report.with_warnings(
                    *left_out(refined.model, refined.atoms, refined.reflections), *failures[folders[start]]
                )
                for start, refined in found.items()
            }
        if reports:
            progress.starts(reports, out, options.timings)
        if failed:
            raise failed[0] if len(failed) == 1 else ArrayRefineError("\n".join(dict.fromkeys(map(str, failed))))
        return 0 if stop.signal is None else 128 + stop.signal
