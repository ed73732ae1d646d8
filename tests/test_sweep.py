"""`workbench sweep` as a user types it: what it runs, what it finds again, how it fails, stops and refuses."""

import contextlib
import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
import psutil
import pytest

from workbench import engine, kernels, notebooks, runs
from workbench.__main__ import main
from workbench.errors import InvalidParameter
from workbench.sweep import executors, grid

PACKAGE = Path(notebooks.__file__).parents[1]


def book(path: Path, *cells: str, parameters: str | None = "a: int = 1  # a number\nb: float = 0.5  # another") -> Path:
    """A notebook in a file; a cell that begins with `# scores` is tagged so."""
    made = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    )
    first = [(parameters, ["parameters"])] if parameters is not None else []
    for source, tags in [*first, *((cell, ["scores"] if cell.startswith("# scores") else []) for cell in cells)]:
        made.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
    nbformat.write(made, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder; runs go to runs/ below it."""
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(*words: str) -> int:
    """The exit status of a sweep in this process."""
    with pytest.raises(SystemExit) as end:
        main(["sweep", *words])
    return end.value.code


def refused(words: list[str], capsys) -> str:
    assert sweep(*words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("workbench: ")


def rows(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("runs/_sweeps/*/sweep.csv")
    return list(csv.DictReader(path.read_text().splitlines()))


def started(words: list[str], **settings) -> subprocess.Popen:
    command = [sys.executable, "-m", "workbench", "sweep", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings)


def until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_all_notebooks_in_one_sweep(folder, monkeypatch, capsys):
    """Each runs once and is told by its name; a parameter is asked of all, and refused if one does not take it."""
    (folder / "books").mkdir()
    monkeypatch.setattr(notebooks, "FOLDER", folder / "books")
    book(folder / "books" / "00_first.ipynb", "# scores\nprint('{\"twice\": %d}' % (2 * a))")
    book(folder / "books" / "10_second.ipynb", "raise SystemError('no')", parameters="a: int = 3  # a number")
    assert sweep("all", "-p", "b=1.0") == 2
    assert "parameter of 10_second.ipynb: expected one of a, found 'b'" in capsys.readouterr().err
    assert sweep("all") == 1
    said = capsys.readouterr().out
    assert "notebook=second: failed: SystemError: no" in said and "2 runs: 1 done, 1 failed" in said
    (page,) = folder.glob("runs/_sweeps/all-*/report.html")
    assert "twice" not in said + page.read_text(), "the scores of unlike notebooks are no table"
    assert {(row["notebook"], row["state"], row["twice"]) for row in rows(folder)} == {
        ("first", "done", "2.0"), ("second", "failed", ""),
    }  # fmt: skip
    main(["sweep", "all", "--dry-run"])
    said = capsys.readouterr().out
    assert said.startswith("done       notebook=first") and "failed     notebook=second" in said


# ---------------------------------------------------------------- grids


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,1e-4", [1e-3, 1e-4]), ("0:5", [0, 1, 2, 3, 4]), ("4:0:-2", [4, 2]), ("0:2,7", [0, 1, 7]),
        ("a,b", ["a", "b"]),
        ("'a,b',c", ["a,b", "c"]), ('"0:5"', ["0:5"]), ("[1,2]", [[1, 2]]), ("[1,2],[3]", [[1, 2], [3]]), ("", [""]),
        ('{"on": true}', [{"on": True}]), ("true,false", [True, False]), ("x", ["x"]), ("(1,2)", [(1, 2)]),
    ],
)  # fmt: skip
def test_words_become_values(text, values):
    assert grid.values("key", text) == values


def test_a_yaml_file_says_the_same(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("lr: [1e-3, 2e-3]\nseed: 1:4\nname: ['0:5', on, null]\nmore: [0:2, 7]\none: 3\nnested: ['a,b']\n")
    assert grid.from_file(path) == {
        "lr": [1e-3, 2e-3], "seed": [1, 2, 3], "name": ["0:5", "on", None], "more": [0, 1, 7], "one": [3],
        "nested": ["a,b"],
    }  # fmt: skip
    for text in ("- 1\n- 2\n", "a: [1\n", ": 3"):
        path.write_text(text)
        with pytest.raises(InvalidParameter, match=r"grid\.yaml: expected"):
            grid.from_file(path)


def test_all_combinations_in_order():
    axes = grid.from_words(["a=0:2", "b=x,y", "c=1"])
    assert [tuple(one.values()) for one in grid.points(axes)] == [(0, "x", 1), (0, "y", 1), (1, "x", 1), (1, "y", 1)]
    assert grid.count(axes) == 4 and grid.label({"a": 1, "b": "y", "c": 1}, axes) == "a=1 b=y"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("-p aa=1", "parameter of tiny.ipynb: expected one of a, b, found 'aa'; did you mean a?"),
        ("-p a=1,x", "a: expected a value of type int, found 'x'"),
        ("-p a=1.5", "a: expected a value of type int, found 1.5"),
        ("-p b=true", "b: expected a value of type float, found True"),
        ("", "the grid: expected at least one -p"),
        ("-p a=5:5", "a: expected at least one value, found an empty range"),
        ("-p a=0:100000", "the grid: expected at most 1,000 runs, found 100,000; say --yes"),
        ("-p a=1,,2", "a: expected a value on both sides of every comma"),
        ("-p a=0:9:0", "a: expected a range with a step other than 0"),
        ("-p b=0.1:0.5", "b: expected values or a range of whole numbers, found '0.1:0.5'"),
        ("-p a=1 -p a=2", "a: expected one -p for every name"),
        ("-p a", "-p: expected key=value, found 'a'"),
        ("-p a=1 --grid nowhere.yaml", "nowhere.yaml: expected a grid in YAML, found No such file"),
        ("-p a=1 --on ftp://there", "--on: expected dask://HOST:PORT or slurm"),
        ("-p a=1 --on slurm", "--on: expected Slurm's sbatch on this machine, found none"),
        ("-p a=1 --jobs 0", "--jobs: expected at least 1"),
        ("-p a=1,2 --trials 3", "--goal: expected max:NAME or min:NAME"),
        ("-p a=1 --trials 3 --goal max:x", "-p: expected a parameter with several values"),
        ("-p b=1:0.5 --trials 3 --goal max:x", "b: expected a range from low to high"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_anything_starts(words, told, folder, capsys):
    book(folder / "tiny.ipynb", "a + b")
    assert told in refused(["tiny.ipynb", *words.split()], capsys)
    assert not list(folder.glob("runs/_studies/*/*"))


def test_notebooks_that_cannot_be_swept_are_refused(folder, capsys):
    book(folder / "bare.ipynb", "1 + 1", parameters=None)
    assert "expected a cell tagged parameters, found none" in refused(["bare.ipynb", "-p", "a=1"], capsys)
    (folder / "text.ipynb").write_text("no notebook")
    assert "expected a notebook of format 4" in refused(["text.ipynb", "-p", "a=1"], capsys)
    assert "nothing of that name" in refused(["nowhere.ipynb", "-p", "a=1"], capsys)
    assert "did you mean smcgan" in refused(["smcgam", "-p", "a=1"], capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("epoch=1", "did you mean epochs?"),
        ("lr=1e-3,-1", "lr: expected a value above 0"),
        ("size=30", "size: expected"),
    ],
)
def test_settings_of_a_method_are_checked_by_the_method(words, told, folder, capsys):
    assert told in refused(["smcgan", "-p", words], capsys)


def test_very_many_runs_are_asked_for(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    grid.confirm(100_000, False, lambda question: "y")
    with pytest.raises(ValueError, match="nothing was started"):
        grid.confirm(100_000, False, lambda question: "")
    grid.confirm(100_000, True, lambda question: pytest.fail("asked in spite of --yes"))
    grid.confirm(1000, False, lambda question: pytest.fail("asked for few"))


# ---------------------------------------------------------------- runs


def test_a_sweep_runs_once_and_is_then_reused(folder, capsys):
    source = book(folder / "tiny.ipynb", "print(a * b)", "# scores\nprint('{\"loss\": %f}' % (a * b))")
    words = ["tiny.ipynb", "-p", "a=0:2", "-p", "b=0.5,2"]
    main(["sweep", *words, "--dry-run"])
    assert "4 runs: 4 new" in capsys.readouterr().out
    assert sweep(*words) == 0
    out = capsys.readouterr().out
    assert "[4/4] " in out and "4 runs: 4 done in" in out
    assert [(row["a"], row["b"], row["loss"], row["state"]) for row in rows(folder)] == [
        ("0", "0.5", "0.0", "done"), ("0", "2", "0.0", "done"), ("1", "0.5", "0.5", "done"), ("1", "2", "2.0", "done"),
    ]  # fmt: skip
    (whole,) = folder.glob("runs/_sweeps/*/report.html")
    page = whole.read_text()
    assert len(re.findall(r'<a href="../../_studies/[^"]+/report.html">', page)) == 4
    assert page.count('"label":{"type":"value","value":"b = ') == 2, "a colour and an entry a value of b"
    made = {path: path.stat().st_mtime_ns for path in [whole, *folder.glob("runs/_studies/*/[!.]*.*")]}
    assert Counter(path.name for path in made) == {"notebook.ipynb": 4, "report.html": 5}
    assert sweep(*words) == 0
    assert "4 runs: 4 reused in" in capsys.readouterr().out
    assert made == {path: path.stat().st_mtime_ns for path in made}
    book(source, "print(a)")
    main(["sweep", *words, "--dry-run"])
    assert "4 runs: 4 new" in capsys.readouterr().out, "another notebook is another run"


def test_run_and_sweep_are_one_path_and_the_root_is_no_part_of_it(folder, capsys):
    book(folder / "tiny.ipynb", "print(a)", "import os\nprint(os.environ['WORKBENCH_RUNS'], os.getcwd())")
    main(["run", "tiny.ipynb", "-p", "a=7"])
    assert sweep("tiny.ipynb", "-p", "a=7") == 0
    assert "1 runs: 1 reused" in capsys.readouterr().out
    ids = [notebooks.Point.make(folder / "tiny.ipynb", {"a": 7}, Path(root)).id for root in ("/one", "/two")]
    (made,) = folder.glob("runs/_studies/*")
    assert made.name == f"tiny-{ids[0]}" and ids[0] == ids[1]
    root = folder / "runs"
    assert f"{root} {root}" in (made / "notebook.ipynb").read_text()


def test_the_outputs_are_those_of_papermill(folder):
    cells = [
        "import numpy as np\nprint(a)",
        "a + 1",
        "import sys; print('e', file=sys.stderr)",
        "from tqdm.auto import tqdm",
    ]
    cells += [
        "tqdm.__module__",
        "import multiprocessing as m\nm.parent_process(), __name__",
        "sys.argv[0]",
        "{'x': [1]}",
    ]
    source = book(folder / "tiny.ipynb", *cells)
    assert sweep("tiny.ipynb", "-p", "a=3") == 0
    import papermill

    papermill.execute_notebook(str(source), "other.ipynb", {"a": 3}, progress_bar=False)
    (own,) = folder.glob("runs/_studies/*/notebook.ipynb")
    ours, theirs = (nbformat.read(path, 4).cells for path in (own, "other.ipynb"))
    assert [cell.get("outputs") for cell in ours] == [cell.get("outputs") for cell in theirs]
    assert [cell.source for cell in ours] == [cell.source for cell in theirs]


def test_failures_keep_their_notebook_and_stop_nobody(folder, capsys):
    cell = "import os\nif a == 1: 1 / 0\nif a == 2: os._exit(3)\nif a == 3: os.kill(os.getpid(), 9)\n"
    book(
        folder / "bad.ipynb",
        "print('before')",
        cell + "if a == 4:\n    while True: print('y' * 1000)",
        "print('after')",
    )
    assert sweep("bad.ipynb", "-p", "a=0:5") == 1
    capsys.readouterr()
    found = {row["a"]: (row["state"], row["reason"]) for row in rows(folder)}
    assert found["0"] == ("done", "")
    assert found["1"] == ("failed", "ZeroDivisionError: division by zero")
    assert found["2"] == ("failed", "DeadKernel: the kernel ended with status 3")
    assert "ended by signal 9; perhaps the memory" in found["3"][1]
    assert "cell 4 printed more than 8 MB of text" in found["4"][1]
    for row in rows(folder)[1:]:
        path = folder / "runs/_studies" / row["folder"] / "notebook.ipynb"
        errors = [out for cell in nbformat.read(path, 4).cells for out in cell.get("outputs", []) if "ename" in out]
        assert len(errors) == 1 and path.stat().st_size < 100_000 and not path.with_name("done").exists()
    main(["sweep", "bad.ipynb", "-p", "a=0:5", "--dry-run"])
    assert "5 runs: 1 done, 4 failed" in capsys.readouterr().out
    assert sweep("bad.ipynb", "-p", "a=0,1") == 1
    assert "2 runs: 1 reused, 1 failed" in capsys.readouterr().out, "a failed one is tried again"


def test_scores_come_from_the_runs_that_the_notebook_asked_for(folder):
    cell = """
import pandas as pd
from pathlib import Path
from workbench import runs
for arm, value in (("own", 1.0), ("rival", 5.0)):
    run = runs.create(Path("."), {"method": "gan", "seed": a, "arm": arm}, arm)
    pd.DataFrame({"case": ["x", "y"], "psnr": [value, value + a]}).to_parquet(run.path / "scores.parquet")
    (run.path / "samples" / "index.json").write_text("{}")
    (run.path / "done").touch()
"""
    book(folder / "two.ipynb", cell)
    assert sweep("two.ipynb", "-p", "a=2,4") == 0
    assert [(row["psnr"], row["rival.psnr"]) for row in rows(folder)] == [("2.0", "6.0"), ("3.0", "7.0")]


def test_a_worker_that_dies_loses_nothing(folder):
    cell = "import os, pathlib, psutil\nmark = pathlib.Path(f'{a}.tried')\nif a == 1 and not mark.exists():\n"
    cell += "    mark.touch()\n    psutil.Process(int(pathlib.Path('worker').read_text())).kill()\n"
    book(folder / "frail.ipynb", cell)
    points = [notebooks.Point.make(folder / "frail.ipynb", {"a": a}, folder) for a in (1, 2)]
    with executors.processes(1, ()) as fresh:
        work = {point.id: (with_pid, point, {"a": point.asked["a"]}) for point in points}
        found = {key: future.result() for key, future in executors.spread(fresh, work)}
    assert [found[point.id].state for point in points] == ["done", "done"]
    assert (folder / "1.tried").exists()


def with_pid(point, passed):
    """In a worker: say who it is, then run."""
    (point.root / "worker").write_text(str(os.getpid()))
    return notebooks.execute(point, passed)


# ---------------------------------------------------------------- stopping, and one sweep at a time

NAP = "import os, pathlib, time\npathlib.Path(f'{a}.pid').write_text(str(os.getpid()))\nif a != 9: time.sleep(60)"


def napping(folder: Path, words: list[str], **settings) -> tuple[subprocess.Popen, list[int]]:
    """A sweep whose two first runs are under way, and all its processes."""
    process = started(words, **settings)
    until(lambda: len([path for path in folder.glob("runs/*.pid") if path.read_text()]) == 2)
    kernels_of = [int(path.read_text()) for path in folder.glob("runs/*.pid")]
    return process, [*(child.pid for child in psutil.Process(process.pid).children(recursive=True)), *kernels_of]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_no_process_and_everything_to_resume(number, folder):
    book(folder / "nap.ipynb", NAP)
    process, others = napping(folder, ["nap.ipynb", "-p", "a=0:4"])
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "4 runs: 4 stopped" in out and "it resumes" in out and "Traceback" not in out
    until(lambda: not alive(others), 10)
    assert not list(folder.glob("runs/_studies/*/done"))
    errors = [path for path in folder.glob("runs/_studies/*/notebook.ipynb") if "KeyboardInterrupt" in path.read_text()]
    assert len(errors) == 2, "interrupted, so that a training can save its checkpoint"
    book(folder / "nap.ipynb", NAP)


def test_two_sweeps_at_once_are_refused_and_a_dead_one_holds_nothing(folder, capsys):
    book(folder / "nap.ipynb", NAP)
    process, others = napping(folder, ["nap.ipynb", "-p", "a=0:4"])
    told = refused(["nap.ipynb", "-p", "a=9"], capsys)
    assert f"expected no other sweep of nap, found process {process.pid} of" in told
    process.kill()
    process.communicate()
    until(lambda: not alive(others), 20)
    assert sweep("nap.ipynb", "-p", "a=9") == 0
    assert "1 runs: 1 done" in capsys.readouterr().out


# ---------------------------------------------------------------- kernels


def test_kernels_share_nothing_and_may_use_all_of_torch(folder):
    cell = "import torch, random, os, numpy as np\n(torch.ones(300, 300) @ torch.ones(300, 300)).sum().item()"
    source = book(folder / "t.ipynb", cell, "print(random.random(), np.random.rand(), os.getpid())",
                  "torch.set_num_threads(2); torch.get_num_threads(), torch.cuda._is_in_bad_fork()")  # fmt: skip
    assert notebooks.libraries(source) == ("numpy", "os", "random", "torch")
    assert sweep("t.ipynb", "-p", "a=1,2") == 0
    books = [nbformat.read(path, 4).cells for path in folder.glob("runs/_studies/*/notebook.ipynb")]
    drawn = [cells[3].outputs[0].text.split() for cells in books]
    assert len(drawn) == 2 and not set(drawn[0]) & set(drawn[1])
    assert all(cells[-1].outputs[0].data["text/plain"] == "(2, False)" for cells in books)


def test_a_kernel_ends_with_the_connection_that_asked_for_it(folder):
    warm = kernels.Warm()
    try:
        manager = engine.Manager(warm.address)
        manager.write_connection_file()
        request = {"words": ["-f", manager.connection_file], "cwd": str(folder), "env": dict(os.environ)}
        forked = kernels.Forked(warm.address, request)
        assert forked.poll() is None and os.getsid(forked.pid) == forked.pid
        forked.socket.close()
        until(lambda: not alive([forked.pid]), 10)
        other = kernels.Forked(warm.address, request | {"cwd": str(folder)})
    finally:
        warm.stop()
    until(lambda: not alive([other.pid]), 10)
    assert other.wait() != 0 and not warm.folder.exists()
    with pytest.raises(RuntimeError, match="does not answer"):
        kernels.Forked(warm.address, request)


def test_a_kernel_that_cannot_start_is_told(folder, monkeypatch):
    warm = kernels.Warm()
    try:
        with pytest.raises(RuntimeError, match=r"could not start.*nowhere"):
            kernels.Forked(warm.address, {"words": [], "cwd": "/nowhere", "env": {}})
    finally:
        warm.stop()


# ---------------------------------------------------------------- clusters and searches


@contextlib.contextmanager
def cluster(folder: Path):
    """A Dask scheduler and two workers, as processes; gives the address and the workers."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = lambda *words: subprocess.Popen([sys.executable, "-m", "dask", *words], stderr=subprocess.DEVNULL)  # noqa: E731
    common = ["--no-dashboard", "--host", "127.0.0.1"]
    processes = [start("scheduler", *common, "--port", address.split(":")[1])]
    worker = ["worker", f"tcp://{address}", *common, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder)]
    processes += [start(*worker) for _ in range(2)]
    try:
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_dask_worker_killed_in_mid_run_loses_nothing(folder):
    cell = "import os, pathlib, time\nwith open(f'{a}.pid', 'a') as f: f.write(f'{os.getpid()}\\n')\n"
    book(folder / "nap.ipynb", cell + "time.sleep(1.5)")
    with cluster(folder) as (address, workers):
        process = started(["nap.ipynb", "-p", "a=0:4", "--on", f"dask://{address}"])
        until(lambda: len(list(folder.glob("runs/*.pid"))) >= 2, 120)
        mine = psutil.Process(workers[0].pid).children(recursive=True)
        workers[0].kill()
        out, _ = process.communicate(timeout=120)
        until(lambda: not alive([child.pid for child in mine]), 10)
    assert process.returncode == 0 and "4 runs: 4 done in" in out, out
    starts = [path.read_text().split() for path in folder.glob("runs/*.pid")]
    assert len(starts) == 4 and sum(map(len, starts)) > 4, "one run was begun on both"
    assert len(list(folder.glob("runs/_studies/*/done"))) == 4


