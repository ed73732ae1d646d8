"""report.html of a sweep: a table of its runs with links to their reports, and each score against what was varied."""

import html
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import runs
from workbench.sweep.grid import Axes, shown
from workbench.sweep.table import SCORES, Row, heads, scores_of

if TYPE_CHECKING:
    import holoviews as hv

NAME = "report.html"
LOOK = {"legend_position": "right", "show_title": False, "padding": 0.08}


def write(folder: Path, title: str, axes: Axes, rows: Sequence[Row]) -> None:
    scores = scores_of(rows)
    own = [name for name in scores if "." not in name][:SCORES]
    varied = [name for name in axes if len({shown(row.point.asked.get(name)) for row in rows}) > 1]
    page = listing(folder, list(axes), scores, rows)
    if own and varied and "notebook" not in axes:
        from workbench.views import report  # takes a second or two, which is spent only on pictures

        page = report.document(title, [("", [picture(rows, name, *varied[:2]) for name in own])], page)
    else:
        named = html.escape(title)
        page = f"<!doctype html><html><meta charset='utf-8'><title>{named}</title><h1>{named}</h1>{page}</html>"
    with runs.replacing(folder / NAME, "w") as file:
        file.write(page)


def listing(folder: Path, names: Sequence[str], scores: Sequence[str], rows: Sequence[Row]) -> str:
    """The table, whose rows link to the report, or to the notebook of a run that has none."""
    cell = lambda value, tag="td": f"<{tag}>{html.escape(shown(value))}</{tag}>"  # noqa: E731
    lines = [f"<tr>{''.join(cell(name, 'th') for name in heads(names, scores))}</tr>"]
    for row in rows:
        file = next((one for one in (NAME, "notebook.ipynb") if (row.point.folder / one).is_file()), "")
        link = html.escape(os.path.relpath(row.point.folder / file, folder))
        linked = f'<td><a href="{link}">{file}</a></td>' if file else "<td></td>"
        lines.append(f"<tr>{''.join(map(cell, row.cells(names, scores)))}{linked}</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def picture(rows: Sequence[Row], score: str, along: str, apart: str = "") -> "hv.Overlay":
    """A score of all runs against a parameter, in a colour a value of another one, with lines through the means."""
    import holoviews as hv

    from workbench import views
    from workbench.views.labels import WIDE

    groups: dict[str, dict[object, list[float]]] = {}
    for row in rows:
        if score in row.outcome.scores:
            name = f"{apart} = {shown(row.point.asked[apart])}" if apart else ""
            groups.setdefault(name, {}).setdefault(row.point.asked[along], []).append(row.outcome.scores[score])
    layers = [layer for name, tint in views.palette(groups).items() for layer in drawn(groups[name], name, tint)]
    return hv.Overlay(layers).opts(**WIDE | LOOK, xlabel=along, ylabel=views.title(score))


def drawn(found: dict[object, list[float]], name: str, tint: str) -> "Iterator[hv.Element]":
    import holoviews as hv

    number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    values = [(value if number else shown(value), scores) for value, scores in found.items()]
    means = [(value, sum(scores) / len(scores)) for value, scores in values]
    yield hv.Curve(sorted(means) if number else means, label=name).opts(color=tint, backend="bokeh")
    dots = [(value, one) for value, scores in values for one in scores]
    yield hv.Scatter(dots, label=name).opts(color=tint, size=6, tools=["hover"], backend="bokeh")
