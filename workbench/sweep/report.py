"""report.html of a sweep: a table of its runs with links to their reports, and each score against what was varied."""

import html
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import runs
from workbench.sweep.grid import Axes, shown
from workbench.sweep.table import SCORES, Row, common, heads

if TYPE_CHECKING:
    import holoviews as hv

NAME = "report.html"
DECADES = 100  # the ratio of values from which an axis is logarithmic
STYLE = """
body { font: 14px 'Segoe UI', Roboto, Arial, sans-serif; color: #1f2933; margin: 24px auto; max-width: 1200px;
       padding: 0 24px; }
h1 { font-size: 20px; } table { border-collapse: collapse; } td, th { padding: 3px 12px; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr + tr { border-top: 1px solid #dfe3e8; }
"""  # that of views/report.py, which takes long to load
LOOK = {"legend_position": "right", "show_title": False, "padding": 0.08}


def write(folder: Path, title: str, axes: Axes, rows: Sequence[Row]) -> None:
    own = [name for name in common(rows) if "." not in name]
    varied = [name for name in axes if len({shown(row.point.asked.get(name)) for row in rows}) > 1]
    shared = [name for name in varied if name != "seed"][:2] or varied  # seeds are repetitions: points of one line
    page = listing(folder, list(axes), own, rows)
    if own and varied:
        from workbench.views import report  # takes a second or two, which is spent only on pictures

        pictures = [picture(rows, name, *shared) for name in own[:SCORES]]
        page = report.document(title, [("", pictures)], page)
    else:
        named = html.escape(title)
        head = f"<meta charset='utf-8'><title>{named}</title><style>{STYLE}</style>"
        page = f"<!doctype html><html><head>{head}</head><body><h1>{named}</h1>{page}</body></html>"
    with runs.replacing(folder / NAME, "w") as file:
        file.write(page)


def listing(folder: Path, names: Sequence[str], scores: Sequence[str], rows: Sequence[Row]) -> str:
    """The table, whose rows link to the report, or to the notebook of a run that has none; sweep.csv has all scores."""
    cell = lambda value, tag="td": f"<{tag}>{html.escape(shown(value))}</{tag}>"  # noqa: E731
    lines = [f"<tr>{''.join(cell(name, 'th') for name in heads(names, scores))}</tr>"]
    for row in rows:
        file = next((one for one in (NAME, "notebook.ipynb") if (row.point.folder / one).is_file()), "")
        link = html.escape(os.path.relpath(row.point.folder / file, folder))
        linked = f'<td><a href="{link}">{file}</a></td>' if file else "<td></td>"
        lines.append(f"<tr>{''.join(map(cell, row.cells(names, scores)))}{linked}</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def picture(rows: Sequence[Row], score: str, along: str, apart: str = "") -> "hv.Overlay":
    """A score of all runs against a parameter, in a colour a value of another one, with lines through the means.

    The axis of a parameter with values above zero that span two decades is logarithmic.
    """
    import holoviews as hv

    from workbench import views
    from workbench.views.curves import ylabel
    from workbench.views.labels import WIDE

    groups: dict[str, dict[object, list[float]]] = {}
    for row in rows:
        if score in row.outcome.scores:
            name = f"{apart} = {shown(row.point.asked[apart])}" if apart else ""
            groups.setdefault(name, {}).setdefault(row.point.asked[along], []).append(row.outcome.scores[score])
    layers = [layer for name, tint in views.palette(groups).items() for layer in drawn(groups[name], name, tint)]
    found = [value for group in groups.values() for value in group]
    wide = all(map(number, found)) and min(found, default=0) > 0 and max(found) / min(found) >= DECADES
    axes = {"xlabel": along, "ylabel": ylabel(score, ""), "logx": wide}
    return hv.Overlay(layers).opts(**WIDE | LOOK | axes)


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def drawn(found: dict[object, list[float]], name: str, tint: str) -> "Iterator[hv.Element]":
    import holoviews as hv

    scale = all(map(number, found))
    values = [(value if scale else shown(value), scores) for value, scores in found.items()]
    means = [(value, sum(scores) / len(scores)) for value, scores in values]
    yield hv.Curve(sorted(means) if scale else means, label=name).opts(color=tint, backend="bokeh")
    dots = [(value, one) for value, scores in values for one in scores]
    yield hv.Scatter(dots, label=name).opts(color=tint, size=6, tools=["hover"], backend="bokeh")
