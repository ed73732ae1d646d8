"""A folder of cases: which case is of which split, what is set aside, and what `check` says of it."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workbench.data import Data
from workbench.data.anatomy.slices import pick
from workbench.data.brain.layouts import Entry, entries
from workbench.data.brain.slices import DEFAULT, Options, Slice, assembled
from workbench.data.brain.volumes import Case, read, slices_of
from workbench.data.io.nifti import free_memory
from workbench.errors import InvalidImage

SPLITS = ("test", "train", "segmentation", "valid")  # in the order in which cases are dealt
PIXEL_BYTES = 24  # of a slice in memory while a data set is put together
GAP = 0.05  # of a case's slices, left out between two slabs
LEARNING = SPLITS[1:]  # what slabs of one case may share

Aside = list[tuple[str, str]]
Share = tuple[float, float]  # the part of a case's slices, from 0 to 1


@dataclass
class Reading:
    """What came of the files: the slices of each split with their cases, those set aside, and those not needed."""

    slices: dict[str, list[tuple[Entry, Slice]]] = field(default_factory=dict)
    aside: Aside = field(default_factory=list)
    unused: list[Entry] = field(default_factory=list)


def load(root: str | Path, options: Options = DEFAULT) -> Data:
    """Axial slices of cases below a folder, split by case, each fitted into a square.

    Layouts: BraTS 2018, `<case>/<case>_{flair,t1,t1ce,t2,seg}.nii.gz` at any depth (HGG/, LGG/), or a folder a case
    with FLAIR, T1, T1POST (T1ce, T1Gd), T2 and lesion (seg, mask, tumour) as .nii or .nii.gz. Cases are dealt in the
    order of their names, shuffled by `data_seed`, in proportion to the counts asked for; each split takes cases until
    it has its slices. With `split=slab`, for too few cases, only the test has its own; the others are cut across, with
    a gap, into slabs for the rest: neighbours in one head, for a look and no claim. Cases that cannot be read are
    set aside with the reason.

    Raises:
        InvalidImage: no such layout, cases that lack a modality (all are named), too few cases, none that can be read,
            or more slices than fit in memory.
    """
    root = Path(root)
    made = read_folder(root, options)
    splits = {name: [one for _, one in rows] for name, rows in made.slices.items()}
    name = root.name if options.split == "case" else f"{root.name}-slabs"
    return assembled(name or "folder", splits, options, aside=made.aside)


def read_folder(root: Path, options: Options) -> Reading:
    check_memory(options)
    found, aside = entries(root, options.missing)
    dealt = {"case": by_case, "slab": by_slab}[options.split](found, options)
    made = Reading(aside=aside)
    opened = functools.lru_cache(maxsize=1)(read)  # slabs of one case are asked for one after the other
    for name in SPLITS:
        rows, refused = filled(dealt[name], options, getattr(options, name), opened)
        made.slices[name] = rows
        made.aside += [row for row in refused if row not in made.aside]
        if not rows:
            why = "; ".join(f"{case}: {reason}" for case, reason in refused[:2]) or "none was dealt to it"
            raise InvalidImage(root.name, f"a case for {name} that can be used", why, "mend the files, or add cases")
    used = {entry for rows in made.slices.values() for entry, _ in rows}
    out = {name for name, _ in made.aside}
    made.unused = [entry for entry in found if entry not in used and entry.name not in out]
    return made


def check_memory(options: Options) -> None:
    """Raises InvalidImage where the slices asked for cannot fit."""
    count = sum(getattr(options, name) for name in SPLITS)
    need, free = count * options.size**2 * PIXEL_BYTES, free_memory()
    if need > free:
        found = f"{count} of {options.size} x {options.size} pixels, about {need >> 20} MB, with {free >> 20} MB free"
        raise InvalidImage("the folder", "slices that fit in memory", found, "choose a smaller size=, train= or test=")


# ---------------------------------------------------------------- splits


def by_case(found: Sequence[Entry], options: Options) -> dict[str, list[tuple[Entry, Share]]]:
    """Whole cases for each split, in proportion to the slices asked for, at least one each.

    Raises:
        InvalidImage: fewer than four cases.
    """
    if len(found) < len(SPLITS):
        expected = f"at least {len(SPLITS)} complete cases, for {', '.join(SPLITS)}"
        remedy = "add cases; two are enough for a look with split=slab"
        raise InvalidImage("the folder", expected, str(len(found)), remedy)
    order = np.random.default_rng(options.data_seed).permutation(len(found))
    wanted = np.array([getattr(options, name) for name in SPLITS])
    edges = np.round(np.cumsum([0, *wanted]) / wanted.sum() * len(found)).astype(int)
    ranks = np.arange(len(edges))  # every split gets a case, however uneven the counts
    edges = np.minimum(np.maximum.accumulate(edges - ranks) + ranks, len(found) - ranks[::-1])
    return {name: [(found[i], (0, 1)) for i in order[a:b]] for name, a, b in zip(SPLITS, edges, edges[1:])}


def by_slab(found: Sequence[Entry], options: Options) -> dict[str, list[tuple[Entry, Share]]]:
    """The first case, of a shuffled row, for the test; slabs of the others for the rest, sized by the slices asked for.

    Raises:
        InvalidImage: a single case.
    """
    if len(found) < 2:
        raise InvalidImage("the folder", "at least 2 complete cases", str(len(found)), "add a case to test on")
    order = np.random.default_rng(options.data_seed).permutation(len(found))
    parts = np.array([getattr(options, name) for name in LEARNING])
    ends = np.cumsum(parts) / parts.sum()
    slabs = {name: (float(end - part / parts.sum()), float(end)) for name, part, end in zip(LEARNING, parts, ends)}
    slabs = {name: (low + GAP / 2 * (low > 0), high - GAP / 2 * (high < 1)) for name, (low, high) in slabs.items()}
    rest = {name: [(found[i], slab) for i in order[1:]] for name, slab in slabs.items()}
    return {"test": [(found[order[0]], (0, 1))], **rest}


def filled(
    dealt: Sequence[tuple[Entry, Share]], options: Options, count: int, opened: Callable[[Entry], Case]
) -> tuple[list[tuple[Entry, Slice]], Aside]:
    """Slices of the dealt cases in turn until there are `count`, and the cases that cannot be used."""
    rows, refused = [], []
    for entry, share in dealt:
        if len(rows) >= count:
            break
        try:
            rows += [(entry, one) for one in slices_of(entry, opened(entry), options, share)]
        except InvalidImage as error:
            where = "" if error.where == entry.name else f"{error.where}: "
            refused.append((entry.name, f"{where}expected {error.expected}, found {error.found}; {error.remedy}"))
    return pick(rows, count) if rows else [], refused


# ---------------------------------------------------------------- check


def check(root: str | Path, options: Options = DEFAULT) -> Iterator[str]:
    """What `load` would make of a folder: each slice's case id and split, or why a case is set aside or not used."""
    root = Path(root)
    made = read_folder(root, options)
    for name, rows in made.slices.items():
        for entry, one in rows:
            note = "tumour" if one.tumour.any() else "healthy"
            yield f"{one.case}  {name:<12}  {note:<7}  {entry.name}"
    for entry in made.unused:
        yield f"not used: {entry.name}: beyond the counts asked for"
    for name, reason in made.aside:
        yield f"set aside: {name}: {reason}"
    used = {entry for rows in made.slices.values() for entry, _ in rows}
    count = sum(map(len, made.slices.values()))
    yield f"{count} slices of {len(used)} cases can be used, {len(made.aside)} cases are set aside"
