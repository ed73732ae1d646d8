"""The checker of executed notebooks: what it reads, what it tells, what it lets pass, and forty planted regressions."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import regressions
from PIL import Image, ImageDraw

from workbench.__main__ import main
from workbench.check import books, judge, outputs, pictures, references
from workbench.check.facts import Fact, last_place, listed, plain, said
from workbench.check.judge import Tolerance
from workbench.errors import InvalidParameter


def cell_of(*shown, **streams) -> dict[str, Fact]:
    """The facts of a cell that shows some data and prints some text."""
    out = [nbformat.v4.new_output("display_data", data=data) for data in shown]
    out += [nbformat.v4.new_output("stream", name=name, text=text) for name, text in streams.items()]
    return outputs.facts(out)


def found(first: dict, second: dict, **tolerance) -> list[str]:
    """What differs between two cells."""
    return [str(one) for one in judge.differences(judge.merged([first]), second, Tolerance(**tolerance))]


def png(image: Image.Image) -> dict[str, str]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"image/png": base64.b64encode(file.getvalue()).decode()}


def table(frame: pd.DataFrame) -> dict[str, str]:
    return {"text/html": frame.to_html(), "text/plain": str(frame)}


# ---------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<Model object at 0x7f3a5c2b1d90>", "<Model object at 0x55d0c0ffee00>"),
        ("took 12.3 s", "took 950 ms"),
        ("took 1min 12s", "took 59.1 s"),
        ("written to /tmp/a1b2/weights.bin", "written to /mnt/x/runs/3/weights.bin"),
        ("2026-01-02 03:04:05 ready", "2027-11-12T13:14:15.6Z ready"),
        ("Mon Jan  5 12:00:00 2026: ready", "Tue Feb 10 09:08:07 2026: ready"),
        ("1f0e8c1a-1234-4abc-9def-0123456789ab", "aaaaaaaa-1234-4abc-9def-0123456789ab"),
        ("Row01976", "Row20311"),
        ("kept in smcgan-99085b856f71 and 4c97bf819bb4", "kept in smcgan-123456789012 and ab12cd34ef56"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\r 50%|#####     | 5/10\rdone", "done"),
        (" 10%|#  | 1/10 [00:00<00:03, 2.9it/s]\ndone", "done"),
    ],
)
def test_what_no_two_runs_share_is_taken_out(one, other):
    assert said(one) == said(other) and plain(one).strip()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("dice 0.812 of 12, -3 dB, +4.5e-3, 1e-9, .5, 1,234.5 and 1,234", "0.812 12 -3 +4.5e-3 1e-9 .5 1,234.5 1,234"),
        ("[1, 2,3] (4) 5% 6. end", "1 2 3 4 5 6"),
        ("[0. 1. 0.5]", "0. 1. 0.5"),
        ("3-5, 0.1±0.2, −0.5", "3 5 0.1 0.2 -0.5"),
        ("nan, -inf and NaN", "nan -inf NaN"),
        ("avx2 seed0 64x64 v2.13.0 #009E73 5d5d1d nano info", ""),
        ("2.5mm", "2.5"),
    ],
)
def test_numbers_are_told_from_words(text, numbers):
    assert said(text).numbers == tuple(numbers.split())


def test_the_last_place_of_a_number():
    assert [last_place(word) for word in ("0.62", "1.250", "6.354780e-07", "0.6", "12", "0.01")] == [
        0.01, 0.001, pytest.approx(1e-13), 0.0, 0.0, 0.0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "told", "differs"),
    [
        ("ap 0.616", "ap 0.617", False),
        ("ap 0.616", "ap 0.640", True),
        ("ap 0.616", "ap -0.616", True),
        ("ap 0.616", "ap nan", True),
        ("ap nan", "ap 0.616", True),
        ("ap nan", "ap nan", False),
        ("12 cases", "13 cases", True),
        ("1200 cases", "1201 cases", True),
        ("1 and", "0.999998 and", False),
        ("-1.2e-17", "3e-18", False),
        ("0.6 and", "0.7 and", True),
        ("5.1 mm", "5.1 cm", True),
        ("a b", "b a", True),
        ("a b", "a b c", True),
        ("a  b\n\n", "a b", False),
    ],
)
def test_words_are_exact_and_numbers_within_tolerance(expected, told, differs):
    assert bool(found(cell_of(stdout=expected), cell_of(stdout=told))) == differs


def test_a_finding_says_what_was_expected_found_and_allowed():
    (line,) = found(cell_of(stdout="ap 0.616 of 3"), cell_of(stdout="ap 1.232 of 3"))
    assert line == "stdout: expected 0.616, found 1.232; tolerance 0.00616"
    (line,) = found(cell_of(stdout="distance in mm"), cell_of(stdout="distance in cm"))
    assert line == "stdout: expected 'mm', found 'cm'"


def test_streams_cut_elsewhere_are_the_same():
    def parts(*texts):
        return outputs.facts([nbformat.v4.new_output("stream", name="stdout", text=text) for text in texts])

    assert parts("a 1", "2\nb") == parts("a 12\n", "b")


def test_new_warnings_errors_and_streams_are_named():
    stderr = "/lib/x.py:12: UserWarning: the spacing is guessed\n  warn()"
    assert "UserWarning: the spacing is guessed" in found({}, cell_of(stderr=stderr))[0]
    assert not found(cell_of(stderr=stderr), cell_of(stderr=stderr.replace("/lib/x.py:12", "/usr/y.py:99")))
    error = outputs.facts([nbformat.v4.new_output("error", ename="ValueError", evalue="bad size", traceback=[])])
    assert found({}, error) == ["error: expected nothing, found 'ValueError: bad size'"]


# ---------------------------------------------------------------- tables

FRAME = pd.DataFrame({"dice": [0.91, 0.82, np.nan], "n": [10, 20, 30], "kind": ["a", "b", "c"]}, list("xyz"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (FRAME.drop(columns="n"), "columns"),
        (FRAME[["n", "dice", "kind"]], "columns"),
        (FRAME.iloc[[1, 0, 2]], "column index"),
        (FRAME.iloc[:2], "rows"),
        (FRAME.fillna(0.5), "column dice"),
        (FRAME.assign(dice=[0.91, 0.88, np.nan]), "column dice"),
        (FRAME.assign(n=FRAME["n"].astype(float)), "column n: type"),
        (FRAME.assign(n=[10, 21, 30]), "column n"),
        (FRAME.assign(kind=["a", "B", "c"]), "column kind"),
        (FRAME.rename_axis("case"), "columns"),
    ],
)
def test_tables_are_compared_by_column(changed, told):
    lines = found(cell_of(table(FRAME)), cell_of(table(changed)))
    assert lines and any(line.startswith(f"output 1: {told}: ") for line in lines)


def test_a_table_may_move_within_its_tolerance_and_a_column_may_state_its_own():
    moved = FRAME.assign(dice=[0.915, 0.825, np.nan])
    assert not found(cell_of(table(FRAME)), cell_of(table(moved)))
    far = FRAME.assign(dice=[0.8, 0.7, np.nan], n=[11, 20, 30])
    assert len(found(cell_of(table(FRAME)), cell_of(table(far)))) == 2
    assert not found(cell_of(table(FRAME)), cell_of(table(far)), columns={"dice": 0.2, "n": None})


def test_tables_of_several_levels_keep_their_names():
    frame = FRAME[["dice", "n"]].set_axis(pd.MultiIndex.from_product([["black"], ["dice", "n"]]), axis=1)
    frame.index = pd.MultiIndex.from_tuples([("p", 1), ("p", 2), ("q", 1)], names=["patient", "visit"])
    names = cell_of(table(frame))
    assert {"output 1: column black/dice", "output 1: column black/n"} <= names.keys()
    assert any(fact.words.split() == ["p", "p", "q"] for fact in names.values())


# ---------------------------------------------------------------- pictures


def scene(shift: int = 0, noise: float = 0.0) -> Image.Image:
    image = Image.new("RGB", (120, 80), (20, 20, 30))
    ImageDraw.Draw(image).ellipse((20 + shift, 20, 60 + shift, 60), fill=(200, 120, 80))
    jitter = np.random.default_rng(0).normal(0, noise, (80, 120, 3))
    return Image.fromarray(np.clip(np.asarray(image) + jitter, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "other", [scene(20), Image.new("RGB", (120, 80), (20, 20, 30)), scene().resize((60, 40)), scene().convert("L")]
)
def test_another_picture_is_found(other):
    assert found(cell_of(png(scene())), cell_of(png(other)))


def test_noise_compression_and_transparency_are_not():
    file = io.BytesIO()
    scene().save(file, "JPEG", quality=90)
    jpeg = {"image/jpeg": base64.b64encode(file.getvalue()).decode()}
    for same in (png(scene(noise=0.6)), jpeg, png(scene().convert("RGBA"))):
        assert not found(cell_of(png(scene())), cell_of(same))


def test_a_blank_picture_is_named():
    (line,) = found(cell_of(png(scene())), cell_of(png(Image.new("RGB", (120, 80), "white"))))
    assert line == "output 1: expected 'picture', found 'blank picture'"


def test_a_damaged_picture_is_a_finding_and_no_crash():
    assert cell_of({"image/png": "AAAA"})["output 1"].words == "picture that cannot be read"
    assert pictures.facts("svg+xml", b"<svg")[""].words == "drawing that cannot be read"


def test_drawings_are_read():
    from workbench.monitor import curves

    def drawn(values, label="loss"):
        text = base64.b64encode(curves.draw({"gan": [list(enumerate(values))]}, label).encode()).decode()
        return cell_of({"text/html": f'<div>run 1<img src="data:image/svg+xml;base64,{text}"></div>'})

    falling = [1 / (1 + n) for n in range(40)]
    assert not found(drawn(falling), drawn([one * 1.0001 for one in falling]))
    assert found(drawn(falling), drawn(falling[::-1]))
    assert found(drawn(falling), drawn(falling, "accuracy"))


# ---------------------------------------------------------------- figures


def figure(values=None, **options) -> dict[str, Fact]:
    """A HoloViews figure as a notebook holds it."""
    import holoviews as hv
    from bokeh.document import Document
    from bokeh.embed.util import standalone_docs_json

    hv.extension("bokeh")
    values = np.exp(-np.arange(50) / 10) if values is None else values
    layers = [hv.Curve((np.arange(len(values)), scale * values), "step", "loss", label=str(scale)) for scale in (1, 2)]
    shown = hv.render(hv.Overlay(layers).opts(title="training", **options), backend="bokeh")
    document = Document()
    document.add_root(shown)
    code = json.dumps(standalone_docs_json([shown]))
    return cell_of({"text/html": f"<script>var docs_json = {code};</script>", "text/plain": ":Overlay"})


def test_figures_are_read_and_differ_where_they_should():
    expected = figure()
    assert not found(expected, figure())
    assert not found(expected, figure(np.exp(-np.arange(50) / 10) * 1.0005))
    for other in (
        figure(np.exp(-np.arange(50) / 5)),
        figure(np.zeros(50)),
        figure(np.exp(-np.arange(49) / 10)),
        figure(show_legend=False),
        figure(ylabel="dice"),
        figure(xlim=(0, 10)),
    ):
        assert found(expected, other)


def test_long_columns_keep_limits_places_and_length():
    values = np.linspace(0, 1, 1000)
    assert listed(values).numbers[:2] == ("1000", "0") and len(listed(values).numbers) == 14
    assert listed(values) != listed(values[::-1])
    assert listed(["a", "b"] * 20) != listed(["b", "a"] * 20)


def test_a_damaged_figure_or_table_is_a_finding_and_no_crash():
    code = json.dumps(
        {"d0e9": {"version": "3", "roots": [{"type": "object", "name": "Plot", "id": "1", "attributes": 3}]}}
    )
    broken = cell_of({"text/html": f"<script>var docs_json = {code};</script>"})
    assert broken["output 1"].words == "figure that cannot be read"
    assert cell_of({"text/html": '<table><tr><td colspan="x">1<tr></table>'})["output 1"].words == "table"


def test_widgets_are_compared_by_kind():
    def widget(text):
        view = {"model_id": text, "version_major": 2, "version_minor": 0}
        return cell_of({"application/vnd.jupyter.widget-view+json": view, "text/plain": text})

    assert not found(widget("VBox(children=(FloatSlider(value=0.5),))"), widget("VBox(children=(IntSlider(value=1),))"))
    assert found(widget("VBox(children=())"), widget("HBox(children=())"))
    assert found(widget("VBox(children=())"), {})


# ---------------------------------------------------------------- repeats and tolerances


def test_what_varies_over_the_repeats_is_learnt():
    runs = [
        cell_of(stdout=f"ap {ap} in {word} of {speed}") for ap, word, speed in ((0.60, "a", 5.0), (0.61, "a", 90.0))
    ]
    known = judge.merged(runs)

    def differs(text):
        return judge.differences(known, cell_of(stdout=text), Tolerance())

    assert not differs("ap 0.65 in a of 700.0") and differs("ap 0.75 in a of 700.0") and differs("ap 0.6 in b of 5.0")
    assert differs("ap 0.61 in a of nan"), "even of what is arbitrary, that it is a number"
    assert judge.compared("stdout", known["stdout"], Tolerance()) == 2, "the words and the first number"
    words = judge.merged([cell_of(stdout="a b"), cell_of(stdout="b a")])
    assert not judge.differences(words, cell_of(stdout="c d e"), Tolerance())
    once = judge.merged([cell_of(stdout="a", stderr="b"), cell_of(stdout="a")])
    assert not judge.differences(once, cell_of(stdout="a"), Tolerance())


def test_the_spread_of_a_curve_is_that_of_all_its_places():
    """The end of its axis is where the largest value is, whichever that is: it seems not to vary."""
    one, other, far = ({"line": Fact(numbers=("9", *ends), scale=100.0)} for ends in (
        ("100.0", "40.0", "50.0"), ("100.0", "46.0", "50.0"), ("100.0", "46.0", "5.0"),
    ))  # fmt: skip
    known = judge.merged([one, other])
    assert known["line"].spread == (0.0, 6.0, 6.0, 6.0), "a count has none"
    moved = {"line": Fact(numbers=("9", "80.0", "43.0", "60.0"), scale=100.0)}
    assert not judge.differences(known, moved, Tolerance())
    assert judge.differences(known, far, Tolerance())
    assert judge.differences(judge.merged([one]), moved, Tolerance())


def test_references_come_back_as_they_were(tmp_path):
    known = judge.merged([cell_of(table(FRAME), png(scene()), stdout=f"ap {ap} “x”") for ap in (0.6, 0.62, 0.7)])
    path = tmp_path / "one.ipynb"
    references.place(path).parent.mkdir()
    references.place(path).write_text(references.written([("abc", "title", known), ("d", "", {})], 3))
    assert references.load(path) == [("abc", "title", known), ("d", "", {})]


def test_a_cell_states_its_tolerance():
    assert Tolerance().of({"tags": ["check-rtol=0.2", "check-picture=0.5"]}).rtol == 0.2
    own = Tolerance().of({"check": {"atol": 2, "columns": {"n": None}}})
    assert (own.atol, own.columns, own.stated) == (2, {"n": None}, True)
    assert Tolerance().of({"tags": ["check-ignore"]}).ignore
    assert not found(cell_of(stdout="12 cases"), cell_of(stdout="13 cases"), atol=2.0, stated=True)
    for bad in (
        {"tags": ["check-rtoll=1"]},
        {"check": {"rtol": "wide"}},
        {"check": {"limit": 1}},
        {"tags": ["check-rtol=-1"]},
    ):
        with pytest.raises(InvalidParameter):
            Tolerance().of(bad)


# ---------------------------------------------------------------- bad input


@pytest.fixture
def book(tmp_path) -> Path:
    """A notebook of two cells with a reference that was made without a kernel."""
    path = tmp_path / "two.ipynb"
    content = nbformat.v4.new_notebook()
    content.cells = [nbformat.v4.new_code_cell(source) for source in ("ap = 0.616", "print(ap)")]
    nbformat.write(content, path)
    known = [{}, cell_of(stdout="0.616")]
    cells = [(cell.source, cell.title, judge.merged([facts])) for cell, facts in zip(books.cells(content), known)]
    references.place(path).parent.mkdir()
    references.place(path).write_text(references.written(cells, 1))
    return path


def executed(path: Path, text: str, name: str = "executed.ipynb", counts=(1, 2)) -> Path:
    content = nbformat.read(path, as_version=4)
    for cell, count in zip(content.cells, counts):
        cell.execution_count = count
    content.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
    nbformat.write(content, path.with_name(name))
    return path.with_name(name)


def checked(*words: object, status: int, capsys) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["check", *map(str, words)])
    told = capsys.readouterr()
    assert stopped.value.code == status, told
    assert "Traceback" not in told.out + told.err
    return told.out, told.err


def test_executed_copies_are_checked(book, capsys):
    out, _ = checked(book, "--executed", executed(book, "0.6161"), status=0, capsys=capsys)
    assert out == "two.ipynb: as it was; 2 of 2 statements compared (100.0%)\n"
    out, _ = checked(book, "--executed", executed(book, "1.232"), status=1, capsys=capsys)
    assert out.splitlines()[0] == (
        "two.ipynb, cell 2 (print(ap)): stdout: expected 0.616, found 1.232; tolerance 0.00616"
    )
    checked(book, "--executed", executed(book, "1.232"), "--rtol", 2, status=0, capsys=capsys)
    out, _ = checked(book, "--executed", executed(book, ""), "--json", status=1, capsys=capsys)
    (record,) = json.loads(out)
    assert record["findings"][0]["found"] == "nothing" and record["compared"] == 2


def test_two_executed_copies_are_compared(book, capsys):
    old, new = executed(book, "0.5", "old.ipynb"), executed(book, "0.616", "new.ipynb")
    out, _ = checked(book, "--executed", new, "--against", old, status=1, capsys=capsys)
    assert "expected 0.5, found 0.616" in out
    checked(book, "--executed", new, "--against", new, status=0, capsys=capsys)


@pytest.mark.parametrize(("counts", "told"), [((1, None), "skipped"), ((2, 1), "top to bottom")])
def test_the_order_of_the_run_is_checked(book, counts, told, capsys):
    out, _ = checked(book, "--executed", executed(book, "0.616", counts=counts), status=1, capsys=capsys)
    assert told in out


def test_bad_input_ends_with_one_line(book, tmp_path, capsys):
    def refused(*words) -> str:
        _, err = checked(*words, status=2, capsys=capsys)
        (line,) = err.strip().splitlines()
        return line

    assert "found No such file" in refused(tmp_path / "nowhere.ipynb")
    (tmp_path / "text.ipynb").write_text("no JSON")
    assert "expected a notebook" in refused(tmp_path / "text.ipynb")
    (tmp_path / "list.ipynb").write_text("[1, 2]")
    assert "expected a notebook" in refused(tmp_path / "list.ipynb")
    assert "one without outputs" in refused(book, "--executed", book)
    good = executed(book, "0.616")
    assert "one notebook" in refused(book, book, "--executed", good)
    assert "neither" in refused(book, "--update", "--executed", good)
    assert "at least 1" in refused(book, "--update", "--repeats", 0)
    other = nbformat.read(book, as_version=4)
    other.cells[1].source = "print(2 * ap)"
    nbformat.write(other, book)
    line = refused(book, "--executed", good)
    assert "cell 2 (print(2 * ap))" in line and "--update" in line
    other.cells[1].source = "print(ap)"
    other.cells[1].metadata["tags"] = ["check-rtol=wide"]
    nbformat.write(other, book)
    assert "cell 2 (print(ap))" in refused(book, "--executed", good)
    other.cells[1].metadata["tags"] = ["check-ignore"]
    nbformat.write(other, book)
    assert "expected something to compare" in refused(book, "--executed", good)
    references.place(book).write_text("{}")
    assert "a damaged file" in refused(book, "--executed", good)
    references.place(book).unlink()
    assert "workbench check --update" in refused(book, "--executed", good)


@pytest.mark.notebook
def test_a_dead_kernel_and_a_cell_that_takes_too_long_are_told(book, tmp_path, capsys):
    for code, told in (("import os; os._exit(1)", "died in cell 1"), ("import time; time.sleep(60)", "still running")):
        content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        path = tmp_path / "bad.ipynb"
        nbformat.write(content, path)
        _, err = checked(path, "--update", "--timeout", 3, status=2, capsys=capsys)
        assert told in err and len(err.strip().splitlines()) == 1
    content.cells[0].source = "1 / 0"
    nbformat.write(content, path)
    _, err = checked(path, "--update", status=2, capsys=capsys)
    assert "ZeroDivisionError" in err and not references.place(path).exists()


# ---------------------------------------------------------------- planted regressions, plugin


@pytest.fixture(scope="module")
def lesson(tmp_path_factory) -> Path:
    return regressions.build(tmp_path_factory.mktemp("lesson") / "good")


@pytest.mark.notebook
@pytest.mark.timeout(1800)
def test_a_rerun_is_as_it_was_and_hardly_anything_is_left_out(lesson):
    report = regressions.check.check(lesson)
    assert not report.findings
    assert report.share > 0.98 and list(report.left_out.values()) == [1], "the number that is drawn anew every time"


@pytest.mark.notebook
@pytest.mark.timeout(600)
@pytest.mark.parametrize("regression", regressions.REGRESSIONS, ids=lambda one: one.name)
def test_a_planted_regression_is_caught(regression, lesson, tmp_path):
    assert regressions.by_checker(regression, regressions.plant(regression, lesson, tmp_path / "bad"))


def test_there_are_forty_of_them():
    assert len({one.name for one in regressions.REGRESSIONS}) == len(regressions.REGRESSIONS) == 40


@pytest.mark.notebook
@pytest.mark.timeout(900)
def test_the_plugin_stands_beside_nbval(lesson, tmp_path):
    named = {one.name: one for one in regressions.REGRESSIONS}
    path = regressions.plant(named["a curve missing in the figure"], lesson, tmp_path / "bad")
    command = [sys.executable, "-m", "pytest", "-p", "workbench.check.plugin", "--check-notebooks", "--nbval-lax"]
    command += ["--nbval-current-env", "-p", "no:cacheprovider", "-q", "-c", "/dev/null", path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=path.parent)
    cells = len(regressions.CELLS)
    assert done.returncode == 1 and f"1 failed, {2 * cells - 1} passed" in done.stdout, done.stdout[-3000:]
    assert "cell 8 (show(lesson.plot(curves)))" in done.stdout
