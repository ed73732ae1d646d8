"""A live scatter plot of the test cases in two dimensions: a click on a point chooses its case."""

from collections.abc import Callable, Sequence

import numpy as np
import panel as pn
from bokeh.models import (
    ColumnDataSource,
    GlyphRenderer,
    Grid,
    HoverTool,
    LinearAxis,
    PanTool,
    Plot,
    Range1d,
    ResetTool,
    Scatter,
    TapTool,
    WheelZoomTool,
)

from workbench.dashboard import frame
from workbench.dashboard.scatter import AXIS
from workbench.views.embeddings import SIZES

HEIGHT = 330  # pixels
CHOSEN, NEAR = "#000000", "#52606d"


class Map:
    """The cases as points, the one that is shown in a thick ring, its neighbours in thin ones.

    Args:
        chosen: is called with the number of the case whose point was clicked.
    """

    def __init__(self, chosen: Callable[[int], None]) -> None:
        self.chosen = chosen
        empty = {"x": [], "y": [], "number": [], "case": [], "name": [], "color": [], "marker": [], "size": []}
        self.source = ColumnDataSource(empty)
        self.rings = ColumnDataSource({"x": [], "y": [], "size": [], "color": [], "width": []})
        self.x, self.y = LinearAxis(**AXIS), LinearAxis(**AXIS)
        self.plot = self.make()
        self.pane = pn.pane.Bokeh(self.plot, **frame.WIDE)
        self.source.selected.on_change("indices", lambda attr, old, new: self.clicked(new))

    def make(self) -> Plot:
        made = Plot(
            x_range=Range1d(0, 1), y_range=Range1d(0, 1), height=HEIGHT, sizing_mode="stretch_width", name="map",
            title=None, min_border=4, min_border_right=12, outline_line_color=frame.LINE,
        )  # fmt: skip
        for dimension, (axis, side) in enumerate(((self.x, "below"), (self.y, "left"))):
            made.add_layout(axis, side)
            made.add_layout(Grid(dimension=dimension, axis=axis, grid_line_color="#e9ecf0"))
        dot = Scatter(
            size="size", marker="marker", fill_color="color", fill_alpha=0.7, line_color="white", line_width=0.5
        )
        ring = Scatter(size="size", fill_color=None, line_color="color", line_width="width")
        points = GlyphRenderer(data_source=self.source, glyph=dot, selection_glyph=dot, nonselection_glyph=dot)
        made.renderers = [points, GlyphRenderer(data_source=self.rings, glyph=ring)]
        hover = HoverTool(renderers=[points], tooltips=[("", "@case"), ("", "@name")])
        made.add_tools(TapTool(renderers=[points]), hover, PanTool(), WheelZoomTool(), ResetTool())
        made.toolbar.logo, made.toolbar.autohide = None, True
        return made

    def clicked(self, indices: Sequence[int]) -> None:
        if indices:
            self.source.selected.indices = []  # so that a second click on the same point is heard too
            self.chosen(int(self.source.data["number"][indices[0]]))

    def show(
        self, points: np.ndarray, axes: Sequence[str], cases: Sequence[str], names: Sequence[str],
        looks: Sequence[tuple[str, str]], kept: np.ndarray,
    ) -> None:  # fmt: skip
        """Draws other cases.

        Args:
            points: places (N, 2).
            axes: what the two axes say.
            names: the class of every case in words.
            looks: the colour and the marker of every case.
            kept: the numbers of those that are drawn.
        """
        self.points = points
        columns = {"x": points[kept, 0], "y": points[kept, 1], "number": kept, "case": [cases[i] for i in kept]}
        columns |= {"name": [names[i] for i in kept], "color": [looks[i][0] for i in kept]}
        columns |= {"marker": [looks[i][1] for i in kept], "size": [SIZES.get(looks[i][1], 8) for i in kept]}
        self.source.data = columns
        for axis, words, ends, column in zip((self.x, self.y), axes, (self.plot.x_range, self.plot.y_range), (0, 1)):
            axis.axis_label = words
            low, high = float(points[:, column].min()), float(points[:, column].max())
            margin = 0.05 * (high - low) or 0.5
            ends.update(start=low - margin, end=high + margin, reset_start=low - margin, reset_end=high + margin)

    def mark(self, number: int | None, near: Sequence[int]) -> None:
        """Puts rings round a case and round its neighbours; none where it is None."""
        ringed = [] if number is None else [*near, number]
        places, last = self.points[ringed], [False] * (len(ringed) - 1) + [True] * bool(ringed)
        self.rings.data = {
            "x": places[:, 0], "y": places[:, 1], "size": [15 if one else 11 for one in last],
            "color": [CHOSEN if one else NEAR for one in last], "width": [3.0 if one else 1.3 for one in last],
        }  # fmt: skip

    def push(self) -> None:
        """Sends what was drawn to a notebook; a server needs no telling."""
        pn.io.push_notebook(self.pane)
