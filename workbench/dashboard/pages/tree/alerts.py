"""The alerts of one neuron as a table to sort and click, and keys and buttons for the next and the last."""

import pandas as pd
import panel as pn
import param
from bokeh.models import NumberFormatter

from workbench.dashboard import frame
from workbench.dashboard.cases import Keys

DECIMALS = {"node": "0", "x": "0.0", "y": "0.0", "z": "0.0", "score": "0.000"}
WIDTHS = {"node": 42, "x": 46, "y": 46, "z": 46, "score": 50}


class AlertList(param.Parameterized):
    """`node` is the one that was chosen last, by a click or a step in the table or by `choose`."""

    node = param.Integer(-1)

    def __init__(self, unit: str) -> None:
        super().__init__()
        plain = {"resizable": "header", "headerSort": True}
        titles = {axis: f"{axis} {unit}" if unit != "voxels" else axis for axis in "xyz"}
        columns = [
            {"field": name, "title": titles.get(name, name), "width": width, "headerHozAlign": "right"} | plain
            for name, width in WIDTHS.items()
        ]
        self.table = frame.table(
            pd.DataFrame({name: [] for name in (*WIDTHS, "kind")}),
            configuration={"columns": [*columns, {"field": "kind", "tooltip": True} | plain]},
            selectable=1, layout="fit_columns", sizing_mode="stretch_both", min_height=200,
            formatters={name: NumberFormatter(format=format) for name, format in DECIMALS.items()},
            text_align=dict.fromkeys(WIDTHS, "right"),
        )  # fmt: skip
        self.keys = Keys(steps={"n": 1, "p": -1}, everywhere=pn.state.curdoc is not None, width=0, height=0, margin=0)
        self.back, self.forth = frame.button("◀ alert", 76), frame.button("alert ▶", 76)
        self.table.param.watch(self.clicked, "selection")
        self.back.on_click(lambda _: self.step(-1))
        self.forth.on_click(lambda _: self.step(1))
        self.keys.param.watch(lambda event: self.step(event.new - event.old), "moves")

    @property
    def nodes(self) -> list[int]:
        """Those of the table, from row to row as it was given."""
        return [int(node) for node in self.table.value["node"]]

    def show(self, alerts: pd.DataFrame, node: int) -> None:
        """Lists other alerts, as of `trees.alerts`, and chooses a node."""
        self.table.value = alerts[[*WIDTHS, "kind"]]
        self.choose(node)

    def choose(self, node: int) -> None:
        """Marks the row of a node, if it has one."""
        with param.parameterized.discard_events(self):
            self.node = -1
        self.node = node
        self.mark()

    def mark(self) -> None:
        nodes = self.nodes
        self.table.selection = [nodes.index(self.node)] if self.node in nodes else []

    def order(self) -> list[int]:
        """The numbers of the rows as the table is sorted now."""
        return list(self.table.current_view.index)

    def place(self) -> str:
        """Where the chosen node stands in the table as it is sorted."""
        order, nodes = self.order(), self.nodes
        count = f"{len(order)} alert{'s' * (len(order) != 1)}"
        return f"{order.index(nodes.index(self.node)) + 1} of {count}" if self.node in nodes else count

    def clicked(self, event: param.parameterized.Event) -> None:
        if event.new and event.new[0] < len(self.nodes):
            if self.nodes[event.new[0]] != self.node:
                self.choose(self.nodes[event.new[0]])
        elif not event.new and self.node in self.nodes:
            self.mark()  # a second click would leave none selected

    def step(self, move: int) -> None:
        """Moves some rows down the table, as it is sorted, and no further than its ends; into it from beside it."""
        order, nodes = self.order(), self.nodes
        if order:
            here = order.index(nodes.index(self.node)) if self.node in nodes else -1 if move > 0 else len(order)
            self.choose(nodes[order[max(0, min(here + move, len(order) - 1))]])
