"""How one or two runs classify: what they take for what, how sure they are and how right, how alike classes are."""

import io
from collections.abc import Sequence

import numpy as np
import panel as pn

from workbench import compare, views
from workbench.dashboard import frame
from workbench.dashboard.cases import opponents
from workbench.dashboard.kinds import apart, classed
from workbench.dashboard.pages import page
from workbench.runs import Run
from workbench.views import classes, curves, matrices, reliability, report

LIVE = {key: value for key, value in curves.FRAME.items() if key not in ("show_grid", "gridstyle", "fontsize")}
LIVE |= {"default_tools": ["save"], "title": ""}


def check(run: Run) -> None:
    """Raises InvalidRun where truth, probabilities or matrices are not what they should be."""
    classes.read(run)
    matrices.matrices(run)


@page("Classification", needs={}, order=16, also=check, kind=classes.judges, example="workbench fit cclnet")
def classification(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares how any two runs classify; runs with other classes are chosen apart."""
    return apart(runs, lambda alike: Comparison(alike).view(), classed)


class Comparison:
    """The state of the page, which is that of its widgets, and the panes that they redraw."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs, self.outcome = runs, classes.read(runs[0])
        pair = opponents(runs) if len(runs) > 1 else runs
        self.names = ("A", "B") if len(pair) > 1 else ("Run",)
        self.choices = [frame.select({views.label(one): one for one in runs}, 230) for _ in pair]
        for choice, run in zip(self.choices, pair):
            choice.value = run
        names = self.outcome.names
        self.finding = frame.select({"": None} if self.outcome.exclusive else {name: name for name in names}, 170)
        tall = 420 if len(names) <= 8 else 520
        self.confusions = [frame.plot(tall) for _ in pair]
        self.learned = [frame.plot(400) for _ in pair]
        self.known, self.diagram, self.tallies = frame.plot(400), frame.plot(tall - 130), frame.plot(130)
        self.scores = frame.html("", margin=(4, 12, 12, 12), **frame.STRETCH)
        self.alike = pn.Column(**frame.WIDE)
        self.save = pn.widgets.FileDownload(
            callback=self.export, filename="classification.html", label="Export", width=90, margin=0,
            stylesheets=[frame.STYLE],
        )  # fmt: skip
        for choice in self.choices:
            choice.param.watch(lambda _: self.draw(), "value")
        self.finding.param.watch(lambda _: self.draw_reliability(), "value")
        self.draw()

    @property
    def chosen(self) -> list[Run]:
        return [choice.value for choice in self.choices]

    def draw(self) -> None:
        with pn.io.hold():
            for place, run in zip(self.confusions, self.chosen):
                place.object = matrices.confusion(run, LIVE)
            self.draw_reliability()
            self.draw_alike()
            self.scores.object = table(self.names, self.chosen)

    def draw_reliability(self) -> None:
        tables = {name: reliability.binned(*classes.sure(classes.read(run), self.finding.value))
                  for name, run in zip(self.names, self.chosen)}  # fmt: skip
        axes = reliability.words(self.outcome, self.finding.value)
        self.diagram.object = reliability.diagram(tables, axes, LIVE)
        self.tallies.object = reliability.tallies(tables, axes[0], LIVE | {"min_height": 90})

    def draw_alike(self) -> None:
        """The matrices of those runs that learned one, beside what is known; nothing where none did."""
        names, cards = self.outcome.names, []
        found = [matrices.matrices(run) for run in self.chosen]
        known = next((each["similarity"] for each in found if "similarity" in each), None)
        for letter, place, each in zip(self.names, self.learned, found):
            if "correlation" in each:
                place.object = matrices.matrix(each["correlation"], names, "", LIVE)
                agrees = "" if known is None else f" · Spearman {matrices.ranks(each['correlation'], known):.2f}"
                cards.append(frame.card(f"{letter}: how alike classes were learned to be{agrees}", place))
        if cards and known is not None:
            self.known.object = matrices.matrix(known, names, "", LIVE)
            cards.insert(0, frame.card("How alike classes are known to be", self.known))
        self.alike.objects = [frame.columns(*cards)] if cards else []

    def export(self) -> io.BytesIO:
        """What is shown as one file."""
        runs = self.chosen
        sections = [("Confusion", [matrices.confusion(run) for run in runs])]
        sections.append(("Reliability", list(reliability.reliability(runs, self.finding.value))))
        learned = [
            part for run in runs if "correlation" in matrices.matrices(run) for part in matrices.correlation(run)
        ]
        sections += [("Correlation of classes", learned)] if learned else []
        return io.BytesIO(report.document("Classification", sections).encode())

    def view(self) -> pn.Column:
        words = [] if self.outcome.exclusive else [self.finding]
        first = frame.card("Reliability", self.diagram, self.tallies, controls=words)
        others = [
            frame.card(f"{name}: confusion" if len(self.names) > 1 else "Confusion", place, controls=[choice])
            for name, place, choice in zip(self.names, self.confusions, self.choices)
        ]
        told = frame.card("Mean over the test cases", self.scores, controls=[self.save])
        return pn.Column(
            frame.columns(*others, first), self.alike, told, css_classes=["workbench-page"], margin=(14, 20),
            **frame.STRETCH,
        )  # fmt: skip


def table(names: Sequence[str], runs: Sequence[Run]) -> str:
    """The metrics that the runs share, a row a run, the best in bold."""
    means = [views.scores(run).mean() for run in runs]
    metrics = [name for name in means[0].index if all(name in each and np.isfinite(each[name]) for each in means)]
    rows = [
        [
            f"{letter}: {views.label(run)}" if len(runs) > 1 else views.label(run),
            *(f"{mean[name]:.{curves.digits(name)}f}" for name in metrics),
        ]
        for letter, run, mean in zip(names, runs, means)
    ]
    best = {
        column: int(np.argmax([mean[name] * compare.better(name) for mean in means]))
        for column, name in enumerate(metrics, 1)
    }
    return frame.grid(["Run", *map(views.short, metrics)], rows, best if len(runs) > 1 else None)
