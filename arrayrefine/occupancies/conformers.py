"""Which atoms share an occupancy: alternate conformers, residues that are there in part, and what the user names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError
from arrayrefine.occupancies.groups import OccupancyGroups
from arrayrefine.selection import select
from arrayrefine.topology.polymers import is_polymer, of_polymers
from arrayrefine.wording import Caution, are, counted, listed

Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

SEPARATOR = "|"
"""Between the selections of groups that exclude each other."""
_ONE_PLACE = 0.3
"""Å; H and D as near as this, of one residue, are one hydrogen that exchanges."""
_ROOM = 0.02
"""What the occupancies of a ligand's conformers lack of 1, at least, where it is there in part."""
_FULL = 0.995
"""Share of its site from which an atom counts as fully there."""
_ALIKE = 0.02
"""Neighbours in a chain share their conformers' occupancies where these differ by no more than this."""
_LACKING = 0.05
"""A residue of a chain whose atoms all miss one by more is worth a warning; 0.95 is as good as full."""
_SAID_SUM = 0.015
"""An alternative whose occupancies miss one by more is worth a note."""
_ROUNDED = 0.005
"""What two decimals of a file leave open in one occupancy: of many conformers their sum misses one by some of these."""


_Conformers: TypeAlias = "dict[str, list[int]]"
"""Atoms of each conformer."""


@dataclass
class _Groups:
    """Groups in the making."""

    group: Int
    alternative: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    alternatives: int = 0
    empty: list[int] = field(default_factory=list)

    def add(self, conformers: dict[str, Int], room: bool = False) -> None:
        """One group for each conformer; together they are an alternative if there are several, with `room` one more of
        no atoms."""
        if room:
            conformers = {**conformers, f"none of {' + '.join(conformers)}": np.zeros(0, dtype=np.int64)}
            self.empty.append(len(self.names) + len(conformers) - 1)
        tied = len(conformers) > 1
        for name, index in conformers.items():
            self.group[index] = len(self.names)
            self.alternative.append(self.alternatives if tied else -1)
            self.names.append(name)
        self.alternatives += tied


def build_occupancy_groups(atoms: Atoms, selections: tuple[str, ...] = ()) -> tuple[OccupancyGroups, tuple[str, ...]]:
    """Groups of atoms whose occupancies can be refined.

    In this order: what the user names; H and D that share the place of one hydrogen, which exchange; alternate
    conformers of a residue, microheterogeneity among them, together with neighbours in the chain that have the same
    conformers in like amounts, whose occupancies add up to one (of ligands and waters that are there in part to one at
    most); atoms of one residue that are there to the same part, without an alternative; so waters and ions each for
    themselves. Atoms of occupancy zero are never refined, riding hydrogens follow their parents, and all others are
    fully there.

    Parameters
    ----------
    atoms : Atoms
    selections : tuple of str
        Each a group, or several that exclude each other, joined by '|'.

    Returns
    -------
    groups : OccupancyGroups
    notes : tuple of str
        About alternatives whose occupancies do not add up to one.

    Raises
    ------
    InputError
        A selection cannot be read, names no atom, atoms of another, or alternate conformers as one group.
    """
    able = ~atoms.riding.mask(len(atoms)) & (atoms.occupancy > 0.0)
    made = _Groups(np.full(len(atoms), -1, dtype=np.int64))
    for text in selections:
        _add_selected(made, atoms, able, text)
    share = atoms.occupancy * atoms.multiplicity
    for site in _exchanged(atoms, able & (made.group < 0)):
        made.add(site)
    in_part: list[str] = []
    for run in _runs(atoms, share, able & (made.group < 0)):
        room = _there_in_part(atoms, share, run)
        made.add(run, room)
        in_part += [" + ".join(run)] if room else []
    alone = np.flatnonzero(able & (made.group < 0) & (share < _FULL))
    who = atoms.identity
    kinds: dict[tuple[int, str, float], list[int]] = {}
    for i in alone.tolist():
        kinds.setdefault((int(who.residue[i]), str(who.altloc[i]), round(float(share[i]), 2)), []).append(i)
    for (_, altloc, _), index in kinds.items():
        made.add({_name(atoms, index, altloc): np.array(index)})
    groups = OccupancyGroups(
        made.group, np.array(made.alternative, dtype=np.int64), tuple(made.names), tuple(made.empty)
    )
    notes = _sums(atoms, groups)
    if in_part:
        notes += (
            f"the conformers of {counted(len(in_part), 'ligand')}, waters among them, add up to less than 1, as of "
            f"what is there in part, and may: {listed(in_part)}",
        )
    return groups, notes


