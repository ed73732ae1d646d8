"""report.html of a notebook: opened in a browser without a network, everything in it is drawn."""

import re
from pathlib import Path

import browsers
import dashboard_runs
import nbformat
import numpy as np
import pytest

from workbench import notebooks, reports
from workbench.notebooks import Point

BOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
CELLS = (
    "import holoviews as hv\nimport ipywidgets\nimport numpy as np",
    "from workbench import dashboard, runs\ndashboard.inline()",
    "hv.Curve([1, 3, 2], label='a curve') + hv.Image(np.eye(8), label='an image')",
    "ipywidgets.FloatSlider(description='the slider')",
    "dashboard.metrics(runs.find(folder))",
    "print('secret' + ' text')",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The folder of a notebook that was run as `workbench run` and `workbench sweep` run it."""
    root = tmp_path_factory.mktemp("runs")
    for arm in ("smcgan", "gray"):
        dashboard_runs.write(root / "trained", arm, cases=4, size=32)
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_markdown_cell(r"# Title" "\n\n" r"Let $\hat{y} = G(x)$, with $$\mathcal{L} = \lambda_c$$")
    ]
    book.cells += [
        nbformat.v4.new_code_cell(f"folder: str = {str(root / 'trained')!r}", metadata={"tags": ["parameters"]})
    ]
    book.cells += [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    nbformat.write(book, root / "shown.ipynb")
    point = Point.make(root / "shown.ipynb", {}, root)
    outcome = notebooks.execute(point, {})
    assert outcome.state == "done", outcome.reason
    return point.folder


@pytest.mark.browser
def test_pictures_are_drawn_and_nothing_is_asked_of_the_network(made):
    with (
        browsers.chromium() as browser,
        browsers.opened(browser, f"file://{made}/report.html", height=2400) as page,
    ):
        page.wait_for_selector(".bk-Figure >> nth=3")
        page.wait_for_timeout(1500)
        figures = page.locator(".bk-Figure").all()
        drawn = [
            len(np.unique(browsers.pixels(figure).reshape(-1, 3), axis=0)) for figure in figures if figure.is_visible()
        ]
        assert len(drawn) >= 4 and min(drawn) > 20  # curve, image, and those of the page; a blank one has one colour
        assert page.locator("math").count() == 2 and page.locator("math").first.bounding_box()["width"] > 20
        text = page.locator("body").inner_text()
        assert "secret text" in text and "As it was when the notebook ended" in text
        assert "the slider" not in text and "import holoviews" not in text and ":Layout" not in text


def test_a_kernel_of_the_warm_process_shows_what_any_kernel_shows(made):
    """What was imported before there was a notebook must not change how things are shown in one."""
    cells = nbformat.read(made / "notebook.ipynb", as_version=4).cells
    kinds = [set(output.get("data", ())) for cell in cells[4:7] for output in cell.get("outputs", [])]
    assert [kind for kind in kinds if "application/vnd.holoviews_exec.v0+json" in kind and "text/html" in kind]
    assert any("application/vnd.jupyter.widget-view+json" in kind for kind in kinds)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_every_formula_of_the_notebooks_can_be_written_without_a_script(path, tmp_path):
    book = nbformat.read(path, as_version=4)
    formulas = sum(
        len(re.findall(r"\$\$.+?\$\$", cell.source, re.S)) for cell in book.cells if cell.cell_type == "markdown"
    )
    nbformat.write(book, tmp_path / "notebook.ipynb")
    text = reports.write(tmp_path / "notebook.ipynb").read_text()
    assert text.count('display="block"') >= formulas and "$$" not in text and "<merror" not in text
