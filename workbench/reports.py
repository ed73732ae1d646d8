"""report.html of an executed notebook: text, formulas, tables, pictures and dashboards, without the code.

One file that asks the network for nothing: formulas are MathML, the libraries of the pictures are inside. Dashboards
stand as they were when the notebook ended; what a slider of the notebook showed is in the still picture beside it.
"""

import base64
import functools
import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

from workbench import runs

TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js_requirejs %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
"""
STYLES = r"https://cdn\.holoviz\.org/panel/[^/\"]+/dist/([\w./-]+\.css)(?:\?[\w=.]*)?"
BADGE = r"\[!\[[^\]]*\]\(https://mybinder\.org[^)]*\)\]\([^)]*\)"
WIDGET = "application/vnd.jupyter.widget-view+json"
STILL = (
    "<p style='color: #616e7c; font-size: 12px; margin: 2px 0 12px'>As it was when the notebook ended. Pictures can be "
    "zoomed; buttons and menus answer in a running notebook and under <code>workbench dashboard</code>.</p>"
)


def write(notebook: Path) -> Path:
    """Write report.html beside an executed notebook and return its path."""
    import nbformat

    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [still(output) for output in cell.outputs if WIDGET not in output.get("data", {})]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of outputs that only a live notebook can show
        body, _ = exporter().from_notebook_node(book, {"metadata": {"name": notebook.parent.name}})
    path = notebook.with_name("report.html")
    with runs.replacing(path, "w") as file:
        file.write(re.sub(STYLES, embedded, body))
    return path


def embedded(address: re.Match) -> str:
    """A style sheet of Panel, named by its address on the network, as an address that holds the sheet itself."""
    file = Path(importlib.util.find_spec("panel").origin).parent / "dist" / address[1]
    return f"data:text/css;base64,{base64.b64encode(file.read_bytes()).decode()}" if file.is_file() else address[0]


def still(output: Any) -> Any:
    """The output with a line below where it is a dashboard."""
    data = output.get("data", {})
    if "workbench-page" in data.get("text/html", ""):
        data["text/html"] += STILL
    return output


@functools.lru_cache(maxsize=1)
def exporter() -> Any:
    """nbconvert's exporter with formulas as MathML."""
    import nbconvert
    from jinja2 import pass_context
    from latex2mathml.converter import convert
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return convert(body.strip(), display="block")

        def inline_math(self, body: str) -> str:
            return convert(body.strip())

    class Exporter(nbconvert.HTMLExporter):
        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            renderer = Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
            return MarkdownWithMath(renderer=renderer).render(re.sub(BADGE, "", source))

    hidden = {"exclude_input": True, "exclude_input_prompt": True, "exclude_output_prompt": True}
    return Exporter(raw_template=TEMPLATE, **hidden)
