"""`arrayrefine omit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from arrayrefine.commands.inputs import check_output, json_bytes, options_of, output_folders, print_notes
from arrayrefine.commands.reading_options import Reading
from arrayrefine.commands.tables import number, table

if TYPE_CHECKING:
    from arrayrefine.real_space.omit_maps import OmitMap

FILES = ("omit.mtz", "omit_mFo-DFc.ccp4", "omit.json")


@dataclass(frozen=True)
class Omit:
    """Make an omit map for a part of the model (polder)."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """Model: PDB or mmCIF, .gz too."""
    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """Reflections: MTZ or sf-mmCIF."""
    selection: str
    """What to leave out, such as "resname FOL" or "chain A and 52 and not backbone"."""
    radius: float = 5.0
    """Bulk solvent is kept out this far around it, Å; 0 makes a plain omit map."""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("omit")
    """Folder for omit.mtz, omit_mFo-DFc.ccp4 and omit.json."""
    config: Path | None = None
    """TOML file with options; flags override it."""
    reading: Annotated[Reading, arg(name="")] = field(default_factory=Reading)

    def __call__(self) -> int:
        """Run the command; returns the exit status."""
        from arrayrefine.evaluation import omit_files
        from arrayrefine.io.output.write import replace_files
        from arrayrefine.io.output.write_mtz import mtz_bytes
        from arrayrefine.real_space.omit_maps import omitted_atoms
        from arrayrefine.version import version

        for name in FILES:
            check_output(self.out / name, (self.model, self.data, self.config))
        with output_folders(self.out):
            options = options_of(self.reading, self.config)
            found, evaluated = omit_files(self.model, self.data, self.selection, options, self.radius)
            atoms = evaluated.state.atoms
            own = omitted_atoms(atoms, found.omitted)
            content = self._content(found, evaluated.state.statistics.r_work)
            history = f"arrayrefine {version()}: omit map without {self.selection}"
            files = {
                FILES[0]: mtz_bytes(evaluated.problem.reflections, found.maps, history),
                FILES[1]: found.difference.ccp4_bytes(atoms.xyz[own]),
                FILES[2]: json_bytes(content),
            }
            paths = replace_files(self.out, files)  # before a word is said: `head` need not read to the end
        print_notes(evaluated.notes)
        print("\n".join([*_lines(content), *(f"wrote {path}" for path in paths)]))
        return 0

    def _content(self, found: OmitMap, r_work: float) -> dict[str, Any]:
        from arrayrefine.real_space.omit_maps import omitted_atoms
        from arrayrefine.validation.labels import atom_label

        who = found.state.atoms.identity
        own = omitted_atoms(found.state.atoms, found.omitted)
        return {
            "schema": "arrayrefine.omit/1",
            "selection": self.selection,
            "radius": self.radius,
            "r_work": r_work,
            "r_work_omitted": found.state.statistics.r_work,
            "cc_present_absent": found.cc_present_absent,
            "cc_present_data": found.cc_present_data,
            "cc_absent_data": found.cc_absent_data,
            "atoms": [
                {"atom": atom_label(who, i), "sigma": level} for i, level in zip(own.tolist(), found.levels.tolist())
            ],
            "peaks": [
                {"height": p.height, "xyz": p.xyz, "atom": atom_label(who, p.atom), "distance": p.distance}
                for p in found.peaks
            ],
        }


def _lines(content: dict[str, Any]) -> list[str]:
    levels = [row["sigma"] for row in content["atoms"]]
    kind = f"polder, {content['radius']:g} Å" if content["radius"] else "omit"
    return [
        f"left out: {content['selection']} ({len(levels)} atoms); R-work {content['r_work']:.4f} -> "
        f"{content['r_work_omitted']:.4f}",
        f"{kind} map at these atoms: {sum(levels) / len(levels):.1f} sigma in the mean, {min(levels):.1f} at least",
        f"correlation with the map of computed data: {number(content['cc_present_data'], 3)} with the atoms, "
        f"{number(content['cc_absent_data'], 3)} with solvent in their place; of these two "
        f"{number(content['cc_present_absent'], 3)}",
        *table(
            "Peaks there", ("sigma ", "Å ", "from"),
            [(number(p["height"], 1), number(p["distance"], 2), p["atom"]) for p in content["peaks"]], 10,
        ),
    ]  # fmt: skip
