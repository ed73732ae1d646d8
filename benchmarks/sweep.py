"""Sweeps beside papermill and nbclient: `python benchmarks/sweep.py [--runs 16] [--starts 2000] [--repeats 3] ...`.

Small notebooks with two jobs against two papermill command lines at a time, with whether the outputs are the same, and
the second, identical sweep (seconds of the whole command); 200 trivial cells against nbclient, kernel starts included;
and 2,000 kernel starts, eight at a time. Medians over the repeats, the sides in turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

BOOKS = {  # cells of the small notebooks, by what they import
    "numpy": ("import numpy as np", "x = np.arange(a + 5)", "print(x.sum(), x.mean())", "x"),
    "workbench": (
        "import torch\nfrom workbench import data\nfrom workbench.methods import smcgan",
        "made = data.open_data('anatomy', train=4, valid=2, test=2, data_seed=a)",
        "print(made.name, made.spec, made.train.__getitems__([0])['image'].mean())",
    ),
}


def written(path: Path, cells: tuple[str, ...]) -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    book.cells = [nbformat.v4.new_code_cell("a: int = 0", metadata={"tags": ["parameters"]})]
    book.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(book, path)
    return path


def timed(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def outputs(path: Path) -> list:
    return [cell.get("outputs") for cell in nbformat.read(path, 4).cells]


def beside_papermill(folder: Path, cells: tuple[str, ...], runs: int, jobs: int) -> dict:
    """Seconds of the same notebooks both ways, of the sweep once more, and whether the outputs are the same."""
    source = written(folder / "small.ipynb", cells)
    target = lambda a: str(folder / f"papermill-{a}.ipynb")  # noqa: E731
    start = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda a: timed("papermill", str(source), target(a), "-p", "a", str(a)), range(runs)))
    papermill = time.perf_counter() - start
    words = ["workbench", "sweep", str(source), "-p", f"a=0:{runs}", "--jobs", str(jobs), "--runs", f"{folder}/runs"]
    ours, again = timed(*words), timed(*words)
    made = {json.dumps(outputs(path)) for path in folder.glob("runs/_studies/*/notebook.ipynb")}
    same = made == {json.dumps(outputs(Path(target(a)))) for a in range(runs)} and len(made) == runs
    return {"papermill_s": papermill, "sweep_s": ours, "ratio": papermill / ours, "again_s": again, "same": same}


def many_cells(folder: Path, count: int) -> dict:
    """Seconds for the cells alone of one notebook under nbclient, and under this package's engine."""
    import papermill
    from nbclient import NotebookClient

    from workbench import engine, kernels

    source = written(folder / "many.ipynb", tuple(f"{number}" for number in range(count)))
    start = time.perf_counter()
    NotebookClient(nbformat.read(source, 4), kernel_name="python3").execute()
    plain = time.perf_counter() - start
    given = {"address": kernels.address(("numpy",)), "stops": (), "folder": folder, "env": dict(os.environ)}
    start = time.perf_counter()
    papermill.execute_notebook(
        str(source), str(folder / "out.ipynb"), {"a": 1}, engine_name=engine.NAME, progress_bar=False, **given
    )
    ours = time.perf_counter() - start
    return {"nbclient_s": plain, "sweep_s": ours, "ratio": ours / plain}


def starts(folder: Path, count: int, jobs: int) -> dict:
    """How many of so many kernels answered a first cell."""
    from nbclient import NotebookClient

    from workbench import engine, kernels

    address = kernels.address()

    class Client(NotebookClient):
        def create_kernel_manager(self):
            self.km = engine.Manager(address)
            return self.km

    def one(_: int) -> bool:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
        try:
            Client(book, resources={"metadata": {"path": str(folder)}}).execute()
        except RuntimeError:
            return False
        return book.cells[0].outputs[0].data["text/plain"] == "2"

    start = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        good = sum(pool.map(one, range(count)))
    return {"starts": count, "failed": count - good, "seconds": round(time.perf_counter() - start, 1)}


def spread(made: list[dict]) -> dict:
    """Each number's median with its extremes, and whether all was the same each time."""
    found = {}
    for key, values in {key: [one[key] for one in made] for key in made[0]}.items():
        whole = [statistics.median(values), min(values), max(values)]
        found[key] = all(values) if key == "same" else dict(zip(("median", "min", "max"), (round(v, 3) for v in whole)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("runs", 16),
        ("jobs", 2),
        ("cells", 200),
        ("starts", 2000),
        ("at-a-time", 8),
        ("repeats", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sweep.json")
    given = parser.parse_args()

    def each(measure, *rest) -> dict:
        made = []
        for _ in range(given.repeats):
            with tempfile.TemporaryDirectory() as name:
                made.append(measure(Path(name), *rest))
        return spread(made)

    record = {}
    for name, cells in BOOKS.items():
        record[f"{given.runs} notebooks that import {name}"] = each(beside_papermill, cells, given.runs, given.jobs)
        print(json.dumps(record), flush=True)
    record[f"{given.cells} cells"] = each(many_cells, given.cells)
    print(json.dumps(record), flush=True)
    with tempfile.TemporaryDirectory() as name:
        record["kernels"] = starts(Path(name), given.starts, given.at_a_time)
    given.out.write_text(json.dumps(record | {"jobs": given.jobs, "repeats": given.repeats}, indent=1) + "\n")
    print(given.out.read_text())


if __name__ == "__main__":
    main()