def _exchanged(atoms: Atoms, free: Mask) -> Iterator[dict[str, Int]]:
    """H and D on one place, in conformers that no other atom of their residue has: name and atom of each."""
    who = atoms.identity
    heavy = {(int(k), str(a)) for k, a in zip(who.residue[~atoms.is_hydrogen], who.altloc[~atoms.is_hydrogen]) if a}
    light, deuterium = (np.flatnonzero(free & (atoms.element == e) & (who.altloc != "")) for e in ("H", "D"))
    if not len(light) or not len(deuterium):
        return
    distance, near = KDTree(atoms.xyz[deuterium]).query(atoms.xyz[light])
    for i, k, apart in zip(light.tolist(), deuterium[near].tolist(), distance.tolist()):
        of, letters = int(who.residue[i]), {str(who.altloc[i]), str(who.altloc[k])}
        alone = len(letters) == 2 and not any((of, letter) in heavy for letter in letters)
        if apart < _ONE_PLACE and who.residue[k] == of and alone:
            yield {who.label(i): np.array([i]), who.label(k): np.array([k])}


def _there_in_part(atoms: Atoms, share: NDArray[np.float64], run: dict[str, Int]) -> bool:
    """Whether conformers of what is no part of a chain leave room for its absence."""
    names = {str(name) for index in run.values() for name in atoms.identity.residue_name[index]}
    total = sum(float(share[index].mean()) for index in run.values())
    return total < 1.0 - _ROOM and not any(map(is_polymer, names))


def _add_selected(made: _Groups, atoms: Atoms, able: Mask, text: str) -> None:
    conformers: dict[str, Int] = {}
    taken = made.group >= 0
    for part in text.split(SEPARATOR):
        name = part.strip()
        chosen = select(atoms, name, "--occupancy-groups") & able
        if not chosen.any():
            raise InputError(
                f"--occupancy-groups '{text}': '{name}' names no atom with an occupancy above 0 that does not ride"
            )
        if (chosen & taken).any():
            first = atoms.identity.label(int(np.flatnonzero(chosen & taken)[0]))
            raise InputError(f"--occupancy-groups '{text}': {first} is in two groups; expected groups without overlap")
        altlocs = [str(a) for a in np.unique(atoms.identity.altloc[chosen]) if a]
        if len(altlocs) > 1:
            raise InputError(
                f"--occupancy-groups '{text}': '{name}' names the conformers {' and '.join(altlocs)} as one group; "
                f"select one of them (altloc {altlocs[0]}), and join groups that exclude each other by '{SEPARATOR}'"
            )
        conformers[name] = np.flatnonzero(chosen)
        taken = taken | chosen
    made.add(conformers)


def _runs(atoms: Atoms, share: NDArray[np.float64], free: Mask) -> Iterator[dict[str, Int]]:
    """Conformers that exclude each other, of one residue or of a run of them: name and atoms of each."""
    open_runs: list[_Conformers] = []
    last: tuple[str, int] | None = None
    for site, index in _sites(atoms, free):
        parts = _parts(atoms, share, index)
        if not parts:
            continue
        follows = last is not None and site[0] == last[0] and 0 <= site[1] - last[1] <= 1
        before = open_runs if follows and not _is_water(atoms, index) else []
        here: list[_Conformers] = []
        for part in parts:
            run = next((run for run in before if run not in here and _alike(share, run, part)), None)
            if run is None:
                here.append(part)
            else:
                for label, more in part.items():
                    run[label] += more
                here.append(run)
        yield from (_named(atoms, run) for run in open_runs if run not in here)
        open_runs, last = here, site
    yield from (_named(atoms, run) for run in open_runs)


