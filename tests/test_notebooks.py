"""The notebooks: their form, their run under nbval, and the way that `workbench run` takes them."""

import ast
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from workbench import data, method, notebooks
from workbench.errors import InvalidParameter
from workbench.study import Arm, Study

FOLDER = Path(__file__).parents[1] / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))
KERNEL = 880  # MB that a kernel may take, so that JupyterLab beside it has room in 1 GB (tests/test_binder.py)
MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "262144",
}  # binder/start
SECTIONS = (
    "Parameters", "The data", "The idea", "Train the method and its rivals", "Compare", "The paper's table beside ours",
    "What fails", "Check", "Exercises",
)  # fmt: skip


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_cells_are_few_and_short_and_carry_no_output(path):
    cells = code_cells(path)
    assert len(cells) <= 25
    assert all(len(cell.source.splitlines()) <= 15 for cell in cells)
    for cell in cells:
        if "keep_output" in tags(cell):
            assert "nbval-check-output" in tags(cell) and cell.outputs and cell.execution_count
        else:
            assert not cell.outputs and cell.execution_count is None
    assert sum("nbval-check-output" in tags(cell) for cell in cells) >= 1


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_parameters_have_types_and_comments_and_no_path_is_relative(path):
    (cell,) = [cell for cell in code_cells(path) if "parameters" in tags(cell)]
    for line, node in zip(cell.source.splitlines(), ast.parse(cell.source).body, strict=True):
        assert isinstance(node, ast.AnnAssign) and "  # " in line
        ast.literal_eval(node.value)
    assert not any("../" in cell.source for cell in code_cells(path))


@pytest.mark.parametrize("name", [name for name, package in method.names().items() if package == "methods"])
def test_a_method_has_a_notebook_with_the_sections_in_order(name):
    cells = nbformat.read(notebooks.find(name), as_version=4).cells
    titles = [line[3:] for cell in cells for line in cell.source.splitlines() if line.startswith("## ")]
    assert titles == list(SECTIONS)


def nbval(path: Path, runs: Path) -> tuple[int, str, float]:
    """The exit status of nbval, what it printed, and the kernel's peak memory in MB, which ends it above KERNEL."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "-q"]
    command += ["--nbval-cell-timeout", "600", "-c", os.devnull, "--rootdir", str(path.parent), str(path)]
    env = os.environ | {"WORKBENCH_RUNS": str(runs), "PYTHONPATH": str(FOLDER.parent)} | MEMORY
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, env=env)
        peak = 0.0
        while process.poll() is None:
            for kernel in kernels(process.pid):
                peak = max(peak, high_water(kernel))
                if peak > KERNEL:
                    kernel.kill()
            time.sleep(0.1)
        printed.seek(0)
        return process.returncode, printed.read(), peak


def kernels(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [one for one in psutil.Process(pid).children() if "ipykernel_launcher" in one.cmdline()]
    return []


def high_water(process: psutil.Process) -> float:
    """The most memory that a process has had, in MB, as Linux counts it."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


@pytest.mark.notebook
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_notebook_runs_and_its_check_cells_hold(path, tmp_path):
    status, printed, peak = nbval(path, tmp_path / "runs")
    assert peak <= KERNEL, f"the kernel took {peak:.0f} MB and was ended"
    assert status == 0, printed[-4000:]


@pytest.mark.notebook
def test_nbval_sees_a_check_that_no_longer_holds(tmp_path):
    book = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "", "language": ""}})
    cell = nbformat.v4.new_code_cell("print(1 + 1)", metadata={"tags": ["nbval-check-output", "keep_output"]})
    cell.execution_count = 1
    for text, status in (("2\n", 0), ("3\n", 1)):
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
        book.cells = [cell]
        nbformat.write(book, tmp_path / "one.ipynb")
        assert nbval(tmp_path / "one.ipynb", tmp_path)[0] == status


