"""A live view of a study in training, for a notebook's cell: `study.run(watch=Monitor(study))`.

It shows which run is being trained and how long it will take, the learning curves of all runs so far, and what the
method makes of a few validation images; its Stop button ends the training, which can be resumed. A watched run ends
bit-equal to one that nobody watched. When the cell ends, plain HTML takes the widgets' place, so that a saved notebook
and a report made without a browser show the curves too.

JupyterLab hands clicks to a second thread of the kernel (a subshell), so they arrive while the cell is busy. Other
front ends may hold them back until the cell has ended; there, interrupting the kernel stops the training just as well.
"""

import base64
import html
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from IPython import get_ipython
from IPython.display import display

from workbench import runs, views
from workbench.monitor import curves, pictures
from workbench.progress import Progress
from workbench.study import Study, Task

SMALL = (430, 200)  # pixels of a curve among all the others in the plain HTML; every size is fixed, so nothing jumps
HEAD, CAPTION, ROW, GAP = 74, 40, 32, 12  # heights, pixels
REFRESH = 1.0  # seconds between updates of text, bars and curves
LOOK = 5.0  # seconds between predictions of the validation images
SHARE = 20  # predictions take at most one part in so many of the time
TRACK = "rgba(128, 128, 128, 0.25)"  # of a bar's empty part, on light and on dark

Logs = dict[str, list[curves.Point]]  # of one run: quantity -> (step, value)


# ---------------------------------------------------------------- text


def words(seconds: float) -> str:
    """A time as one would say it.

    >>> words(3), words(42), words(100), words(5000)
    ('a few seconds', 'about 40 seconds', 'about 2 minutes', 'about 1 h 20 min')
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds / 10) * 10} seconds"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return "about a minute" if minutes == 1 else f"about {minutes} minutes"
    hours, minutes = divmod(round(minutes / 10) * 10, 60)
    return f"about {hours} h {minutes} min" if minutes else f"about {hours} h"


def heading(title: str, lines: Sequence[tuple[str, float]]) -> str:
    """HTML of a bold title and up to two lines of text, each with a bar that is filled to its part in [0, 1]."""
    rows = [
        f'<div style="display:flex;align-items:center;gap:12px"><div style="flex:0 0 160px;height:6px;'
        f'border-radius:3px;background:{TRACK}"><div style="width:{100 * min(1, max(0, part)):.1f}%;height:6px;'
        f'border-radius:3px;background:{curves.color(0)}"></div></div><span>{html.escape(text)}</span></div>'
        for text, part in lines
    ]
    style = f"height:{HEAD}px;line-height:22px;white-space:nowrap;overflow:hidden"
    return f'<div style="{style}"><b>{html.escape(title)}</b>{"".join(rows)}</div>'


def caption(note: str, names: Sequence[tuple[str, str]], side: int) -> str:
    """HTML above the pictures: a note, and over each column what it is."""
    cells = [
        f'<span style="flex:0 0 {side + 4}px;overflow:hidden;text-overflow:ellipsis;'
        f'font-weight:{700 if kind == "predicted" else 400}">{html.escape(name)}</span>'
        for kind, name in names
    ]
    style = f"height:{CAPTION}px;line-height:{CAPTION // 2}px;white-space:nowrap;overflow:hidden;font-size:11px"
    return f'<div style="{style}">{html.escape(note)}<div style="display:flex">{"".join(cells)}</div></div>'


def embedded(content: bytes, kind: str) -> str:
    """An <img> that holds its picture itself; a notebook that is not trusted shows it too."""
    return f'<img style="max-width:none" src="data:image/{kind};base64,{base64.b64encode(content).decode()}"/>'


# ---------------------------------------------------------------- widgets


def free(widget: ipywidgets.DOMWidget) -> None:
    """Let the front end choose the thread that hears of a click.

    ipykernel from 7.4 on sends what a widget says to the thread that last spoke to that widget. After the cell has,
    that is the cell's own, which is busy training; so its note of that is taken away.
    """
    vars(widget.comm).pop("_reply_subshell_id", None)


class Board:
    """The widgets, all of fixed size. The training's thread writes them; clicks arrive in another."""

    def __init__(self, stop: Callable[[], None], chosen: Callable[[], None]) -> None:
        self.head, self.curves, self.caption = (ipywidgets.HTML() for _ in range(3))
        self.pictures = ipywidgets.Image(value=pictures.sheet({}), layout=fixed(*pictures.SIZE))
        self.choice = ipywidgets.Dropdown(options=[], layout=fixed(curves.SIZE[0], ROW))
        tip = "Ends the training after this step; run the cell again and it resumes. No answer? Interrupt the kernel."
        self.button = ipywidgets.Button(description="Stop", icon="stop", tooltip=tip, layout=fixed(110, ROW))
        self.button.on_click(lambda _: stop())
        self.choice.observe(lambda _: chosen(), "value")
        width, height = curves.SIZE[0] + GAP, ROW + GAP + curves.SIZE[1]
        side = pictures.SIZE[0]
        self.head.layout = fixed(width + side - 110, HEAD)
        self.curves.layout, self.caption.layout = fixed(*curves.SIZE), fixed(side, CAPTION)
        left = ipywidgets.VBox([self.choice, self.curves], layout=fixed(width, height))
        right = ipywidgets.VBox([self.caption, self.pictures], layout=fixed(side, height))
        self.box = ipywidgets.VBox([ipywidgets.HBox([self.head, self.button]), ipywidgets.HBox([left, right])])
        free(self.button)
        free(self.choice)

    def offer(self, names: Sequence[str], wanted: str | None) -> None:
        """Put what can be chosen into the list; the chosen name stays, but `wanted` is chosen when it first comes."""
        if list(names) == list(self.choice.options):
            return
        kept = wanted if wanted in names and wanted not in self.choice.options else self.choice.value
        with self.choice.hold_sync():
            self.choice.options = list(names)
            self.choice.value = kept if kept in names else next(iter(names))
        free(self.choice)

    def close(self) -> None:
        for widget in (self.head, self.curves, self.caption, self.pictures, self.choice, self.button, self.box):
            widget.close()