def _parts(atoms: Atoms, share: NDArray[np.float64], index: Int) -> list[_Conformers]:
    """Conformers of one site; several sets of them where its atoms, say side chain and main chain, differ in amounts.

    Atoms of one name tell which amounts go together; a name that only one conformer has goes by its amount, or where
    one would be whole with it. Where residues share a place those without letters are conformers by their names; of one
    with letters what has none, and no other residue has, is the main chain that all share.
    """
    who = atoms.identity
    several = len(np.unique(who.residue_name[index])) > 1
    lettered = np.isin(who.residue_name[index], np.unique(who.residue_name[index[who.altloc[index] != ""]]))
    _, kind, count = np.unique(who.atom_name[index], return_inverse=True, return_counts=True)
    shared = set(index[(who.altloc[index] == "") & lettered & (count[kind] == 1)].tolist())
    named: dict[str, list[tuple[str, float, int]]] = {}
    for i in index.tolist():
        label = str(who.altloc[i]) or (str(who.residue_name[i]) if several else "")
        if label and i not in shared:
            named.setdefault(str(who.atom_name[i]), []).append((label, round(float(share[i]), 2), i))
    parts: dict[tuple[tuple[str, float], ...], _Conformers] = {}
    rest: dict[tuple[str, float], list[int]] = {}
    for ends in named.values():
        amounts = tuple(sorted((label, amount) for label, amount, _ in ends))
        for label, amount, i in ends:
            if len(ends) > 1:
                parts.setdefault(amounts, {}).setdefault(label, []).append(i)
            else:
                rest.setdefault((label, amount), []).append(i)
    others: _Conformers = {}
    for (label, amount), more in rest.items():
        home = next((part for amounts, part in parts.items() if (label, amount) in amounts), None)
        home = home or next((part for amounts, part in parts.items() if _completes(label, amount, amounts)), None)
        if home is not None:
            home.setdefault(label, []).extend(more)
        elif label not in others:
            others[label] = more
    return [*parts.values(), *([others] if len(others) > 1 else [])]


def _completes(label: str, amount: float, amounts: tuple[tuple[str, float], ...]) -> bool:
    """Whether what another conformer has of a site is what these conformers of it lack of 1."""
    total = amount + sum(other for _, other in amounts)
    return label not in dict(amounts) and abs(total - 1.0) <= float(_open(np.array(len(amounts) + 1)))


def _named(atoms: Atoms, run: _Conformers) -> dict[str, Int]:
    return {_name(atoms, index, label): np.array(index) for label, index in run.items()}


def _sites(atoms: Atoms, free: Mask) -> Iterator[tuple[tuple[str, int], Int]]:
    """Chain, number and free atoms of each site with alternatives: a residue, or several in one place."""
    who = atoms.identity
    water = select(atoms, "water")
    key = list(zip(who.chain.tolist(), who.sequence_number.tolist(), who.insertion_code.tolist()))
    first = np.r_[True, who.residue[1:] != who.residue[:-1]] if len(atoms) else np.zeros(0, dtype=bool)
    starts = np.flatnonzero(first).tolist()
    place = np.zeros(len(atoms), dtype=np.int64)
    for k, (start, end) in enumerate(zip(starts, [*starts[1:], len(atoms)])):
        same = k > 0 and key[start] == key[start - 1] and not water[start] and not water[start - 1]
        place[start:end] = place[start - 1] if same else k
    odd = np.zeros(len(atoms) + 1, dtype=bool)
    odd[place[(who.altloc != "") & free]] = True
    odd[place[np.flatnonzero(first)[np.r_[False, np.diff(place[starts]) == 0]]] if len(starts) else []] = True
    chosen = np.flatnonzero(free & odd[place])
    for group in np.split(chosen, np.flatnonzero(np.diff(place[chosen])) + 1):
        if len(group):
            yield (str(who.chain[group[0]]), int(who.sequence_number[group[0]])), group


def _is_water(atoms: Atoms, index: Int) -> bool:
    return bool(np.isin(atoms.identity.residue_name[index], ("HOH", "DOD", "WAT", "H2O")).any())


def _alike(share: NDArray[np.float64], run: _Conformers, part: _Conformers) -> bool:
    return run.keys() == part.keys() and all(
        abs(share[run[label]].mean() - share[index].mean()) <= _ALIKE for label, index in part.items()
    )


def _name(atoms: Atoms, index: list[int], conformer: str) -> str:
    """Such as "A 10-12 conformer B" or "B HOH 5"."""
    who = atoms.identity
    first, last = index[0], index[-1]
    one, two = (f"{who.sequence_number[i]}{who.insertion_code[i]}" for i in (first, last))
    where = f"{who.chain[first]} {who.residue_name[first]} {one}" if one == two else f"{who.chain[first]} {one}-{two}"
    where = where.lstrip()  # a chain without a name
    return f"{where} conformer {conformer}" if conformer else where


def _open(count: Int) -> NDArray[np.float64]:
    """How far the occupancies of `count` conformers may add up to something else than one without a word."""
    return np.asarray(np.maximum(_SAID_SUM, count * _ROUNDED))


