"""A clip in several versions that is played in the browser: Bokeh models alone, no server is asked for a frame.

All frames of a case are sent once, one row of a data source a frame. The pictures, contours and the line in the curve
show the rows of one frame, chosen by one filter that they share: a slider and a timer set it in the browser.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.core.property.vectorization import Field
from bokeh.models import (
    BasicTicker,
    CDSView,
    CheckboxButtonGroup,
    ColumnDataSource,
    CustomJS,
    DataRange1d,
    GlyphRenderer,
    Grid,
    GroupFilter,
    HoverTool,
    ImageRGBA,
    Legend,
    LegendItem,
    Line,
    LinearAxis,
    MultiLine,
    PanTool,
    Plot,
    RadioButtonGroup,
    Range1d,
    Scatter,
    Select,
    Slider,
    Span,
    Toggle,
    WheelZoomTool,
)

from workbench.views import colors, videos

PACES = ("2", "5", "10", "25")  # frames a second
PLACE = {"x": 0, "y": 0, "dw": Field("width"), "dh": Field("height"), "origin": "top_left"}
AXIS = {
    "axis_label_text_font_size": "12px", "axis_label_text_font_style": "normal", "axis_line_color": "#c5ccd4",
    "major_label_text_font_size": "11px", "major_tick_line_color": "#c5ccd4", "minor_tick_line_color": None,
}  # fmt: skip
MARKERS, DASHES = ("circle", "triangle"), ("solid", "dashed")
TINTS = {"red": "#D55E00", "green": "#009E73", "blue": "#0072B2"}
SWITCH = {"All": list(TINTS), **{name.capitalize(): [name] for name in videos.CHANNELS}}
TOLD = [(name, f"@{name}{{+0.0000}}") for name in videos.CHANNELS]
# What is set here concerns this browser alone: sync would send every frame that is played to the server.
SHOW = """
const last = frames.data.frame.length, frame = Math.max(1, Math.min(slider.value, last))
if (slider.value !== frame) slider.setv({value: frame}, {sync: false})
now.setv({group: frame}, {sync: false})
line.setv({location: frame}, {sync: false})
"""
PLAY = """
clearInterval(play.timer)
play.setv({label: play.active ? "❚❚ Pause" : "▶ Play"}, {sync: false})
const step = () => {
  if (!slider.document) return clearInterval(play.timer)
  if (!document.hidden) slider.setv({value: slider.value < slider.end ? slider.value + 1 : 1}, {sync: false})
}
if (play.active) play.timer = setInterval(step, 1000 / Number(pace.value))
"""
OUTLINE = "lines.forEach((each, number) => each.forEach((one) => { one.visible = outlined.active.includes(number) }))"
CURVE = """
for (const each of tracks) {
  each.glyph.y = {field: (steady.active ? prefix : "") + each.name}
  each.visible = shown[channel.active].includes(each.name)
}
"""
RESET = "for (const range of [x, y]) range.setv({start: range.tags[0], end: range.tags[1]})"


class Player:
    """Pictures that show the same frame, what moves them, and the curves of how colours were changed.

    Args:
        pictures: the names of the versions of the clip, each with those of the outlines that are drawn on it.
        tints: the outlines' names and colours, in the order of their switches.
        curves: the names of the curves, each with its colour.
        look: properties of all widgets, such as stylesheets.
    """

    def __init__(
        self, pictures: Mapping[str, Sequence[str]], tints: Mapping[str, str], curves: Mapping[str, str], **look: Any
    ) -> None:
        self.tints, self.tracks = dict(tints), dict(curves)
        self.frames = ColumnDataSource({key: [] for key in ("frame", "width", "height", *pictures)})
        self.outlines = {name: ColumnDataSource({"frame": [], "xs": [], "ys": []}) for name in tints}
        columns = ("frame", *videos.CHANNELS, *(videos.STEADY + name for name in videos.CHANNELS))
        self.curves = {name: ColumnDataSource({key: [] for key in columns}) for name in curves}
        self.now, self.line = GroupFilter(column_name="frame", group=1), Span(location=1, dimension="height")
        self.x, self.y, self.extent = Range1d(0, 1, tags=[0, 1]), Range1d(0, 1, tags=[0, 1]), None
        self.lines: dict[str, list[GlyphRenderer]] = {name: [] for name in tints}
        self.widgets(look)
        self.plots = {name: self.picture(name, drawn) for name, drawn in pictures.items()}
        self.curve = self.chart()
        self.wire()

    def widgets(self, look: Mapping[str, Any]) -> None:
        made = {"margin": 0, **look}
        self.play = Toggle(label="▶ Play", width=84, **made)
        self.slider = Slider(start=1, end=2, value=1, step=1, title="Frame", sizing_mode="stretch_width", **made)
        self.pace = Select(value="5", options=[(pace, f"{pace} frames/s") for pace in PACES], width=112, **made)
        labels = [name.capitalize() for name in self.tints]
        self.outlined = CheckboxButtonGroup(labels=labels, active=list(range(len(labels))), **made)
        self.channel = RadioButtonGroup(labels=list(SWITCH), active=0, **made)
        self.steady = Toggle(label="Less its mean", width=108, active=True, **made)

    # ------------------------------------------------------------ figures

    def picture(self, name: str, outlines: Iterable[str]) -> Plot:
        made = Plot(
            x_range=self.x, y_range=self.y, sizing_mode="scale_width", aspect_ratio=1, min_border=0, name=name,
            toolbar_location=None, title=None, outline_line_color="#dfe3e8", background_fill_color="#e9ecf0",
        )  # fmt: skip
        made.renderers = [self.rows(self.frames, ImageRGBA(image=name, **PLACE))]
        for outline in outlines:
            for color, alpha, width in (("black", 0.55, 3.5), (self.tints[outline], 1.0, 1.8)):
                glyph = MultiLine(xs="xs", ys="ys", line_color=color, line_alpha=alpha, line_width=width)
                self.lines[outline].append(self.rows(self.outlines[outline], glyph))
                made.renderers = [*made.renderers, self.lines[outline][-1]]
        made.toolbar.active_scroll = wheel = WheelZoomTool()
        made.add_tools(PanTool(), wheel)
        made.js_on_event("doubletap", CustomJS(args={"x": self.x, "y": self.y}, code=RESET))
        return made

    def rows(self, source: ColumnDataSource, glyph: Any) -> GlyphRenderer:
        """What a glyph draws of the frame that is shown."""
        return GlyphRenderer(data_source=source, glyph=glyph, view=CDSView(filter=self.now))

    def chart(self) -> Plot:
        made = Plot(
            x_range=Range1d(0.5, 2.5), y_range=DataRange1d(range_padding=0.15, default_span=0.02), height=210,
            sizing_mode="stretch_width", toolbar_location=None, title=None, outline_line_color="#dfe3e8", name="curve",
            min_border_left=62, min_border_right=8, min_border_top=6,
        )  # fmt: skip
        for dimension, side, text in ((0, "below", "frame"), (1, "left", "output − input (0 to 1)")):
            axis = LinearAxis(axis_label=text, **AXIS)
            axis.formatter.use_scientific = False
            if not dimension:
                axis.ticker = BasicTicker(min_interval=1)
            made.add_layout(axis, side)
            made.add_layout(Grid(dimension=dimension, axis=axis, grid_line_color="#eef0f3"))
        made.y_range.only_visible = True
        made.renderers = [each for name in self.tracks for each in self.tracked(name)]
        dots = [each for each in made.renderers if isinstance(each.glyph, Scatter)]
        made.add_tools(HoverTool(renderers=dots, tooltips=[("frame", "@frame"), *TOLD]))
        self.line.update(line_color="#1f2933", line_width=1.5, line_dash="dashed")
        made.add_layout(self.line)
        return self.explained(made)

    def tracked(self, name: str) -> list[GlyphRenderer]:
        """Lines and marks of one run: a line a channel, all of which begin as those of `All` are."""
        made, number = [], list(self.tracks).index(name)
        for channel in videos.CHANNELS:
            tint, place = TINTS.get(channel, self.tracks[name]), {"x": "frame", "y": videos.STEADY + channel}
            line = Line(**place, line_color=tint, line_width=2, line_dash=DASHES[number])
            dot = Scatter(**place, marker=MARKERS[number], size=6, fill_color=self.tracks[name], line_color=tint)
            for glyph in (line, dot):
                shown = channel in SWITCH["All"]
                made.append(GlyphRenderer(data_source=self.curves[name], glyph=glyph, visible=shown, name=channel))
        return made

    def explained(self, made: Plot) -> Plot:
        """A legend beside the curves: the runs by mark and dashes, the channels by colour."""
        nowhere, items = ColumnDataSource({"x": [np.nan], "y": [np.nan]}), []
        looks = {name: (tint, MARKERS[n], DASHES[n]) for n, (name, tint) in enumerate(self.tracks.items())}
        looks |= {name: (tint, None, "solid") for name, tint in TINTS.items()}
        for name, (tint, marker, dash) in looks.items():
            glyphs = [Line(x="x", y="y", line_color=tint, line_width=2, line_dash=dash)]
            glyphs += [Scatter(x="x", y="y", marker=marker, size=7, fill_color=tint, line_color=tint)] if marker else []
            drawn = [GlyphRenderer(data_source=nowhere, glyph=glyph) for glyph in glyphs]
            made.renderers = [*made.renderers, *drawn]
            items.append(LegendItem(label=name, renderers=drawn))
        small = {
            "padding": 2,
            "margin": 6,
            "spacing": 0,
            "label_text_font_size": "11px",
            "glyph_height": 16,
            "background_fill_alpha": 1.0,
        }
        made.add_layout(Legend(items=items, border_line_color=None, **small), "right")
        return made

    def wire(self) -> None:
        """What the browser does by itself."""
        args = {"slider": self.slider, "frames": self.frames, "now": self.now, "line": self.line}
        show = CustomJS(args=args, code=SHOW)
        self.slider.js_on_change("value", show)
        self.frames.js_on_change("data", show)  # another case may be shorter
        play = CustomJS(args={"play": self.play, "slider": self.slider, "pace": self.pace}, code=PLAY)
        self.play.js_on_change("active", play)
        self.pace.js_on_change("value", play)
        lines = {"outlined": self.outlined, "lines": list(self.lines.values())}
        self.outlined.js_on_change("active", CustomJS(args=lines, code=OUTLINE))
        tracks = [each for each in self.curve.renderers if each.name in videos.CHANNELS]
        what = {
            "steady": self.steady,
            "channel": self.channel,
            "tracks": tracks,
            "shown": list(SWITCH.values()),
            "prefix": videos.STEADY,
        }
        for widget in (self.steady, self.channel):
            widget.js_on_change("active", CustomJS(args=what, code=CURVE))
        go = "slider.value = Math.max(1, Math.min(slider.end, Math.round(cb_obj.x)))"
        self.curve.js_on_event("tap", CustomJS(args={"slider": self.slider}, code=go))

    # ------------------------------------------------------------ data

    def show(
        self, pictures: Mapping[str, np.ndarray], outlines: Mapping[str, Sequence[Sequence[np.ndarray]]],
        curves: Mapping[str, Mapping[str, np.ndarray]],
    ) -> None:  # fmt: skip
        """Another case; the frame that is shown stays, or becomes the last one of a shorter clip.

        Args:
            pictures: clips (T, H, W, 3) uint8, one a picture.
            outlines: of every frame its paths (n, 2) of x, y in pixels from the top left corner.
            curves: columns (T,) as of `videos.curves`.
        """
        count, height, width = next(iter(pictures.values())).shape[:3]
        frame, whole = np.arange(1, count + 1, dtype=np.int32), np.ones(count)
        packed = {name: [colors.rgba(each) for each in clip] for name, clip in pictures.items()}
        self.slider.end = max(2, count)
        self.curve.x_range.update(start=0.5, end=count + 0.5)
        for name, paths in outlines.items():
            rows = [(number, path) for number, each in enumerate(paths, 1) for path in each]
            lines = {"xs": [path[:, 0] for _, path in rows], "ys": [height - path[:, 1] for _, path in rows]}
            self.outlines[name].data = {"frame": [number for number, _ in rows]} | lines
        for name, columns in curves.items():
            self.curves[name].data = {"frame": frame} | dict(columns)
        self.frames.data = {"frame": frame, "width": width * whole, "height": height * whole} | packed
        if (height, width) != self.extent:
            self.extent = (height, width)
            self.reset()

    def reset(self) -> None:
        """The whole frame, in the middle of the square."""
        height, width = self.extent or (1, 1)
        side = max(height, width)
        for ends, length in ((self.x, width), (self.y, height)):
            start = (length - side) / 2
            ends.tags = [start, start + side]
            ends.update(start=start, end=start + side)
