"""MR modalities as they were acquired and as some runs made them of T2: a row a run, errors, the tumour's outlines."""

import io
from collections.abc import Mapping
from html import escape
from string import ascii_uppercase

import numpy as np
import panel as pn

from workbench import views
from workbench.dashboard import frame
from workbench.dashboard.canvas import Canvas
from workbench.dashboard.cases import CaseList, opponents
from workbench.dashboard.kinds import apart
from workbench.dashboard.pages import page
from workbench.dashboard.pages.modalities.board import Board, scale
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import colors, masks, numbers
from workbench.views import modalities as synthesis

MOST = 4  # rows of runs
EXPORTED = 8
KINDS = ("Truth", "Prediction")
OUTLINED = "".join(
    f":host .bk-btn:nth-child({number}) {{ border-bottom: 3px solid {tint}; }}"
    for number, tint in enumerate((synthesis.TRUTH, synthesis.FOUND), 1)
)


@page("Modalities", needs=synthesis.NEEDS, order=12, also=masks.check, example="workbench fit tcmgan")
def modalities(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares what up to four runs make of a slice; runs on data of another size are chosen apart."""
    return apart(runs, lambda alike: Comparison(alike).view())


class Comparison:
    """The state of the page, which is that of its widgets, and the pictures they change."""

    def __init__(self, runs: list[Run]) -> None:
        self.options = {views.label(run): run for run in runs}
        first = dict.fromkeys(views.label(run) for run in opponents(runs))
        self.choices = [self.choice(self.options[name]) for name in first]
        self.cases = CaseList([choice.value for choice in self.choices], self.letters)
        self.cases.keys.steps = self.cases.keys.steps | {"n": 1, "p": -1}
        self.controls()
        self.holder = pn.Column(**frame.WIDE)
        self.build()
        self.cases.worst()
        self.watch()
        self.draw()

    # ------------------------------------------------------------ widgets

    @property
    def letters(self) -> list[str]:
        return list(ascii_uppercase[: len(self.choices)])

    def choice(self, run: Run) -> pn.widgets.Select:
        made = frame.select(self.options, 280)
        made.value = run
        made.param.watch(lambda _: self.choose(), "value")
        return made

    def controls(self) -> None:
        style = {"margin": 0, "stylesheets": [frame.STYLE]}
        self.shown = pn.widgets.RadioButtonGroup(options={"Images": False, "Errors": True}, value=False, **style)
        self.outlines = pn.widgets.CheckButtonGroup(
            options=list(KINDS), value=list(KINDS), margin=0, stylesheets=[frame.STYLE, OUTLINED]
        )
        self.limit = pn.widgets.IntInput(value=synthesis.LIMIT, start=5, end=100, step=5, width=66, **style)
        self.whole, self.more = frame.button("Whole image", 96), frame.button("Add run", 70)
        self.save = pn.widgets.FileDownload(
            callback=self.export, filename="modalities.html", label=f"Export {EXPORTED} cases", width=130, **style
        )

    def watch(self) -> None:
        self.shown.param.watch(lambda _: self.cover(), "value")
        self.outlines.param.watch(lambda _: self.outline(), "value")
        self.limit.param.watch(lambda _: self.rescale(), "value")
        self.whole.on_click(lambda _: self.canvas.reset())
        self.more.on_click(lambda _: self.add())
        self.cases.param.watch(lambda _: self.draw(), "case")
        self.cases.table.param.watch(lambda _: self.say(place=self.cases.place()), ["sorters", "value"])

    # ------------------------------------------------------------ which runs

    def add(self) -> None:
        """One more row: a run that is not shown yet."""
        taken = {views.label(choice.value) for choice in self.choices}
        free = [run for name, run in self.options.items() if name not in taken]
        if free and len(self.choices) < MOST:
            self.become([*self.choices, self.choice(free[0])])

    def become(self, choices: list[pn.widgets.Select]) -> None:
        """More or fewer rows, unless their runs have nothing in common."""
        before, self.choices = self.choices, choices
        if not self.choose(rebuild=True):
            self.choices = before

    def choose(self, rebuild: bool = False) -> bool:
        """Other runs: the cases all of them share, the case kept where they have it; whether there are any."""
        chosen = [choice.value for choice in self.choices]
        with pn.io.hold():
            try:
                masks.alike(chosen)
                self.cases.show(chosen, self.letters)
            except InvalidRun as error:
                self.say(message=f"<div>{escape(str(error))}</div>")
                return False
            if rebuild:
                self.build()
            self.draw()
        return True

    def build(self) -> None:
        """Pictures and board for as many runs as are chosen."""
        places = range(len(synthesis.MADE))
        columns = ["given", *(f"target_{n}" for n in places)]
        columns += [f"{kind}_{name}_{n}" for name in self.letters for kind in ("made", "error") for n in places]
        found = {f"mask_{name}": synthesis.FOUND for name in self.letters}
        self.canvas = Canvas(columns, {"truth": synthesis.TRUTH} | found)
        self.more.disabled = len(self.choices) >= min(MOST, len(self.options))
        self.board = self.layout()
        self.canvas.limit(self.limit.value)
        self.cover()
        self.outline()
        self.holder.objects = [self.board]

    def layout(self) -> Board:
        canvas, places = self.canvas, range(len(synthesis.MADE))
        pictures = [canvas.picture(name, ["truth"]) for name in ("given", *(f"target_{n}" for n in places))]
        for name in self.letters:
            both = ["truth", f"mask_{name}"]
            pictures += [canvas.picture("given", both)]
            pictures += [canvas.covered(f"made_{name}_{n}", f"error_{name}_{n}", synthesis.UNIT, both) for n in places]
        return Board(
            back=self.cases.back, forth=self.cases.forth, shown=self.shown, outlines=self.outlines, limit=self.limit,
            whole=self.whole, more=self.more, save=self.save, pictures=pictures, letters=self.letters,
            choices=[self.head(number) for number in range(len(self.choices))], rows=1 + len(self.choices),
            **frame.WIDE,
        )  # fmt: skip

    def head(self, number: int) -> pn.viewable.Viewable:
        """What chooses the run of a row; from the third run on it can be taken away."""
        choice = self.choices[number]
        if number < 2:
            return choice
        away = frame.button("✕", 30)
        away.on_click(lambda _: self.become([other for other in self.choices if other is not choice]))
        return pn.Row(choice, away, margin=0)

    # ------------------------------------------------------------ what is seen

    def cover(self) -> None:
        """Images or maps of errors."""
        self.canvas.cover(self.shown.value)
        self.board.wrong = self.shown.value

    def outline(self) -> None:
        found = [f"mask_{name}" for name in self.letters]
        names = dict(zip(KINDS, (["truth"], found)))
        self.canvas.outline([name for kind in self.outlines.value for name in names[kind]])

    def rescale(self) -> None:
        self.canvas.limit(self.limit.value)
        self.say(scale=scale(self.limit.value))

    def draw(self) -> None:
        """Another case: new data in the same pictures."""
        try:
            found = {name: synthesis.read(run, self.cases.case) for name, run in zip(self.letters, self.cases.runs)}
        except InvalidRun as error:
            self.say(message=f"<div>{escape(str(error))}</div>")
            return
        first = next(iter(found.values()))
        images = {"given": colors.rgba(first["image"])} | split("target", first["target"])
        outlines = {"truth": colors.outline(first["label"])}
        for name, arrays in found.items():
            wrong = synthesis.error(arrays["target"], arrays["color"])
            images |= split(f"made_{name}", arrays["color"])
            images |= {f"error_{name}_{n}": np.ascontiguousarray(wrong[..., n]) for n in range(wrong.shape[-1])}
            outlines[f"mask_{name}"] = colors.outline(arrays["mask"])
        with pn.io.hold():
            self.canvas.show(images, outlines, first["image"].shape)
            self.say(**self.words(found))

    # ------------------------------------------------------------ what is said

    def say(self, **texts: str) -> None:
        """Puts texts into their places on the board."""
        self.board.texts = self.board.texts | texts

    def words(self, found: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, str]:
        """The numbers of the case, those of each modality below its picture, and what is odd about the case."""
        metrics = [colors.numbers(table, self.cases.case) for table in self.cases.scores]
        told = {"place": self.cases.place(), "scale": scale(self.limit.value)}
        told["numbers"] = numbers.table(self.letters, metrics, views.length(self.cases.runs))
        for row, arrays in enumerate(found.values(), 1):
            means = synthesis.error(arrays["target"], arrays["color"]).mean((0, 1))
            notes = [f"<span title='mean, {synthesis.UNIT}'>error {mean:.1f} %</span>" for mean in means]
            for column, text in enumerate([synthesis.overlap(arrays["label"], arrays["mask"]), *notes]):
                told[f"note_{row}_{column}"] = text
        lines = [*self.unlike(), *synthesis.unlike(found)]
        return told | {"message": f"<div>{'<br>'.join(map(escape, lines))}</div>" if lines else ""}

    def unlike(self) -> list[str]:
        """Says so where only part of the cases can be compared."""
        counts, shared = [len(run.samples.cases) for run in self.cases.runs], len(self.cases.shared)
        if set(counts) == {shared}:
            return []
        tested = ", ".join(f"{letter} on {count}" for letter, count in zip(self.letters, counts))
        return [f"Tested on unlike cases ({tested}): the {shared} that all share are shown."]

    def export(self) -> io.BytesIO:
        """The first cases of the table as it is sorted, as one file."""
        rows = [self.cases.shared[number] for number in self.cases.order()[:EXPORTED]]
        return io.BytesIO(synthesis.write(self.cases.runs, rows, self.limit.value).encode())

    def view(self) -> pn.Row:
        choice = pn.Row(frame.muted("Metric"), self.cases.metric, margin=(8, 12, 4, 12))
        styles = frame.CARD | {"max-height": "max(730px, calc(100vh - 152px))"}
        look = {"styles": styles, "width": 370, "sizing_mode": "stretch_height", "margin": (0, 16, 0, 0)}
        side = pn.Column(choice, self.cases.keys, **look)
        pn.state.onload(lambda: side.append(self.cases.table))  # the pictures first, which are drawn in half the time
        return pn.Row(side, self.holder, css_classes=["workbench-page"], margin=(14, 20), **frame.STRETCH)


def split(name: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """The channels of (H, W, C) as columns of packed grey."""
    return {f"{name}_{n}": colors.rgba(images[..., n]) for n in range(images.shape[-1])}
