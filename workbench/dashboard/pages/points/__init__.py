"""Where two runs find a point: crosses on the image, heat maps, the errors of all cases, the worst cases first."""

from html import escape

import numpy as np
import panel as pn
import param
from bokeh.palettes import Inferno256
from panel.reactive import ReactiveHTML
from panel.viewable import Child

from workbench import views
from workbench.dashboard import frame
from workbench.dashboard.canvas import Canvas
from workbench.dashboard.cases import CaseList, opponents
from workbench.dashboard.pages import page
from workbench.dashboard.pages.points.cloud import Cloud
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import colors, numbers
from workbench.views import points as points_view

NAMES = ("A", "B")
BLANK = np.zeros((1, 1), np.float32)
CROSSES = {"truth": points_view.TRUTH, "found_a": points_view.FOUND, "found_b": points_view.FOUND}


@page("Points", needs=points_view.NEEDS, order=17, also=points_view.check, example="workbench run ascoct")
def points(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares where any two runs find a point, case by case."""
    return Comparison(runs).view()


class Comparison:
    """The state of the page, which is that of its widgets, and the pictures they change."""

    def __init__(self, runs: list[Run]) -> None:
        names, style = {views.label(run): run for run in runs}, {"margin": 0, "stylesheets": [frame.STYLE]}
        first, second = opponents(runs)
        self.a, self.b = (pn.widgets.Select(options=names, value=r, **frame.STRETCH, **style) for r in (first, second))
        self.cases = CaseList([first, second], NAMES)
        self.canvas = Canvas(("image", "heat_a", "heat_b"), CROSSES)
        self.cloud = Cloud(NAMES, self.clicked)
        self.board = self.layout()
        self.canvas.outline(CROSSES)
        self.canvas.limit(1.0)
        for choice in (self.a, self.b):
            choice.param.watch(lambda _: self.choose(), "value")
        self.cases.param.watch(lambda _: self.draw(), "case")
        self.cases.table.param.watch(lambda _: self.say(place=self.cases.place()), ["sorters", "value"])
        self.spread()
        self.cases.worst()
        self.draw()

    def choose(self) -> None:
        """Another run: the cases both share, the case kept where they have it."""
        with pn.io.hold():
            try:
                self.cases.show([self.a.value, self.b.value])
                self.spread()
            except InvalidRun as error:
                self.say(message=f"<div>{escape(str(error))}</div>")
                return
            self.draw()

    def spread(self) -> None:
        """The errors of both runs on the cases that they share."""
        found = []
        for run in self.cases.runs:
            places = {views.key(entry): number for number, entry in enumerate(run.samples.cases)}
            found.append(points_view.vectors(run)[[places[key] for key in self.cases.shared]])
        self.cloud.show(found, [key[0] for key in self.cases.shared])

    def clicked(self, number: int) -> None:
        self.cases.case = self.cases.shared[number]

    def draw(self) -> None:
        """Another case: new data in the same pictures."""
        try:
            first, second = (points_view.read(run, self.cases.case) for run in self.cases.runs)
        except InvalidRun as error:
            self.say(message=f"<div>{escape(str(error))}</div>")
            return
        side = max(first["image"].shape)
        crosses = {"truth": first["truth"], "found_a": first["found"], "found_b": second["found"]}
        paths = {name: points_view.cross(point, side) for name, point in crosses.items()}
        heats = [BLANK if each["heat"] is None else each["heat"].astype(np.float32) for each in (first, second)]
        images = {"image": colors.rgba(first["image"]), "heat_a": heats[0], "heat_b": heats[1]}
        with pn.io.hold():
            self.canvas.show(images, paths, first["image"].shape)
            self.cloud.mark(self.cases.shared.index(self.cases.case))
            self.cloud.push()
            self.say(**self.words(first, second))

    def say(self, **texts: str) -> None:
        """Puts texts into their places on the board."""
        self.board.texts = self.board.texts | texts

    def words(self, first: dict, second: dict) -> dict[str, str]:
        """Numbers of the case in the table and under the pictures, and where the case stands."""
        metrics = [colors.numbers(table, self.cases.case) for table in self.cases.scores]
        height, width = first["image"].shape
        note = f"{width} × {height} pixels" + (", point unknown" if first["truth"] is None else "")
        told = {"place": self.cases.place(), "note_image": note, "message": "", "scale": SCALE}
        for name, each in (("a", first), ("b", second)):
            peak = "no heat map" if each["heat"] is None else f"highest response {each['heat'].max():.2f}"
            told[f"note_{name}"] = peak
        return told | {"numbers": numbers.table(NAMES, metrics)}

    def layout(self) -> "Board":
        canvas, whole = self.canvas, frame.button("Whole image", 100)
        whole.on_click(lambda _: canvas.reset())
        return Board(
            truth=canvas.picture("image", ["truth"]),
            found_a=canvas.picture("image", ["truth", "found_a"]),
            found_b=canvas.picture("image", ["truth", "found_b"]),
            heat_a=canvas.map("heat_a", "response"),
            heat_b=canvas.map("heat_b", "response"),
            cloud=self.cloud.pane,
            back=self.cases.back,
            forth=self.cases.forth,
            whole=whole,
            a=self.a,
            b=self.b,
            **frame.WIDE,
        )

    def view(self) -> pn.Row:
        choice = pn.Row(frame.muted("Metric"), self.cases.metric, margin=(8, 12, 4, 12))
        look = {"styles": frame.CARD, "width": 370, "sizing_mode": "stretch_height", "margin": (0, 16, 0, 0)}
        side = pn.Column(choice, self.cases.keys, **look)
        pn.state.onload(lambda: side.append(self.cases.table))  # the pictures first, which are drawn in half the time
        return pn.Row(side, self.board, css_classes=["workbench-page"], margin=(14, 20), **frame.STRETCH)


def swatch(color: str, text: str) -> str:
    return f"<span class='key'><i style='background:{color}'></i>{text}</span>"


LEGEND = swatch(points_view.TRUTH, "true point") + swatch(points_view.FOUND, "found")
SCALE = (
    f"<div class='bar' style='background:linear-gradient(90deg,{','.join(Inferno256[::15])})'></div>"
    "<div class='ticks'><span>0</span><span>0.5</span><span>1 response</span></div>"
)


class Board(ReactiveHTML):
    """The pictures in a grid of two rows, the controls above: one component, which starts faster than nested ones."""

    back, forth, whole, a, b, truth, found_a, found_b, heat_a, heat_b, cloud = (Child() for _ in range(11))
    texts = param.Dict(default={}, doc="Markup by the name of its place: place, message, scale, numbers, note_*.")

    _template = (
        """
    <div id="board" class="board">
      <div id="message" class="message"></div>
      <div class="tools">
        <div id="at_back">${back}</div><div id="at_forth">${forth}</div><div id="place" class="place"></div>
        <div class="legend">LEGEND</div><div id="at_whole">${whole}</div>
      </div>
      <div class="grid">
        <div class="cell"><div class="head">Truth</div>
          <div id="at_truth">${truth}</div><div id="note_image" class="note"></div></div>
        <div class="cell"><div class="head">A <div id="at_a" class="choice">${a}</div></div>
          <div id="at_found_a">${found_a}</div><div id="note_a" class="note"></div></div>
        <div class="cell"><div class="head">B <div id="at_b" class="choice">${b}</div></div>
          <div id="at_found_b">${found_b}</div><div id="note_b" class="note"></div></div>
        <div class="cell"><div class="head">This case</div><div id="numbers"></div></div>
        <div class="cell"><div class="head">Errors <span class="muted">of all cases, rings of 5, 10, 20 px</span></div>
          <div id="at_cloud">${cloud}</div></div>
        <div class="cell"><div class="head">A <span class="muted">heat map</span></div>
          <div id="at_heat_a">${heat_a}</div></div>
        <div class="cell"><div class="head">B <span class="muted">heat map</span></div>
          <div id="at_heat_b">${heat_b}</div></div>
        <div class="cell"><div class="head"></div><div id="scale" class="scale"></div></div>
      </div>
    </div>
    """
    ).replace("LEGEND", LEGEND)
    _scripts = {
        "render": "self.texts()",
        "texts": """
          const places = {message, place, numbers, scale, note_image, note_a, note_b}
          for (const [name, text] of Object.entries(data.texts))
            if (places[name] && places[name].innerHTML !== text) places[name].innerHTML = text
        """,
    }
    _stylesheets = [
        f"""
        .board {{ font: 13px {frame.FONT}; color: {frame.INK}; max-width: 1500px; container-type: inline-size; }}
        .tools {{ display: flex; align-items: center; gap: 8px; margin-bottom: 8px; min-height: 32px;
                  flex-wrap: wrap; white-space: nowrap; }}
        .place {{ flex: 1; min-width: 230px; overflow: hidden; text-overflow: ellipsis; padding: 0 6px; }}
        .message > div {{ background: #fdf3d8; border: 1px solid #ecd9a0; border-radius: 6px; padding: 6px 12px;
                          margin-bottom: 8px; }}
        .key {{ margin-right: 12px; font-size: 12px; }}
        .key i {{ display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px;
                  border: 1px solid #555; }}
        .grid {{ display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px 14px; }}
        @container (max-width: 620px) {{ .grid {{ grid-template-columns: repeat(2, minmax(0, 1fr)); }} }}
        .head {{ display: flex; gap: 6px; align-items: center; height: 34px; font-weight: 600; white-space: nowrap; }}
        .choice {{ flex: 1; min-width: 0; font-weight: 400; }}
        .muted {{ color: {frame.MUTED}; font-weight: 400; }}
        .note {{ color: {frame.MUTED}; font-size: 12px; height: 20px; line-height: 20px; overflow: hidden;
                 white-space: nowrap; text-overflow: ellipsis; }}
        .scale {{ height: 28px; font-size: 11px; color: {frame.MUTED}; }}
        .scale .bar {{ height: 10px; border-radius: 2px; }}
        .scale .ticks {{ display: flex; justify-content: space-between; }}
        table {{ width: 100%; border-collapse: collapse; font-size: 12px; line-height: 18px; }}
        td, th {{ padding: 0 4px; text-align: right; }}
        td:first-child {{ text-align: left; padding-left: 0; white-space: nowrap; }}
        tr + tr {{ border-top: 1px solid {frame.LINE}; }}
        """
    ]
