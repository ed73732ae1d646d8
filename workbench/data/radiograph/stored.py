"""Radiographs in a store (`workbench data pack`): dealt as those of a folder, read when a batch asks for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from workbench.data import Data
from workbench.data.io.kind import hashed
from workbench.data.radiograph import layouts
from workbench.data.radiograph.cases import (
    SHOWN,
    SPLITS,
    UNKNOWN,
    Options,
    balanced_order,
    chosen_labels,
    cuts,
    policies,
)
from workbench.data.store import Store, StoredCases
from workbench.data.store.folder import BYTES, MTIME, PATH
from workbench.data.store.listing import FILES
from workbench.errors import InvalidImage

WORDED = ("Finding Labels", "label")  # columns that name the findings, joined by |
PATIENTS = ("Patient ID", *layouts.PATIENTS)
VIEW, SPLIT = "Frontal/Lateral", "split"  # a row whose split is test is kept for testing where official=true


@dataclass
class Told:
    """What the table of a store tells of its images."""

    labels: list[str]
    findings: np.ndarray  # (N, L) 1, 0 or UNKNOWN
    names: list[str]  # of the patients
    patients: np.ndarray  # (N,) whose an image is, by place in `names`
    official: np.ndarray  # (N,) whether it is kept for testing
    used: np.ndarray  # (M,) the images whose view is wanted


def load(root: Path, options: Options) -> Data:
    """The radiographs of a store; findings, patients and views are the columns of the table that it was packed with.

    Columns are understood as in the tables of `folders.load`; without a patient's column the path tells who it is.

    Raises:
        InvalidImage: as `Store`; images smaller than `size`, cells that are no label, no labels where they are needed,
            fewer patients than splits. InvalidParameter: `labels` that there are not.
    """
    store = Store(root)
    if options.size > store.size:
        remedy = f"give size={store.size} or less, or pack with --size {options.size}"
        raise InvalidImage(root.name, f"images of {options.size} pixels", f"{store.size} in the store", remedy)
    told = read_table(store, options)
    made = {}
    for name, items in dealt(root.name, told, options).items():
        items = items[: getattr(options, name)]
        findings = told.findings[items]
        if name == "train" and options.part == "unlabelled":
            findings = np.full_like(findings, UNKNOWN)
        elif name == "train" and 0 < options.labelled < len(items):
            few = balanced_order(findings, np.random.default_rng([options.data_seed, 11]))[: options.labelled]
            items, findings = items[few], findings[few]
        groups = [hashed(told.names[number]) for number in told.patients[items].tolist()]
        made[name] = cases(store, items, findings, groups, options.size)
    labels = [name or "none" for name in told.labels]
    spec = {"size": options.size, "channels": store.channels, "labels": ",".join(labels), "images": len(made["train"])}
    named = {name: (column,) for column, name in enumerate(labels)}
    return Data(root.name, **made, spec=spec, shown=SHOWN, labels=named, truth="label", aside=store.refused)


def cases(store: Store, items: np.ndarray, findings: np.ndarray, groups: list[str], size: int) -> StoredCases:
    values = torch.from_numpy(findings.astype(np.float32))
    tensors = {"label": (values == 1).float(), "known": (values != UNKNOWN).float()}
    table = {"case": [hashed(path) for path in store.index[PATH].take(items).to_pylist()], "group": groups}
    return StoredCases(tensors, table, store=store, items=torch.from_numpy(items), size=size)


def check(root: Path, options: Options) -> Iterator[str]:
    """Every image that `load` would use: its case id, split, file and findings; and what is set aside."""
    data = load(root, options)
    labels, count = data.spec["labels"].split(","), 0
    for split in SPLITS:
        part = getattr(data, split)
        names = part.store.index[PATH].take(part.items.numpy()).to_pylist()
        for case, name, row in zip(part.table["case"], names, part.tensors["label"].tolist()):
            shown = [label for label, value in zip(labels, row) if value == 1]
            yield f"{case}  {split:<5}  {name}  {', '.join(shown) or '-'}"
        count += len(part)
    for title, reason in data.aside:
        yield f"set aside: {title}: {reason}"
    yield f"{count} images can be used, {len(data.aside)} are set aside"


# ---------------------------------------------------------------- the table


def read_table(store: Store, options: Options) -> Told:
    title, table = store.root.name, store.index
    columns = [name for name in table.column_names if name not in (PATH, BYTES, MTIME)]
    labels, findings = read_findings(store, columns, options)
    key = next((name for name in PATIENTS if name in columns), None)
    values, patients = distinct(table[key]) if key else paths_told(table)
    if "" in values:
        found = f"none for {int((patients == values.index('')).sum())} images"
        raise InvalidImage(title, f"a {key} in every row of the table", found, "pack with a table that has them")
    used = np.ones(len(store), bool)
    if VIEW in columns and options.views == "frontal":
        used = matches(table[VIEW], ("Frontal", ""))
    official = matches(table[SPLIT], ("test",)) if SPLIT in columns else np.zeros(len(store), bool)
    if labels == [""] and options.part == "labelled":
        raise InvalidImage(title, "labels beside the images", "none", "pre-train with part=unlabelled")
    if labels != [""]:
        layouts.check_kinds(title, labels, findings[used])
    return Told(labels, findings, values, patients, official, np.flatnonzero(used))


def paths_told(table: pa.Table) -> tuple[list[str], np.ndarray]:
    numbers: dict[str, int] = {}
    patients = [numbers.setdefault(layouts.patient_of(path), len(numbers)) for path in table[PATH].to_pylist()]
    return list(numbers), np.array(patients)


def distinct(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The different values of a column in the order in which they appear, and which of them each row has."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy()


def matches(column: pa.ChunkedArray, wanted: tuple[str, ...]) -> np.ndarray:
    values, codes = distinct(column)
    return np.array([value in wanted for value in values])[codes]


def read_findings(store: Store, columns: list[str], options: Options) -> tuple[list[str], np.ndarray]:
    """The names of the findings and (N, L) 1, 0 or UNKNOWN; [""] where no column tells any."""
    key, rules = next((name for name in WORDED if name in columns), None), policies(options.uncertain)
    if key:
        values, codes = distinct(store.index[key])
        found = [layouts.worded(value) for value in values]
        names = sorted({name for one in found for name in one})
        wanted = chosen_labels(options, names)
        return wanted, np.array([[name in one for name in wanted] for one in found], np.int8)[codes]
    beside = {*layouts.BESIDE, *PATIENTS, *FILES}
    names = [name for name in columns if name and name not in beside and name.lower() not in layouts.ASIDE]
    coded = {name: distinct(store.index[name]) for name in names}
    if options.part == "unlabelled" and not options.labels:  # other columns of the table are in nobody's way then
        names = [name for name in names if not set(coded[name][0]) - layouts.VALUES.keys()]
    wanted = chosen_labels(options, names) if names or options.labels else []
    if not wanted:
        return [""], np.full((len(store), 1), UNKNOWN, np.int8)
    made = np.empty((len(store), len(wanted)), np.int8)
    for number, name in enumerate(wanted):
        values, codes = coded[name]
        if wrong := [value for value in values if value not in layouts.VALUES]:
            expected, remedy = "1, 0, -1 or blank for every finding", "choose the findings with labels="
            raise InvalidImage(store.root.name, expected, f"{wrong[0]!r} in {name}", remedy)
        policy = rules.get(name, rules[""])
        made[:, number] = np.array([layouts.settled(layouts.VALUES[value], policy) for value in values])[codes]
    return wanted, made


def dealt(title: str, told: Told, options: Options) -> dict[str, np.ndarray]:
    """The images of each split, dealt by patient as `folders.dealt` does."""
    test = told.used[told.official[told.used]] if options.official else told.used[:0]
    if options.official and not len(test):
        remedy = "pack with a table whose column split says test, or leave official out"
        raise InvalidImage(title, "official test images", "none", remedy)
    rest = told.used[~np.isin(told.patients[told.used], told.patients[test])]
    names = SPLITS[:2] if len(test) else SPLITS
    _, first, patients = np.unique(told.patients[rest], return_index=True, return_inverse=True)
    bounds = cuts(title, len(first), len(rest), [getattr(options, name) for name in names])
    place = np.empty(len(first), int)  # of each patient, counted as they appear, in an order drawn once
    place[np.random.default_rng(options.data_seed).permutation(len(first))] = np.arange(len(first))
    places = place[np.argsort(np.argsort(first))][patients]
    order = np.argsort(places, kind="stable")
    ends = np.searchsorted(places[order], bounds)
    made = {name: rest[order[a:b]] for name, a, b in zip(names, ends, ends[1:], strict=False)}
    return made | ({"test": test} if len(test) else {})
