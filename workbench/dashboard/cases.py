"""The list of cases beside the pictures: a table to sort and click, and keys and buttons for the next and the last."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
import pandas as pd
import panel as pn
import param
from bokeh.models import NumberFormatter
from panel.reactive import ReactiveHTML

from workbench import compare, views
from workbench.dashboard import frame
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import curves

PREFERRED = ("fg_psnr", "dice", "ed", "ap", "psnr", "ciede2000", "auc", "accuracy")


class Keys(ReactiveHTML):
    """Counts presses of the arrow keys and of j and k: anywhere in a served page, under the pointer in a notebook."""

    moves = param.Integer(0, doc="Presses of → or j less those of ← or k, or as `steps` tell.")
    steps = param.Dict(default={"ArrowRight": 1, "j": 1, "ArrowLeft": -1, "k": -1}, doc="What each key counts.")
    everywhere = param.Boolean(True)

    _template = '<div id="keys" style="display:none"></div>'
    _scripts = {
        "render": """
          const page = () => {
            let node = view.el
            while (node && !(node.classList && node.classList.contains('workbench-page')))
              node = node.parentNode || node.host
            return node
          }
          state.press = (event) => {
            const move = data.steps[event.key], at = event.composedPath()[0]
            if (!move || event.ctrlKey || event.metaKey || event.altKey || !view.el.isConnected) return
            if (at.isContentEditable || (at.matches && at.matches('input, textarea, select, [role=slider]'))) return
            const root = page()
            if (root && (!root.getClientRects().length || !(data.everywhere || root.matches(':hover')))) return
            event.preventDefault()
            event.stopPropagation()
            data.moves += move
          }
          document.addEventListener('keydown', state.press, true)
        """,
        "remove": "document.removeEventListener('keydown', state.press, true)",
    }


class CaseList(param.Parameterized):
    """The cases that some runs share: `case` is the key of the one shown, the widget `metric` what the table tells."""

    case = param.Parameter()

    def __init__(self, runs: Sequence[Run], names: Sequence[str]) -> None:
        super().__init__()
        self.names, self.pair, self.runs, self.shared, self.scores = list(names), (), [], [], []
        self.metric, self.better = frame.select({}, 190), 1
        self.sorted: tuple = (None, [])  # what the table was asked to show last, and the order that made
        self.settings: dict = {"columns": []}  # the table keeps this very object, and reads it when its columns change
        self.table = frame.table(
            pd.DataFrame(),
            configuration=self.settings,
            selectable=1,
            layout="fit_columns",
            sizing_mode="stretch_both",
            min_height=400,
        )
        self.keys = Keys(everywhere=pn.state.curdoc is not None, width=0, height=0, margin=0)
        self.back, self.forth = frame.button("◀", 38), frame.button("▶", 38)
        self.show(runs)
        self.metric.param.watch(lambda _: self.fill(), "value")
        self.param.watch(lambda _: self.mark(), "case")
        self.table.param.watch(self.clicked, "selection")
        self.back.on_click(lambda _: self.step(-1))
        self.forth.on_click(lambda _: self.step(1))
        self.keys.param.watch(lambda event: self.step(event.new - event.old), "moves")

    def show(self, runs: Sequence[Run], names: Sequence[str] = (), pair: Sequence[str] = ()) -> None:
        """Lists the cases that other runs share; case and metric stay where these have them too.

        Args:
            names: what the runs are called, as before if not given.
            pair: the two whose difference is told, the first two if not given.

        Raises:
            InvalidRun: the runs share no case or no metric.
        """
        shared = views.shared(runs)
        index = pd.Index(shared, tupleize_cols=False)
        scores = [views.scores(run).reindex(index) for run in runs]
        metrics = [name for name in scores[0] if all(name in table for table in scores)]
        if not shared or not metrics:
            found = "none in common" if not shared else "no metric in common"
            raise InvalidRun(" and ".join(map(views.label, runs)), "the same cases", found, "choose another run")
        self.runs, self.shared, self.scores = list(runs), shared, scores
        self.names = list(names) or self.names
        self.pair = tuple(pair) or tuple(self.names[:2])
        with param.parameterized.discard_events(self):
            self.case = self.case if self.case in shared else shared[0]
        preferred = next((name for name in PREFERRED if name in metrics), None)
        frame.offer(self.metric, {views.title(name): name for name in metrics}, preferred)
        self.fill()

    def fill(self) -> None:
        """Puts the metric of every run, and the first of the pair less the second, into the table."""
        metric = self.metric.value
        numbers = {name: table[metric].to_numpy("float32") for name, table in zip(self.names, self.scores)}
        if len(self.pair) == 2:
            first, second = (numbers[name] for name in self.pair)
            numbers[" − ".join(self.pair)] = first - second
        data = self.described() | numbers
        self.table.sorters = [s for s in self.table.sorters if s["field"] in data]
        self.arrange(data, numbers)
        self.table.value = pd.DataFrame(data)
        self.mark()
        self.turn(numbers)

    def worst(self) -> None:
        """Sorts the cases by the first run, the worst on top, and shows that one."""
        self.table.sorters = [{"field": self.names[0], "dir": "asc" if self.better > 0 else "desc"}]
        self.case = self.shared[self.order()[0]]

    def described(self) -> dict[str, list[str]]:
        """What the data tells of every case: its id, and group and background where they add something to it."""
        entries = {views.key(entry): entry for entry in self.runs[0].samples.cases}
        told = {name: [str(entries[key].get(name) or "") for key in self.shared] for name in ("group", "background")}
        cases = [key[0] for key in self.shared]
        adds = {k: len(set(v)) > 1 and any(w not in case for w, case in zip(v, cases)) for k, v in told.items()}
        return {"case": cases} | {name: values for name, values in told.items() if adds[name]}

    def arrange(self, data: Iterable[str], numbers: Iterable[str]) -> None:
        """How the columns look, and that a first click on one with numbers puts the worst case first."""
        metric = self.metric.value
        worst = "asc" if compare.better(metric) > 0 else "desc"
        width = 62 if len(self.names) < 4 else 48
        numeric = {"headerSortStartingDir": worst, "headerHozAlign": "right", "width": width}
        special = {name: numeric for name in numbers} | {"background": {"title": "back"}}
        plain = {"resizable": "header"}  # handles between the cells would take clicks that are meant for a row
        self.settings["columns"] = [{"field": name} | plain | special.get(name, {}) for name in data]
        decimals = NumberFormatter(format="0." + "0" * curves.digits(metric), nan_format="–")
        self.table.formatters = dict.fromkeys(numbers, decimals)
        self.table.text_align = dict.fromkeys(numbers, "right")

    def turn(self, numbers: Iterable[str]) -> None:
        """Keeps what was sorted worst first so where the other metric is better the other way round."""
        better = compare.better(self.metric.value)
        if better != self.better:
            self.better, turned = better, {"asc": "desc", "desc": "asc"}
            sorters = self.table.sorters
            self.table.sorters = [s | {"dir": turned[s["dir"]]} if s["field"] in numbers else s for s in sorters]

    def mark(self) -> None:
        """Selects the row of the case."""
        self.table.selection = [self.shared.index(self.case)]

    def place(self) -> str:
        """Which case is shown, and where it stands in the table as it is sorted."""
        entry = next(e for e in self.runs[0].samples.cases if views.key(e) == self.case)
        names = [str(entry[name]) for name in ("group", "background") if entry.get(name)]
        told = [escape(name) for name in names if name != self.case[0]]
        place = self.order().index(self.shared.index(self.case)) + 1
        count = f"<span class='muted'>{place} of {len(self.shared)}</span>"
        return f"<b>{escape(self.case[0])}</b> {' · '.join(['', *told])} &ensp; {count}"

    def order(self) -> list[int]:
        """The numbers of the cases as the table is sorted now."""
        asked = (repr(self.table.sorters), id(self.table.value))
        if asked != self.sorted[0]:
            self.sorted = (asked, list(self.table.current_view.index))
        return self.sorted[1]

    def clicked(self, event: param.parameterized.Event) -> None:
        if event.new and event.new[0] < len(self.shared):
            self.case = self.shared[event.new[0]]
        else:
            self.mark()  # a second click would leave no case selected

    def step(self, move: int) -> None:
        """Moves some rows down the table, as it is sorted, and no further than its ends."""
        order = self.order()
        place = order.index(self.shared.index(self.case)) + move
        self.case = self.shared[order[max(0, min(place, len(order) - 1))]]


def opponents(runs: Sequence[Run]) -> tuple[Run, Run]:
    """The two to begin with: the best run, and the best of another arm if there is one."""
    metrics = [set(views.scores(run)) for run in runs]
    name = next(iter([m for m in PREFERRED if all(m in each for each in metrics)]), None)
    means = [views.scores(run)[name].mean() * compare.better(name) if name else 0.0 for run in runs]
    ranked = [run for _, run in sorted(zip(means, runs), key=lambda pair: -np.nan_to_num(pair[0], nan=-np.inf))]
    return ranked[0], next((run for run in ranked if run.arm != ranked[0].arm), ranked[-1])
