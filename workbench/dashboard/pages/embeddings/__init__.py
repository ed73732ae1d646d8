"""What the networks of one or two runs make of the test cases: maps of their vectors, and who is near whom."""

import io
from functools import cached_property
from html import escape

import numpy as np
import panel as pn

from workbench import views
from workbench.dashboard import frame
from workbench.dashboard.cases import Keys, opponents
from workbench.dashboard.kinds import apart, classed
from workbench.dashboard.pages import page
from workbench.dashboard.pages.embeddings.map import Map
from workbench.dashboard.pages.embeddings.strip import Shown, Strip, markup
from workbench.runs import Run
from workbench.views import classes, report
from workbench.views import embeddings as vectors

GLYPHS = dict(zip(vectors.MARKERS, "●■▲◆▼⬢★✚"))


@page(
    "Embeddings", needs=vectors.NEEDS, order=16, also=vectors.check, kind=vectors.vectors,
    example="workbench fit cclnet",
)  # fmt: skip
def embeddings(runs: list[Run]) -> pn.viewable.Viewable:
    """Maps of the vectors of any two runs, and the neighbours of a chosen case; unlike data are chosen apart."""
    return apart(runs, lambda alike: Comparison(alike).view(), classed)


class Side:
    """One run: its map, its neighbours, and what all its neighbours tell.

    Args:
        board: what it stands on, which is told of clicks.
    """

    def __init__(self, board: "Comparison", run: Run) -> None:
        self.board = board
        self.run = frame.select({views.label(one): one for one in board.runs}, 300)
        self.run.value = run
        self.map = Map(lambda number: board.choose(self.keys[number]))
        self.strip = Strip(margin=(4, 12, 12, 12), **frame.STRETCH)
        self.note, self.told = (frame.html("", margin=(0, 12), **frame.STRETCH) for _ in range(2))
        self.strip.param.watch(lambda event: board.choose(self.keys[event.new]), "picked")
        self.read()

    def read(self) -> None:
        """Another run."""
        self.__dict__.pop("purity", None)
        self.keys = [views.key(entry) for entry in self.run.value.samples.cases]
        self.found = vectors.pca(self.run.value.samples.array("feature"))
        self.described = vectors.described(self.run.value)

    def draw(self) -> None:
        """The map, in the colours of the chosen finding."""
        run, names = self.run.value, []
        names, tints = vectors.named(run, self.board.finding.value)
        marks = vectors.markers(list(tints))
        looks = [(tints[name], marks[name]) for name in names]
        kept = vectors.some(len(names), vectors.CROWD)
        self.map.show(self.found.points, vectors.axes(self.found), [key[0] for key in self.keys], names, looks, kept)
        self.note.object = self.words(len(kept))

    def words(self, drawn: int) -> str:
        """What the map shows, and how alike neighbours are."""
        run, k, finding = self.run.value, self.board.k.value, self.board.finding.value
        count, width = run.samples.array("feature").shape
        same, chance = vectors.purity(run, k, finding)
        what = "class" if self.board.exclusive else f"state of {finding}" if finding else "findings"
        parts = f"PCA of {width} features, fitted on the {count} test cases of this run"
        parts += f", of which {drawn} are drawn" if drawn < count else ""
        near = f"{k} nearest of all: {100 * same:.0f} % have the same {escape(what)} ({100 * chance:.0f} % by chance)"
        return f"<div style='font-size:12px;color:{frame.MUTED}'>{parts}. <b>{near}.</b></div>"

    def mark(self) -> None:
        """The chosen case and its neighbours."""
        case = self.board.case
        if case not in self.keys:
            self.map.mark(None, [])
            self.told.object, self.strip.content = "<b>This run was not tested on this case.</b>", {}
            return
        run, number = self.run.value, self.keys.index(case)
        found = vectors.neighbours(run, case, self.board.k.value, self.board.finding.value)
        same = found["same"].to_numpy(float)
        self.map.mark(number, found["number"].tolist())
        what = "its class" if self.board.exclusive else "its findings"
        what = f"its state of {self.board.finding.value}" if self.board.finding.value else what
        count = f"{np.nansum(same):.0f} of its {np.isfinite(same).sum()} nearest have {escape(what)}"
        self.told.object = f"<b>{count}</b> <span style='color:{frame.MUTED}'>cosine below each</span>"
        row = [Shown(number, vectors.picture(run, number), self.described[number], ["chosen"])]
        for other, words, cosine, like in zip(found["number"], found["class"], found["cosine"], same):
            known = None if np.isnan(like) else bool(like)
            row.append(Shown(int(other), vectors.picture(run, int(other)), words, [f"{cosine:.3f}"], known))
        self.strip.content = {"markup": markup(row)}

    def card(self, title: str) -> pn.Column:
        return frame.card(title, self.map.pane, self.note, pn.Spacer(height=8), self.told, self.strip,
                          controls=[self.run])  # fmt: skip


