"""Imports go one way, and outside libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module may import from layers below its own, and from its own layer when no cycle arises (checked separately).
LAYERS = [
    {"__main__"},
    {"commands"},
    {"cross_validation"},
    {"doctor", "progress", "many", "evaluation", "viewer"},
    {"refine", "likelihood"},
    {"water_rounds"},
    {"course"},
    {"result", "preparation"},
    {
        "macrocycle", "rigid_body", "unplaced", "summaries", "outcome", "verdicts", "mask_search", "option_effects",
        "absorbers", "unbuilt", "unseen", "omit_maps", "page",
    },
    {"nqh_flips"},
    {"rotamers", "peptide_flips"},
    {"better_places"},
    {"side_chain_fit", "side_chain_scores", "side_chains", "peptides", "waters"},
    {"validation", "probes"},
    {"nqh_ends"},
    {"model_maps", "wilson_outliers", "other_indexing", "twin_evidence"},
    {"refinement_step"},
    {"remedy", "convergence", "foresight", "incomplete", "coordinate_uncertainty"},
    {"nearness", "guard", "search", "tensors", "weight_schemes"},
    {"device_batch"},
    {"callbacks"},
    {"state", "minimize", "device_objective", "twin_fit"},
    {"problem"},
    {"rendezvous", "device_restraints"},
    {"device_displacement", "device_occupancy"},
    {
        "anisotropy",
        "tls_groups",
        "tls_segments",
        "conformers",
        "unmodelled",
        "predicted",
        "preconditioner",
        "turning",
        "bound",
        "overlaps",
        "overlapping",
        "weights",
        "gradient_norms",
        "adp_evidence",
        "extra_weights",
        "parameters",
        "targets",
        "scaling",
        "data_checks",
        "twinning",
        "twin",
        "twin_choice", "folds",
        "twin_likelihood",
        "detwinning",
        "column_kind",
        "free_uncertainty",
        "sigma_a",
        "outliers",
        "solvent",
        "maps",
        "map_grids",
        "peaks",
        "report",
        "selection",
        "restraint_tables",
        "configuration",
    },
    {"structure_factors", "sigma_a_curves"},
    {"device_factors", "device", "grid_density"},
    {"device_density"},
    {
        "external",
        "radiation",
        "device_memory",
        "sampling",
        "topology",
        "topology_terms",
        "chiral_centres",
        "pyranoses",
        "twisted_peptides",
        "name_symmetry",
        "mate_links",
        "links",
        "named_links",
        "hydrogen_bonds",
        "link_lengths",
        "link_angles",
        "link_conformers",
        "valence",
        "unbonded",
        "overlapping_mates",
        "unlinked",
        "linked_hydrogens",
        "hydrogen_lengths",
        "hydrogens",
        "model_change",
        "carriers",
        "hydrogen_sources",
    },
    {"secondary_structure", "ramachandran", "base_pairs", "metal_coordination", "neighbour_distances"},
    {"nonbonded", "metal_rings"},
    {"polymers"},
    {
        "io",
        "atom_names",
        "monomers",
        "element_checks",
        "clusters",
        "porphyrins",
        "chain_ends",
        "component_checks",
        "heavy_water",
        "restraints",
        "atoms",
        "displacement",
        "common_anisotropy",
        "periodic_regions",
        "tls_motion",
        "gaussians",
        "occupancy_groups",
        "riding",
        "tls",
        "crystal",
        "lattice_symmetry",
        "anomalous",
        "reflections",
        "intensity_statistics",
        "form_factors",
        "options",
        "version",
        "example",
    },
    {"arguments", "interchange"},
    {"errors", "wording", "notebook", "command_help", "standard_streams"},
    {"kernels"},
]
RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}

ALLOWED = {
    "gemmi": {
        "atom_names",
        "link_lengths",
        "link_angles",
        "link_conformers",
        "valence",
        "unbonded",
        "unlinked",
        "linked_hydrogens",
        "hydrogen_lengths",
        "io",
        "crystal",
        "form_factors",
        "monomers",
        "element_checks",
        "clusters",
        "porphyrins",
        "chain_ends",
        "component_checks",
        "heavy_water",
        "restraints",
        "topology",
        "topology_terms",
        "chiral_centres",
        "pyranoses",
        "name_symmetry",
        "mate_links",
        "links",
        "named_links",
        "hydrogen_bonds",
        "nonbonded",
        "hydrogen_sources",
        "polymers",
        "metal_coordination",
        "map_grids",
        "validation",
        "doctor",
    },
    "scipy.optimize": {"minimize", "twin_likelihood"},
    "cupy": {"kernels"},
    "rich": {"progress", "__main__", "doctor"},
    "tyro": {"configuration", "__main__", "commands"},
    "matplotlib": {"page"},
    "contourpy": {"page"},
    "jinja2": {"page"},
}


def _sources() -> list[tuple[str, Path]]:
    """Every module with its concept: the file's name, or the sub-package's."""
    package = ROOT / "arrayrefine"
    files = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).parts
        if inside[0] != "kernels" and path != package / "__init__.py":
            files.append((path.stem if len(inside) == 1 else inside[0], path))
    return files + [("kernels", path) for path in sorted((ROOT / "kernels").glob("*.py"))]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def _concept(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "arrayrefine" and len(parts) > 1 else None


@pytest.mark.parametrize(("concept", "path"), _sources(), ids=lambda v: v.name if isinstance(v, Path) else v)
def test_imports_point_downwards(concept: str, path: Path) -> None:
    assert concept in RANK, f"{path.name} is in no layer: add it to LAYERS"
    for name in _imports(path):
        other = _concept(name)
        if other in RANK and other != concept:
            assert RANK[other] >= RANK[concept], f"{path.name} imports {name} from a layer above its own"


def test_no_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for concept, path in _sources():
        graph.setdefault(concept, set()).update(c for c in map(_concept, _imports(path)) if c in RANK and c != concept)
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"import cycle: {' -> '.join((*trail, name))}"
        if state.get(name) == 2:
            return
        state[name] = 1
        for other in sorted(graph.get(name, ())):
            visit(other, (*trail, name))
        state[name] = 2

    for name in sorted(graph):
        visit(name, ())


@pytest.mark.parametrize(("concept", "path"), _sources(), ids=lambda v: v.name if isinstance(v, Path) else v)
def test_outside_libraries_stay_in_their_place(concept: str, path: Path) -> None:
    for name in _imports(path):
        for library, homes in ALLOWED.items():
            if name == library or name.startswith(library + "."):
                assert concept in homes, f"{path.name} imports {name}; only {sorted(homes)} may"
    if concept == "kernels":
        own = {n for n in map(_concept, _imports(path)) if n}
        assert own <= {"kernels"}, f"{path.name} reaches out of the kernels: {own}"


def test_import_does_nothing_visible() -> None:
    code = "import arrayrefine, sys; assert 'cupy' not in sys.modules and 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""
