"""Two colorizations of one case beside the input and the truth: side by side, under a swipe, and as maps of ΔE00."""

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
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import colors, numbers

NAMES = ("A", "B")
OUTLINED = "".join(
    f":host .bk-btn:nth-child({number}) {{ border-bottom: 3px solid {color}; }}"
    for number, color in enumerate(colors.OUTLINES.values(), 1)
)
COLUMNS = ("image", "target", "color_a", "color_b", "difference_a", "difference_b")


@page("Colorizations", needs=colors.NEEDS, order=10, kind=colors.colored)
def colorizations(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares the colours of any two runs case by case."""
    return Comparison(runs).view()


class Comparison:
    """The state of the page, which is that of its widgets, and the pictures they change."""

    def __init__(self, runs: list[Run]) -> None:
        names, style = {views.label(run): run for run in runs}, {"margin": 0, "stylesheets": [frame.STYLE, OUTLINED]}
        first, second = opponents(runs)
        self.a, self.b = (pn.widgets.Select(options=names, value=r, **frame.STRETCH, **style) for r in (first, second))
        kinds = {"Truth": "foreground", "Prediction": "mask"}
        self.outlines = pn.widgets.CheckButtonGroup(options=kinds, value=[], width=150, **style)
        self.limit = pn.widgets.IntInput(value=int(colors.LIMIT), start=1, end=100, step=5, width=66, **style)
        self.cases = CaseList([first, second], NAMES)
        truth, predicted = colors.OUTLINES["foreground"], colors.OUTLINES["mask"]
        self.canvas = Canvas(COLUMNS, {"foreground": truth, "mask_a": predicted, "mask_b": predicted})
        self.board = self.layout()
        self.a.param.watch(lambda _: self.choose(), "value")
        self.b.param.watch(lambda _: self.choose(), "value")
        self.limit.param.watch(lambda _: self.rescale(), "value")
        self.outlines.param.watch(lambda _: self.outline(), "value")
        self.cases.param.watch(lambda _: self.draw(), "case")
        self.cases.table.param.watch(lambda _: self.say(place=self.cases.place()), ["sorters", "value"])
        self.draw()

    def choose(self) -> None:
        """Another run: the cases both share, the case kept where they have it."""
        with pn.io.hold():
            try:
                self.cases.show([self.a.value, self.b.value])
            except InvalidRun as error:
                self.say(message=f"<div>{escape(str(error))}</div>")
                return
            self.draw()

    def message(self) -> str:
        """Says so where only part of the cases can be compared."""
        counts = [len(run.samples.cases) for run in self.cases.runs]
        shared = len(self.cases.shared)
        if counts == [shared, shared]:
            return ""
        return f"<div>A was tested on {counts[0]} cases and B on {counts[1]}: the {shared} they share are shown.</div>"

    def outline(self) -> None:
        names = {"foreground": ["foreground"], "mask": ["mask_a", "mask_b"]}
        self.canvas.outline([name for kind in self.outlines.value for name in names[kind]])

    def rescale(self) -> None:
        self.canvas.limit(self.limit.value)
        self.say(scale=scale(self.limit.value))

    def draw(self) -> None:
        """Another case: new data in the same pictures."""
        try:
            first, second = (colors.read(run, self.cases.case) for run in self.cases.runs)
        except InvalidRun as error:
            self.say(message=f"<div>{escape(str(error))}</div>")
            return
        differences = [colors.difference(each["target"], each["color"]) for each in (first, second)]
        shown = [colors.rgba(a) for a in (first["image"], first["target"], first["color"], second["color"])]
        masks = {"foreground": first.get("foreground"), "mask_a": first.get("mask"), "mask_b": second.get("mask")}
        outlines = {name: colors.outline(mask) for name, mask in masks.items() if mask is not None}
        with pn.io.hold():
            self.canvas.show(dict(zip(COLUMNS, [*shown, *differences])), outlines, first["image"].shape)
            self.say(**self.words(differences))

    def say(self, **texts: str) -> None:
        """Puts texts into their places on the board."""
        self.board.texts = self.board.texts | texts

    def words(self, differences: list[np.ndarray]) -> dict[str, str]:
        """The numbers of the case under the pictures and in the table, and where the case stands."""
        metrics = [colors.numbers(table, self.cases.case) for table in self.cases.scores]
        height, width = differences[0].shape
        texts = [f"{width} × {height} pixels", "", *map(brief, metrics), *map(spread, differences)]
        notes = {f"note_{column}": text for column, text in zip(COLUMNS, texts)}
        told = {"place": self.cases.place(), "message": self.message(), "scale": scale(self.limit.value)}
        return notes | told | {"numbers": numbers.table(NAMES, metrics)}

    def layout(self) -> "Board":
        canvas, whole = self.canvas, frame.button("Whole image", 100)
        whole.on_click(lambda _: canvas.reset())
        own = [("foreground", f"mask_{n}") for n in "ab"]
        halves = [canvas.picture(f"color_{n}", names) for n, names in zip("ab", own)]
        controls = {"outlines": self.outlines, "limit": self.limit, "a": self.a, "b": self.b, "whole": whole}
        return Board(
            image=canvas.picture("image"),
            target=canvas.picture("target", ["foreground"]),
            color_a=canvas.picture("color_a", own[0]),
            color_b=canvas.picture("color_b", own[1]),
            swipe=pn.layout.Swipe(*halves, slider_width=4, slider_color=frame.ACCENT, **frame.WIDE),
            difference_a=canvas.map("difference_a", "ΔE00"),
            difference_b=canvas.map("difference_b", "ΔE00"),
            back=self.cases.back,
            forth=self.cases.forth,
            **controls,
            **frame.WIDE,
        )

    def view(self) -> pn.Row:
        choice = pn.Row(frame.muted("Metric"), self.cases.metric, margin=(8, 12, 4, 12))
        look = {"styles": frame.CARD, "width": 370, "sizing_mode": "stretch_height", "margin": (0, 16, 0, 0)}
        side = pn.Column(choice, self.cases.keys, **look)
        pn.state.onload(lambda: side.append(self.cases.table))  # the pictures first, which are drawn in half the time
        return pn.Row(side, self.board, css_classes=["workbench-page"], margin=(14, 20), **frame.STRETCH)


def brief(metrics: dict[str, float]) -> str:
    """Two numbers that tell most of a colorization, in the width of a picture."""
    named = [(n, metrics[n]) for n in ("fg_psnr", "ciede2000") if n in metrics] or list(metrics.items())[:2]
    return " &ensp; ".join(f"{views.short(n)} {numbers.number(n, v)}" for n, v in named) or "not scored"


def spread(difference: np.ndarray) -> str:
    return f"mean {difference.mean():.2f}, highest {difference.max():.1f} ΔE00"


def scale(limit: int) -> str:
    """The colours of the maps, from 0 to the limit."""
    ticks = "".join(f"<span>{limit * part / 6:g}</span>" for part in range(6)) + f"<span>≥ {limit} ΔE00</span>"
    stops = ",".join(Inferno256[::15])
    return f"<div class='bar' style='background:linear-gradient(90deg,{stops})'></div><div class='ticks'>{ticks}</div>"


class Board(ReactiveHTML):
    """The pictures in a grid of two rows, the controls above: one component, which starts faster than nested ones."""

    back, forth, outlines, limit, whole, a, b = (Child() for _ in range(7))
    image, target, color_a, color_b, swipe, difference_a, difference_b = (Child() for _ in range(7))
    texts = param.Dict(default={}, doc="Markup by the name of its place: place, message, scale, numbers, note_*.")

    _template = """
    <div id="board" class="board">
      <div id="message" class="message"></div>
      <div class="tools">
        <div id="at_back">${back}</div><div id="at_forth">${forth}</div><div id="place" class="place"></div>
        <span class="muted">Outlines</span><div id="at_outlines">${outlines}</div>
        <span class="muted">ΔE00 up to</span><div id="at_limit">${limit}</div>
        <div id="at_whole">${whole}</div>
      </div>
      <div class="grid">
        <div class="cell"><div class="head">Input</div>
          <div id="at_image">${image}</div><div id="note_image" class="note"></div></div>
        <div class="cell"><div class="head">Truth</div>
          <div id="at_target">${target}</div><div id="note_target" class="note"></div></div>
        <div class="cell"><div class="head">A <div id="at_a" class="choice">${a}</div></div>
          <div id="at_color_a">${color_a}</div><div id="note_color_a" class="note"></div></div>
        <div class="cell"><div class="head">B <div id="at_b" class="choice">${b}</div></div>
          <div id="at_color_b">${color_b}</div><div id="note_color_b" class="note"></div></div>
        <div class="cell"><div class="head">Swipe <span class="muted">A left, B right</span></div>
          <div id="at_swipe">${swipe}</div></div>
        <div class="cell"><div class="head">This case</div><div id="numbers"></div></div>
        <div class="cell"><div class="head">A <span class="muted">difference from truth</span></div>
          <div id="at_difference_a">${difference_a}</div><div id="note_difference_a" class="note"></div></div>
        <div class="cell"><div class="head">B <span class="muted">difference from truth</span></div>
          <div id="at_difference_b">${difference_b}</div><div id="note_difference_b" class="note"></div></div>
        <div id="scale" class="scale"></div>
      </div>
    </div>
    """
    _scripts = {
        "render": "self.texts()",
        "texts": """
          const places = {message, place, numbers, scale, note_image, note_target, note_color_a, note_color_b,
                          note_difference_a, note_difference_b}
          for (const [name, text] of Object.entries(data.texts))
            if (places[name] && places[name].innerHTML !== text) places[name].innerHTML = text
        """,
    }
    _stylesheets = [
        f"""
        .board {{ font: 13px {frame.FONT}; color: {frame.INK}; max-width: 1500px;
                  container-type: inline-size; }}
        .tools {{ display: flex; align-items: center; gap: 8px; margin-bottom: 8px; min-height: 32px;
                  flex-wrap: wrap; white-space: nowrap; }}
        .place {{ flex: 1; min-width: 230px; overflow: hidden; text-overflow: ellipsis; padding: 0 6px; }}
        .message > div {{ background: #fdf3d8; border: 1px solid #ecd9a0; border-radius: 6px; padding: 6px 12px;
                          margin-bottom: 8px; }}
        .grid {{ display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px 14px; }}
        @container (max-width: 620px) {{ .grid {{ grid-template-columns: repeat(2, minmax(0, 1fr)); }} }}
        .head {{ display: flex; gap: 6px; align-items: center; height: 34px; font-weight: 600; white-space: nowrap; }}
        .choice {{ flex: 1; min-width: 0; font-weight: 400; }}
        .muted {{ color: {frame.MUTED}; font-weight: 400; }}
        .note {{ color: {frame.MUTED}; font-size: 12px; height: 20px; line-height: 20px; overflow: hidden;
                 white-space: nowrap; text-overflow: ellipsis; }}
        .scale {{ grid-column: -3 / -1; height: 28px; font-size: 11px; color: {frame.MUTED}; }}
        .scale .bar {{ height: 10px; border-radius: 2px; }}
        .scale .ticks {{ display: flex; justify-content: space-between; }}
        table {{ width: 100%; border-collapse: collapse; font-size: 12px; line-height: 18px; }}
        td, th {{ padding: 0 4px; text-align: right; }}
        td:first-child {{ text-align: left; padding-left: 0; white-space: nowrap; }}
        tr + tr {{ border-top: 1px solid {frame.LINE}; }}
        """
    ]
