"""A folder of stacks with traces: its layout, how neurons are dealt into folds, and what is set aside."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data import Data, io
from workbench.data.io.kind import hashed, stem
from workbench.data.io.swc import Tree, read_swc
from workbench.data.neuron.cases import DEFAULTS, Neuron, Options, assembled
from workbench.data.neuron.labels import Draft, compared
from workbench.data.neuron.perturbation import control, drafted, of_file, perturbed
from workbench.data.neuron.volumes import NIFTI, cropped, placed, read_stack
from workbench.errors import InvalidImage

SHOWN = 5  # names in one message

Aside = dict[str, str]


@dataclass(frozen=True)
class Entry:
    """A stack with its trace, its gold standard or both, and the group (a brain) that must stay in one fold."""

    name: str
    image: Path
    trace: Path | None
    gold: Path | None
    group: str
    number: int


def load(root: str | Path, options: Options = DEFAULTS) -> Data:
    """Stacks with traces below a folder: `images/X.tif` (or .nii.gz) with `traces/X.swc`, `gold/X.swc` or both.

    With both, what differs is what was wrong; the gold standard, re-noised and sampled anew, is the gold control. With
    one of them it is taken as correct and errors are put into it. A `labels.csv` names a `group` (or `brain`) of each
    `file`, which stays in one fold; without it every neuron is its own group. Groups are dealt into `folds`; validation
    neurons come from the training folds. Traces are resampled to even steps, stacks cut to where the trace is,
    brightness goes from the 0.1st to the 99.99th percentile. Neurons that cannot be read are set aside with the reason.

    Raises:
        InvalidImage: no such layout, files without partner, or too few groups that can be read.
    """
    splits, aside, _ = readable(Path(root), options)
    made = {name: [one for _, one in pairs] for name, pairs in splits.items()}
    headers = all(entry.image.name.lower().endswith(NIFTI) for entry, _ in splits["test"])
    unit = "µm" if options.sides else "mm" if headers else "px"
    return assembled(Path(root).name or "folder", made, options, unit=unit, aside=list(aside.items()))


def check(root: str | Path, options: Options = DEFAULTS) -> Iterator[str]:
    """What `load` would make of a folder: each neuron's case id, split, nodes and errors, or why it is set aside."""
    splits, aside, found = readable(Path(root), options)
    used = {entry.name for pairs in splits.values() for entry, _ in pairs}
    for split, pairs in splits.items():
        for entry, one in pairs:
            nodes, errors = len(one.draft.parent), len(one.draft.events)
            yield f"{one.case}  {split:<5}  {entry.group:<24}  {entry.name}: {nodes} nodes, {errors} errors"
            for path in (entry.trace, entry.gold):
                yield from (f"  {path.name}: {remark}" for remark in (read_swc(path).remarks if path else ()))
    for entry in found:
        if entry.name not in used and entry.name not in aside:
            yield f"not used: {entry.name}: beyond the counts asked for"
    for name, reason in aside.items():
        yield f"set aside: {name}: {reason}"
    yield f"{len(used)} neurons can be used, {len(aside)} are set aside"


# ---------------------------------------------------------------- layout


def entries(root: Path) -> tuple[list[Entry], Aside]:
    """The neurons of a folder, and those that lack a file where others have it.

    Raises:
        InvalidImage: no layout that is known, a trace without stack or two files for one name.
    """
    if not (root / "images").is_dir() or not any((root / name).is_dir() for name in ("traces", "gold")):
        io.list_images(root)  # a folder that is missing or holds no image is told as such
        expected = "images/ with traces/ or gold/"
        remedy = "put stacks and SWC files of the same names into images/ and traces/"
        raise InvalidImage(root.name or str(root), expected, "another layout", remedy)
    images = by_name(root, "images", [(stem(path), path) for path in io.list_images(root / "images")])
    files = {folder: swc_files(root, folder) for folder in ("traces", "gold") if (root / folder).is_dir()}
    for folder, named in files.items():
        if lacking := sorted(named.keys() - images.keys()):
            found = f"none for {', '.join(lacking[:SHOWN])}"
            raise InvalidImage(root.name, f"a stack for every file of {folder}/", found, "add it to images/")
    groups, aside, whole = groups_of(root), {}, []
    for number, name in enumerate(sorted(images)):
        paths = [named.get(name) for named in files.values()]
        if None in paths:
            aside[images[name].name] = f"expected an SWC file in {' and '.join(files)}, found none; add it"
        elif groups and name not in groups:
            aside[images[name].name] = "expected a row in labels.csv, found none; add one or remove the file"
        else:
            own = {folder: named[name] for folder, named in files.items()}
            whole.append(Entry(name, images[name], own.get("traces"), own.get("gold"), groups.get(name, name), number))
    return whole, aside


def swc_files(root: Path, folder: str) -> dict[str, Path]:
    files = sorted(path for path in (root / folder).rglob("*") if path.suffix.lower() == ".swc")
    if not files:
        raise InvalidImage(f"{root.name}/{folder}", "SWC files", "none", "export the traces as .swc")
    return by_name(root, folder, [(path.stem, path) for path in files])


