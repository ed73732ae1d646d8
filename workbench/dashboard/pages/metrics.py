"""Numbers of chosen runs: learning curves, spread over cases, paired differences, means over seeds, settings."""

from collections import Counter
from html import escape

import numpy as np
import pandas as pd
import panel as pn

from workbench import compare, views
from workbench.dashboard import frame
from workbench.dashboard.pages import page
from workbench.runs import Run
from workbench.views import curves

WIDTH = 400  # px that the controls of a card need
BOTH = (
    "both random in the interval. p: Wilcoxon over groups, two-sided, uncorrected; it takes the seeds as given, "
    "so that it can be small where the interval holds zero."
)


@page("Metrics", needs={}, order=20)
def metrics(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares arms and seeds by their curves and their scores; the table of runs chooses which."""
    return Numbers(runs).view()


class Numbers:
    """The state of the page, which is that of its widgets, and the panes they redraw."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs, self.arms = runs, views.arms(runs)
        self.colors = views.palette(self.arms)
        self.table = frame.table(
            settings(runs, [self.colors[arm] for arm in self.arms]),
            selectable="checkbox",
            layout="fit_data_fill",
            stylesheets=[frame.TABLE, frame.CHECKED],
            formatters={"arm": {"type": "html"}},
            sizing_mode="stretch_both",
            min_height=300,
        )
        self.table.selection = list(range(len(runs)))
        self.metric, self.reference = frame.select({}, 190), frame.select({}, 170)
        self.quantity, self.axis = (
            frame.select({}, 150),
            frame.select({"Step": "step", "Epoch": "epoch", "Time": "time"}, 76),
        )
        self.log = pn.widgets.Toggle(label="log", width=44, height=30, margin=0, stylesheets=[frame.STYLE])
        self.kind = frame.select({name.capitalize(): name for name in curves.KINDS}, 90)
        self.curves, self.spread, self.forest = frame.plot(225), frame.plot(225), frame.plot(190)
        self.pairs, self.means = (frame.html("", margin=(4, 12, 12, 12), **frame.STRETCH) for _ in range(2))
        self.choose()
        self.table.param.watch(lambda _: self.choose(), "selection")
        for widgets, draw in (
            ((self.quantity, self.axis, self.log), self.draw_curves),
            ((self.metric, self.kind), self.draw_spread),
            ((self.metric, self.reference), self.draw_pairs),
        ):
            for widget in widgets:
                widget.param.watch(lambda _, draw=draw: draw(), "value")

    def choose(self) -> None:
        """Reads what the checked runs wrote, keeps the choices that still apply, and draws everything."""
        numbers = sorted(self.table.selection) or range(len(self.runs))
        chosen, arms = [self.runs[number] for number in numbers], [self.arms[number] for number in numbers]
        self.scores, self.logs = compare.gather(chosen, arms), curves.logs(chosen, arms)
        self.length = views.length(chosen)
        names = [m for m in compare.metrics(self.scores) if self.scores[m].notna().any()]
        frame.offer(self.metric, {views.title(name): name for name in names}, "fg_psnr")
        frame.offer(self.reference, {name: name for name in self.scores["arm"].unique()}, champion(chosen, arms))
        frame.offer(self.quantity, {name: name for name in curves.quantities(self.logs)}, "loss/generator")
        for draw in (self.draw_curves, self.draw_spread, self.draw_pairs, self.draw_means):
            draw()

    def draw_curves(self) -> None:
        if self.quantity.value is None:
            self.curves.object = None
            return
        options = {"axis": self.axis.value, "log": self.log.value, "colors": self.colors}
        self.curves.object = curves.learning(self.logs, self.quantity.value, **options)

    def draw_spread(self) -> None:
        self.spread.object = curves.distribution(
            self.scores, self.metric.value, self.kind.value, self.colors, self.length
        )

    def draw_pairs(self) -> None:
        reference, metric = self.reference.value, self.metric.value
        found = curves.differences(self.scores, reference, metric)
        self.forest.object = curves.forest(found, reference, metric, self.colors, self.length) if len(found) else None
        self.pairs.object = pairs(found, reference, metric)

    def draw_means(self) -> None:
        self.means.object = means(self.scores)

    def view(self) -> pn.Row:
        """Runs at the left; curves and spread, differences as plot and numbers, and the table of means at the right."""
        side = frame.card("Runs", self.table, width=370, sizing_mode="stretch_height", margin=(0, 16, 0, 0))
        words = [frame.muted("Metric"), self.metric, pn.Spacer(width=14), frame.muted("Reference arm"), self.reference]
        main = pn.Column(
            pn.Row(*words, margin=(0, 0, 10, 0)),
            frame.columns(
                frame.card("Learning curves", self.curves, controls=[self.quantity, self.axis, self.log]),
                frame.card("Spread over cases", self.spread, controls=[self.kind]),
                least=WIDTH,
            ),
            frame.columns(
                frame.card("Difference from the reference", self.forest, min_height=238),
                frame.card("Paired over seeds and cases", self.pairs, min_height=238),
                least=WIDTH,
            ),
            frame.card("Mean over cases ± standard deviation over seeds", self.means),
            **frame.WIDE,
        )
        return pn.Row(side, main, css_classes=["workbench-page"], sizing_mode="stretch_width", margin=(14, 20))


def settings(runs: list[Run], colors: list[str]) -> pd.DataFrame:
    """What differs between the runs, ready for a narrow table: arms with their colour, short ids."""
    table = views.differing(runs)
    dots = zip(colors, table["arm"], strict=True)
    arms = [f"<span style='color:{color}'>●</span> {escape(arm)}" for color, arm in dots]
    return table.assign(arm=arms, id=table["id"].str[:6])


def champion(runs: list[Run], arms: list[str]) -> str:
    """The arm that the others are likely to be held against: the unchanged method that most runs belong to."""
    method = Counter(run.config["method"] for run in runs).most_common(1)[0][0]
    return next((arm for run, arm in zip(runs, arms, strict=True) if run.arm == method), arms[0])


def pairs(found: pd.DataFrame, reference: str, metric: str) -> str:
    """The paired differences as a table."""
    if not len(found):
        return "<p>Check runs of a second arm, with a seed and cases that the reference arm has too.</p>"
    sign = f"+.{curves.digits(metric)}f"
    head = [f"Arm − {reference}", "Difference", "95 % interval", "p", "n"]
    rows = [
        [r.arm, f"{r.mean:{sign}}", interval(r.low, r.high, sign), chance(r.p), f"{r.groups} × {r.seeds}"]
        for r in found.itertuples()
    ]
    return frame.remark(f"n: groups of cases × seeds, {BOTH}") + frame.grid(head, rows)


def interval(low: float, high: float, form: str) -> str:
    """Both ends, or a dash where one group leaves the interval unknown.

    >>> interval(0.1, 0.2, "+.1f"), interval(np.nan, np.nan, "+.1f")
    ('+0.1 … +0.2', '–')
    """
    return "–" if np.isnan(low) else f"{low:{form}} … {high:{form}}"


def chance(p: float) -> str:
    """A p value as it is printed.

    >>> chance(0.0001), chance(0.2)
    ('< 0.001', '0.200')
    """
    return "–" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def means(scores: pd.DataFrame) -> str:
    """`curves.summary` with the best mean of each metric in bold."""
    table = curves.summary(scores)
    rows = []
    for arm, cells in table.iterrows():
        rows.append([str(arm), *cells])
    best = {}
    for column, metric in enumerate(table, 1):
        values = compare.per_seed(scores, metric).mean(axis=1) * compare.better(metric)
        best[column] = list(table.index).index(values.idxmax())
    return frame.grid(["Arm", *map(views.short, table)], rows, best)
