"""Trees in space that are turned with the mouse: Bokeh plots alone, drawn and turned in the browser without a server.

A drag turns all trees of a stage, a drag with the shift key moves them, the wheel zooms, a double click starts over.
The projection is orthographic, so that lengths in the plane of the screen are true and a scale bar holds everywhere.
Coordinates are x, y, z; at azimuth 0 x runs to the right, and at elevation -90 degrees y runs downwards, as in a slice.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import (
    Button,
    ColumnDataSource,
    CustomJS,
    Glyph,
    GlyphRenderer,
    HoverTool,
    LinearColorMapper,
    Metric,
    Plot,
    Range1d,
    Row,
    ScaleBar,
    Scatter,
    Segment,
    Text,
    WheelZoomTool,
)

VIEWS = {"3-D": (-30.0, -25.0), "XY": (0.0, -90.0), "XZ": (0.0, 0.0), "YZ": (90.0, 0.0)}  # azimuth, elevation, degrees
ASPECT = 1.6  # width over height of a plot
MANY = 800  # nodes that are no longer drawn one by one while they turn
FLOOR = 0.35  # opacity of what is furthest away
BACKGROUND, FAINT = "#14181d", "#8894a3"
STOPS = ((0.0, "#54708f"), (0.4, "#b3607f"), (0.7, "#f0803c"), (1.0, "#ffe65e"))  # brighter with the score
TRUTH, CHOSEN = "#56B4E9", "#5dffa8"

TURN = """
const turn = (azimuth, elevation) => {
  camera.live = [azimuth, elevation]
  const a = azimuth * Math.PI / 180, e = elevation * Math.PI / 180, radius = camera.tags[0]
  const [ca, sa, ce, se] = [Math.cos(a), Math.sin(a), Math.cos(e), Math.sin(e)]
  for (const source of sources) {
    const data = source.data, ends = ["", "0", "1"].filter((end) => data["x" + end])
    const count = data["x" + ends[0]].length, depth = new Float64Array(count)
    for (const end of ends) {
      const [x, y, z, u, v] = ["x", "y", "z", "u", "v"].map((name) => data[name + end])
      for (let i = 0; i < count; i++) {
        const across = ca * x[i] + sa * y[i], along = ca * y[i] - sa * x[i]
        u[i] = across
        v[i] = se * along + ce * z[i]
        depth[i] += (se * z[i] - ce * along) / ends.length
      }
    }
    if (data.near) {
      for (let i = 0; i < count; i++)
        data.near[i] = floor + (1 - floor) * Math.min(1, Math.max(0, 0.5 + 0.5 * depth[i] / radius))
      const order = Uint32Array.from(depth.keys()).sort((i, j) => depth[i] - depth[j])
      for (const column of Object.values(data)) {
        const before = column.slice()
        for (let i = 0; i < count; i++) column[i] = before[order[i]]
      }
    }
    source.change.emit()  // draws, and tells no server
  }
}
const now = camera.live ?? [camera.data.azimuth[0], camera.data.elevation[0]]
const keep = () => { camera.data = {azimuth: [camera.live[0]], elevation: [camera.live[1]]} }
"""
DRAG = """
const dots = (visible) => {  // many of them would slow a drag
  for (const each of nodes)
    if (visible || each.data_source.data.x.length > many) each.setv({visible}, {sync: false})
}
if (cb_obj.event_name == "panstart") {
  camera.grip = {angles: now, x: [x.start, x.end], y: [y.start, y.end]}
  dots(false)
} else if (cb_obj.event_name == "panend") {
  dots(true)
  if (camera.live) keep()
} else if (camera.grip && cb_obj.modifiers.shift) {
  const {grip} = camera, plot = cb_obj.origin
  const dx = cb_obj.delta_x * (x.end - x.start) / plot.inner_width
  const dy = cb_obj.delta_y * (y.end - y.start) / plot.inner_height
  x.setv({start: grip.x[0] - dx, end: grip.x[1] - dx})
  y.setv({start: grip.y[0] + dy, end: grip.y[1] + dy})
} else if (camera.grip) {
  const [azimuth, elevation] = camera.grip.angles
  if (!camera.aim) requestAnimationFrame(() => { turn(...camera.aim); camera.aim = null })
  camera.aim = [azimuth - 0.5 * cb_obj.delta_x, Math.max(-90, Math.min(90, elevation + 0.5 * cb_obj.delta_y))]
  camera.live = camera.aim
}
"""
TAP = """
const tree = plots.indexOf(cb_obj.origin), {u, v, node} = nodes[tree].data
const reach = 14 * (x.end - x.start) / cb_obj.origin.inner_width
let best = -1, least = reach * reach
for (let i = 0; i < u.length; i++) {  // from the back to the front
  const apart = (u[i] - cb_obj.x) ** 2 + (v[i] - cb_obj.y) ** 2
  if (apart <= least) [best, least] = [i, apart]
}
if (best >= 0) pick.data = {tree: [tree], node: [node[best]], count: [pick.data.count[0] + 1]}
"""
WHOLE = "for (const range of [x, y]) range.setv({start: range.tags[0], end: range.tags[1]})\n"


def palette(count: int = 256) -> list[str]:
    """Colours of the score from 0 to 1, told apart on black by colour-blind readers too."""
    at, tints = zip(*((place, [int(tint[i : i + 2], 16) for i in (1, 3, 5)]) for place, tint in STOPS))
    mixed = [np.interp(np.linspace(0, 1, count), at, channel) for channel in np.transpose(tints)]
    return [f"#{round(r):02x}{round(g):02x}{round(b):02x}" for r, g, b in zip(*mixed)]


def project(points: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """(N, 3) to the right, upwards and towards the viewer, of points (N, 3); angles in degrees.

    >>> project(np.eye(3), 0, -90).round().astype(int).tolist()
    [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    """
    (ca, ce), (sa, se) = (f(np.radians([azimuth, elevation])) for f in (np.cos, np.sin))
    return points @ np.array([[ca, sa, 0], [-sa * se, ca * se, ce], [sa * ce, -ca * ce, se]]).T


class Stage:
    """One or more trees that turn and zoom together.

    Args:
        count: of trees.
        unit: of length.
        picked: is called with the number of the tree and of the node that was clicked.
    """

    def __init__(self, count: int, unit: str, picked: Callable[[int, int], None] | None = None) -> None:
        azimuth, elevation = VIEWS["3-D"]
        self.unit, self.radius, self.aspect = unit, 1.0, ASPECT
        self.camera = ColumnDataSource({"azimuth": [azimuth], "elevation": [elevation]}, tags=[1.0])
        self.pick = ColumnDataSource({"tree": [0], "node": [-1], "count": [0]})
        self.x, self.y = Range1d(-1, 1, tags=[-1, 1]), Range1d(-1, 1, tags=[-1, 1])
        self.mapper = LinearColorMapper(palette=palette(), low=0, high=1)
        self.trees = [Tree(self) for _ in range(count)]
        self.wire()
        if picked:
            self.pick.on_change("data", lambda attr, old, new: picked(int(new["tree"][0]), int(new["node"][0])))

    @property
    def angles(self) -> tuple[float, float]:
        """Azimuth and elevation in degrees, as they were when the last drag ended."""
        return self.camera.data["azimuth"][0], self.camera.data["elevation"][0]

    def args(self) -> dict[str, Any]:
        sources = [source for tree in self.trees for source in tree.sources.values()]
        return {"camera": self.camera, "sources": sources, "floor": FLOOR, "x": self.x, "y": self.y}

    def wire(self) -> None:
        args, tap = self.args(), {"pick": self.pick, "x": self.x}
        tap |= {"plots": [tree.plot for tree in self.trees], "nodes": [tree.sources["nodes"] for tree in self.trees]}
        dots = {"nodes": [tree.plot.select_one({"name": "nodes"}) for tree in self.trees], "many": MANY}
        drag, picked = CustomJS(args=args | dots, code=TURN + DRAG), CustomJS(args=tap, code=TAP)
        over = self.view("3-D")
        for tree in self.trees:
            for event in ("panstart", "pan", "panend"):
                tree.plot.js_on_event(event, drag)
            tree.plot.js_on_event("tap", picked)
            tree.plot.js_on_event("doubletap", over)

    def view(self, name: str) -> CustomJS:
        """Shows everything in one of VIEWS."""
        code = f"{TURN}{WHOLE}turn({VIEWS[name][0]}, {VIEWS[name][1]})\nkeep()"
        return CustomJS(args=self.args(), code=code)

    def buttons(self, **look: Any) -> Row:
        """A button for each of VIEWS."""
        made = [Button(label=name, width=46, margin=0, **look) for name in VIEWS]
        for button in made:
            button.js_on_click(self.view(button.label))
        return Row(children=made, spacing=3, margin=0)

    def fit(self, sides: Sequence[float]) -> None:
        """Shows the whole of a box of other sides; the angles stay."""
        radius = float(np.linalg.norm(sides) / 2)
        if radius == self.radius:
            return
        self.radius, self.camera.tags = radius, [radius]
        self.whole()

    def shape(self, aspect: float) -> None:
        """Gives all plots another width over height."""
        if aspect != self.aspect:
            self.aspect = aspect
            for tree in self.trees:
                tree.plot.aspect_ratio = aspect
            self.whole()

    def whole(self) -> None:
        """The box in sight however it is turned."""
        for ends, half in ((self.x, self.radius * max(self.aspect, 1)), (self.y, self.radius / min(self.aspect, 1))):
            ends.tags = [-half, half]
            ends.update(start=-half, end=half, bounds=(-2 * half, 2 * half))  # the wheel does not lose the tree

    def columns(self, **ends: np.ndarray) -> dict[str, np.ndarray]:
        """The columns of points (N, 3) about the middle, one set for each name's ending, and where they are seen."""
        made, depth = {}, 0
        for name, points in ends.items():
            end, seen = name.strip("_"), project(np.asarray(points, float).reshape(-1, 3), *self.angles)
            values = (*np.asarray(points, float).reshape(-1, 3).T, seen[:, 0], seen[:, 1])
            made |= {axis + end: column.astype(np.float32) for axis, column in zip("xyzuv", values)}
            depth = depth + seen[:, 2] / len(ends)
        near = (0.5 + 0.5 * depth / self.radius).clip(0, 1)
        return made | {"near": (FLOOR + (1 - FLOOR) * near).astype(np.float32)}


class Tree:
    """One plot of a stage: a box, the tree in it in colours of the score, and marks."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        ends = [f"{axis}{end}" for end in "01" for axis in "xyzuv"]
        one, more = (
            ["x", "y", "z", "u", "v"],
            {"edges": ["score"], "nodes": ["score", "node", "size", "told", "px", "py", "pz"]},
        )
        kinds = {"box": ends, "wrong": ends, "edges": [*ends, "near"], "nodes": [*one, "near"]}
        kinds |= {"labels": [*one, "text"], "errors": [*one, "told"], "alerts": one, "chosen": one}
        self.sources = {
            name: ColumnDataSource({key: [] for key in (*columns, *more.get(name, ()))})
            for name, columns in kinds.items()
        }
        self.plot = self.make()

    def make(self) -> Plot:
        stage, score = self.stage, {"field": "score", "transform": self.stage.mapper}
        made = Plot(
            x_range=stage.x, y_range=stage.y, sizing_mode="scale_width", aspect_ratio=ASPECT, min_border=0,
            toolbar_location=None, title=None, outline_line_color=None, background_fill_color=BACKGROUND, name="tree",
        )  # fmt: skip
        line = {"x0": "u0", "y0": "v0", "x1": "u1", "y1": "v1"}
        dot = {"size": "size", "fill_color": score, "fill_alpha": "near", "line_color": None}
        mark = {"marker": "diamond", "size": 17, "fill_color": None, "line_color": TRUTH, "line_width": 2.5}
        rim = {"size": 10, "fill_color": None, "line_color": "white", "line_width": 1.5}
        ring = {"size": 22, "fill_color": None, "line_color": CHOSEN, "line_width": 2.5}
        place = {"x": "u", "y": "v"}
        text = {"text_color": FAINT, "text_font_size": "11px", "text_align": "center", "text_baseline": "middle"}
        glyphs = {
            "box": Segment(**line, line_color=FAINT, line_alpha=0.35),
            "wrong": Segment(**line, line_color=TRUTH, line_alpha=0.4, line_width=8, line_cap="round"),
            "edges": Segment(**line, line_color=score, line_alpha="near", line_width=3, line_cap="round"),
            "nodes": Scatter(**place, **dot),
            "alerts": Scatter(**place, **rim),
            "errors": Scatter(**place, **mark),
            "chosen": Scatter(**place, **ring),
            "labels": Text(**place, text="text", **text),
        }  # fmt: skip
        made.renderers = [self.drawn(name, glyph) for name, glyph in glyphs.items()]
        made.toolbar.active_scroll = wheel = WheelZoomTool()
        place = f"@px{{0.0}}, @py{{0.0}}, @pz{{0.0}} {stage.unit}"
        rows = [("node", "@node"), ("x, y, z", place), ("score", "@score{0.000}"), ("truth", "@told")]
        told = {"nodes": rows, "errors": "@told"}
        hover = [
            HoverTool(renderers=[each], tooltips=told[each.name], limit=1)
            for each in made.renderers
            if each.name in told
        ]
        made.add_tools(wheel, *hover)
        made.add_layout(scale_bar(stage.x, stage.unit, FAINT))
        return made

    def drawn(self, name: str, glyph: Glyph) -> GlyphRenderer:
        return GlyphRenderer(
            data_source=self.sources[name], glyph=glyph, selection_glyph=None, nonselection_glyph=None, name=name
        )

    def show(self, tree: Mapping[str, Any], sides: Sequence[float], corner: Sequence[float]) -> None:
        """Draws another tree.

        Args:
            tree: `points` (N, 3) in the box, from its corner; `parent` (N,), -1 of roots; `score` (N,); `alert` and
                `wrong` (N,) bool; `told`, words on every node; `errors`, pairs of a node and words on it.
            sides: of the box.
            corner: the coordinates of its corner, that the axes tell.
        """
        middle, columns = np.asarray(sides) / 2, self.stage.columns
        points, parent, score = tree["points"] - middle, tree["parent"], tree["score"].astype(np.float32)
        child = np.flatnonzero(parent >= 0)
        wrong = child[tree["wrong"][child]]
        order = np.argsort(project(points, *self.stage.angles)[:, 2], kind="stable")
        alert = tree["alert"][order]
        looks = {
            "score": score[order], "node": order.astype(np.int32), "size": np.where(alert, 9, 5).astype(np.int32),
            "told": [tree["told"][n] for n in order],
        }  # fmt: skip
        places = (tree["points"][order] + corner).astype(np.float32)
        looks |= {f"p{axis}": places[:, number] for number, axis in enumerate("xyz")}
        told = [words for _, words in tree["errors"]]
        data = {
            "edges": columns(_0=points[parent[child]], _1=points[child]) | {"score": score[child]},
            "nodes": columns(_=points[order]) | looks,
            "wrong": flat(columns(_0=points[parent[wrong]], _1=points[wrong])),
            "alerts": flat(columns(_=points[tree["alert"]])),
            "errors": flat(columns(_=points[[node for node, _ in tree["errors"]]])) | {"told": told},
        }
        for name, values in (data | self.frame(np.asarray(sides), corner)).items():
            self.sources[name].data = values

    def frame(self, sides: np.ndarray, corner: Sequence[float]) -> dict[str, dict]:
        """The edges of the box, and beside three of them the axis with its ends."""
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) - 0.5
        pairs = [(a, b) for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 1]
        first, second = (corners[[pair[end] for pair in pairs]] * sides for end in (0, 1))
        places, texts, out = [], [], 0.5 + 0.05 * sides.max() / sides
        for axis, name in enumerate("xyz"):
            place = np.array([-out[0], out[1], -out[2]])
            place[axis] = 0
            places.append(place * sides)
            texts.append(f"{name} {corner[axis]:.4g} to {corner[axis] + sides[axis]:.4g} {self.stage.unit}")
        columns = self.stage.columns
        return {
            "box": flat(columns(_0=first, _1=second)),
            "labels": flat(columns(_=np.array(places))) | {"text": texts},
        }

    def ring(self, point: Sequence[float] | None, sides: Sequence[float]) -> None:
        """Marks a point (3,) in the box, or none."""
        points = np.zeros((0, 3)) if point is None else np.asarray(point) - np.asarray(sides) / 2
        self.sources["chosen"].data = flat(self.stage.columns(_=points))

    def clear(self) -> None:
        """Draws nothing."""
        for source in self.sources.values():
            source.data = {name: [] for name in source.data}


def flat(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without what makes the depth seen."""
    return {name: values for name, values in columns.items() if name != "near"}


def scale_bar(axis: Range1d, unit: str, color: str) -> ScaleBar:
    """A bar of a round length at the lower right that follows the zoom; in unknown units it tells the number alone."""
    known = unit in ("µm", "mm")
    return ScaleBar(
        range=axis, unit=unit if known else "m", dimensional=Metric(base_unit="m") if known else Metric(base_unit=unit),
        location="bottom_right", bar_length=0.2, bar_line_color=color, label_text_color=color, border_line_color=None,
        label_text_font_size="11px", background_fill_color=None, padding=6, margin=4, label_standoff=3,
    )  # fmt: skip
