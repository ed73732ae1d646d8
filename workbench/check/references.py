"""The reference of a notebook: what its cells said in several runs, one JSON file beside the notebooks."""

import json
from pathlib import Path

from workbench.check import books, judge
from workbench.check.books import InvalidNotebook
from workbench.check.judge import Known
from workbench.errors import InvalidParameter

VERSION = 1
MACHINES: tuple[dict[str, str], ...] = (  # the repeats take turns; torch, oneDNN and MKL read these
    {},
    {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "SSE4_2"},
    {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
)

Reference = list[tuple[str, str, dict[str, Known]]]  # of each cell the digest of its code, its first line, its facts


def place(path: Path) -> Path:
    """Where the reference of a notebook is."""
    return path.parent / "references" / f"{path.stem}.json"


def of_notebook(path: Path) -> Reference:
    """An executed notebook as a reference."""
    cells = books.cells(books.executed(path))
    return [(cell.source, cell.title, judge.merged([cell.facts])) for cell in cells]


def update(path: Path, repeats: int = 3, timeout: float = 600.0) -> Path:
    """Execute a notebook several times and write its reference; returns where.

    Raises:
        InvalidNotebook: a cell ends in an error, which no reference should keep.
    """
    if repeats < 1:
        raise InvalidParameter("--repeats", "at least 1", str(repeats), "3 show most of the spread")
    runs = []
    for number in range(repeats):
        runs.append(books.cells(books.run(path, timeout, MACHINES[number % len(MACHINES)])))
        for cell in (one for one in runs[-1] if one.stopped):
            error = next(one for one in cell.node.outputs if one.output_type == "error")
            found = f"{error.ename}: {judge.short(error.evalue)}"
            raise InvalidNotebook(f"{path.name}, {cell}", "a cell that runs", found, "mend it, then ask again")
    cells = [(same[0].source, same[0].title, judge.merged([cell.facts for cell in same])) for same in zip(*runs)]
    place(path).parent.mkdir(exist_ok=True)
    place(path).write_text(written(cells, repeats), encoding="utf-8")
    return place(path)


def written(cells: Reference, repeats: int) -> str:
    """A reference as JSON with one fact a line, so that a change of it can be read."""
    blocks = []
    for source, title, known in cells:
        rows = [f"  {dumped(name)}: {dumped(one.packed())}" for name, one in known.items()]
        head = f'{{"source": {dumped(source)}, "title": {dumped(title)}, "facts": {{'
        blocks.append("\n".join([head, ",\n".join(rows) + "}}"] if rows else [head + "}}"]))
    return f'{{"version": {VERSION}, "repeats": {repeats}, "cells": [\n' + ",\n".join(blocks) + "\n]}\n"


def dumped(part: object) -> str:
    return json.dumps(part, ensure_ascii=False, separators=(",", ":"))


def load(path: Path) -> Reference:
    """The reference of a notebook.

    Raises:
        InvalidNotebook: none, or one that cannot be read.
    """
    source, expected = place(path), f"the reference of {path.name}"
    remedy = f"make one: workbench check --update {path}"
    try:
        record = json.loads(source.read_text(encoding="utf-8"))
        version, cells = record["version"], record["cells"] if record["version"] == VERSION else []
        reference = [(cell["source"], cell["title"], unpacked(cell["facts"])) for cell in cells]
    except OSError:
        raise InvalidNotebook(source, expected, "none", remedy) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidNotebook(source, expected, "a damaged file", remedy) from None
    if version != VERSION:
        raise InvalidNotebook(source, f"{expected} of version {VERSION}", str(version), remedy)
    return reference


def extent(path: Path) -> tuple[int, int]:
    """How many statements of a reference can be compared, and how many there are."""
    known = [item for _, _, facts in load(path) for item in facts.items()]
    parts = [part for name, one in known for part, _ in judge.statements(name, one, judge.Tolerance())]
    return sum(parts), len(parts)


def unpacked(facts: dict[str, dict]) -> dict[str, Known]:
    return {name: Known.unpacked(one) for name, one in facts.items()}