def test_a_scheduler_that_does_not_answer_is_told(folder, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "ANSWER", 0.5)
    book(folder / "tiny.ipynb", "a")
    told = refused(["tiny.ipynb", "-p", "a=1", "--on", "dask://127.0.0.1:9"], capsys)
    assert told.startswith("--on: expected a Dask scheduler at tcp://127.0.0.1:9, found") and "dask scheduler" in told


@pytest.mark.parametrize(
    ("module", "words", "remedy"),
    [
        ("distributed", ["--on", "dask://127.0.0.1:9"], "workbench[cluster]"),
        ("submitit", ["--on", "slurm"], "workbench[cluster]"),
        ("optuna", ["--trials", "2", "--goal", "max:x"], "workbench[search]"),
    ],
)
def test_a_missing_extra_is_named(module, words, remedy, folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    book(folder / "tiny.ipynb", "a")
    assert remedy in refused(["tiny.ipynb", "-p", "a=1,2", *words], capsys)


def test_slurm_jobs_without_a_slurm(folder, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr(executors, "POLL", 0.2)
    book(folder / "tiny.ipynb", "assert a < 2")
    assert sweep("tiny.ipynb", "-p", "a=1,2", "--on", "slurm:cluster=local") == 1
    assert [row["state"] for row in rows(folder)] == ["done", "failed"]


def test_a_search_goes_on_where_it_ended(folder, capsys):
    pytest.importorskip("optuna")
    book(folder / "tiny.ipynb", "# scores\nimport json\nprint(json.dumps({'loss': (a - 3) ** 2 + b}))")
    words = ["tiny.ipynb", "-p", "a=0:6", "-p", "b=1e-3:1:log", "--goal", "min:loss"]
    assert sweep(*words, "--trials", "3") == 0
    assert "best of 3: loss " in capsys.readouterr().out and len(rows(folder)) == 3
    assert all(0 <= int(row["a"]) <= 5 and 1e-3 <= float(row["b"]) <= 1 for row in rows(folder))
    assert sweep(*words, "--trials", "4") == 0
    assert "best of 4: loss " in capsys.readouterr().out
    assert sweep(*[word.replace("loss", "gain") for word in words], "--trials", "1") == 1
    assert "no score gain, only loss" in capsys.readouterr().out


def test_a_search_stops_runs_that_are_not_worth_it(folder, capsys, monkeypatch):
    pytest.importorskip("optuna")
    from workbench.sweep import search

    cell = """# scores
import json, time
from pathlib import Path
from workbench import runs
run = runs.create(Path("."), {"method": "gan", "seed": a}, "gan")
log = runs.Log(run.path / "metrics.jsonl", 0)
tried = len(list(Path("gan").iterdir()))
for step in range(1, 4):
    log.write(step=step, **{"valid/psnr": 30.0 if tried < 7 else 1.0})
if tried == 7: time.sleep(60)
print(json.dumps({"psnr": 30.0}))
"""
    monkeypatch.setattr(search, "LOOK", 0.1)
    book(folder / "tiny.ipynb", cell)
    assert sweep("tiny.ipynb", "-p", "a=0:1000", "--goal", "max:psnr", "--trials", "7", "--jobs", "1") == 0
    assert "7 runs: 6 done, 1 pruned" in capsys.readouterr().out
    assert len(list(folder.glob("runs/_sweeps/*/optuna.log"))) == 1
    assert len(runs.find(folder / "runs")) == 7