def test_unknown_parameters_are_refused_and_settings_are_passed_on():
    path = notebooks.find("smcgan")
    passed = notebooks.parameters(path, {"epochs": 2, "lr": 1e-3, "base": 8})
    assert passed == {"epochs": 2, "settings": {"lr": 1e-3, "base": 8}}
    counted = {"runs": (int, 5)}
    assert notebooks.keeps(notebooks.declared(path)) and not notebooks.keeps(counted), "a number of runs is not a place"
    with pytest.raises(InvalidParameter, match="did you mean epochs"):
        notebooks.parameters(notebooks.find("start"), {"epoch": 2})
    with pytest.raises(InvalidParameter, match="did you mean smcgan"):
        notebooks.find("smcgam")


@pytest.mark.notebook
@pytest.mark.timeout(900)
def test_workbench_run_leaves_notebook_report_and_table(tmp_path, capsys):
    small = {"size": 32, "train": 8, "valid": 2, "test": 2, "epochs": 1, "arms": "floors", "base": 4, "critic_base": 4}
    folder = notebooks.run("smcgan", small, tmp_path)
    said = capsys.readouterr().out
    assert "colortable" in said and "fg_psnr" in said and "workbench dashboard" in said
    assert "SMCGAN" in (folder / "report.html").read_text(encoding="utf-8")
    executed = json.loads((folder / "notebook.ipynb").read_text(encoding="utf-8"))
    assert not [o for c in executed["cells"] for o in c.get("outputs", []) if o["output_type"] == "error"]


@pytest.mark.notebook
def test_a_failing_cell_is_told_in_one_line_and_the_notebook_is_kept(tmp_path):
    with pytest.raises(notebooks.FailedNotebook, match=r"root.*No such|folder|expected") as caught:
        notebooks.run("smcgan", {"root": str(tmp_path / "nowhere")}, tmp_path / "runs")
    assert "notebook.ipynb" in str(caught.value) and "\n" not in str(caught.value)
    assert list((tmp_path / "runs" / "_studies").glob("*/notebook.ipynb"))


@pytest.mark.notebook
@pytest.mark.timeout(900)
def test_the_notebook_on_sweeps_finds_its_own_among_others(tmp_path):
    Study({"grey": Arm("grey")}, {"size": 32, "train": 8, "valid": 2, "test": 2}, {"epochs": 1}, (0,), tmp_path).run()
    foreign = tmp_path / "_sweeps" / "all-0123456789ab" / "sweep.csv"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("notebook,state\nstart,done\n")
    small = {"rates": [0.001], "seeds": 1, "epochs": 2, "trials": 1, "jobs": 1}
    for _ in range(2):  # the second time it finds all that the first one left
        folder = notebooks.run("sweep", small, tmp_path)
        book = nbformat.read(folder / "notebook.ipynb", as_version=4)
        (checks,) = [cell.outputs for cell in book.cells if "nbval-check-output" in tags(cell)]
        assert checks[0].text.count("True") == 4 and "False" not in checks[0].text


CHEAP = {
    "anatomy": "colortable", "anatomy3d": "identity", "asoct": "meanpoint", "brain": "pix2pix", "headct": "majority",
    "endoscopy": "reinhard", "fundus": "source_only", "lesion": "hardlabels", "neuron": "chance", "organs": "unet",
    "radiograph": "gradhist",
}  # fmt: skip


@pytest.mark.parametrize("kind", data.kinds())
def test_the_comparison_takes_runs_of_any_method_among_others(kind, tmp_path, capsys):
    size = {"size": 32, "train": 8, "valid": 2, "test": 3}
    for name, options, seeds in ((CHEAP[kind], size, (0, 1)), ("grey", size | {"test": 2}, (0,))):
        Study({name: Arm(name)}, options, {"epochs": 1, "batch": 4, "precision": "float32"}, seeds, tmp_path).run()
    shown: list = []
    names = {"display": lambda *pages: shown.extend(pages)}
    for cell in code_cells(notebooks.find("compare")):
        exec(cell.source, names)
        names |= {"runs": str(tmp_path)} if "parameters" in tags(cell) else {}
    assert {run.config["method"] for run in names["kept"]} == {CHEAP[kind]} and names["metric"] in names["scores"]
    assert shown and not any("workbench run" in str(page) for page in shown), "every kind has a page for its samples"
    printed = capsys.readouterr().out
    assert "every run has a row a case: True" in printed and "False" not in printed
