"""The live monitor: its drawing, its silence in the training, its Stop button, and what it leaves in a notebook."""

import io
import itertools
import json
import math
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from workbench import doctor, monitor, runs
from workbench.config import Config
from workbench.fit import Progress, Stopped
from workbench.method import Method
from workbench.monitor import Monitor, curves, pictures
from workbench.study import Arm, Study

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[1]
TINY = {"base": 4, "blocks": 0, "critic_base": 4}
QUIET = ("gpu", "quic", "background-networking", "component-update", "sync")
CHROMIUM = ["--no-sandbox", "--no-first-run", *(f"--disable-{part}" for part in QUIET)]


def study(root: Path, *arms: str, epochs: int = 2) -> Study:
    options = {"size": 32, "train": 8, "valid": 2, "test": 2}
    budget = {"epochs": epochs, "batch": 4, "valid_every": 1, "log_every": 1}
    return Study({name: Arm(name, TINY) for name in arms or ("smcgan",)}, options, budget, root=root)


class Clock:
    """Moves by a fixed time whenever it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def shell(monkeypatch):
    """A stand-in for a notebook: what was displayed, and the callbacks of a cell's end."""
    callbacks, shown = [], []
    events = SimpleNamespace(
        register=lambda event, call: callbacks.append(call), unregister=lambda event, call: callbacks.remove(call)
    )
    monkeypatch.setattr(monitor, "get_ipython", lambda: SimpleNamespace(events=events))
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data))
    monkeypatch.setattr(monitor, "display", lambda widget, display_id: shown.append(widget) or handle)
    return SimpleNamespace(shown=shown, callbacks=callbacks)


# ---------------------------------------------------------------- curves


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def lines(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}polyline"))


def test_one_line_a_run_and_one_entry_an_arm():
    series = {"a": [[(1, 2.0), (2, 3.0)], [(1, 2.5), (2, 2.0)]], "b<c": [[(1, 9.0)]], "later": []}
    svg = curves.draw(series, "valid/psnr (dB)", steps=10)
    strokes = [line.get("stroke") for line in lines(svg)]
    assert strokes[0] == strokes[1] != strokes[2]
    found = texts(svg)
    assert {"valid/psnr (dB)", "step", "10"} <= set(found)
    assert sum(text.endswith("b<c") for text in found) == 1 and not any("later" in text for text in found)


def test_an_arm_keeps_its_colour_and_arms_differ():
    alone = lines(curves.draw({"a": [], "b": [[(1, 1.0)]]}, "y"))
    both = lines(curves.draw({"a": [[(1, 1.0)]], "b": [[(1, 1.0)]]}, "y"))
    assert alone[0].get("stroke") == both[1].get("stroke")
    many = lines(curves.draw({f"arm{n}": [[(1, 1.0)]] for n in range(16)}, "y"))
    assert len({(line.get("stroke"), line.get("stroke-dasharray")) for line in many}) == 16


@pytest.mark.parametrize(
    "points",
    [[], [(5, 0.0)], [(5, -3.0), (6, -3.0)], [(1, math.nan), (2, 1.0)], [(1, math.inf), (2, 1e-14), (3, 2e-14)]],
    ids=["none", "one", "level", "nan", "tiny"],
)
def test_odd_curves_stay_inside_the_drawing(points):
    svg = curves.draw({"a": [points]}, "loss", size=(400, 200))
    assert "nan" not in svg and "inf" not in svg
    finite = [value for point in points for value in point if math.isfinite(point[1])]
    assert len(lines(svg)) == bool(finite)
    for line in lines(svg):
        places = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        assert all(0 < x < 400 and 0 < y < 200 for x, y in places)


def test_long_curves_are_thinned_and_end_where_they_end():
    points = [(n, float(n % 7)) for n in range(1, 10_001)]
    kept = curves.thin(points)
    assert len(kept) <= curves.POINTS + 1 and kept[0] == points[0] and kept[-1] == points[-1]


