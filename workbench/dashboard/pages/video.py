"""A video beside what two runs made of it: played in the browser, contours of every frame, and how it flickers."""

import io
from collections.abc import Mapping
from html import escape

import panel as pn
import param
from panel.reactive import ReactiveHTML
from panel.viewable import Child

from workbench import views
from workbench.dashboard import frame
from workbench.dashboard.cases import CaseList, opponents
from workbench.dashboard.kinds import apart
from workbench.dashboard.pages import page
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import colors, masks, numbers, videoreport, videos

NAMES = ("A", "B")
EXPORTED = 6
BUTTONS = """
:host .bk-btn.bk-btn-default { background: #f3f3f3; border-color: transparent; }
:host .bk-btn.bk-btn-default.bk-active { background: #d3e5f3; box-shadow: none; }
"""
OUTLINED = "".join(
    f":host .bk-btn:nth-child({number}) {{ border-bottom: 3px solid {tint}; }}"
    for number, tint in enumerate(("#8a94a0", *videos.FOUND), 1)
)


@page(
    "Videos", needs=videos.NEEDS, order=19, also=videos.check, kind=views.moving, example="workbench fit videogan"
)  # fmt: skip
def video(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares how any two runs translate a video; runs on data of another size or other classes are chosen apart."""
    return apart(runs, lambda alike: Comparison(alike).view())


class Comparison:
    """The state of the page, which is that of its widgets, and the player they feed."""

    def __init__(self, runs: list[Run]) -> None:
        names, style = {views.label(run): run for run in runs}, {"margin": 0, "stylesheets": [frame.STYLE]}
        first, second = opponents(runs)
        self.a, self.b = (pn.widgets.Select(options=names, value=r, **frame.STRETCH, **style) for r in (first, second))
        self.cases = CaseList([first, second], NAMES)
        self.cases.keys.steps = self.cases.keys.steps | {"n": 1, "p": -1}
        self.player = videoreport.player(NAMES, stylesheets=[frame.STYLE, BUTTONS])
        self.player.outlined.stylesheets = [frame.STYLE, BUTTONS, OUTLINED]
        self.save = pn.widgets.FileDownload(
            callback=self.export, filename="videos.html", label=f"Export {EXPORTED} cases", width=130, **style
        )
        self.board = self.layout()
        for choice in (self.a, self.b):
            choice.param.watch(lambda _: self.choose(), "value")
        self.cases.param.watch(lambda _: self.draw(), "case")
        self.cases.table.param.watch(lambda _: self.say(place=self.cases.place()), ["sorters", "value"])
        self.cases.worst()
        self.draw()

    def choose(self) -> None:
        """Another run: the cases both share, the case kept where they have it."""
        with pn.io.hold():
            try:
                masks.alike([self.a.value, self.b.value])
                self.cases.show([self.a.value, self.b.value])
            except InvalidRun as error:
                self.say(message=f"<div>{escape(str(error))}</div>")
                return
            self.draw()

    def draw(self) -> None:
        """Another case: the whole clip at once, for the browser to play."""
        try:
            drawn = videos.drawn(self.cases.runs, NAMES, self.cases.case)
        except InvalidRun as error:
            self.say(message=f"<div>{escape(str(error))}</div>")
            return
        with pn.io.hold():
            self.player.show(drawn["pictures"], drawn["outlines"], drawn["curves"])
            self.push()
            self.say(**self.words(drawn["clips"]))

    def push(self) -> None:
        """Sends what was drawn to a notebook; a server needs no telling."""
        pn.io.push_notebook(*self.panes)

    def say(self, **texts: str) -> None:
        """Puts texts into their places on the board."""
        self.board.texts = self.board.texts | texts

    def words(self, clips: Mapping[str, Mapping]) -> dict[str, str]:
        """The numbers of the case, where it stands, and what is odd about it."""
        metrics = [colors.numbers(table, self.cases.case) for table in self.cases.scores]
        count, height, width = clips["A"]["image"].shape[:3]
        unknown = ", truth unknown" if clips["A"]["label"] is None else ""
        told = {"place": self.cases.place()}
        told["note_original"] = f"{count} frames of {width} × {height} pixels{unknown}"
        for name, values in zip("ab", metrics):
            parts = [(key, values[key]) for key in ("dice", "flicker") if key in values]
            told[f"note_{name}"] = ", ".join(f"{views.title(k)} {numbers.number(k, v)}" for k, v in parts)
        lines = [*self.unlike(), *videos.unlike(clips)]
        told["message"] = f"<div>{'<br>'.join(map(escape, lines))}</div>" if lines else ""
        return told | {"numbers": numbers.table(NAMES, metrics, views.length(self.cases.runs))}

    def unlike(self) -> list[str]:
        """Says so where only part of the cases can be compared."""
        counts, shared = [len(run.samples.cases) for run in self.cases.runs], len(self.cases.shared)
        if set(counts) == {shared}:
            return []
        tested = ", ".join(f"{name} on {count}" for name, count in zip(NAMES, counts))
        return [f"Tested on unlike cases ({tested}): the {shared} that both share are shown."]

    def export(self) -> io.BytesIO:
        """The first cases of the table as it is sorted, as one file that plays."""
        rows = [self.cases.shared[number] for number in self.cases.order()[:EXPORTED]]
        return io.BytesIO(videoreport.write(self.cases.runs, rows).encode())

    def layout(self) -> "Board":
        made, whole = self.player, frame.button("Whole image", 100)
        whole.on_click(lambda _: made.reset())
        models = {
            "play": made.play, "slider": made.slider, "pace": made.pace, "outlined": made.outlined,
            "channel": made.channel, "steady": made.steady, "curve": made.curve, "original": made.plots["original"],
            "color_a": made.plots["A"], "color_b": made.plots["B"],
        }  # fmt: skip
        self.wide = ("slider", "curve", "original", "color_a", "color_b")
        panes = {k: pn.pane.Bokeh(v, **(frame.WIDE if k in self.wide else {"margin": 0})) for k, v in models.items()}
        self.panes = list(panes.values())
        return Board(
            back=self.cases.back, forth=self.cases.forth, save=self.save, whole=whole, a=self.a, b=self.b,
            **panes, **frame.WIDE,
        )  # fmt: skip

    def view(self) -> pn.Row:
        choice = pn.Row(frame.muted("Metric"), self.cases.metric, margin=(8, 12, 4, 12))
        look = {"styles": frame.CARD, "width": 370, "sizing_mode": "stretch_height", "margin": (0, 16, 0, 0)}
        side = pn.Column(choice, self.cases.keys, **look)
        pn.state.onload(lambda: side.append(self.cases.table))  # the pictures first, which are drawn in half the time
        return pn.Row(side, self.board, css_classes=["workbench-page"], margin=(14, 20), **frame.STRETCH)


class Board(ReactiveHTML):
    """The pictures in a row, what plays them above, the curve and the numbers below: one component."""

    back, forth, save, whole, a, b, play, slider, pace, outlined, channel, steady = (Child() for _ in range(12))
    original, color_a, color_b, curve = (Child() for _ in range(4))
    texts = param.Dict(default={}, doc="Markup by the name of its place: place, message, numbers, note_*.")

    _template = """
    <div id="board" class="board">
      <div id="message" class="message"></div>
      <div class="tools">
        <div id="at_back">${back}</div><div id="at_forth">${forth}</div><div id="place" class="place"></div>
        <div class="pair"><span class="muted">Contours</span><div id="at_outlined">${outlined}</div></div>
        <div id="at_whole">${whole}</div><div id="at_save">${save}</div>
      </div>
      <div class="tools">
        <div id="at_play">${play}</div><div id="at_slider" class="slider">${slider}</div>
        <div id="at_pace">${pace}</div>
      </div>
      <div class="grid">
        <div class="cell"><div class="head">Original</div>
          <div id="at_original">${original}</div><div id="note_original" class="note"></div></div>
        <div class="cell"><div class="head">A <div id="at_a" class="choice">${a}</div></div>
          <div id="at_color_a">${color_a}</div><div id="note_a" class="note"></div></div>
        <div class="cell"><div class="head">B <div id="at_b" class="choice">${b}</div></div>
          <div id="at_color_b">${color_b}</div><div id="note_b" class="note"></div></div>
        <div class="wide"><div class="head"><span class="name">Change of the mean colour</span>
            <div id="at_channel">${channel}</div><div id="at_steady">${steady}</div></div>
          <div id="at_curve">${curve}</div></div>
        <div class="cell"><div class="head">This case</div><div id="numbers"></div></div>
      </div>
    </div>
    """
    _scripts = {
        "render": "self.texts()",
        "texts": """
          const places = {message, place, numbers, note_original, note_a, note_b}
          for (const [name, text] of Object.entries(data.texts))
            if (places[name] && places[name].innerHTML !== text) places[name].innerHTML = text
        """,
    }
    _stylesheets = [
        f"""
        .board {{ font: 13px {frame.FONT}; color: {frame.INK}; max-width: 1150px; container-type: inline-size; }}
        .tools {{ display: flex; align-items: center; gap: 8px; margin-bottom: 4px; min-height: 32px;
                  flex-wrap: wrap; white-space: nowrap; }}
        .pair {{ display: flex; align-items: center; gap: 8px; }}
        .place {{ flex: 1; min-width: 230px; overflow: hidden; text-overflow: ellipsis; padding: 0 6px; }}
        .slider {{ flex: 1; min-width: 160px; padding: 0 10px; }}
        .message > div {{ background: #fdf3d8; border: 1px solid #ecd9a0; border-radius: 6px; padding: 6px 12px;
                          margin-bottom: 8px; }}
        .grid {{ display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 4px 14px; }}
        .wide {{ grid-column: span 2; min-width: 0; }}
        @container (max-width: 620px) {{ .grid {{ grid-template-columns: repeat(2, minmax(0, 1fr)); }}
                                         .wide {{ order: 1; }} }}
        .head {{ display: flex; gap: 6px; align-items: center; min-height: 34px; font-weight: 600;
                 white-space: nowrap; }}
        .wide .head {{ flex-wrap: wrap; font-weight: 400; }}
        .name {{ font-weight: 600; margin-right: 6px; }}
        .choice {{ flex: 1; min-width: 0; font-weight: 400; }}
        .muted {{ color: {frame.MUTED}; font-weight: 400; }}
        .note {{ color: {frame.MUTED}; font-size: 12px; height: 20px; line-height: 20px; overflow: hidden;
                 white-space: nowrap; text-overflow: ellipsis; }}
        table {{ width: 100%; border-collapse: collapse; font-size: 12px; line-height: 19px; }}
        td, th {{ padding: 0 4px; text-align: right; }}
        td:first-child {{ text-align: left; padding-left: 0; white-space: nowrap; }}
        tr + tr {{ border-top: 1px solid {frame.LINE}; }}
        """
    ]
