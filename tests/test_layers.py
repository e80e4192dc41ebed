"""Imports go one way, and outside libraries stay where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module may import from layers below its own, and from its own layer when no cycle arises (checked separately).
LAYERS = [
    {"__main__"},
    {"commands"},
    {"cross_validation", "regularisation"},
    {"doctor", "evaluation", "many"},
    {"likelihood", "refine"},
    {"rebuilding.water_rounds"},
    {"course"},
    {"preparation", "result"},
    {"reporting.phase_agreement"},
    {
        "macrocycle", "mask_search", "page", "real_space.absorbers", "real_space.omit_maps", "real_space.unbuilt",
        "real_space.unseen", "reporting.ncs_pairs", "reporting.option_effects", "reporting.outcome",
        "reporting.summaries", "reporting.verdicts", "steering.rigid_body", "topology.unplaced",
    },
    {"rebuilding.nqh_flips"},
    {"rebuilding.better_ligands", "rebuilding.peptide_flips"},
    {"rebuilding.rotamers"},
    {"rebuilding.better_places"},
    {
        "rebuilding.ligands", "rebuilding.occurrences", "rebuilding.peptides", "rebuilding.side_chain_fit",
        "rebuilding.side_chain_scores", "rebuilding.side_chains", "rebuilding.waters",
    },
    {"validation", "rebuilding.probes"},
    {"rebuilding.carboxamides"},
    {"rebuilding.nqh_ends"},
    {"measurements.wilson_outliers", "real_space.model_maps", "twins.evidence", "twins.other_indexing"},
    {"refinement_step"},
    {
        "coordinate_uncertainty", "steering.convergence", "steering.foresight", "steering.incomplete",
        "steering.known_phases", "steering.remedy",
    },
    {
        "displacements.tensors", "steering.guard", "steering.nearness", "strict_ncs.keeping", "weighting.schemes",
        "weighting.search",
    },
    {"device.batch"},
    {"steering.callbacks"},
    {"minimize", "state", "device.objective", "twins.fit"},
    {"problem"},
    {"rendezvous", "device.restraints"},
    {"device.displacement", "device.occupancy"},
    {
        "configuration", "maps", "parameters", "preconditioner", "report", "scaling", "selection", "sigma_a", "solvent",
        "targets", "weights", "displacements.anisotropy", "displacements.predicted", "displacements.tls_groups",
        "displacements.tls_segments",
        "further_restraints.atom_names", "further_restraints.phenix_edits", "further_restraints.refmac_keywords",
        "further_restraints.tables", "hydrogens.turning", "measurements.column_kind",
        "measurements.data_checks", "measurements.folds", "measurements.free_uncertainty", "measurements.outliers",
        "measurements.phase_origins",
        "measurements.wilson_plot",
        "occupancies.conformers", "occupancies.overlapping", "real_space.map_grids", "real_space.peaks",
        "rebuilding.bound", "rebuilding.overlaps", "topology.unmodelled", "twins.choice", "twins.detwinning",
        "twins.likelihood", "twins.signs", "twins.twin", "weighting.adp_evidence", "weighting.extra",
        "weighting.gradient_norms",
    },
    {"sigma_a_curves", "structure_factors"},
    {"device.choice", "device.factors", "scattering.grid_density"},
    {"device.density"},
    {
        "device.memory", "further_restraints.choice", "hydrogens.carriers", "hydrogens.given_torsions",
        "hydrogens.histidines", "hydrogens.lengths", "hydrogens.linked",
        "hydrogens.placing", "hydrogens.sources", "rebuilding.model_change", "scattering.dispersion",
        "scattering.radiation", "scattering.sampling",
        "strict_ncs.finding", "topology.adducts", "topology.build", "topology.chiral_centres",
        "topology.crowded_metals", "topology.crowded_pairs", "topology.crowded_waters", "topology.exchanged_names",
        "topology.near_disulfides",
        "topology.hydrogen_bonds", "topology.link_angles", "topology.link_conformers", "topology.link_lengths",
        "topology.links", "topology.mate_links", "topology.name_symmetry", "topology.named_links",
        "topology.nucleotide_ends",
        "topology.overlapping_mates", "topology.overlapping_parts", "topology.stretched", "topology.pyranoses",
        "topology.terms", "topology.twisted_peptides", "topology.unbonded", "topology.unlinked", "topology.valence",
    },
    {
        "further_restraints.base_pairs", "further_restraints.donor_distances", "further_restraints.metal_coordination",
        "further_restraints.neighbour_distances", "further_restraints.puckers", "further_restraints.ramachandran",
        "further_restraints.secondary_structure", "further_restraints.table_mates",
    },
    {
        "further_restraints.phil_scopes", "further_restraints.refmac_lines", "further_restraints.surroundings",
        "further_restraints.translated",
    },
    {"topology.metal_rings", "topology.nonbonded"},
    {"topology.polymers"},
    {
        "atoms", "crystal", "example", "io", "lattice_symmetry", "monomers", "options", "periodic_regions",
        "reflections", "restraints", "sparse_factor", "version", "displacements.common_anisotropy",
        "displacements.displacement",
        "displacements.tls", "displacements.tls_motion", "hydrogens.riding", "measurements.anomalous",
        "measurements.intensity_statistics", "measurements.phases",
        "occupancies.groups", "strict_ncs.account", "strict_ncs.carried", "strict_ncs.consensus", "strict_ncs.copies",
        "scattering.form_factors", "scattering.gaussians", "scattering.wavelengths",
        "topology.atom_names", "topology.chain_ends", "topology.clusters", "topology.component_checks",
        "topology.component_definitions", "topology.component_of_model", "topology.component_restraints",
        "topology.compounds", "topology.dictionary_contents", "topology.element_checks", "topology.heavy_water",
        "topology.hydrogen_names", "topology.impossible_angles", "topology.library_mending",
        "topology.modification_names", "topology.porphyrins",
        "topology.polymer_groups", "topology.sugar_groups", "topology.tetrahedral_ends", "topology.typical_geometry",
    },
    {"arguments", "interchange"},
    {"errors", "wording", "reporting.notebook"},
    {"kernels"},
]  # fmt: skip
RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}

ALLOWED = {
    "gemmi": {
        "crystal", "doctor", "io", "monomers", "restraints", "validation", "further_restraints.donor_distances",
        "further_restraints.metal_coordination", "further_restraints.translated",
        "hydrogens.histidines", "hydrogens.lengths", "hydrogens.linked", "hydrogens.sources", "real_space.map_grids",
        "scattering.form_factors",
        "topology.adducts", "topology.atom_names", "topology.build", "topology.chain_ends", "topology.chiral_centres",
        "topology.clusters",
        "topology.component_checks", "topology.component_definitions", "topology.component_of_model",
        "topology.component_restraints", "topology.compounds", "topology.dictionary_contents",
        "topology.element_checks", "topology.exchanged_names", "topology.near_disulfides",
        "topology.heavy_water", "topology.hydrogen_bonds", "topology.hydrogen_names",
        "topology.impossible_angles", "topology.library_mending", "topology.link_angles",
        "topology.link_conformers", "topology.link_lengths", "topology.links", "topology.mate_links",
        "topology.modification_names", "topology.name_symmetry", "topology.named_links", "topology.nonbonded",
        "topology.nucleotide_ends",
        "topology.polymer_groups", "topology.polymers", "topology.porphyrins", "topology.pyranoses",
        "topology.sugar_groups", "topology.terms",
        "topology.tetrahedral_ends", "topology.typical_geometry", "topology.unbonded", "topology.unlinked",
        "topology.valence",
    },
    "scipy.optimize": {"minimize", "steering.known_phases", "twins.likelihood"},
    "cupy": {"kernels"},
    "rich": {"__main__", "commands", "doctor"},
    "tyro": {"__main__", "commands", "configuration"},
    "matplotlib": {"page"},
    "contourpy": {"page"},
    "jinja2": {"page"},
}  # fmt: skip


def _sources() -> list[tuple[str, Path]]:
    """Every module with its concept: its name, or that of the sub-package where this is in a layer as a whole."""
    package = ROOT / "arrayrefine"
    files = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).with_suffix("").parts
        whole = len(inside) == 1 or inside[0] in RANK
        if inside[0] != "kernels" and (inside[-1] != "__init__" or (whole and len(inside) > 1)):
            files.append((inside[0] if whole else ".".join(inside), path))
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
    if parts[0] != "arrayrefine" or len(parts) == 1:
        return None
    inner = ".".join(parts[1:3])
    return inner if inner in RANK else parts[1]


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


def test_the_page_for_contributors_names_every_folder_and_what_stands_beside_them() -> None:
    page = (ROOT / "docs" / "contributing.md").read_text()
    folders = {path.name for path in (ROOT / "arrayrefine").iterdir() if path.is_dir() and path.name != "__pycache__"}
    named = set(re.findall(r"^\| `([a-z_]+)` \| ", page, re.MULTILINE))
    assert named == folders - {"kernels"}
    modules = {path.stem for path in (ROOT / "arrayrefine").glob("*.py")} - {"__init__", "__main__"}
    words = set(re.findall(r"`([a-z_]+)`", page.split("## The waist")[0]))
    assert words <= modules | folders
    assert modules <= words, f"not on the page: {sorted(modules - words)}"


def test_import_does_nothing_visible() -> None:
    code = "import arrayrefine, sys; assert 'cupy' not in sys.modules and 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""
