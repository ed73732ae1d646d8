"""A live plot of the errors of two runs: the truth of every case in the middle, a dot where it was found."""

from collections.abc import Callable, Sequence

import numpy as np
import panel as pn
from bokeh.models import (
    CDSView,
    ColumnDataSource,
    Ellipse,
    GlyphRenderer,
    Grid,
    HoverTool,
    Legend,
    LegendItem,
    LinearAxis,
    PanTool,
    Plot,
    Range1d,
    Scatter,
    Segment,
    TapTool,
    WheelZoomTool,
)

from workbench.dashboard import frame
from workbench.dashboard.scatter import AXIS
from workbench.views import OKABE_ITO, points

TINTS = OKABE_ITO[:2]


class Cloud:
    """The errors of two runs about one origin, in source pixels; y points down, as in the pictures.

    Args:
        names: what the two runs are called.
        chosen: is called with the number of the case whose dot was clicked.
    """

    def __init__(self, names: Sequence[str], chosen: Callable[[int], None]) -> None:
        self.names, self.chosen = list(names), chosen
        self.sources = [ColumnDataSource({"x": [], "y": [], "case": []}) for _ in names]
        self.marks = ColumnDataSource({"x": [], "y": [], "color": []})
        self.plot = self.make()
        self.pane = pn.pane.Bokeh(self.plot, **frame.WIDE)
        for source in self.sources:
            source.selected.on_change("indices", lambda attr, old, new, source=source: self.clicked(source, new))

    def make(self) -> Plot:
        made = Plot(
            x_range=Range1d(-1, 1), y_range=Range1d(1, -1), sizing_mode="scale_width", aspect_ratio=1, name="errors",
            toolbar_location=None, title=None, min_border=4, outline_line_color=frame.LINE,
        )  # fmt: skip
        for dimension, side, text in ((0, "below", "right of the truth (px)"), (1, "left", "below the truth (px)")):
            axis = LinearAxis(axis_label=text, **AXIS)
            made.add_layout(axis, side)
            made.add_layout(Grid(dimension=dimension, axis=axis, grid_line_color="#eef0f3"))
        rings = ColumnDataSource({"d": [2 * radius for radius in points.RINGS]})
        circle = Ellipse(x=0, y=0, width="d", height="d", fill_color=None, line_color="#8a94a0", line_dash="dashed")
        arrow = Segment(x0=0, y0=0, x1="x", y1="y", line_color="color", line_width=2)
        made.renderers = [GlyphRenderer(data_source=rings, glyph=circle), self.arrow(arrow), *map(self.dots, range(2))]
        dots, wheel = made.renderers[2:], WheelZoomTool()
        hover = HoverTool(renderers=dots, tooltips=[("", "@case"), ("px", "(@x{0.0}, @y{0.0})")])
        made.add_tools(TapTool(renderers=dots), hover, PanTool(), wheel)
        made.toolbar.active_scroll = wheel
        items = [LegendItem(label=name, renderers=[dot]) for name, dot in zip(self.names, dots, strict=True)]
        look = {"label_text_font_size": "11px", "padding": 4, "spacing": 0, "background_fill_alpha": 0.5}
        made.add_layout(Legend(items=items, location="top_right", **look))
        return made

    def arrow(self, glyph: Segment) -> GlyphRenderer:
        """From the truth to where the case shown was found."""
        return GlyphRenderer(data_source=self.marks, glyph=glyph)

    def dots(self, number: int) -> GlyphRenderer:
        marker = ("circle", "triangle")[number]
        dot = Scatter(size=7, marker=marker, fill_color=TINTS[number], fill_alpha=0.5, line_color="white")
        source = self.sources[number]
        look = {"glyph": dot, "selection_glyph": dot, "nonselection_glyph": dot}
        return GlyphRenderer(data_source=source, view=CDSView(), **look)

    def clicked(self, source: ColumnDataSource, indices: Sequence[int]) -> None:
        if indices:
            source.selected.indices = []  # so that a second click on the same dot is heard too
            self.chosen(indices[0])

    def show(self, found: Sequence[np.ndarray], cases: Sequence[str]) -> None:
        """Draws other errors.

        Args:
            found: two arrays (N, 2) as of `points.vectors`, in the order of the cases.
        """
        half = points.limit(found)
        for source, each in zip(self.sources, found, strict=True):
            source.data = {"x": each[:, 0], "y": each[:, 1], "case": list(cases)}
        self.plot.x_range.update(start=-half, end=half)
        self.plot.y_range.update(start=half, end=-half)

    def mark(self, case: int) -> None:
        """Draws the errors of one case as lines from the truth."""
        ends = [(source.data["x"][case], source.data["y"][case]) for source in self.sources]
        self.marks.data = {"x": [x for x, _ in ends], "y": [y for _, y in ends], "color": list(TINTS)}

    def push(self) -> None:
        """Sends what was drawn to a notebook; a server needs no telling."""
        pn.io.push_notebook(self.pane)
