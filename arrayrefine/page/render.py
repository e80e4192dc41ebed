"""The page itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.processes import gathered
from arrayrefine.page import chains, course, facts, findings, fit, places, torsions
from arrayrefine.page.figure import style
from arrayrefine.page.picture import BEST_LEVEL, DIFFERENCE_LEVEL
from arrayrefine.page.table import Place
from arrayrefine.real_space.map_grids import MapGrid
from arrayrefine.validation.top8000 import percentiles
from arrayrefine.version import version

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "report.html"


@dataclass(frozen=True)
class Subject:
    """What a page is about.

    Attributes
    ----------
    account : mapping
        Content of `report.json`.
    validation : mapping
        See `Validation.as_dict`.
    atoms : Atoms
    best, difference : MapGrid
        2mFo-DFc and mFo-DFc.
    """

    account: Mapping[str, Any]
    validation: Mapping[str, Any]
    atoms: Atoms
    best: MapGrid
    difference: MapGrid


def page(subject: Subject) -> str:
    """Return the page as HTML that needs nothing but itself; a team of processes shares the charts."""
    account, validation = subject.account, subject.validation
    where = places.centres(subject.atoms)

    def find(label: str) -> Place | None:
        """Middle of the residue of a label, be it of the residue or of an atom."""
        return where.get(" ".join(label.split(" ")[:3]))

    tasks: list[Callable[[], Any]] = [
        lambda: torsions.chart(validation, percentiles("ramachandran/general")),
        lambda: course.charts(account),
        lambda: fit.charts(account),
        lambda: places.pictures(validation, subject.atoms, subject.best, subject.difference),
        lambda: chains.charts(validation),  # as much work as all others
    ]
    with style():
        ramachandran, steps, fits, pictures, (along, left_out) = gathered(tasks)
    charts = {"course": steps, "fit": fits, "chains": along}
    cautions = account.get("cautions", ())  # which reports of before do not tell apart
    content = {
        "account": account,
        "title": Path(account["inputs"]["model"]["path"]).name,
        "data_name": Path(account["inputs"]["data"]["path"]).name,
        "version": version(),
        "cautions": cautions,
        "notes": [said for said in account["warnings"] if said not in cautions],
        "tiles": facts.tiles(account, validation),
        "statistics": facts.before_after(account),
        "classes": facts.classes(account),
        "facts": facts.facts(account, subject.best.crystal, version()),
        "options": facts.changed_options(account),
        "charts": charts,
        "ramachandran": ramachandran,
        "steps": course.step_table(account),
        "reasons": course.reasons(account),
        "chains_left_out": left_out,
        "found": findings.tables(validation, find),
        "totals": facts.totals(validation),
        "levels": {"best": BEST_LEVEL, "difference": DIFFERENCE_LEVEL},
        "pictures": pictures,
    }
    return _environment().get_template("report.html.j2").render(content)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = str(resources.files("arrayrefine.page") / "templates")
    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def view_page(title: str, label: str, first: Place, sigma: Mapping[str, float], report: bool) -> str:
    """The page with the viewer, and the report beside it where there is one.

    Parameters
    ----------
    title : str
    label, first
        Name and position (Å) of the place to begin with.
    sigma : mapping
        Root mean squares of the maps "best" and "difference", and of "anomalous" where there is one.
    report : bool
    """
    content = {"title": title, "label": label, "first": list(first), "sigma": dict(sigma), "report": report}
    return _environment().get_template("view.html.j2").render(content)
