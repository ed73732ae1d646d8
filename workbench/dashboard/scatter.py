"""A live scatter plot of two runs: a point a case, the one shown in a ring; a click on a point chooses its case."""

from collections.abc import Callable, Sequence

import numpy as np
import panel as pn
import param
from bokeh.models import (
    ColumnDataSource,
    GlyphRenderer,
    Grid,
    HoverTool,
    LinearAxis,
    PanTool,
    Plot,
    Range1d,
    Scatter,
    Slope,
    TapTool,
    WheelZoomTool,
)
from panel.reactive import ReactiveHTML
from panel.viewable import Child

from workbench.dashboard import frame

AXIS = {
    "axis_label_text_font_size": "12px",
    "axis_label_text_font_style": "normal",
    "axis_label_standoff": 4,
    "axis_line_color": "#c5ccd4",
    "major_label_text_font_size": "11px",
    "major_tick_line_color": "#c5ccd4",
    "minor_tick_line_color": None,
}


class Plate(ReactiveHTML):
    """A plot with words in two of its corners.

    A plot that stands in a column or row of its own keeps Bokeh from laying out the plots of boards beside it.
    """

    plot = Child()
    upper, lower = param.String(doc="Words at the upper left."), param.String(doc="Words at the lower right.")

    _child_config = {"upper": "literal", "lower": "literal"}
    _template = """
    <div id="plate" class="plate"><div id="at_plot">${plot}</div>
      <span id="upper_left">${upper}</span><span id="lower_right">${lower}</span></div>
    """
    _stylesheets = [
        f"""
        .plate {{ position: relative; font: 11px {frame.FONT}; color: {frame.MUTED}; }}
        span {{ position: absolute; pointer-events: none; }}
        [id^="upper_left"] {{ left: 64px; top: 9px; }}
        [id^="lower_right"] {{ right: 20px; bottom: 52px; }}
        """
    ]


class Points:
    """One metric of two runs against each other, with a line where both are equal.

    Args:
        chosen: is called with the number of the case whose point was clicked.
    """

    def __init__(self, chosen: Callable[[int], None]) -> None:
        self.chosen = chosen
        self.source = ColumnDataSource({"x": [], "y": [], "case": []})
        self.ring = ColumnDataSource({"x": [], "y": []})
        self.x, self.y = LinearAxis(**AXIS), LinearAxis(**AXIS)
        self.hover = HoverTool(tooltips=None)
        self.plot = self.make()
        self.pane = pn.pane.Bokeh(self.plot, **frame.WIDE)
        self.plate = Plate(plot=self.pane, margin=(0, 8, 8, 8), **frame.STRETCH)
        self.source.selected.on_change("indices", lambda attr, old, new: self.clicked(new))

    def make(self) -> Plot:
        made = Plot(
            x_range=Range1d(0, 1), y_range=Range1d(0, 1), height=270, sizing_mode="stretch_width", name="scatter",
            toolbar_location=None, title=None, min_border=4, min_border_right=12, outline_line_color=frame.LINE,
        )  # fmt: skip
        for dimension, (axis, side) in enumerate(((self.x, "below"), (self.y, "left"))):
            made.add_layout(axis, side)
            made.add_layout(Grid(dimension=dimension, axis=axis, grid_line_color="#e9ecf0"))
        made.add_layout(Slope(gradient=1, y_intercept=0, line_color="#8a94a0", line_dash="dashed"))
        dot = Scatter(size=7, fill_color=frame.ACCENT, fill_alpha=0.55, line_color="white", line_width=0.5)
        ring = Scatter(size=14, fill_color=None, line_color="#D55E00", line_width=2.5)
        points = GlyphRenderer(data_source=self.source, glyph=dot, selection_glyph=dot, nonselection_glyph=dot)
        made.renderers = [points, GlyphRenderer(data_source=self.ring, glyph=ring)]
        self.hover.renderers, wheel = [points], WheelZoomTool()
        made.add_tools(TapTool(renderers=[points]), self.hover, PanTool(), wheel)
        made.toolbar.active_scroll = wheel
        return made

    def clicked(self, indices: Sequence[int]) -> None:
        if indices:
            self.source.selected.indices = []  # so that a second click on the same point is heard too
            self.chosen(indices[0])

    def show(
        self, values: Sequence[np.ndarray], cases: Sequence[str], names: Sequence[str], metric: str, better: int
    ) -> None:
        """Draws other numbers.

        Args:
            values: two arrays, a value a case, NaN where there is none.
            names: what the two runs are called.
            metric: its name and unit.
            better: 1 where a higher value is better, -1 where a lower one is.
        """
        first, second = (np.asarray(v, "float32") for v in values)
        both = np.concatenate([first, second])
        both = both[np.isfinite(both)]
        low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
        margin = 0.06 * (high - low) or 0.5
        self.source.data = {"x": first, "y": second, "case": list(cases)}
        for axis, name, ends in zip((self.x, self.y), names, (self.plot.x_range, self.plot.y_range)):
            axis.axis_label = f"{name}: {metric}"
            ends.update(start=low - margin, end=high + margin)
        self.hover.tooltips = [("", "@case"), (names[0], "@x{0.000}"), (names[1], "@y{0.000}")]
        upper, lower = names[::-better]
        self.plate.param.update(upper=f"{upper} better", lower=f"{lower} better")

    def mark(self, case: int) -> None:
        """Puts the ring round a case."""
        self.ring.data = {axis: self.source.data[axis][case : case + 1] for axis in ("x", "y")}

    def push(self) -> None:
        """Sends what was drawn to a notebook; a server needs no telling."""
        pn.io.push_notebook(self.pane)