@pytest.mark.parametrize("low, high", [(0, 10), (-0.03, 0.04), (17.01, 17.09), (1e-9, 9e-9), (0, 123456), (-5, 5000)])
def test_ticks_are_round_few_and_inside(low, high):
    marks = curves.ticks(low, high)
    assert 2 <= len(marks) <= 11 and low - 1e-12 <= marks[0] and marks[-1] <= high + 1e-12
    assert np.allclose(np.diff(marks), marks[1] - marks[0])


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("shape", [(2, 3, 16, 12), (2, 1, 16, 12), (2, 16, 12), (2, 1, 5, 16, 12)])
def test_what_is_like_a_picture(shape):
    array = pictures.picture(torch.rand(shape))
    assert array.shape == (2, 16, 12, 3) and array.dtype == np.uint8


@pytest.mark.parametrize("shape", [(2,), (2, 5), (2, 16, 3), (2, 7, 16, 16), (2, 2, 16, 16), (2, 3, 4, 4)])
def test_what_is_not_like_a_picture(shape):
    assert pictures.picture(torch.rand(shape)) is None


def test_values_are_kept_in_range_and_stretched_otherwise():
    grey = torch.full((1, 1, 8, 8), 0.25)
    assert (pictures.picture(grey) == 64).all()
    labels = torch.arange(3).repeat_interleave(64).reshape(3, 1, 8, 8)
    assert [int(array[0, 0, 0]) for array in pictures.picture(labels)] == [0, 128, 255]
    assert pictures.picture(torch.full((1, 1, 8, 8), torch.nan)).max() == 0