class Comparison:
    """The state of the page, which is that of its widgets, and the sides that follow it."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs
        names, truth = classes.truth(runs[0])
        self.exclusive = truth.ndim == 1
        self.finding = frame.select({"All findings": None} if self.exclusive else {name: name for name in names}, 190)
        self.k = frame.select({str(k): k for k in (4, 8, 16)}, 64)
        self.k.value = vectors.K
        self.place = frame.html("", margin=(6, 12, 0, 8), **frame.STRETCH)
        self.legend = frame.html("", margin=(0, 0, 8, 0), **frame.STRETCH)
        self.back, self.forth, self.keys = (
            frame.button("◀", 38),
            frame.button("▶", 38),
            Keys(everywhere=pn.state.curdoc is not None, width=0, height=0, margin=0),
        )
        pair = opponents(runs) if len(runs) > 1 else runs
        self.case = views.key(pair[0].samples.cases[0])
        self.sides = [Side(self, run) for run in pair]
        self.save = pn.widgets.FileDownload(
            callback=self.export, filename="embeddings.html", label="Export", width=90, margin=0,
            stylesheets=[frame.STYLE],
        )  # fmt: skip
        self.watch()
        self.draw()

    def watch(self) -> None:
        self.back.on_click(lambda _: self.step(-1))
        self.forth.on_click(lambda _: self.step(1))
        self.keys.param.watch(lambda event: self.step(event.new - event.old), "moves")
        for widget in (self.finding, self.k):
            widget.param.watch(lambda _: self.draw(), "value")
        for side in self.sides:
            side.run.param.watch(lambda _, side=side: self.change(side), "value")

    @cached_property
    def shared(self) -> list[tuple[str, str]]:
        """The cases to step through: those of both sides, or of the first where they share none."""
        runs = [side.run.value for side in self.sides]
        return views.shared(runs) or views.shared(runs[:1])

    def change(self, side: Side) -> None:
        """Another run on one side."""
        with pn.io.hold():
            side.read()
            self.__dict__.pop("shared", None)
            side.draw()
            self.mark()

    def draw(self) -> None:
        """Everything, in the colours of the chosen finding."""
        with pn.io.hold():
            _, tints = vectors.named(self.runs[0], self.finding.value)
            marks = vectors.markers(list(tints))
            keys = "".join(
                f"<span style='margin-right:16px;white-space:nowrap'><span style='color:{tint}'>{GLYPHS[marks[name]]}"
                f"</span> {escape(name)}</span>"
                for name, tint in tints.items()
            )
            self.legend.object = f"<div style='font-size:12px;line-height:20px'>{keys}</div>"
            for side in self.sides:
                side.draw()
            self.mark()

    def choose(self, case: tuple[str, str]) -> None:
        """Another case."""
        self.case = case
        with pn.io.hold():
            self.mark()

    def step(self, move: int) -> None:
        """Some cases on, and no further than the ends."""
        place = self.shared.index(self.case) + move if self.case in self.shared else 0
        self.choose(self.shared[max(0, min(place, len(self.shared) - 1))])

    def mark(self) -> None:
        for side in self.sides:
            side.mark()
            side.map.push()
        side = next((side for side in self.sides if self.case in side.keys), self.sides[0])
        told = side.described[side.keys.index(self.case)] if self.case in side.keys else ""
        name = " ".join(self.case).strip()
        self.place.object = f"<b>{escape(name)}</b> &ensp; {escape(told)}"

    def export(self) -> io.BytesIO:
        """The maps and the neighbours of the chosen case as one file."""
        runs, finding = [side.run.value for side in self.sides], self.finding.value
        sections = [
            ("Principal components, each fitted on the cases of its run", list(vectors.embedding(runs, finding)))
        ]
        for side in self.sides:
            if self.case in side.keys and vectors.picture(side.run.value, 0) is not None:
                found = vectors.neighbourhood(side.run.value, self.case, self.k.value, finding)
                sections.append((f"Neighbours of {self.case[0]}: {views.label(side.run.value)}", list(found)))
        return io.BytesIO(report.document("Embeddings", sections).encode())

    def view(self) -> pn.Column:
        words = [] if self.exclusive else [frame.muted("Finding"), self.finding, pn.Spacer(width=14)]
        tools = pn.Row(
            self.back, self.forth, self.place, *words, frame.muted("Neighbours"), self.k, self.save, self.keys,
            styles={"gap": "6px"}, margin=(0, 0, 8, 0), **frame.STRETCH,
        )  # fmt: skip
        titles = ("A", "B") if len(self.sides) > 1 else ("Run",)
        cards = frame.columns(*(side.card(title) for side, title in zip(self.sides, titles)))
        return pn.Column(
            tools, self.legend, cards, css_classes=["workbench-page"], margin=(14, 20), sizing_mode="stretch_width"
        )
