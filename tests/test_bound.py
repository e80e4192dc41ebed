"""What is bound stays where it is, also where a symmetry mate binds it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_io_model import atom, read

from arrayrefine.rebuilding.bound import bound


@pytest.mark.parametrize(("distance", "is_bound"), [(2.1, True), (3.5, False)])
@pytest.mark.parametrize("mate", [False, True])
def test_atoms_at_metals_are_bound_at_those_of_mates_too(
    tmp_path: Path, mate: bool, distance: float, is_bound: bool
) -> None:
    zinc = np.array([5.0 + distance, 6.0, 7.0])
    if mate:  # by the screw axis along c of P 21 21 21: 1/2 - x, -y, 1/2 + z
        zinc = np.array([10.0, 0.0, 20.0]) + zinc * (-1.0, -1.0, 1.0)
    model = read(
        tmp_path, atom("NE2", residue="HIS", element=" N", xyz=(5.0, 6.0, 7.0)),
        atom("CB", residue="HIS", element=" C", xyz=(5.0, 6.0, 11.0)),
        atom("ZN", residue="ZN", number="   2 ", element="ZN", xyz=tuple(zinc.tolist())),
    )  # fmt: skip
    none = np.zeros((0, 2), dtype=np.int64)
    restraints = SimpleNamespace(
        bonds=SimpleNamespace(index=none), non_bonded=SimpleNamespace(metal=np.array([False, False, True])),
        across=SimpleNamespace(mates=SimpleNamespace(source=none[:, 0]), bonds=SimpleNamespace(index=none)),
    )  # fmt: skip
    found = bound(model.atoms, restraints, model.crystal)  # type: ignore[arg-type]
    assert found.tolist() == [is_bound, False, is_bound]