def test_sheet_has_a_column_a_kind_and_a_fixed_size():
    red, blue = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    side = pictures.tile(2, 2)
    image = np.asarray(Image.open(io.BytesIO(pictures.sheet({"image": red, "color": blue}))))
    assert image.shape[1::-1] == pictures.SIZE
    assert tuple(image[side // 2, side // 2]) == (255, 0, 0, 255)
    assert tuple(image[side + 4 + side // 2, side + 4 + side // 2]) == (0, 0, 255, 255)
    assert Image.open(io.BytesIO(pictures.sheet({}))).size == pictures.SIZE


class Noisy(Method):
    """Draws from every source of random numbers; its teacher is always in evaluation mode."""

    def __init__(self) -> None:
        super().__init__(Config())
        self.student, self.teacher = nn.BatchNorm2d(1), nn.BatchNorm2d(1)
        self.train()
        self.teacher.eval()

    def predict(self, batch):
        random.random(), np.random.rand(), torch.rand(1)
        assert not self.student.training and not torch.is_grad_enabled()
        return {"color": self.student(batch["image"]) + self.rand(len(batch["image"]), 1, 1, 1)}


def test_a_look_leaves_no_trace():
    def traces():
        values = random.random(), np.random.rand(), torch.rand(1).item(), float(method.stream.rand(1, device="cpu"))
        return values, method.stream.draws, method.student.running_mean.item()

    results = []
    for look in (False, True):
        method = Noisy()
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        method.rand(4), method.rand(4)
        if look:
            pictures.predict(method, {"image": torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))})
        assert method.student.training and not method.teacher.training
        results.append(traces())
    assert results[0] == results[1]


# ---------------------------------------------------------------- the monitor


def content(run: runs.Run) -> tuple:
    log = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return (
        (run.path / "weights.safetensors").read_bytes(),
        run.scores().drop(columns="case").to_csv(),
        [{key: value for key, value in row.items() if key != "time"} for row in log],
    )


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory) -> tuple:
    done = study(tmp_path_factory.mktemp("unwatched")).run(watch=lambda task, told: None)
    return content(done.runs[0])


def test_a_watched_run_ends_bit_equal(tmp_path, unwatched, monkeypatch):
    looks = []
    predict = pictures.predict
    monkeypatch.setattr(pictures, "predict", lambda *args: looks.append(args) or predict(*args))
    monkeypatch.setattr(monitor, "SHARE", 0)
    watched = study(tmp_path)
    watch = Monitor(watched, clock=Clock(100.0))  # so that all is due after every step
    watched.run(watch=watch)
    assert len(looks) == 4
    assert content(watched.runs[0]) == unwatched
    logs = [row for row in content(watched.runs[0])[2] if "valid/psnr" in row]
    assert watch.logs["smcgan", 0]["valid/psnr"] == [(row["step"], row["valid/psnr"]) for row in logs]


def test_stop_leaves_a_run_that_resumes(tmp_path, unwatched, shell):
    stopped = study(tmp_path)
    watch, told = Monitor(stopped), itertools.count(1)
    with pytest.raises(Stopped) as error:
        stopped.run(watch=lambda *args: (next(told) == 3 and watch.stop()) or watch(*args))
    assert watch.board.button.disabled
    shell.callbacks[0](SimpleNamespace(error_in_exec=error.value))
    assert "Stopped in smcgan, seed 0" in shell.shown[-1]["text/html"]
    assert [run.state for run in runs.find(tmp_path)] == ["unfinished"]
    stopped.run(watch=watch)
    assert [step for step, _ in watch.logs["smcgan", 0]["loss/critic"]] == [1, 2, 3, 4]
    assert content(stopped.runs[0]) == unwatched


def test_a_new_monitor_knows_what_was_trained_before(tmp_path):
    study(tmp_path, "smcgan").run(watch=lambda task, told: None)
    both = study(tmp_path, "smcgan", "wgan")
    watch = Monitor(both)
    both.run(watch=watch)
    assert [step for step, _ in watch.logs["smcgan", 0]["valid/psnr"]] == [2, 4]
    assert len(lines(watch.svg("valid/psnr"))) == 2
    assert (watch.number, watch.count) == (2, 2)


def progress(method: Method, step: int, logs: dict | None = None) -> Progress:
    told = Progress(1, 1, step, 1000, method, 0)
    told.logs = logs or {}
    return told


def test_updates_are_rare_and_steps_between_them_cost_nothing(tmp_path, monkeypatch):
    task = study(tmp_path).tasks()[0]
    clock, drawn, looked = Clock(0.0), [], []
    monkeypatch.setattr(curves, "draw", lambda *args, **kw: drawn.append(clock.now) or "<svg/>")
    monkeypatch.setattr(pictures, "predict", lambda *args: looked.append(clock.now) or {})
    watch = Monitor(clock=clock)
    for step in range(1, 101):
        clock.now = step / 10  # ten steps a second, for ten seconds
        assert not watch(task, progress(Noisy(), step, {"loss": 1.0}))
    assert 9 <= len(drawn) <= 11 and min(np.diff(drawn)) > monitor.REFRESH - 0.01
    assert len(looked) == 2 and np.diff(looked) > monitor.LOOK - 0.01
    assert len(watch.logs["smcgan", 0]["loss"]) == 100


def test_slow_predictions_are_made_less_often(tmp_path, monkeypatch):
    task = study(tmp_path).tasks()[0]
    clock, looked = Clock(0.0), []

    def slow(method, batch):
        looked.append(clock.now)
        clock.now += 3.0
        return {}

    monkeypatch.setattr(pictures, "predict", slow)
    watch = Monitor(clock=clock)
    for step in range(1, 200):
        clock.now += 1.0
        watch(task, progress(Noisy(), step))
    assert min(np.diff(looked)) >= 3.0 * monitor.SHARE


def test_any_kind_of_prediction_can_be_watched(tmp_path, monkeypatch):
    task = study(tmp_path).tasks()[0]
    odd = {
        "score": torch.rand(2),
        "logits": torch.rand(2, 5),
        "point": torch.rand(2, 4, 2),
        "volume": torch.rand(2, 1, 9, 16, 16),
    }
    monkeypatch.setattr(pictures, "predict", lambda *args: odd)
    watch = Monitor()
    watch(task, progress(Noisy(), 1, {"loss": 1.0}))
    assert "volume" in watch.board.caption.value
    assert not any(name in watch.board.caption.value for name in ("score", "logits", "point"))


def test_the_choice_stays_while_the_list_grows(tmp_path):
    task = study(tmp_path).tasks()[0]
    watch = Monitor(quantity="valid/psnr", clock=Clock(100.0))
    watch(task, progress(Noisy(), 1, {"loss": 1.0}))
    assert watch.board.choice.value == "loss"
    watch(task, progress(Noisy(), 2, {"mask": 1.0, "valid/psnr": 20.0}))
    assert watch.board.choice.options == ("loss", "mask", "valid/psnr") and watch.board.choice.value == "valid/psnr"
    watch.board.choice.value = "mask"
    watch(task, progress(Noisy(), 3, {"late": 1.0}))
    assert watch.board.choice.value == "mask" and "mask" in texts(watch.board.curves.value)


@pytest.mark.parametrize("error, title", [(None, "1 run done"), (RuntimeError("?"), "RuntimeError in smcgan, seed 0")])
def test_plain_html_takes_the_widgets_place(tmp_path, shell, error, title):
    watched = study(tmp_path)
    watch = Monitor(watched)
    watched.run(watch=watch)
    board = watch.board
    assert shell.shown == [board.box]
    shell.callbacks[0](SimpleNamespace(error_in_exec=error))
    twin = shell.shown[1]
    assert twin["text/plain"] == title and title in twin["text/html"]
    assert twin["text/html"].count("data:image/svg+xml") == len(watch.quantities)
    assert twin["text/html"].count("data:image/png") == 1
    assert "<script" not in twin["text/html"] and "jupyter-widgets" not in twin["text/html"]
    assert board.box.comm is None and not shell.callbacks
    watch.finish("again")
    assert len(shell.shown) == 2


def notebook(root: Path, epochs: int) -> nbformat.NotebookNode:
    source = f"""
from workbench.monitor import Monitor
from workbench.study import Arm, Study
study = Study({{"smcgan": Arm("smcgan", {TINY})}}, {{"size": 32, "train": 8, "valid": 2, "test": 2}},
    {{"epochs": {epochs}, "batch": 4, "log_every": 1}}, root={str(root)!r})
study.run(watch=Monitor(study));
"""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=kernel)


