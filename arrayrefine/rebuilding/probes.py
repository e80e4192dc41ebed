"""What log p says, to second order, of atoms that are put beside those of a model, or taken out of it."""

from __future__ import annotations

from arrayrefine.rebuilding.overlaps import Overlaps
from arrayrefine.state import State
from arrayrefine.structure_factors import StructureFactors


class Probes:
    """First and expected second derivatives of -log p by occupancies, at the atoms of a model and elsewhere.

    They are good until anything of `state` is evaluated anew.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        self._atoms, self._sf = state.atoms, state.xray.structure_factors
        if self._sf.method == "direct":  # which is exact, and takes a hundred times as long for so many places
            exact = self._sf
            self._sf = StructureFactors(
                exact.crystal, exact.hkl, state.atoms, radiation=exact.radiation, wavelength=exact.wavelength
            )
        _, by_f = state.xray.by_structure_factor(state.xray.f_calc(state.atoms))
        self._here = state.xray(state.atoms)[1].occupancy
        self._overlaps = Overlaps(state.xray, state.atoms)
        self._field = self._sf.field(by_f)
