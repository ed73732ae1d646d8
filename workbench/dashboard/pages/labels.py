"""What labels are worth: metrics against the number of labels, and what arms gain over a reference arm."""

import io

import pandas as pd
import panel as pn

from workbench import compare, views
from workbench.dashboard import frame
from workbench.dashboard.kinds import apart, classed
from workbench.dashboard.pages import page
from workbench.dashboard.pages.metrics import BOTH, chance
from workbench.runs import Run
from workbench.views import classes, curves, report
from workbench.views import labels as label_curves

FIRST = ("auc", "accuracy")
ALONE = "<p>No other arm has a run with a seed and a number of labels that the reference arm has too.</p>"
LIVE = curves.FRAME | {"min_height": 260}


def several(runs: list[Run]) -> list[Run]:
    """The runs beside which there are others on the same classes that learnt from another number of labels."""
    found: dict[str, set[int]] = {}
    for run in runs:
        found.setdefault(classed(run), set()).add(label_curves.number(run))
    return [run for run in runs if len(found[classed(run)]) > 1]


@page(
    "Label curves", needs={}, order=16, also=classes.read, kind=classes.judges, among=lambda runs: bool(several(runs)),
    example="workbench fit deepcolor -p labelled=64",
)  # fmt: skip
def labels(runs: list[Run]) -> pn.viewable.Viewable:
    """Metrics against the number of labels that runs learnt from; runs with other classes are chosen apart."""
    return apart(several(runs) or runs, lambda alike: Curves(alike).view(), classed)


class Curves:
    """The state of the page, which is that of its widgets, and the panes that they redraw."""

    def __init__(self, runs: list[Run]) -> None:
        self.scores, self.length = label_curves.counted(runs), views.length(runs)
        self.colors = views.palette(self.scores["arm"])
        known = [name for name in compare.metrics(self.scores) if name != "labels" and self.scores[name].notna().any()]
        self.metric, self.reference = frame.select({}, 210), frame.select({}, 210)
        preferred = next((name for name in FIRST if name in known), None)
        frame.offer(self.metric, {views.title(name): name for name in known}, preferred)
        frame.offer(self.reference, {name: name for name in self.colors}, list(self.colors)[-1])
        self.curve, self.gain = frame.plot(330), frame.plot(330)
        self.alone = frame.html("", margin=(0, 12), **frame.STRETCH)
        self.table = frame.html("", margin=(4, 12, 12, 12), **frame.STRETCH)
        self.save = pn.widgets.FileDownload(
            callback=self.export, filename="labels.html", label="Export", width=90, margin=0, stylesheets=[frame.STYLE]
        )
        for widget in (self.metric, self.reference):
            widget.param.watch(lambda _: self.draw(), "value")
        self.draw()

    def draw(self) -> None:
        metric, reference = self.metric.value, self.reference.value
        found = label_curves.gains(self.scores, metric, reference)
        with pn.io.hold():
            self.curve.object = label_curves.curve(self.scores, metric, self.colors, self.length, LIVE)
            drawn = (self.scores, metric, reference, self.colors, self.length, LIVE)
            self.gain.object = label_curves.gain(*drawn) if len(found) else None
            self.alone.object = "" if len(found) else ALONE
            self.table.object = told(label_curves.means(self.scores, metric), found, reference, metric)

    def export(self) -> io.BytesIO:
        """What is shown as one file."""
        metric, reference = self.metric.value, self.reference.value
        shown = label_curves.label_curve(self.scores, metric, reference, self.colors)
        return io.BytesIO(report.document("Label curves", [(views.title(metric), list(shown))]).encode())

    def view(self) -> pn.Column:
        words = [frame.muted("Metric"), self.metric, pn.Spacer(width=14), frame.muted("Reference arm"), self.reference]
        return pn.Column(
            pn.Row(*words, pn.Spacer(width=14), self.save, margin=(0, 0, 10, 0)),
            frame.columns(
                frame.card("Mean over the test cases, 95 % intervals over seeds", self.curve),
                frame.card("Gain over the reference arm, paired over seeds and cases", self.alone, self.gain),
            ),
            frame.card("Numbers", self.table),
            css_classes=["workbench-page"], margin=(14, 20), **frame.STRETCH,
        )  # fmt: skip


def told(means: pd.DataFrame, gains: pd.DataFrame, reference: str, metric: str) -> str:
    """Means and differences from the reference as a table: a row an arm and number of labels."""
    digits, pairs = curves.digits(metric), gains.set_index(["arm", "labels"])
    rows = []
    for row in means.sort_values(["labels", "arm"], kind="stable").itertuples():
        interval = f"{row.low:.{digits}f} … {row.high:.{digits}f}" if row.seeds > 1 else "–"
        cells = [row.arm, f"{row.labels:g}", f"{row.mean:.{digits}f}", interval, row.seeds]
        pair = pairs.loc[(row.arm, row.labels)] if (row.arm, row.labels) in pairs.index else None
        if pair is None:
            rows.append([*cells, "–", "–", "–"])
            continue
        ends = f"{pair['low']:+.{digits}f} … {pair['high']:+.{digits}f}"
        rows.append([*cells, f"{pair['mean']:+.{digits}f}", ends, chance(pair["p"])])
    head = ["Arm", "Labels", views.short(metric), "95 % interval", "Seeds", f"Arm − {reference}", "95 % interval", "p"]
    return frame.remark(f"Differences are paired over groups of cases and seeds, {BOTH}") + frame.grid(head, rows)