def by_name(root: Path, folder: str, named: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    if double := sorted({name for name, _ in named if sum(other == name for other, _ in named) > 1}):
        found = ", ".join(double[:SHOWN])
        raise InvalidImage(f"{root.name}/{folder}", "one file for each name", f"several of {found}", "keep one of each")
    return dict(named)


def groups_of(root: Path) -> dict[str, str]:
    """The group of each name in labels.csv; none without that file."""
    path = root / "labels.csv"
    rows = io.read_labels(path, columns=("file",)) if path.is_file() else []
    return {
        Path(row["file"]).name.split(".")[0]: row.get("group") or row.get("brain") or row.get("patient") or row["file"]
        for row in rows
    }


# ---------------------------------------------------------------- splits


def readable(root: Path, options: Options) -> tuple[dict[str, list[tuple[Entry, Neuron]]], Aside, list[Entry]]:
    """The neurons of each split, those set aside, and all entries; dealt anew where a split would lose all."""
    found, aside = entries(root)
    left = found
    while True:
        splits, bad = {}, {}
        for name, chosen in dealt(root, left, options, aside).items():
            splits[name] = []
            for entry in chosen:
                if len(splits[name]) < getattr(options, name):
                    splits[name] += tried(entry, root, options, bad)
        aside = aside | {entry.name: reason for entry, reason in bad.items()}
        if all(splits.values()):
            return splits, aside, found
        left = [entry for entry in left if entry not in bad]


def dealt(root: Path, found: Sequence[Entry], options: Options, aside: Aside) -> dict[str, list[Entry]]:
    """The entries of each split: the groups of one fold, groups of the other folds for validation, and the rest.

    Raises:
        InvalidImage: fewer groups than folds, or than three.
    """
    groups = sorted({entry.group for entry in found})
    need = max(options.folds, 3)
    if len(groups) < need:
        why = "".join(f"; {name}: {reason}" for name, reason in list(aside.items())[:2])
        expected, found_words = f"at least {need} groups of neurons", f"{len(groups)} that can be read{why}"
        raise InvalidImage(root.name, expected, found_words, "add neurons, or set folds=2")
    order = np.random.default_rng(options.data_seed).permutation(groups).tolist()
    test = set(order[options.fold :: options.folds])
    rest = [group for group in order if group not in test]
    if len(rest) < 2:
        raise InvalidImage(root.name, "two groups beside the test", str(len(rest)), "add neurons, or change folds=")
    members = {group: [entry for entry in found if entry.group == group] for group in order}
    valid = []
    while len(rest) > 1 and sum(len(members[group]) for group in valid) < options.valid:
        valid.append(rest.pop(0))
    parts = {"train": rest, "valid": valid, "test": [group for group in order if group in test]}
    return {name: [entry for group in part for entry in members[group]] for name, part in parts.items()}


def tried(entry: Entry, root: Path, options: Options, bad: dict[Entry, str]) -> list[tuple[Entry, Neuron]]:
    """The neuron; nothing, and the reason in `bad`, where it cannot be used."""
    try:
        return [(entry, neuron(entry, root, options))]
    except InvalidImage as error:
        bad[entry] = f"{error.where}: expected {error.expected}, found {error.found}; {error.remedy}"
        return []


def neuron(entry: Entry, root: Path, options: Options) -> Neuron:
    """A stack with a trace whose errors are known.

    Raises:
        InvalidImage: a file that cannot be read, or nodes outside the stack.
    """
    stack = read_stack(entry.image, options)
    ratio = stack.spacing / stack.spacing.min()
    read = {path: read_swc(path) for path in (entry.trace, entry.gold) if path is not None}
    points = {path: placed(path, tree, stack) for path, tree in read.items()}
    name = entry.image.relative_to(root).as_posix()
    rng = np.random.default_rng([options.data_seed, *hashlib.sha256(name.encode()).digest()])
    array, shift = cropped(stack.array, np.concatenate(list(points.values())), ratio, options.box)
    right = entry.gold or entry.trace
    gold = drafted(points[right] + shift, read[right].parent)
    kinds = None
    if entry.trace and entry.gold:
        draft, kinds = differing(read[entry.trace], points[entry.trace] + shift, gold, options)
    else:
        apart = 2 * options.tolerance
        draft = perturbed(rng, array, gold, ratio, options.step, options.events, entry.number, apart)
    gold_stack, control_draft = control(rng, array, gold, options.step)
    case, group, origin = hashed(name), hashed(entry.group), -shift[::-1] * stack.spacing.min()
    return Neuron(array, draft, stack.spacing, case, group, gold_stack, control_draft, origin, kinds)


def differing(tree: Tree, points: np.ndarray, gold: Draft, options: Options) -> tuple[Draft, np.ndarray]:
    """The trace at even steps with the errors that its gold standard shows, and the SWC types of its nodes."""
    made, kinds = of_file(tree, points, options.step)
    return compared(made.points, made.parent, gold.points, gold.parent, options.apart, options.least), kinds
