"""Live pictures of one case: they share pan, zoom and one data source, so that another case is one small message."""

from collections.abc import Iterable, Mapping

import numpy as np
import panel as pn
from bokeh.core.property.vectorization import Field
from bokeh.models import (
    CDSView,
    ColumnDataSource,
    CustomJS,
    Glyph,
    GlyphRenderer,
    HoverTool,
    Image,
    ImageRGBA,
    LinearColorMapper,
    LinearScale,
    MultiLine,
    PanTool,
    Plot,
    Range1d,
    WheelZoomTool,
)
from bokeh.palettes import Inferno256

from workbench.dashboard import frame
from workbench.views import colors

RESET = "for (const range of [x, y]) range.setv({start: range.tags[0], end: range.tags[1]})"
PLACE = {"x": 0, "y": 0, "dw": Field("width"), "dh": Field("height"), "origin": "top_left"}


class Canvas:
    """Square figures over one image grid: x to the right and y up, in pixels of the first image, square pixels, crisp.

    Args:
        columns: the names of the pictures and maps that `show` will be given.
        outlines: the names of the outlines, each with its colour.
    """

    def __init__(self, columns: Iterable[str], outlines: Mapping[str, str]) -> None:
        blank = np.zeros((1, 1), np.uint32)
        self.source = ColumnDataSource({"width": [1], "height": [1]} | {name: [blank] for name in columns})
        self.outlines = {name: ColumnDataSource({"xs": [], "ys": []}) for name in outlines}
        self.colors, self.plots, self.lines = dict(outlines), [], {}
        self.x, self.y, self.scale = Range1d(0, 1), Range1d(0, 1), LinearScale()
        self.whole = CustomJS(args={"x": self.x, "y": self.y}, code=RESET)
        self.view = CDSView()
        self.extent: tuple[int, int] | None = None
        self.mapper = LinearColorMapper(palette=Inferno256, low=0, high=colors.LIMIT)
        self.covers: list[GlyphRenderer] = []
        self.panes: list[pn.pane.Bokeh] = []

    def plot(self, glyph: Glyph, outlines: Iterable[str] = ()) -> Plot:
        """A square with one image. All models that can be are shared: their number decides how fast a page starts."""
        made = Plot(
            x_range=self.x, y_range=self.y, x_scale=self.scale, y_scale=self.scale, name=glyph.image,
            toolbar_location=None, title=None, sizing_mode="scale_width", aspect_ratio=1, min_border=0,
            outline_line_color=frame.LINE, background_fill_color="#e9ecf0",
        )  # fmt: skip
        made.renderers = [GlyphRenderer(data_source=self.source, glyph=glyph, view=self.view)]
        made.toolbar.active_scroll = wheel = WheelZoomTool()
        made.add_tools(PanTool(), wheel)
        made.js_on_event("doubletap", self.whole)
        self.plots.append((made, tuple(outlines)))
        return made

    def pane(self, made: Plot) -> pn.pane.Bokeh:
        self.panes.append(pn.pane.Bokeh(made, **frame.WIDE))
        return self.panes[-1]

    def picture(self, column: str, outlines: Iterable[str] = ()) -> pn.pane.Bokeh:
        """A picture of packed colours, with the names of the outlines that can be drawn on it."""
        return self.pane(self.plot(ImageRGBA(image=column, **PLACE), outlines))

    def map(self, column: str, unit: str) -> pn.pane.Bokeh:
        """A map of values in colours from 0 to the limit; the value is told under the pointer."""
        made = self.plot(Image(image=column, color_mapper=self.mapper, **PLACE))
        made.add_tools(HoverTool(renderers=made.renderers, tooltips=f"{unit} @{column}{{0.0}}"))
        return self.pane(made)

    def covered(self, column: str, over: str, unit: str, outlines: Iterable[str] = ()) -> pn.pane.Bokeh:
        """A picture that a map of values can take the place of, by `cover`; outlines stay on top."""
        made = self.plot(ImageRGBA(image=column, **PLACE), outlines)
        look = Image(image=over, color_mapper=self.mapper, **PLACE)
        self.covers.append(GlyphRenderer(data_source=self.source, glyph=look, view=self.view, visible=False))
        made.renderers = [*made.renderers, self.covers[-1]]
        made.add_tools(HoverTool(renderers=self.covers[-1:], tooltips=f"@{over}{{0.0}} {unit}"))
        return self.pane(made)

    def cover(self, shown: bool) -> None:
        """Whether maps are to be seen in place of the pictures that have one."""
        for each in self.covers:
            each.visible = shown
        pn.io.push_notebook(*self.panes[:1])

    def show(self, images: Mapping[str, np.ndarray], outlines: Mapping[str, list[np.ndarray]], size: tuple[int, int]):
        """Puts another case into the figures.

        Args:
            images: one (H, W) array a column, uint32 as from `colors.rgba` or float32.
            outlines: paths (n, 2) of x, y from the top left; what is not named is cleared.
            size: height and width of the grid; a picture of another size is stretched over it.
        """
        height, width = size
        data = {name: [array] for name, array in images.items()}
        self.source.data = {"width": [width], "height": [height]} | data
        for name, source in self.outlines.items():
            paths = outlines.get(name, [])
            source.data = {"xs": [p[:, 0] for p in paths], "ys": [height - p[:, 1] for p in paths]}
        if size != self.extent:
            self.extent = size
            self.reset()
        pn.io.push_notebook(*self.panes[:1])

    def reset(self) -> None:
        """The whole image, in the middle of the square."""
        height, width = self.extent or (1, 1)
        side = max(height, width)
        for ends, length in ((self.x, width), (self.y, height)):
            start = (length - side) / 2
            ends.tags = [start, start + side]
            ends.update(start=start, end=start + side)

    def outline(self, shown: Iterable[str]) -> None:
        """Which outlines are to be seen; they are made when first asked for, one above the other in this order."""
        shown = list(shown)
        self.lines |= {name: self.trace(name) for name in shown if name not in self.lines}
        for name, lines in self.lines.items():
            for line in lines:
                line.visible = name in shown
        pn.io.push_notebook(*self.panes[:1])

    def trace(self, name: str) -> list[GlyphRenderer]:
        """Draws one outline on every picture that can bear it, in a dark casing, to be seen on bright tissue too."""
        made, source, view = [], self.outlines[name], CDSView()
        for color, alpha, width in (("black", 0.55, 3.5), (self.colors[name], 1.0, 1.8)):
            glyph = MultiLine(xs="xs", ys="ys", line_color=color, line_alpha=alpha, line_width=width)
            for plot, outlines in self.plots:
                if name in outlines:
                    made.append(GlyphRenderer(data_source=source, glyph=glyph, view=view))
                    plot.renderers = [*plot.renderers, made[-1]]
        return made

    def limit(self, high: float) -> None:
        """The value at the upper end of the colours of all maps."""
        self.mapper.high = high
        pn.io.push_notebook(*self.panes[:1])
