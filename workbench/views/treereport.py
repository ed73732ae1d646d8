"""Traced neurons as one HTML file that asks for nothing else: trees that can be turned, slices at the first alert."""

from collections.abc import Iterable, Sequence
from html import escape
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from bokeh.embed import components
from bokeh.models import Column, Row, Title
from bokeh.resources import Resources

from workbench import views
from workbench.views import report, trees, turntable
from workbench.views.masks import Panel
from workbench.views.volumes import Plane

if TYPE_CHECKING:
    from workbench.runs import Run

WIDTH = 520  # pixels of a tree
DOWN = (1,)  # y runs downwards in slices
SWATCHES = {
    turntable.TRUTH: "an error begins, wrong branch",
    "#ffe65e": "alert, in a white ring",
    turntable.CHOSEN: "chosen",
}
STYLE = f"""{report.STYLE}
td:last-child, th:last-child {{ text-align: left; }} svg {{ overflow: hidden; }}
b.bar {{ display: inline-block; width: 120px; height: 9px; }}
"""


def picture(runs: Sequence["Run"], case: tuple[str, str], stretched: bool = False) -> Column:
    """The trees of one case as some runs judged them, turning together: a Bokeh layout for notebooks and HTML files.

    Args:
        stretched: whether the colours go from the lowest to the highest score of these trees instead of 0 to 1.

    Raises:
        InvalidParameter, InvalidRun: as `trees.read`.
    """
    neurons = [trees.read(run, case) for run in runs]
    stage = turntable.Stage(len(runs), neurons[0].unit)
    low, high = trees.spread(neurons) if stretched else (0.0, 1.0)
    stage.mapper.update(low=low, high=high)
    stage.fit(np.max([neuron.sides for neuron in neurons], axis=0))
    for letter, run, tree, neuron in zip(ascii_uppercase, runs, stage.trees, neurons):
        node = trees.start(neuron, trees.alerts(neuron))
        tree.plot.update(sizing_mode="fixed", width=WIDTH, height=round(WIDTH / turntable.ASPECT))
        tree.plot.title = Title(text=f"{letter}: {views.label(run)}", text_font_style="normal")
        tree.show(neuron.drawn(), neuron.sides, neuron.corner)
        tree.ring(neuron.points[node], neuron.sides)
    return Column(children=[stage.buttons(), Row(children=[tree.plot for tree in stage.trees], spacing=12)])


def write(runs: Sequence["Run"], cases: Iterable[tuple[str, str]], stretched: bool = False) -> str:
    """The page: for each of the cases its trees, the slices at the first alert of every run, and all alerts.

    Raises:
        InvalidParameter, InvalidRun: as `trees.read` and `trees.cut`.
    """
    cases = list(cases)
    script, drawn = components([picture(runs, case, stretched) for case in cases])
    code = Resources("inline", components=["bokeh", "bokeh-widgets"]).js_raw  # without what other packages add
    library = "".join(f"<script>{text}</script>" for text in code)
    title = " · ".join(dict.fromkeys(run.arm for run in runs))
    top = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>{library}{script}"
    parts = [section(runs, case, tree, stretched) for case, tree in zip(cases, drawn)]
    return f"<!doctype html><html><head>{top}</head><body>{head(runs, title)}{''.join(parts)}</body></html>"


def head(runs: Sequence["Run"], title: str) -> str:
    """What the letters, marks and colours mean."""
    names = "<br>".join(f"{letter}: {escape(views.label(run))}" for letter, run in zip(ascii_uppercase, runs))
    swatches = "".join(f"<i style='background:{tint}'></i>{name}" for tint, name in SWATCHES.items())
    bar = f"<b class='bar' style='background:linear-gradient(90deg,{','.join(turntable.palette(16))})'></b>"
    how = "Drag to turn, with the shift key to move; the wheel zooms; a double click starts over."
    return f"<h1>{escape(title)}</h1><p>{names}</p><p>{how}</p><p>score, low to high {bar}{swatches}</p>"


def section(runs: Sequence["Run"], case: tuple[str, str], tree: str, stretched: bool) -> str:
    """Trees, slices and alerts of one case."""
    neurons = [trees.read(run, case) for run in runs]
    scale = trees.spread(neurons) if stretched else (0.0, 1.0)
    parts = []
    for letter, run, neuron in zip(ascii_uppercase, runs, neurons):
        table = trees.alerts(neuron)
        node = trees.start(neuron, table)
        figures = [report.figure(panel(run, case, plane, neuron, node, scale)) for plane in trees.PLANES.values()]
        told = f"<p>{letter} <span class='muted'>{trees.numbers(run, case)}<br>{escape(neuron.tell(node))}</span></p>"
        listed = table.to_html(index=False, border=0, float_format="{:.3g}".format)
        parts.append(f"<div>{told}<div class='row'>{''.join(figures)}</div>{listed}</div>")
    colors = f"<span class='muted'>colours from {scale[0]:.2g} to {scale[1]:.2g}</span>"
    return f"<h2>{escape(' '.join(case).strip())} {colors}</h2>{tree}<div class='case'>{''.join(parts)}</div>"


def panel(
    run: "Run", case: tuple[str, str], plane: Plane, neuron: trees.Neuron, node: int, scale: tuple[float, float]
) -> Panel:
    """One slice through a node with the trace, y downwards."""
    point, down = neuron.points[node], plane.up in DOWN
    image = trees.cut(run, case, plane, trees.voxel_at(neuron, point)[plane.axis])
    sides = neuron.sides[plane.up], neuron.sides[plane.across]
    lines = trees.strokes(neuron, plane, point, scale, max(sides))
    turned = [(path if down else np.c_[path[:, 0], sides[0] - path[:, 1]], *look) for path, *look in lines]
    title = f"{plane.name} at {'xyz'[plane.axis]} {neuron.files[node][plane.axis]:.1f} {neuron.unit}"
    return Panel(title, np.repeat((image[::-1] if down else image)[..., None], 3, 2), turned, sides)
