"""Two colorizations of the same case beside the input and the truth: side by side, under a swipe, and as maps of ΔE00."""

from html import escape

import numpy as np
import panel as pn
import param
from bokeh.palettes import Inferno256
from panel.reactive import ReactiveHTML

from workbench import compare, views
from workbench.dashboard import frame
from workbench.dashboard.canvas import Canvas
from workbench.dashboard.cases import CaseList
from workbench.dashboard.pages import page
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import colors, curves

NAMES = ("A", "B")
COLUMNS = ("image", "target", "color_a", "color_b", "difference_a", "difference_b")


@page("Colorizations", needs=colors.NEEDS, order=10)
def colorizations(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares the colours of any two runs case by case."""
    return Comparison(runs).view()


class Comparison(param.Parameterized):
    """The state of the page: two runs, the case, what is drawn over the pictures and the scale of the maps."""

    a = param.Selector(objects=[None])
    b = param.Selector(objects=[None])
    outlines = param.ListSelector(default=[], objects={"Truth": "foreground", "Prediction": "mask"})
    limit = param.Integer(int(colors.LIMIT), bounds=(1, 100), step=5)

    def __init__(self, runs: list[Run]) -> None:
        super().__init__()
        self.param.a.objects = self.param.b.objects = {views.label(run): run for run in runs}
        self.a, self.b = opponents(runs)
        self.board = Board(sizing_mode="stretch_width", margin=0)
        self.cases = CaseList([self.a, self.b], NAMES)
        self.canvas = Canvas(COLUMNS, ("foreground", "mask_a", "mask_b"))
        self.param.watch(lambda _: self.choose(), ["a", "b"])
        self.param.watch(lambda _: self.rescale(), "limit")
        self.param.watch(lambda _: self.outline(), "outlines")
        self.cases.param.watch(lambda _: self.draw(), "case")
        self.draw()

    def choose(self) -> None:
        """Another run: the cases both share, the case kept where they have it."""
        with pn.io.hold():
            try:
                self.cases.show([self.a, self.b])
            except InvalidRun as error:
                self.board.texts = self.board.texts | {"message": f"<div>{escape(str(error))}</div>"}
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
        self.canvas.outline([name for kind in self.outlines for name in names[kind]])

    def rescale(self) -> None:
        self.canvas.limit(self.limit)
        self.board.texts = self.board.texts | {"scale": scale(self.limit)}

    def draw(self) -> None:
        """Another case: new data in the same pictures."""
        first, second = (colors.read(run, self.cases.case) for run in self.cases.runs)
        differences = [colors.difference(each["target"], each["color"]) for each in (first, second)]
        shown = [colors.rgba(a) for a in (first["image"], first["target"], first["color"], second["color"])]
        masks = {"foreground": first.get("foreground"), "mask_a": first.get("mask"), "mask_b": second.get("mask")}
        outlines = {name: colors.outline(mask) for name, mask in masks.items() if mask is not None}
        with pn.io.hold():
            self.canvas.show(dict(zip(COLUMNS, [*shown, *differences])), outlines, first["image"].shape)
            self.board.texts = self.words(differences)

    def words(self, differences: list[np.ndarray]) -> dict[str, str]:
        """The numbers of the case under the pictures and in the table, and where the case stands."""
        metrics = [colors.numbers(table, self.cases.case) for table in self.cases.scores]
        texts = ["grey, what the runs see", "what they should give", *map(brief, metrics), *map(spread, differences)]
        notes = {f"note_{column}": text for column, text in zip(COLUMNS, texts)}
        told = {"place": self.cases.place(), "message": self.message(), "scale": scale(self.limit)}
        return notes | told | {"numbers": table(*metrics)}

    def view(self) -> pn.Row:
        side = pn.Column(
            pn.Row(self.cases.choice, margin=(10, 12, 8, 12)), self.cases.table, self.cases.keys,
            styles=frame.CARD, width=370, margin=(0, 16, 0, 0),
        )  # fmt: skip
        canvas = self.canvas
        own = [{"foreground": colors.OUTLINES["foreground"], f"mask_{n}": colors.OUTLINES["mask"]} for n in "ab"]
        halves = [canvas.picture(f"color_{n}", lines) for n, lines in zip("ab", own)]
        self.board.param.update(
            image=canvas.picture("image"),
            target=canvas.picture("target", {"foreground": colors.OUTLINES["foreground"]}),
            color_a=canvas.picture("color_a", own[0]),
            color_b=canvas.picture("color_b", own[1]),
            swipe=pn.layout.Swipe(*halves, slider_width=4, slider_color="#ffffff", **frame.WIDE),
            difference_a=canvas.map("difference_a", "ΔE00"),
            difference_b=canvas.map("difference_b", "ΔE00"),
            **self.controls(),
        )
        return pn.Row(side, self.board, css_classes=["workbench-page"], sizing_mode="stretch_width", margin=(14, 20))

    def controls(self) -> dict[str, pn.viewable.Viewable]:
        style = {"stylesheets": [frame.STYLE], "margin": 0, "name": ""}
        whole = frame.button("Whole image", 100)
        whole.on_click(lambda _: self.canvas.reset())
        return {
            "back": self.cases.back,
            "forth": self.cases.forth,
            "whole": whole,
            "outlines": pn.widgets.CheckButtonGroup.from_param(self.param.outlines, width=170, **style),
            "limit": pn.widgets.IntInput.from_param(self.param.limit, width=70, **style),
            "a": pn.widgets.Select.from_param(self.param.a, sizing_mode="stretch_width", **style),
            "b": pn.widgets.Select.from_param(self.param.b, sizing_mode="stretch_width", **style),
        }


def opponents(runs: list[Run]) -> tuple[Run, Run]:
    """Two runs to begin with: the first, and one of another arm with the same seed if there is one."""
    first = runs[0]
    others = [run for run in runs if run.arm != first.arm]
    same = [run for run in others if run.seed == first.seed]
    return first, next(iter(same + others + runs[1:]), first)


def brief(metrics: dict[str, float]) -> str:
    """Two numbers that tell most of a colorization, in the width of a picture."""
    named = [(n, metrics[n]) for n in ("fg_psnr", "ciede2000") if n in metrics] or list(metrics.items())[:2]
    return (
        " &ensp; ".join(f"{views.title(n)} {number(n, v)} {views.UNITS.get(n, '')}" for n, v in named) or "not scored"
    )


def number(metric: str, value: float) -> str:
    return f"{value:.{curves.digits(metric)}f}" if np.isfinite(value) else "–"


def spread(difference: np.ndarray) -> str:
    return f"mean {difference.mean():.2f} &ensp; 95 % {np.quantile(difference, 0.95):.1f} &ensp; max {difference.max():.1f} ΔE00"


def table(first: dict[str, float], second: dict[str, float]) -> str:
    """All metrics of the case in both runs, the better one in bold."""
    rows = "".join(row(name, (first[name], second[name])) for name in first if name in second)
    return f"<table><tr><td></td>{''.join(f'<th>{name}</th>' for name in NAMES)}</tr>{rows}</table>"


def row(name: str, values: tuple[float, float]) -> str:
    best = np.nanmax(np.multiply(values, compare.better(name))) if np.isfinite(values).any() else np.nan
    tags = ["th" if value * compare.better(name) == best else "td" for value in values]
    cells = "".join(f"<{tag}>{number(name, value)}</{tag}>" for tag, value in zip(tags, values))
    unit = f" <span class='muted'>{views.UNITS[name]}</span>" if name in views.UNITS else ""
    return f"<tr><td>{escape(views.title(name))}{unit}</td>{cells}</tr>"


def scale(limit: int) -> str:
    """The colours of the maps, from 0 to the limit."""
    ticks = "".join(f"<span>{limit * part / 6:g}</span>" for part in range(6)) + f"<span>≥ {limit} ΔE00</span>"
    stops = ",".join(Inferno256[::15])
    return f"<div class='bar' style='background:linear-gradient(90deg,{stops})'></div><div class='ticks'>{ticks}</div>"


class Board(ReactiveHTML):
    """The pictures in a grid of two rows, the controls above: one component, which starts far faster than nested ones."""

    back, forth, outlines, limit, whole, a, b = (param.Parameter() for _ in range(7))
    image, target, color_a, color_b, swipe, difference_a, difference_b = (param.Parameter() for _ in range(7))
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
        .board {{ font: 13px {frame.FONT}; color: {frame.INK}; max-width: 1500px; }}
        .tools {{ display: flex; align-items: center; gap: 8px; margin-bottom: 8px; height: 32px; white-space: nowrap; }}
        .place {{ flex: 1; overflow: hidden; text-overflow: ellipsis; padding: 0 6px; }}
        .message > div {{ background: #fdf3d8; border: 1px solid #ecd9a0; border-radius: 6px; padding: 6px 12px;
                          margin-bottom: 8px; }}
        .grid {{ display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px 14px; }}
        .head {{ display: flex; gap: 6px; align-items: center; height: 34px; font-weight: 600; white-space: nowrap; }}
        .choice {{ flex: 1; min-width: 0; font-weight: 400; }}
        .muted {{ color: {frame.MUTED}; font-weight: 400; }}
        .note {{ color: {frame.MUTED}; font-size: 12px; height: 20px; line-height: 20px; overflow: hidden;
                 white-space: nowrap; text-overflow: ellipsis; }}
        .scale {{ grid-column: 3 / 5; height: 28px; font-size: 11px; color: {frame.MUTED}; }}
        .scale .bar {{ height: 10px; border-radius: 2px; }}
        .scale .ticks {{ display: flex; justify-content: space-between; }}
        table {{ width: 100%; border-collapse: collapse; font-size: 12px; line-height: 18px; }}
        td, th {{ padding: 0 4px; text-align: right; }}
        td:first-child {{ text-align: left; padding-left: 0; white-space: nowrap; }}
        tr + tr {{ border-top: 1px solid {frame.LINE}; }}
        """
    ]
