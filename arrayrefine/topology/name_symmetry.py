"""Which names of atoms of a component could be exchanged without a change of the compound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import gemmi

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Skeleton:
    """The heavy atoms of a component and what is bonded to each.

    Attributes
    ----------
    names : tuple of str
    labels : tuple of (str, int)
        What must be alike in atoms whose names are exchanged: the element, and hydrogens of carbon. How many hydrogens
        N, O, P and S have depends on the acid as drawn.
    near : tuple of tuple of int
    """

    names: tuple[str, ...]
    labels: tuple[tuple[str, int], ...]
    near: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, component: gemmi.ChemComp) -> Skeleton | None:
        """The skeleton of a component; None where its carbons have no hydrogens, which tell the orders of bonds."""
        element = {atom.id: atom.el for atom in component.atoms}
        names = tuple(name for name, el in element.items() if not el.is_hydrogen)
        if len(names) == len(element) and any(el.name == "C" for el in element.values()):
            return None
        number = {name: k for k, name in enumerate(names)}
        near: list[list[int]] = [[] for _ in names]
        hydrogens = Counter[str]()
        for bond in component.rt.bonds:
            for one, two in ((bond.id1.atom, bond.id2.atom), (bond.id2.atom, bond.id1.atom)):
                if one in number and two in number:
                    near[number[one]].append(number[two])
                elif one in number:
                    hydrogens[one] += 1
        labels = tuple((element[name].name, hydrogens[name] if element[name].name == "C" else 0) for name in names)
        return cls(names, labels, tuple(map(tuple, near)))

    def neighbours(self, name: str) -> list[str]:
        """Heavy atoms bonded to an atom; none where the component has no such heavy atom."""
        if name not in self.names:
            return []
        return [self.names[k] for k in self.near[self.names.index(name)]]

    def exchange(self, centre: str, one: str, two: str) -> dict[str, str] | None:
        """Names that take each other's place where two neighbours of a centre do; None if they are not alike."""
        c, a, b = map(self.names.index, (centre, one, two))
        return self._named(self._matched(((c, c), (a, b), (b, a))))

    def turn(self, one: str, two: str) -> dict[str, str] | None:
        """Names that take each other's place where one atom takes that of another; None if they are not alike."""
        return self._named(self._matched(((self.names.index(one), self.names.index(two)),)))

    def named_as(self, near: Sequence[Sequence[int]]) -> dict[str, str] | None:
        """Names for atoms by the bonds that they have, `near` (n, ...) in the order of the names; None if they fit no
        way, or in several that are not alike. Hydrogens are not looked at; as few names as may be change."""
        ours = replace(self, labels=tuple((element, 0) for element, _ in self.labels), near=tuple(map(tuple, near)))
        theirs = replace(self, labels=ours.labels)
        found = ours._matched((), theirs)
        if found is None:
            return None
        kinds: dict[int, set[Hashable]] = {}
        for colour, label in zip(theirs._coloured((), theirs), self.labels):
            kinds.setdefault(colour, set()).add(label)
        return None if any(len(labels) > 1 for labels in kinds.values()) else self._named(found)

    def _named(self, found: list[int] | None) -> dict[str, str] | None:
        return None if found is None else {self.names[i]: self.names[j] for i, j in enumerate(found)}

    def _matched(self, pairs: Pairs, other: Skeleton | None = None) -> list[int] | None:
        """For each atom another, of this skeleton or of one with the same names, so that bonds and labels are the same,
        and these pairs are kept; as few as may be change place."""
        other = other or self
        colours = self._coloured(pairs, other)
        n = len(self.names)
        ours, theirs = colours[:n], colours[n:]
        count = Counter(ours)
        if count != Counter(theirs):
            return None
        open_ones = [k for k, colour in enumerate(ours) if count[colour] > 1]
        if not open_ones:
            return [theirs.index(colour) for colour in ours]
        first = open_ones[0]
        alike = [k for k, colour in enumerate(theirs) if colour == ours[first]]
        for one in sorted(alike, key=lambda k: k != first):
            found = self._matched((*pairs, (first, one)), other)
            if found is not None:
                return found
        return None

    def _coloured(self, pairs: Pairs, other: Skeleton) -> list[int]:
        """Colours of the atoms and, behind them, of those of the other: alike where neither labels, neighbours, theirs
        and so on, nor the pairs tell atoms apart (Weisfeiler & Leman (1968))."""
        n = len(self.names)
        keys: list[Hashable] = [(label, ()) for label in (*self.labels, *other.labels)]
        for k, (one, two) in enumerate(pairs):
            keys[one], keys[n + two] = (keys[one], k), (keys[n + two], k)
        near = (*self.near, *(tuple(n + k for k in around) for around in other.near))
        colours, classes = _numbered(keys)
        while True:
            keys = [(colours[k], tuple(sorted(colours[j] for j in near[k]))) for k in range(2 * n)]
            colours, finer = _numbered(keys)
            if finer == classes:
                return colours
            classes = finer


def _numbered(keys: Sequence[Hashable]) -> tuple[list[int], int]:
    """A number for each key, alike for equal ones, and how many there are."""
    number: dict[Hashable, int] = {}
    return [number.setdefault(key, len(number)) for key in keys], len(number)
