"""A folder of scans: whose is the atlas, who is trained, chosen and tested on, and what is set aside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data import Data
from workbench.data.anatomy3d.layouts import Entry, entries, label_names, listed
from workbench.data.anatomy3d.structures import lacking, resolved
from workbench.data.anatomy3d.subjects import DEFAULTS, SHOWN, Options, Subject, cases, nearest_to_mean
from workbench.data.anatomy3d.volumes import case_of, check_memory, common_grid, relabelled, shown, subject
from workbench.errors import InvalidImage, unknown

Pair = tuple[Entry, Subject]


@dataclass
class Read:
    """The scans of each split on the common grid, the atlas apart, and what was left."""

    splits: dict[str, list[Pair]]
    atlas: Pair
    names: list[str]
    grid: tuple[int, ...]
    aside: list[tuple[str, str]]
    unused: list[Entry]


def load(root: str | Path, options: Options = DEFAULTS) -> Data:
    """Scans below a folder, split by subject, with one of them as the atlas.

    `images/` + `labels/` of NIfTI volumes (training subjects may lack a label map), Neurite-OASIS
    (`OASIS_OAS1_xxxx_MR1/aligned_norm.nii.gz` or `slice_norm.nii.gz` with `*_seg35`, `*_seg24`, `*_seg4`), CANDI
    (`HC_001_MR.npy.gz`, `HC_001_MR_seg.npy.gz` or NIfTI of these names). All are turned to RAS+, resampled where
    `spacing` says so, cut or padded to one grid about the centre of the array (or of the foreground), and scaled to
    [0, 1] each by its own brightness. Scans that cannot be read are set aside with the reason, another takes
    its place.

    Raises:
        InvalidImage: no known layout, missing images or too few labels, label values outside the map, an atlas that is
            not there, without label map or structures, or more than fits in memory.
        InvalidParameter: a wrong `grid` or `structures`.
    """
    made = read_folder(Path(root), options)
    splits = {name: cases([one for _, one in pairs], made.atlas[1]) for name, pairs in made.splits.items()}
    spec = {"size": max(made.grid), "dims": options.dims, "classes": ",".join(made.names), "channels": 1}
    labels = {name: (value,) for value, name in enumerate(made.names, 1)}
    name = Path(root).name or "folder"
    return Data(name, **splits, spec=spec, shown=SHOWN, aside=made.aside, labels=labels, unit="mm")


def check(root: str | Path, options: Options = DEFAULTS) -> Iterator[str]:
    """What `load` would make of a folder: each scan's case id, split and name, or why it is set aside."""
    root = Path(root)
    made = read_folder(root, options)
    rows = [("atlas", *made.atlas), *((split, *pair) for split, pairs in made.splits.items() for pair in pairs)]
    yield f"common grid {shown(made.grid)}; structures {', '.join(made.names)}"
    sizes = {shown(np.round(one.spacing, 3)) for _, _, one in rows}
    if len(sizes) > 1:
        yield f"voxels differ in size ({listed(sorted(sizes))} mm): spacing=... resamples them to one"
    for split, entry, one in rows:
        note = "  no label map: its anatomy is never scored" if one.label is None else ""
        note = f"  {one.cut} voxels of its structures lie outside the grid" if one.cut else note
        yield f"{one.case}  {split:<5}  {entry.name}{note}"
    for entry in made.unused:
        yield f"not used: {entry.name}: beyond the counts asked for, or of a subject in another split"
    for name, reason in made.aside:
        yield f"set aside: {name}: {reason}"
    yield f"{len(rows)} scans can be used, {len(made.aside)} files are set aside"


def read_folder(root: Path, options: Options) -> Read:
    found = entries(root, options)
    named = atlas_of(root, found, str(options.atlas)) if options.atlas != "" else None
    counts = shares(root, found, options)
    grid = common_grid(found, options)
    check_memory(root, grid, 1 + sum(counts.values()))
    fixed = (named, subject(named, root, grid, options)) if named else None
    pool = [entry for entry in found if named is None or entry.group != named.group]
    splits, aside = filled(pool, root, grid, options, counts if fixed else counts | {"train": counts["train"] + 1})
    check_filled(root, splits, list(aside.values()), least={"train": 1 if fixed else 2})
    everyone = [one for pairs in splits.values() for _, one in pairs] + ([fixed[1]] if fixed else [])
    label = next((entry.label for entry in found if entry.label), None)
    names, table = resolved(everyone, options.structures, label_names(root, label))
    splits = {split: [(e, relabelled(one, table)) for e, one in pairs] for split, pairs in splits.items()}
    atlas = (fixed[0], relabelled(fixed[1], table)) if fixed else splits["train"].pop(best(splits["train"], names))
    check_atlas(atlas, names)
    used = {entry for pairs in splits.values() for entry, _ in pairs} | {atlas[0]}
    unused = [entry for entry in found if entry not in used and entry not in aside]
    return Read(splits, atlas, names, grid, list(aside.values()), unused)


