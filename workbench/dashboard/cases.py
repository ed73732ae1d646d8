"""The list of cases beside the pictures: a table to sort and click, buttons, and keys for the next and the previous one."""

from collections.abc import Sequence
from html import escape

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

PREFERRED = ("fg_psnr", "psnr", "ciede2000")
TABLE = """
.tabulator { border: none; background: white; font-size: 12px; }
.tabulator .tabulator-header { background: white; border-bottom: 1px solid #c5ccd4; font-weight: 600; }
.tabulator .tabulator-header .tabulator-col { background: white; border-right: none; }
.tabulator .tabulator-row .tabulator-cell { border-right: none; padding: 4px 6px; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 4px 6px; }
.tabulator-row { min-height: 24px; cursor: pointer; border-bottom: 1px solid #eef0f3; }
.tabulator-row.tabulator-row-even { background: white; }
.tabulator-row.tabulator-selected, .tabulator-row.tabulator-selected:hover { background: #d3e5f3 !important; color: #1f2933; }
.tabulator-row.tabulator-selectable:hover { background: #eef4f9; }
"""


class Keys(ReactiveHTML):
    """Counts presses of the arrow keys and of j and k: in a page of its own everywhere, in a notebook under the pointer."""

    moves = param.Integer(0, doc="Presses of → or j less those of ← or k.")
    everywhere = param.Boolean(True)

    _template = '<div id="keys" style="display:none"></div>'
    _scripts = {
        "render": """
          const step = {ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1}
          const page = () => {
            let node = view.el
            while (node && !(node.classList && node.classList.contains('workbench-page')))
              node = node.parentNode || node.host
            return node
          }
          state.press = (event) => {
            const move = step[event.key], at = event.composedPath()[0]
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
    """The cases that some runs share; `case` is the key of the one shown, `metric` the one in the columns of the table."""

    case = param.Parameter()
    metric = param.Selector(objects=[""])

    def __init__(self, runs: Sequence[Run], names: Sequence[str]) -> None:
        super().__init__()
        self.names, self.runs, self.shared, self.scores = list(names), [], [], []
        self.settings: dict = {"columns": []}  # the table keeps this very object, and reads it when its columns change
        self.table = pn.widgets.Tabulator(
            pd.DataFrame({"case": [""]}), configuration=self.settings, show_index=False, disabled=True, selectable=1,
            theme="simple", layout="fit_columns", height=540, margin=0, sizing_mode="stretch_width",
            stylesheets=[TABLE],
        )  # fmt: skip
        self.keys = Keys(everywhere=pn.state.curdoc is not None, width=0, height=0, margin=0)
        self.back, self.forth = frame.button("◀ Previous"), frame.button("Next ▶")
        self.show(runs)
        self.choice = pn.widgets.Select.from_param(self.param.metric, name="", width=180, stylesheets=[frame.STYLE])
        self.param.watch(lambda _: self.fill(), "metric")
        self.param.watch(lambda _: self.mark(), "case")
        self.table.param.watch(self.clicked, "selection")
        self.back.on_click(lambda _: self.step(-1))
        self.forth.on_click(lambda _: self.step(1))
        self.keys.param.watch(lambda event: self.step(event.new - event.old), "moves")

    def show(self, runs: Sequence[Run]) -> None:
        """Lists the cases that other runs share; case and metric stay where these have them too.

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
        metric = next((m for m in (self.metric, *PREFERRED) if m in metrics), metrics[0])
        with param.parameterized.discard_events(self):
            self.param.metric.objects = {views.title(name): name for name in metrics}
            self.metric = metric
            self.case = self.case if self.case in shared else shared[0]
        self.fill()

    def fill(self) -> None:
        """Puts the metric of every run, and the first less the second, into the table."""
        entries = {views.key(entry): entry for entry in self.runs[0].samples.cases}
        data = {"case": [key[0] for key in self.shared]}
        for name in ("group", "background"):
            values = [str(entries[key].get(name) or "") for key in self.shared]
            if len(set(values)) > 1:
                data[name] = values
        numbers = {name: table[self.metric].to_numpy("float32") for name, table in zip(self.names, self.scores)}
        if len(numbers) == 2:
            first, second = numbers.values()
            numbers[" − ".join(self.names)] = first - second
        worst = "asc" if compare.better(self.metric) > 0 else "desc"
        self.settings["columns"] = [{"field": name, "headerSortStartingDir": worst} for name in numbers]
        decimals = NumberFormatter(format="0." + "0" * curves.digits(self.metric), nan_format="–")
        self.table.formatters = dict.fromkeys(numbers, decimals)
        self.table.text_align = dict.fromkeys(numbers, "right")
        self.table.value = pd.DataFrame(data | numbers)
        self.mark()

    def mark(self) -> None:
        """Selects the row of the case."""
        self.table.selection = [self.shared.index(self.case)]

    def place(self) -> str:
        """Which case is shown, and where it stands in the table as it is sorted."""
        entry = next(e for e in self.runs[0].samples.cases if views.key(e) == self.case)
        told = [escape(str(entry[name])) for name in ("group", "background") if entry.get(name)]
        place = self.order().index(self.shared.index(self.case)) + 1
        count = f"<span class='muted'>{place} of {len(self.shared)}</span>"
        return f"<b>{escape(self.case[0])}</b> {' · '.join(['', *told])} &ensp; {count}"

    def order(self) -> list[int]:
        """The numbers of the cases as the table is sorted now."""
        return list(self.table.current_view.index)

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
