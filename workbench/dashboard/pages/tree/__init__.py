"""Traced neurons that can be turned, in colours of a reviewer's score, beside slices at the chosen node."""

import io
from html import escape

import numpy as np
import panel as pn

from workbench import views
from workbench.dashboard import frame
from workbench.dashboard.cases import CaseList, opponents
from workbench.dashboard.pages import page
from workbench.dashboard.pages.tree.alerts import AlertList
from workbench.dashboard.pages.tree.board import Board, scale
from workbench.dashboard.pictures import Pictures
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import treereport, trees, turntable
from workbench.views.volumes import Plane

NAMES = ("A", "B")
DOWN = (1,)  # y runs downwards in slices
WIDE = 40  # voxels that a slice shows to begin with, or all of a smaller stack
EXPORTED = 8
NONE = "none"
LARGE = 1.1  # width over height of a tree that stands alone
GREY = ":host .bk-btn { background: #f3f3f3; border-color: transparent; }"


@page("Trees", needs=trees.NEEDS, order=18, also=trees.check, example="workbench fit neuronqc")
def tree(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares how any two runs judge the nodes of a traced neuron, and looks at the stack where they raise alerts."""
    return Comparison(runs).view()


class Comparison:
    """The state of the page, which is that of its widgets, and the pictures they change."""

    def __init__(self, runs: list[Run]) -> None:
        self.options = {views.label(run): run for run in runs}
        first, second = opponents(runs)
        self.unit, self.neurons, self.tables, self.width = trees.length(first), [], [], 0.0
        style = {"margin": 0, "stylesheets": [frame.STYLE]}
        self.a = pn.widgets.Select(options=self.options, value=first, **frame.STRETCH, **style)
        other = second if second is not first else NONE
        self.b = pn.widgets.Select(options={NONE: NONE} | self.options, value=other, **frame.STRETCH, **style)
        self.cases, self.alerts = CaseList([first, second], NAMES), AlertList(self.unit)
        self.stage = turntable.Stage(2, self.unit, self.picked)
        self.pictures = Pictures(trees.PLANES.values(), ["image"], ["trace"], (1, 1, 1), [], self.tapped)
        self.controls(style)
        self.panes = [pn.pane.Bokeh(each.plot, **frame.WIDE) for each in self.stage.trees]
        self.board = self.layout()
        self.watch()
        self.cases.worst()
        self.choose()

    # ------------------------------------------------------------ widgets

    def controls(self, style: dict) -> None:
        self.active = pn.widgets.RadioButtonGroup(options=list(NAMES), **style)
        self.stretch = pn.widgets.RadioButtonGroup(options={"0 to 1": False, "stretched": True}, value=False, **style)
        parts, part = trees.parts(self.a.value, WIDE)
        self.field, self.trace = (
            frame.select(parts, 76),
            pn.widgets.Toggle(label="Trace", value=True, width=60, **style),
        )
        self.field.value = part
        self.save = pn.widgets.FileDownload(
            callback=self.export, filename="trees.html", label="Export", width=84, **style
        )

    def watch(self) -> None:
        for choice in (self.a, self.b):
            choice.param.watch(lambda _: self.choose(), "value")
        self.cases.param.watch(lambda _: self.draw(), "case")
        self.cases.table.param.watch(lambda _: self.say(place=self.cases.place()), ["sorters", "value"])
        self.alerts.table.param.watch(lambda _: self.say(count=self.alerts.place()), "sorters")
        self.active.param.watch(lambda _: self.turn(), "value")
        self.alerts.param.watch(lambda event: self.look() if event.new >= 0 else None, "node")
        self.stretch.param.watch(lambda _: self.tint(), "value")
        self.trace.param.watch(lambda _: self.look(), "value")
        self.field.param.watch(lambda _: self.look(), "value")

    @property
    def runs(self) -> list[Run]:
        """The runs that are shown: one or two."""
        return [run for run in (self.a.value, self.b.value) if run != NONE]

    @property
    def shown(self) -> int:
        """The number of the run whose alerts and slices are shown."""
        return min(NAMES.index(self.active.value), len(self.runs) - 1)

    # ------------------------------------------------------------ what is seen

    def choose(self) -> None:
        """Other runs: the cases both share, the case kept where they have it."""
        with pn.io.hold():
            try:
                if len({trees.length(run) for run in self.runs}) > 1:
                    found = " and ".join(trees.length(run) for run in self.runs)
                    raise InvalidRun(views.label(self.b.value), "one unit of length", found, "choose another run")
                self.cases.show(self.runs, NAMES[: len(self.runs)])
            except InvalidRun as error:
                self.say(message=f"<div>{escape(str(error))}</div>")
                return
            self.board.single = len(self.runs) == 1
            self.stage.shape(LARGE if len(self.runs) == 1 else turntable.ASPECT)
            self.active.disabled = len(self.runs) == 1
            self.draw()

    def draw(self) -> None:
        """Another neuron: its trees, its alerts, and the first of these in the slices."""
        try:
            self.neurons = [trees.read(run, self.cases.case) for run in self.cases.runs]
        except InvalidRun as error:
            self.say(message=f"<div>{escape(str(error))}</div>")
            return
        self.tables = [trees.alerts(neuron) for neuron in self.neurons]
        with pn.io.hold():
            self.stage.fit(np.max([neuron.sides for neuron in self.neurons], axis=0))
            for each, neuron in zip(self.stage.trees, self.neurons):
                each.show(neuron.drawn(), neuron.sides, neuron.corner)
            self.ends()
            self.turn()

    def turn(self) -> None:
        """The alerts of one of the runs; the node is kept where it is one of the same tree."""
        neuron, table = self.neurons[self.shown], self.tables[self.shown]
        self.alerts.show(table, trees.start(neuron, table))

    def ends(self) -> None:
        """The scores at the ends of the colours."""
        self.scale = trees.spread(self.neurons) if self.stretch.value else (0.0, 1.0)
        self.stage.mapper.update(low=self.scale[0], high=self.scale[1])

    def tint(self) -> None:
        """Other colours."""
        self.ends()
        self.look()

    def picked(self, number: int, node: int) -> None:
        """A click on a node of a tree."""
        with pn.io.hold():
            if number < len(self.neurons) and 0 <= node < len(self.neurons[number].points):
                if number != self.shown:
                    self.active.value = NAMES[number]
                self.alerts.choose(node)

    def tapped(self, plane: Plane, across: float, up: float) -> None:
        """A click on a slice: the nearest node of those that are drawn on it."""
        neuron = self.neurons[self.shown]
        near = np.flatnonzero(trees.slab(neuron, plane, neuron.points[self.alerts.node]))
        apart = np.linalg.norm(neuron.points[near][:, [plane.across, plane.up]] - (across, up), axis=1)
        self.alerts.choose(int(near[apart.argmin()]))

    def look(self) -> None:
        """Another node: slices through it, and rings about it."""
        neuron, run = self.neurons[self.shown], self.cases.runs[self.shown]
        point = neuron.points[self.alerts.node]
        index, width = trees.voxel_at(neuron, point), self.field.value * float(neuron.sides.max())
        try:
            cuts = [trees.cut(run, self.cases.case, plane, index[plane.axis]) for plane in trees.PLANES.values()]
        except InvalidRun as error:
            self.say(message=f"<div>{escape(str(error))}</div>")
            return
        with pn.io.hold():
            for each, own in zip(self.stage.trees, self.neurons):
                each.ring(point, own.sides)
            middle = neuron.sides / 2 if self.field.value == 1 else point
            self.pictures.center(middle, width if width != self.width else None, DOWN)
            self.width = width
            for plane, image in zip(trees.PLANES.values(), cuts):
                lines = trees.strokes(neuron, plane, point, self.scale, width, self.trace.value)
                sides = neuron.sides[plane.up], neuron.sides[plane.across]
                self.pictures.draw(plane, {"image": image}, {"trace": lines}, sides)
            self.push()
            self.say(**self.words(index))

    def push(self) -> None:
        """Sends what was drawn to a notebook; a server needs no telling."""
        self.pictures.push()
        pn.io.push_notebook(*self.panes)

    # ------------------------------------------------------------ what is said

    def say(self, **texts: str) -> None:
        """Puts texts into their places on the board."""
        self.board.texts = self.board.texts | texts

    def words(self, index: np.ndarray) -> dict[str, str]:
        """What the case, the node and the slices are."""
        neuron, node = self.neurons[self.shown], self.alerts.node
        told = {"place": self.cases.place(), "count": self.alerts.place(), "message": self.unlike()}
        told["node"] = f"<span title='{escape(neuron.tell(node))}'>{self.described(node)}</span>"
        for name, run in zip("ab", self.cases.runs):
            told[f"name_{name}"] = trees.numbers(run, self.cases.case)
            told[f"scale_{name}"] = scale(*self.scale, trees.lowest(run))
        for number, (name, plane) in enumerate(trees.PLANES.items()):
            at = f"{'xyz'[plane.axis]} {neuron.files[node][plane.axis]:.1f} {self.unit}"
            axes = f"{'xyz'[plane.across]} → &nbsp;{'xyz'[plane.up]} {'↓' if plane.up in DOWN else '↑'}"
            told[f"head_{number}"] = f"{name} <span class='muted'>at {at}, {axes}</span>"
        return told

    def described(self, node: int) -> str:
        """Number, place, the score of each run, and truth of a node."""
        neuron = self.neurons[self.shown]
        x, y, z = neuron.files[node]
        same = [one for one in self.neurons if len(one.points) == len(neuron.points)]
        letters = NAMES if len(same) == len(self.neurons) else self.active.value
        scores = ", ".join(f"{name} {one.score[node]:.3f}" for name, one in zip(letters, same))
        alert = " · <b>alert</b>" if neuron.alert[node] else ""
        place = f"x {x:.1f}, y {y:.1f}, z {z:.1f} {self.unit}"
        return f"<b>Node {node}</b> · {place} · score {scores}{alert} · {escape(neuron.truths[node])}"

    def unlike(self) -> str:
        """Says so where only part of the cases can be compared, or the traces of this one differ."""
        counts, shared = [len(run.samples.cases) for run in self.cases.runs], len(self.cases.shared)
        lines = []
        if set(counts) != {shared}:
            tested = ", ".join(f"{name} on {count}" for name, count in zip(NAMES, counts))
            lines.append(f"Tested on unlike cases ({tested}): the {shared} that both share are shown.")
        if len({one.points.tobytes() for one in self.neurons}) > 1:
            lines.append("A and B judged unlike traces of this neuron: made from other options of the data.")
        return f"<div>{'<br>'.join(lines)}</div>" if lines else ""

    def export(self) -> io.BytesIO:
        """The first neurons of the table as it is sorted, as one file."""
        rows = [self.cases.shared[number] for number in self.cases.order()[:EXPORTED]]
        return io.BytesIO(treereport.write(self.cases.runs, rows, self.stretch.value).encode())

    def layout(self) -> Board:
        picture = self.pictures.picture
        slices = [picture(plane, "image", None, "trace", False) for plane in trees.PLANES.values()]
        for plane, pane in zip(trees.PLANES.values(), slices):
            bar = turntable.scale_bar(self.pictures.ranges[plane.across], self.unit, "#ffffff")
            pane.object.add_layout(bar)
        return Board(
            back=self.cases.back, forth=self.cases.forth, last=self.alerts.back, following=self.alerts.forth,
            a=self.a, b=self.b, active=self.active, stretch=self.stretch, field=self.field, trace=self.trace,
            save=self.save, views=pn.pane.Bokeh(self.stage.buttons(stylesheets=[frame.STYLE + GREY]), margin=0),
            tree_a=self.panes[0], tree_b=self.panes[1],
            slice_0=slices[0], slice_1=slices[1], slice_2=slices[2], **frame.WIDE,
        )  # fmt: skip

    def view(self) -> pn.Row:
        choice = pn.Row(frame.muted("Metric"), self.cases.metric, margin=(8, 12, 4, 12))
        title = frame.html("<b>Alerts</b> <span>worst first; keys n and p</span>", margin=(8, 12, 2, 12))
        look = {"styles": frame.CARD, "width": 370, "sizing_mode": "stretch_height", "margin": (0, 16, 0, 0)}
        side = pn.Column(choice, self.cases.keys, self.alerts.keys, **look)
        self.cases.table.min_height = 200
        pn.state.onload(lambda: side.extend([self.cases.table, title, self.alerts.table]))
        return pn.Row(side, self.board, css_classes=["workbench-page"], margin=(14, 20), **frame.STRETCH)
