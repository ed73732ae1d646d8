"""Which radiographs a folder holds, whose they are and what is said of them: CheXpert, ChestX-ray14, plain lists."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data import io
from workbench.data.io.guard import guard
from workbench.data.radiograph.cases import UNKNOWN, Options, chosen_labels, policies
from workbench.errors import InvalidImage

CHEXPERT = ("train.csv", "valid.csv", "test.csv")  # the last two are the official test images
BESIDE = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")  # columns of CheXpert that are no findings
FILES = ("file", "image", "image_id", "path")  # columns of a plain table that name the image
PATIENTS = ("patient", "group")  # and those that name whose it is
ASIDE = {*FILES, *PATIENTS, "label", "age", "sex", "view", "site", "split"}  # columns that are no findings
NOTHING = {"", "no finding", "no_finding", "no findings", "no_findings", "normal", "none"}  # a label that is none
VALUES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1, "": 0}  # blank: not mentioned (CheXpert's custom)
TOLD = re.compile(r"(patient\d+)|(?:^|/)(\d+)_\d+(?:\.[^./]+)?$")  # the patient in a path
NAMED = 20  # of files or cells in an error


@dataclass(frozen=True)
class Row:
    """One image, its findings (L,) 1, 0 or UNKNOWN, its patient, and whether an official list keeps it for testing."""

    path: Path
    findings: np.ndarray
    group: str
    official: bool = False


def read_rows(root: Path, options: Options) -> tuple[list[str], list[Row]]:
    """The findings' names and a row an image.

    Raises:
        InvalidImage: no known layout, columns missing, values that are no label, images missing (named and counted), a
            finding that is everywhere or nowhere; InvalidParameter: `labels` that there are not.
    """
    names, told = told_by(root, options)
    wanted = chosen_labels(options, names)
    rules, columns = policies(options.uncertain), [names.index(name) for name in wanted]
    rows = []
    for path, values, group, official in told:
        findings = [settled(values[i], rules.get(names[i], rules[""])) for i in columns]
        rows.append(Row(path, np.array(findings, np.int8), group, official))
    check_files(root.name, [row.path for row in rows])
    if names != [""]:
        check_kinds(root.name, wanted, np.stack([row.findings for row in rows]))
    return wanted, rows


Told = tuple[Path, list[int | None], str, bool]  # path, values by finding (None: not told), patient, official


def told_by(root: Path, options: Options) -> tuple[list[str], list[Told]]:
    """What the tables of a folder, or one list, tell."""
    with guard(root, "folder of radiographs"):
        root.stat()
    if root.is_file():
        return text_list(root)
    homes = [root, *sorted(path for path in root.glob("*/") if path.is_dir())]
    for home in homes:
        tables = [home / name for name in CHEXPERT if (home / name).is_file()]
        if tables:
            return chexpert(home, tables, options)
        entries = sorted(home.glob("Data_Entry*.csv"))
        if entries:
            return chestxray14(home, entries[0])
        if (home / "labels.csv").is_file():
            return plain(home)
    io.list_images(root)  # a folder that holds no image is told as such
    expected = "train.csv (CheXpert), Data_Entry*.csv (ChestX-ray14) or labels.csv"
    raise InvalidImage(
        root.name or str(root), expected, "images without a table", "add labels.csv, or give a list .txt"
    )


def settled(value: int | None, policy: str) -> int:
    """A finding as it is learnt from: an uncertain one, -1, as its policy says."""
    if value is None:
        return UNKNOWN
    return {"ones": 1, "zeros": 0, "ignore": UNKNOWN}[policy] if value == -1 else value


def chexpert(home: Path, tables: list[Path], options: Options) -> tuple[list[str], list[Told]]:
    """Paths in the tables begin above or below the folder, whatever its name; the patient is part of them."""
    names, told = None, []
    for table in tables:
        rows = io.read_labels(table, columns=("Path",))
        own = [name for name in rows[0] if name and name not in BESIDE]
        if names is not None and own != names:
            remedy = "use tables of one release"
            raise InvalidImage(table.name, f"the findings of {tables[0].name}", ", ".join(own[:NAMED]), remedy)
        names = own
        if options.views == "frontal":
            rows = [row for row in rows if row.get("Frontal/Lateral", "Frontal") in ("Frontal", "")]
        for row, values in zip(rows, numbers(table.name, "Path", rows, names)):
            inner = Path(row["Path"])
            places = [home.parent / inner, home / inner, home.joinpath(*inner.parts[1:])]
            path = next((one for one in places if one.is_file()), places[0])
            told.append((path, values, patient_of(row["Path"]), table.name != "train.csv"))
    return names or [], told


def chestxray14(home: Path, table: Path) -> tuple[list[str], list[Told]]:
    """Findings joined by |; images in any folder below, the official test images in test_list.txt."""
    rows = io.read_labels(table, columns=("Image Index", "Finding Labels", "Patient ID"))
    files = {path.name: path for path in io.list_images(home)}
    listed = home / "test_list.txt"
    official = {Path(line).name for line in lines(listed)} if listed.is_file() else set()
    found = [worded(row["Finding Labels"]) for row in rows]
    names = sorted({name for one in found for name in one})
    return names, [
        (files.get(image := row["Image Index"], home / image), [int(name in own) for name in names],
         row["Patient ID"], image in official)
        for row, own in zip(rows, found)
    ]  # fmt: skip


def plain(home: Path) -> tuple[list[str], list[Told]]:
    """labels.csv: file, patient, and either `label` (names joined by |) or a column of 1, 0, -1 or blank a finding."""
    rows = io.read_labels(home / "labels.csv", columns=())
    keys = []
    for wanted in (FILES, PATIENTS):
        key = next((name for name in wanted if name in rows[0]), None)
        if key is None:
            found = ", ".join(list(rows[0])[:NAMED])
            raise InvalidImage("labels.csv", f"a column {' or '.join(wanted)}", found, "name or add the column")
        keys.append(key)
    file, patient = keys
    if "label" in rows[0]:
        found = [worded(row["label"]) for row in rows]
        names = sorted({name for one in found for name in one})
        values = [[int(name in own) for name in names] for own in found]
    else:
        names = [name for name in rows[0] if name and name.lower() not in ASIDE]
        values = list(numbers("labels.csv", file, rows, names))
    if not names:
        raise InvalidImage("labels.csv", "a column label, or one a finding", ", ".join(rows[0]), "add the labels")
    if lacking := [row[file] for row in rows if not row[patient]]:
        raise InvalidImage("labels.csv", f"a {patient} in every row", f"none for {named(lacking)}", "add them")
    return names, [(placed(home, row[file]), own, row[patient], False) for row, own in zip(rows, values)]


def placed(home: Path, name: str) -> Path:
    """The image of that name in images/, or beside the table."""
    inner = home / "images" / name
    return inner if inner.is_file() else home / name


def text_list(path: Path) -> tuple[list[str], list[Told]]:
    """A line an image, its path and then 0 or 1 a finding, or nothing: images to pre-train on."""
    split = [line.split() for line in lines(path)]
    counts = {len(words) - 1 for words in split}
    if len(counts) != 1:
        found = f"{', '.join(map(str, sorted(counts)[:NAMED]))} labels" if counts else "no line"
        raise InvalidImage(path.name, "as many labels in every line", found, "mend the list; paths hold no blanks")
    names = [f"finding_{number}" for number in range(1, counts.pop() + 1)] or [""]
    rows = [dict(zip(["file", *names], words, strict=False)) for words in split]
    values = numbers(path.name, "file", rows, names) if names != [""] else [[None]] * len(rows)
    files = [row["file"] for row in rows]
    told = zip(files, values, strict=True)
    return names, [(placed(path.parent, file), own, patient_of(file), False) for file, own in told]


# ---------------------------------------------------------------- cells


def lines(path: Path) -> list[str]:
    with guard(path, "list of images"):
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]


def patient_of(name: str) -> str:
    """The patient that a path tells, else the file itself.

    >>> patient_of("train/patient00007/study1/view1.jpg"), patient_of("00000061_012.png"), patient_of("a/x-1.png")
    ('patient00007', '00000061', 'a/x-1.png')
    """
    match = TOLD.search(name)
    return match[1] or match[2] if match else name


def worded(text: str) -> list[str]:
    """The findings of a cell such as Edema|Effusion; none where it says that there is none."""
    return [word for word in (part.strip() for part in text.split("|")) if word.lower() not in NOTHING]


def numbers(title: str, key: str, rows: list[dict[str, str]], names: Iterable[str]) -> Iterator[list[int]]:
    """The values of the findings, row by row.

    Raises:
        InvalidImage: cells that are none of 1, 0, -1 and blank, counted and the first named.
    """
    names = list(names)
    wrong = [f"{row[name]!r} in {name} of {row[key]}" for row in rows for name in names if row[name] not in VALUES]
    if wrong:
        found = f"{len(wrong)} other: {named(wrong)}"
        raise InvalidImage(title, "1, 0, -1 or blank for every finding", found, "correct the cells or drop the column")
    yield from ([VALUES[row[name]] for name in names] for row in rows)


def named(words: list[str]) -> str:
    return ", ".join(words[:NAMED]) + (f" and {len(words) - NAMED} more" if len(words) > NAMED else "")


def check_files(title: str, paths: list[Path]) -> None:
    """Raises InvalidImage where files are missing, or named twice."""
    if missing := [path.name for path in paths if not path.is_file()]:
        found = f"{len(missing)} of {len(paths)} missing: {named(missing)}"
        raise InvalidImage(title, "an image for every row", found, "add them or delete the rows")
    if len(set(paths)) < len(paths):
        seen: set[Path] = set()
        double = sorted({path.name for path in paths if path in seen or seen.add(path)})
        raise InvalidImage(title, "one row an image", f"several for {named(double)}", "keep one of them")


def check_kinds(title: str, names: list[str], findings: np.ndarray) -> None:
    """Raises InvalidImage where one of the findings (N, L) is known to be everywhere, or nowhere."""
    for name, column in zip(names, findings.T, strict=True):
        kinds = set(np.unique(column).tolist()) - {UNKNOWN}
        if len(kinds) < 2:
            found = {(0,): "images without it alone", (1,): "images with it alone"}.get(tuple(kinds), "none that tells")
            raise InvalidImage(title, f"images with and without {name}", found, "leave it out with labels=")
