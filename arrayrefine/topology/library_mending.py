"""What is known to be wrong in monomer libraries, mended in one place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import gemmi

from arrayrefine.topology.chain_ends import complete_ends
from arrayrefine.topology.clusters import mend_clusters
from arrayrefine.topology.heavy_water import mend_heavy_water
from arrayrefine.topology.impossible_angles import mend_impossible_angles
from arrayrefine.topology.modification_names import mend_modification_names
from arrayrefine.topology.porphyrins import mend_porphyrins
from arrayrefine.topology.tetrahedral_ends import mend_tetrahedral_ends


def mend_library(
    monlib: gemmi.MonLib, components: Sequence[str], own_links: Collection[str], library: Path
) -> list[str]:
    """Mend components and links of libraries, in place.

    Parameters
    ----------
    monlib : gemmi.MonLib
    components : sequence of str
        Components that may be changed: those of a library, not the user's own.
    own_links : collection of str
        Links that shall stay as they are.
    library : Path
        Folder of a monomer library that has HOH.

    Returns
    -------
    list of str
        What was changed.
    """
    notes = mend_clusters(monlib, components, own_links) + mend_porphyrins(monlib, components)
    notes += mend_tetrahedral_ends(monlib, components, own_links) + mend_impossible_angles(monlib, components)
    complete_ends(monlib, components)
    mend_modification_names(monlib, components, own_links)
    mend_heavy_water(monlib, components, library)
    return notes
