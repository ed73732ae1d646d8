"""Live pictures of slices: image, a layer of classes or errors, and lines, in mm; planes of a volume move as one."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import panel as pn
from bokeh.core.property.vectorization import Field
from bokeh.models import (
    CDSView,
    ColumnDataSource,
    CustomJS,
    GlyphRenderer,
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

from workbench.dashboard import frame
from workbench.views.volumes import Plane

GREYS = [f"#{value:02x}{value:02x}{value:02x}" for value in range(256)]
PLACE = {"x": 0, "y": 0, "dw": Field("width"), "dh": Field("height"), "origin": "top_left"}
RESET = "for (const range of ranges) range.setv({start: range.tags[0], end: range.tags[1]})"
ZOOM = """
const zoom = (range) => (range.end - range.start) / (range.tags[1] - range.tags[0])
const factor = zoom(cb_obj)
for (const range of ranges) {
  if (!(factor > 0) || Math.abs(zoom(range) / factor - 1) < 1e-6) continue
  const middle = (range.start + range.end) / 2, half = factor * (range.tags[1] - range.tags[0]) / 2
  range.setv({start: middle - half, end: middle + half})
}
"""


class Pictures:
    """Figures of one or three planes. An axis in mm is shared by all that show it: they pan and zoom together.

    Args:
        planes: of `volumes.planes`.
        columns: the names of images and layers that `draw` will be given.
        lines: the names of the sets of lines.
        sides: of the frames, in mm along the axes of the arrays; a case of other proportions is fitted in.
        colors: of the layers, from the first code on.
        tapped: is called with the plane and the place in mm, to the right and upwards, of a click on a picture.
    """

    def __init__(
        self, planes: Iterable[Plane], columns: Iterable[str], lines: Iterable[str], sides: Sequence[float],
        colors: Sequence[str], tapped: Callable[[Plane, float, float], None] | None = None,
    ) -> None:  # fmt: skip
        self.planes, self.frames, self.tapped = {plane.name: plane for plane in planes}, tuple(sides), tapped
        blank = {"width": [1.0], "height": [1.0]} | {name: [np.zeros((1, 1), np.uint8)] for name in columns}
        empty = {"xs": [], "ys": [], "color": [], "width": [], "dash": []}
        self.sources = {name: ColumnDataSource(dict(blank)) for name in self.planes}
        self.lines = {(plane, name): ColumnDataSource(dict(empty)) for plane in self.planes for name in lines}
        self.ranges = [Range1d(0, 1, tags=[0.0, 1.0]) for _ in self.frames]
        self.grey = LinearColorMapper(palette=GREYS, low=-0.5, high=255.5)
        self.colors, self.mapper = list(colors), LinearColorMapper(low=-0.5, high=len(colors) + 0.5)
        self.scale, self.views = LinearScale(), {s: CDSView() for s in (*self.sources.values(), *self.lines.values())}
        self.line = MultiLine(xs="xs", ys="ys", line_color="color", line_width="width", line_dash="dash")
        self.whole = CustomJS(args={"ranges": self.ranges}, code=RESET)
        self.extent: tuple | None = None
        self.panes: list[pn.pane.Bokeh] = []
        self.opaque(0.5)
        if len(self.ranges) > 2:
            self.link()

    def link(self) -> None:
        """A zoom of one plane is one of all: the third axis follows the two that were zoomed."""
        for axis in self.ranges:
            follow = CustomJS(args={"ranges": [other for other in self.ranges if other is not axis]}, code=ZOOM)
            for end in ("start", "end"):
                axis.js_on_change(end, follow)

    def picture(self, plane: Plane, image: str, layer: str | None, lines: str | None, color: bool) -> pn.pane.Bokeh:
        """A figure of one plane: an image column, grey or packed colours, under a layer and lines."""
        source, aspect = self.sources[plane.name], self.frames[plane.across] / self.frames[plane.up]
        made = Plot(
            x_range=self.ranges[plane.across], y_range=self.ranges[plane.up], x_scale=self.scale, y_scale=self.scale,
            toolbar_location=None, title=None, sizing_mode="scale_width", aspect_ratio=aspect, min_border=0,
            outline_line_color=None, background_fill_color="#000000", border_fill_color=None,
            name=f"{plane.name} {layer or image}",
        )  # fmt: skip
        base = ImageRGBA(image=image, **PLACE) if color else Image(image=image, color_mapper=self.grey, **PLACE)
        glyphs = [(source, base)]
        glyphs += [(source, Image(image=layer, color_mapper=self.mapper, **PLACE))] if layer else []
        glyphs += [(self.lines[plane.name, lines], self.line)] if lines else []
        made.renderers = [GlyphRenderer(data_source=s, glyph=glyph, view=self.views[s]) for s, glyph in glyphs]
        made.toolbar.active_scroll = wheel = WheelZoomTool()
        made.add_tools(PanTool(), wheel)
        made.js_on_event("doubletap", self.whole)
        if self.tapped:
            made.on_event("tap", lambda event: self.tapped(plane, event.x, event.y))
        self.panes.append(pn.pane.Bokeh(made, **frame.WIDE))
        return self.panes[-1]

    def draw(self, plane: Plane, images: Mapping[str, np.ndarray], lines: Mapping[str, list[tuple]], sides) -> None:
        """Puts another slice into the figures of a plane.

        Args:
            images: (H, W) arrays by column: uint8 as grey values or codes of a layer, uint32 as packed colours.
            lines: strokes as of `masks.strokes` by set, but with y upwards from the lower edge.
            sides: height and width of the slice in mm.
        """
        data = {name: [array] for name, array in images.items()}
        self.sources[plane.name].data = {"height": [sides[0]], "width": [sides[1]]} | data
        for name, drawn in lines.items():
            paths = [path for path, *_ in drawn]
            look = {key: [each[place] for each in drawn] for place, key in enumerate(("color", "width", "dash"), 1)}
            ends = {key: [path[:, axis].astype("float32") for path in paths] for axis, key in enumerate(("xs", "ys"))}
            self.lines[plane.name, name].data = ends | look

    def push(self) -> None:
        """Sends what was drawn to a notebook; a server needs no telling."""
        pn.io.push_notebook(*self.panes[:1])

    def center(self, at: Sequence[float], width: float | None = None, mirrored: Sequence[int] = ()) -> None:
        """Moves the middle of all frames, as wide as they are or anew, to a place in mm; some axes run backwards."""
        for axis, (end, place) in enumerate(zip(self.ranges, at)):
            half = (width or abs(end.end - end.start)) / 2 * (-1 if axis in mirrored else 1)
            whole = (width or abs(end.tags[1] - end.tags[0])) / 2 * (-1 if axis in mirrored else 1)
            end.tags = [place - whole, place + whole]
            end.update(start=place - half, end=place + half)

    def fit(self, sides: Sequence[float], mirrored: bool = False) -> None:
        """Shows the whole case where its size in mm or the direction of its first axis is another than before."""
        extent = (*sides, mirrored)
        if extent != self.extent:
            self.extent = extent
            self.reset()

    def reset(self) -> None:
        """The whole case, in the middle of the frames."""
        *sides, mirrored = self.extent
        scale = max(side / shown for side, shown in zip(sides, self.frames))
        for axis, (end, side, shown) in enumerate(zip(self.ranges, sides, self.frames)):
            ends = [(side - scale * shown) / 2, (side + scale * shown) / 2]
            end.tags = ends[::-1] if mirrored and axis == 0 else ends
        for end in self.ranges:
            end.update(start=end.tags[0], end=end.tags[1])

    def opaque(self, share: float) -> None:
        """The opacity of all layers, from 0 to 1."""
        clear = ["#00000000"]
        self.mapper.palette = clear + [f"{color}{round(255 * share):02x}" for color in self.colors]