def atlas_of(root: Path, found: Sequence[Entry], wanted: str) -> Entry:
    """The scan of that name or case id, which must be one and have a label map."""
    known = {entry: {entry.name, entry.name.rpartition("/")[2], case_of(entry, root)} for entry in found}
    fitting = [entry for entry in found if wanted in known[entry]]
    if not fitting:
        raise unknown("atlas", wanted, [entry.name for entry in found])
    if len(fitting) > 1:
        several = listed(entry.name for entry in fitting)
        raise InvalidImage("atlas", "the name of one scan", several, "give its name with the folder, or its case id")
    if fitting[0].label is None:
        remedy = "add its label map, or choose another scan"
        raise InvalidImage(fitting[0].image.name, "an atlas with a label map", "none", remedy)
    return fitting[0]


def shares(root: Path, found: Sequence[Entry], options: Options) -> dict[str, int]:
    """How many scans each split gets beside the atlas: those asked for, or in proportion where there are fewer.

    Test and validation subjects need label maps; where these are few, they come first.
    """
    labelled = sum(entry.label is not None for entry in found)
    subjects = len({entry.group for entry in found})
    if subjects < 4 or labelled < 3:
        bare = [entry.name for entry in found if entry.label is None]
        without = f"; none for {listed(bare)}" if bare else ""
        expected = "at least 4 subjects, 3 of them with label maps (atlas, valid, test)"
        count = f"{subjects} subjects and {labelled} label maps{without}"
        raise InvalidImage(root.name, expected, count, "add scans and label maps; ten or more make sense")
    wanted = {"test": options.test, "valid": options.valid, "train": options.train}
    scale = min(1.0, (len(found) - 1) / sum(wanted.values()))
    counts = {name: max(1, round(count * scale)) for name, count in wanted.items()}
    while counts["test"] + counts["valid"] > min(labelled - 1, len(found) - 2):
        counts["test" if counts["test"] >= counts["valid"] else "valid"] -= 1
    counts["train"] = min(wanted["train"], len(found) - 1 - counts["test"] - counts["valid"])
    return counts


def filled(
    pool: Sequence[Entry], root: Path, grid: tuple[int, ...], options: Options, counts: dict[str, int]
) -> tuple[dict[str, list[Pair]], dict[Entry, tuple[str, str]]]:
    """The splits filled in the order of the dealt subjects, whole subjects each, and the files set aside."""
    order, owner, tried, aside = dealt(pool, options.data_seed), {}, set(), {}
    splits: dict[str, list[Pair]] = {name: [] for name in counts}
    for split, count in counts.items():
        for entry in order if split != "train" else sorted(order, key=lambda entry: entry.label is None):
            closed = entry in tried or owner.get(entry.group, split) != split
            if len(splits[split]) == count or closed or (split != "train" and entry.label is None):
                continue
            tried.add(entry)
            try:
                splits[split].append((entry, subject(entry, root, grid, options)))
                owner[entry.group] = split
            except InvalidImage as error:
                name = error.where if entry.name in error.where else f"{entry.name}: {error.where}"
                aside[entry] = (name, f"expected {error.expected}, found {error.found}; {error.remedy}")
    return splits, aside


def check_filled(
    root: Path, splits: dict[str, list[Pair]], aside: Sequence[tuple[str, str]], least: dict[str, int]
) -> None:
    if short := [name for name, pairs in splits.items() if len(pairs) < least.get(name, 1)]:
        why = "; ".join(f"{name} is set aside ({reason})" for name, reason in aside[:2]) or "too few label maps"
        expected = "scans for training, validation, test and an atlas"
        raise InvalidImage(
            root.name, expected, f"too few for {' and '.join(short)}: {why}", "add scans, or repair these"
        )


def dealt(pool: Sequence[Entry], seed: int) -> list[Entry]:
    """The scans with whole subjects in random order."""
    groups = sorted({entry.group for entry in pool})
    rank = dict(zip(groups, np.random.default_rng(seed).permutation(len(groups))))
    return sorted(pool, key=lambda entry: (rank[entry.group], entry.name))


def best(train: Sequence[Pair], names: Sequence[str]) -> int:
    """The training subject to become the atlas: nearest to their mean image among those that show most structures."""
    labelled = [number for number, (_, one) in enumerate(train) if one.label is not None]
    if not labelled:
        remedy = "name one with atlas=..., or add label maps"
        raise InvalidImage("the atlas", "a training subject with a label map", "none", remedy)
    missing = {number: len(lacking(train[number][1], names)) for number in labelled}
    most = [number for number in labelled if missing[number] == min(missing.values())]
    return nearest_to_mean([one for _, one in train], most)


def check_atlas(atlas: Pair, names: Sequence[str]) -> None:
    if absent := lacking(atlas[1], names):
        remedy = "choose another with atlas=..., or drop their values with background:... in structures"
        raise InvalidImage(f"the atlas {atlas[0].image.name}", "all structures", f"no {listed(absent)}", remedy)