@pytest.mark.notebook
def test_a_notebook_without_a_browser_keeps_the_curves(tmp_path, monkeypatch):
    import nbclient
    import nbconvert

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = nbclient.NotebookClient(notebook(tmp_path, epochs=1), kernel_name="python3").execute()
    shown = [out for out in done.cells[0].outputs if out.output_type == "display_data"]
    assert [list(out.data) for out in shown] == [["text/html", "text/plain"]]
    assert not [out.text for out in done.cells[0].outputs if out.get("name") == "stderr"]
    page, _ = nbconvert.HTMLExporter().from_notebook_node(done)
    assert "1 run done" in page and "data:image/svg+xml" in page


# ---------------------------------------------------------------- JupyterLab


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab over an empty folder, with settings of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ServerApp.token="]
    command += ["--port", str(port), "--ServerApp.port_retries=0", "--LabApp.news_url=None"]
    env = os.environ | folders | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server)
        yield f"http://127.0.0.1:{port}/lab"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address: str, server: subprocess.Popen) -> None:
    while server.poll() is None:
        try:
            urllib.request.urlopen(address)
            return
        except urllib.error.URLError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab ended with {server.returncode}")


@pytest.mark.browser
@pytest.mark.timeout(180)
def test_stop_in_jupyterlab(tmp_path, request):
    chromium = doctor.browser()
    if chromium is None:
        assert os.environ.get("CI") != "true", "no Chromium in CI: apt-get install chromium"
        pytest.skip("no Chromium: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    nbformat.write(notebook(tmp_path / "runs", epochs=100_000), tmp_path / "train.ipynb")
    address = request.getfixturevalue("lab")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
        page = browser.new_page()
        page.goto(f"{address}/tree/train.ipynb", timeout=60_000)
        expect(page.get_by_text("| Idle")).to_be_visible(timeout=60_000)
        cell = page.locator(".jp-CodeCell").first
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        expect(cell.locator("polyline")).to_be_visible(timeout=60_000)
        cell.locator("select").select_option("loss/generator")
        expect(cell.locator("svg text", has_text="loss/generator")).to_be_visible(timeout=20_000)
        cell.locator("button.jupyter-button").click()
        expect(cell.get_by_text("run the cell again and it resumes").first).to_be_visible(timeout=20_000)
        expect(cell.locator("button.jupyter-button")).to_have_count(0)
        assert cell.locator('img[src^="data:image/svg+xml"]').first.is_visible()
        browser.close()
    (run,) = runs.find(tmp_path / "runs")
    assert run.state == "unfinished" and (run.path / "state.pt").is_file()
