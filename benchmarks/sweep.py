"""Sweeps beside papermill and nbclient, on this machine: `python benchmarks/sweep.py [--runs 16] [--starts 2000] ...`.

Prints four lines: tiny notebooks with two jobs against two papermill command lines at a time, with whether the outputs
are the same; the second, identical sweep; trivial cells against nbclient; and kernel starts, eight at a time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

CELLS = ("import numpy as np", "x = np.arange(a + 5)", "print(x.sum(), x.mean())", "x")


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


def beside_papermill(folder: Path, runs: int, jobs: int) -> dict:
    """The same notebooks both ways, and once more."""
    source = written(folder / "tiny.ipynb", CELLS)
    target = lambda a: str(folder / f"papermill-{a}.ipynb")  # noqa: E731
    start = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda a: timed("papermill", str(source), target(a), "-p", "a", str(a)), range(runs)))
    papermill = time.perf_counter() - start
    words = [
        "workbench",
        "sweep",
        str(source),
        "-p",
        f"a=0:{runs}",
        "--jobs",
        str(jobs),
        "--runs",
        str(folder / "runs"),
    ]
    ours, again = timed(*words), timed(*words)
    made = {json.dumps(outputs(path)) for path in folder.glob("runs/_studies/*/notebook.ipynb")}
    same = made == {json.dumps(outputs(Path(target(a)))) for a in range(runs)}
    return {"papermill": papermill, "sweep": ours, "ratio": papermill / ours, "again": again, "same outputs": same}


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
    return {"nbclient": plain, "sweep": time.perf_counter() - start}


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
    return {"starts": count, "failed": count - good, "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("runs", 16), ("jobs", 2), ("cells", 200), ("starts", 2000), ("at-a-time", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for made in (
            beside_papermill(folder, given.runs, given.jobs),
            many_cells(folder, given.cells),
            starts(folder, given.starts, given.at_a_time),
        ):
            print(json.dumps({key: round(one, 3) if isinstance(one, float) else one for key, one in made.items()}))


if __name__ == "__main__":
    main()
