"""Whether amplitudes are what they were read as: the distributions of amplitudes and intensities differ.

Of untwinned crystals, acentric intensities have a mean |L| of 1/2 and <I²>/<I>² of 2 (3/8 and 1.5 of perfect twins).
Of amplitudes taken for intensities these are 1 - ln 2 = 0.31 and 4/π = 1.27, of squared intensities, which is what
intensities taken for amplitudes come to, ln 2 = 0.69 and 6 (0.58 and 3.3 of perfect twins, which are not told from
crystals with pseudo-translation). Both numbers have to say so: pseudo-translation raises the second, and what is low in
one for another reason is not as low in both.
"""

from __future__ import annotations

from arrayrefine.reflections import Reflections
from arrayrefine.twins.signs import TOO_EVEN, l_test, second_moment
from arrayrefine.wording import Caution

_FEWEST = 500  # strong acentric reflections; with these the mean |L| is good to 0.013
_EVEN = (0.345, 1.4)
"""Mean |L| and moment below which intensities are amplitudes: half way from those to perfect twins."""
_UNEVEN = (0.63, 3.5)
"""Mean |L| and moment above which amplitudes are intensities. Of some 60 sets of data |L| was 0.57 at most, and the
moment 4.1."""


def wrong_kind(reflections: Reflections) -> list[str]:
    """A sentence where intensities seem to be amplitudes, or amplitudes intensities, or neither, with the remedy."""
    mean, count = l_test(reflections)
    moment = second_moment(reflections)
    if count < _FEWEST:
        return []
    if mean < TOO_EVEN:
        return [Caution(
            f"intensities are more even than those of any crystal: mean |L| of the L-test is {mean:.2f}, <I²>/<I>² is "
            f"{moment:.2f}; expected 0.5 and 2 (0.38 and 1.5 of a perfect twin, 0.27 and 1.25 of four equal domains). "
            "See where the data come from, and whether they are what was measured: R factors of such say little"
        )]
    intensities = reflections.i_obs is not None
    if intensities and mean < _EVEN[0] and moment < _EVEN[1]:
        read, really, usual = "intensities", "amplitude", "0.31 and 1.27"
    elif not intensities and mean > _UNEVEN[0] and moment > _UNEVEN[1]:
        read, really, usual = "amplitudes", "intensity", "0.69 and 6"
    else:
        return []
    columns = reflections.source.get("columns")
    names = ",".join(columns) if isinstance(columns, list) else "VALUE,SIGMA"
    plural = {"amplitude": "amplitudes", "intensity": "intensities"}[really]
    return [
        f"the data were read as {read} but look like {plural}: mean |L| of the L-test is {mean:.2f}, <I²>/<I>² is "
        f"{moment:.2f}; expected 0.5 and 2 (0.38 and 1.5 of a perfect twin), found what {plural} read as {read} have "
        f"({usual}). If they are {plural}, whatever their type in the file says, read them as such: --columns "
        f"{names}={really}"
    ]