def fixed(width: int, height: int) -> ipywidgets.Layout:
    size = {"width": f"{width}px", "height": f"{height}px"}
    return ipywidgets.Layout(**size, min_width=size["width"], margin="0", overflow="hidden", flex="0 0 auto")


# ---------------------------------------------------------------- the monitor


class Monitor:
    """Watches a study: `study.run(watch=Monitor(study))`.

    Args:
        study: what will be run, so that it can tell how many runs there are and show the curves of finished ones.
        quantity: what is drawn first, such as `valid/psnr`; the list above the curves offers all that was logged.
        cases: how many validation images are predicted.
        clock: seconds, always growing.
    """

    def __init__(
        self,
        study: Study | None = None,
        quantity: str | None = None,
        cases: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tasks = study.tasks() if study else []
        self.quantity, self.cases, self.clock = quantity, cases, clock
        self.logs: dict[tuple[str, int], Logs] = {}
        self.steps, self.spent = 0, []  # of the longest run; seconds of each run that has ended
        self.stopping = threading.Event()
        self.board, self.task, self.handle = None, None, None  # while a study is being watched

    def __call__(self, task: Task, told: Progress) -> bool:
        """Note what was logged and refresh the view where it is time; True asks for the end of the training."""
        if self.board is None:
            self.open()
        if self.task is None or (task.name, task.seed) != (self.task.name, self.task.seed):
            self.enter(task, told)
        self.told = told
        for name, value in told.logs.items():
            self.logs[task.name, task.seed].setdefault(name, []).append((told.total, value))
        last, now = told.total == told.epochs * told.steps, self.clock()
        if last or now >= self.next_look:
            self.look()
        if last or now >= self.next_draw:
            self.draw()
        return self.stopping.is_set()

    def open(self) -> None:
        """Show the widgets below the running cell; when it ends, however it ends, `finish` follows."""
        self.stopping.clear()
        self.board, self.task, self.handle = Board(self.stop, self.hurry), None, None
        self.thread, self.shell = threading.get_ident(), get_ipython()
        if self.shell is not None:
            self.handle = display(self.board.box, display_id=True)
            self.shell.events.register("post_run_cell", self.ended)

    def enter(self, task: Task, told: Progress) -> None:
        """Take up a new run, with what was logged of it and of those before it by an earlier process."""
        now, key = self.clock(), (task.name, task.seed)
        if self.task is not None:
            self.spent.append(now - self.began)
        self.task, self.told = task, told
        names = [(other.name, other.seed) for other in self.tasks]
        for other in self.tasks[: names.index(key) if key in names else 0]:
            if (other.name, other.seed) not in self.logs:
                self.logs[other.name, other.seed] = recorded(other)
        self.logs[key] = recorded(task, told.skipped) if told.skipped else {}
        self.number, self.count = (names.index(key) + 1, len(names)) if key in names else (len(self.logs), 0)
        self.steps = max(self.steps, told.epochs * told.steps)
        self.began = self.next_look = self.next_draw = now
        self.batch = task.data.valid.__getitems__(range(min(self.cases, len(task.data.valid))))

    def stop(self) -> None:
        """End the training after its current step, as the Stop button does."""
        self.stopping.set()
        if self.board is not None:
            self.board.button.description, self.board.button.disabled = "Stopping…", True

    def hurry(self) -> None:
        self.next_draw = -math.inf

    @property
    def quantities(self) -> list[str]:
        return list(dict.fromkeys(name for logs in self.logs.values() for name in logs))

    def svg(self, quantity: str | None, size: tuple[int, int] = curves.SIZE) -> str:
        """SVG of one quantity, all runs so far; an arm has the same colour from the first run on."""
        arms: dict[str, list] = {task.name: [] for task in self.tasks}
        for (arm, _), logs in self.logs.items():
            arms.setdefault(arm, []).append(logs.get(quantity, []))
        unit = views.UNITS.get((quantity or "").rpartition("/")[2])
        return curves.draw(arms, (quantity or "") + (f" ({unit})" if unit else ""), steps=self.steps, size=size)

    def draw(self) -> None:
        """Refresh text, bars and curves."""
        if self.quantities:
            self.board.offer(self.quantities, self.quantity)
        self.board.head.value = heading(*self.status())
        self.board.curves.value = self.svg(self.board.choice.value)
        self.next_draw = self.clock() + REFRESH

    def status(self) -> tuple[str, list[tuple[str, float]]]:
        """The lines above the curves: which run this is, then this run's and all runs' part done and time left."""
        told = self.told
        (here, part), *others = self.parts()
        rest = f"{words(told.left)} left for this run" if part < 1 else "scoring the test images"
        lines = [(f"{here}: {rest}", part)]
        if others:
            mean = sum(self.spent) / len(self.spent) if self.spent else self.clock() - self.began + told.left
            rest = words(told.left + mean * (self.count - self.number))
            lines.append((f"{others[0][0]}: {rest} left for all", others[0][1]))
        return f"{self.task.name}, seed {self.task.seed}", lines

    def parts(self) -> list[tuple[str, float]]:
        """How far this run is and, where their number is known, all runs: in words, and as a part in [0, 1]."""
        told, steps = self.told, self.told.epochs * self.told.steps
        parts = [(f"epoch {told.epoch} of {told.epochs}, step {told.total} of {steps}", told.total / steps)]
        if self.count:
            done = (self.number - 1 + told.total / steps) / self.count
            parts.append((f"run {self.number} of {self.count}", done))
        return parts

    def look(self) -> None:
        """Refresh the pictures: inputs and targets as given, and what the method makes of them now."""
        start = self.clock()
        columns = {("given", key): self.batch[key] for key in self.task.data.shown if key in self.batch}
        if len(next(iter(self.batch.values()))):
            prediction = pictures.predict(self.told.method, self.batch)
            columns |= {("predicted", key): value for key, value in prediction.items()}
        drawn = {name: pictures.picture(value) for name, value in columns.items() if len(value)}
        shown = {name: stack for name, stack in drawn.items() if stack is not None}
        rows = max(map(len, shown.values()), default=1)
        made = f"Validation images; in bold what {self.task.name} predicts after step {self.told.total}"
        note = made if shown else "No pictures to show"
        self.board.caption.value = caption(note, list(shown), pictures.tile(max(1, len(shown)), rows))
        self.board.pictures.value = pictures.sheet(shown)
        self.next_look = self.clock() + max(LOOK, SHARE * (self.clock() - start))

    def ended(self, result: Any) -> None:
        """The cell has ended: take up how."""
        if threading.get_ident() != self.thread:  # a cell of another thread, such as a second console of this kernel
            return
        where = f"{self.task.name}, seed {self.task.seed}"
        error = result.error_in_exec
        if error is None:
            self.finish(f"{len(self.logs)} {'run' if len(self.logs) == 1 else 'runs'} done")
        elif isinstance(error, KeyboardInterrupt):
            self.finish(f"Stopped in {where}; run the cell again and it resumes")
        else:
            self.finish(f"{type(error).__name__} in {where}")

    def finish(self, title: str) -> None:
        """Put plain HTML in the widgets' place: curves and pictures as they are now, under a title."""
        if self.board is None:
            return
        self.draw()
        twin = {"text/html": self.twin(title), "text/plain": title}
        if self.shell is not None:
            self.handle.update(twin, raw=True)
            self.shell.events.unregister("post_run_cell", self.ended)
        self.board.close()
        self.board = None

    def twin(self, title: str) -> str:
        """HTML without scripts: the chosen quantity's curves, the pictures, and folded away the other curves."""
        chosen = self.board.choice.value
        others = [self.svg(name, SMALL) for name in self.quantities if name != chosen]
        drawn = [embedded(svg.encode(), "svg+xml") for svg in (self.svg(chosen), *others)]
        looks = self.board.caption.value + embedded(self.board.pictures.value, "png")
        more = f"<details><summary>All that was logged</summary>{''.join(drawn[1:])}</details>" if others else ""
        name = f'<div style="height:{ROW}px;line-height:{ROW}px">{html.escape(chosen or "")}</div>'
        left = f'<div style="width:{curves.SIZE[0] + GAP}px">{name}{drawn[0]}</div>'
        right = f'<div style="width:{pictures.SIZE[0]}px">{looks}</div>'
        both = f'<div style="display:flex;flex-wrap:wrap;min-height:{ROW + GAP + curves.SIZE[1]}px">{left}{right}</div>'
        return heading(title, self.parts()) + both + more


def recorded(task: Task, steps: float = math.inf) -> Logs:
    """What the folder of a run holds of its learning curves, up to a step."""
    table = runs.Run(runs.folder(task.root, task.arm.method, runs.identity(task.request()))).metrics()
    table = table[table["step"] <= steps] if len(table) else table
    names = [name for name in table.columns if name not in ("step", "epoch", "time")]
    return {name: list(table[["step", name]].dropna().itertuples(index=False, name=None)) for name in names}