def _sums(atoms: Atoms, groups: OccupancyGroups) -> tuple[str, ...]:
    every = np.arange(len(groups))
    tied = groups.alternative >= 0
    if not tied.any():
        return ()
    total = np.bincount(groups.alternative[tied], groups.occupancies(atoms, every)[tied])
    off = np.flatnonzero(np.abs(total - 1.0) > _open(np.bincount(groups.alternative[tied])))
    if not len(off):
        return ()
    first = groups.names[int(np.flatnonzero(groups.alternative == off[0])[0])]
    return (
        f"the occupancies of {counted(len(off), 'set')} of conformers did not add up to 1 and will where they are "
        f"refined: the first, with {first}, had {total[off[0]]:.2f}",
    )


def overfull(atoms: Atoms, groups: OccupancyGroups) -> tuple[str, ...]:
    """A warning about alternatives that add up to more than one, for a refinement that leaves occupancies alone."""
    share = groups.occupancies(atoms, np.arange(len(groups)))
    found = []
    for one in range(int(groups.alternative.max(initial=-1)) + 1):
        rows = np.flatnonzero(groups.alternative == one)
        total = float(share[rows].sum())
        if total > 1.0 + _open(np.array(len(rows))):
            found.append(f"{' + '.join(f'{groups.names[k]} {share[k]:.2f}' for k in rows.tolist())} = {total:.2f}")
    if not found:
        return ()
    return (Caution(
        f"the occupancies of {counted(len(found), 'set')} of conformers add up to more than 1, so that more scatters "
        f"there than can be: {listed(found, '; ')}. Steps that refine no occupancies leave them: correct the model, or "
        "refine them with --targets xyz+b occupancy"
    ),)


def uneven(atoms: Atoms) -> tuple[str, ...]:
    """A sentence about residues, or conformers of them, whose heavy atoms are not all there to the same part.

    Atoms of zero occupancy, by which some say that they do not see an atom, are told elsewhere; those of a molecule
    that lie on an axis are there as often as others that its copies share the place with.
    """
    who, share = atoms.identity, atoms.occupancy
    seen = np.flatnonzero(~atoms.is_hydrogen & (share > 0.0) & (atoms.multiplicity == 1))
    parts: dict[tuple[int, str], list[int]] = {}
    for i, residue, altloc in zip(seen.tolist(), who.residue[seen].tolist(), who.altloc[seen].tolist()):
        parts.setdefault((residue, altloc), []).append(i)
    found = []
    for (_, altloc), index in parts.items():
        low, high = float(share[index].min()), float(share[index].max())
        if high - low > _ALIKE:
            found.append(f"{_name(atoms, index, altloc)} ({low:.2f} to {high:.2f})")
    if not found:
        return ()
    return (Caution(
        f"occupancies differ among the atoms of {counted(len(found), 'residue')}, or of one conformer there: "
        f"{listed(found)}. They stay unless a step refines occupancies: give such atoms one occupancy, or conformers"
    ),)


def partial(atoms: Atoms) -> tuple[str, ...]:
    """A warning about residues of chains that are there in part, for a refinement that leaves occupancies alone.

    Those of which no heavy atom, its conformers together, comes near to one. Side chains that are there in part, by
    which some say how well they see them, do not count, nor do atoms of zero occupancy.
    """
    who, share = atoms.identity, atoms.occupancy * atoms.multiplicity
    of_chains = of_polymers(who.residue_name)
    sums: dict[tuple[str, int, str], dict[str, float]] = {}
    names: dict[tuple[str, int, str], str] = {}
    for i in np.flatnonzero(of_chains & ~atoms.is_hydrogen & (share > 0.0)).tolist():
        place = str(who.chain[i]), int(who.sequence_number[i]), str(who.insertion_code[i])
        total = sums.setdefault(place, {})
        total[str(who.atom_name[i])] = total.get(str(who.atom_name[i]), 0.0) + float(share[i])
        names.setdefault(place, str(who.residue_name[i]))
    found = [
        f"{chain} {names[chain, number, code]} {number}{code} ({max(total.values()):.2f})".lstrip()
        for (chain, number, code), total in sums.items() if max(total.values()) < 1.0 - _LACKING
    ]  # fmt: skip
    if not found:
        return ()
    n = len(found)
    return (Caution(
        f"{counted(n, 'residue')} of chains {are(n)} there in part, and nothing for the rest: {listed(found)}. Steps "
        "that refine no occupancies leave them: set them to 1 where nothing else takes the place, or refine them with "
        "--targets xyz+b occupancy"
    ),)
