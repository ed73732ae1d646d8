"""Segmentations of any runs beside the truth: contours, filled classes and errors, of images and planes of volumes."""

import io
from collections.abc import Sequence
from functools import cached_property
from html import escape
from itertools import permutations
from string import ascii_uppercase

import numpy as np
import panel as pn

from workbench import compare, views
from workbench.dashboard import frame
from workbench.dashboard.cases import CaseList, opponents
from workbench.dashboard.kinds import apart
from workbench.dashboard.pages import page
from workbench.dashboard.pages.masks import board
from workbench.dashboard.pages.masks.slices import Arrays, Look, layers, messages
from workbench.dashboard.pictures import Pictures
from workbench.dashboard.scatter import Points
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import colors, curves, numbers, report, volumes
from workbench.views import masks as segmentation
from workbench.views.volumes import Plane

STYLES = ("Contours", "Filled", "Errors")
MOST = 8  # columns that can still be told apart
EXPORTED = 12


def still(run: Run) -> bool:
    """Whether the samples are pictures or volumes: planes of a video would mix its frames."""
    return not views.moving(run)


@page(
    "Masks", needs=segmentation.NEEDS, order=15, also=segmentation.check, kind=still,
    example="workbench run crossdenoise",
)  # fmt: skip
def masks(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares the masks of any runs case by case; runs on data of another size or other classes are chosen apart."""
    return apart(runs, lambda alike: Comparison(alike).view())


class Comparison:
    """The state of the page, which is that of its widgets, and the pictures they change."""

    def __init__(self, runs: list[Run]) -> None:
        self.options = {views.label(run): run for run in runs}
        self.labels, self.shape = segmentation.labels(runs[0]), segmentation.shape(runs[0])
        self.length = views.length(runs)
        self.tints = segmentation.palette(self.labels)
        self.planes, self.volume = volumes.planes(len(self.shape)), len(self.shape) == 3
        self.colored = not self.volume and runs[0].samples.array("image").ndim == 4
        first = dict.fromkeys(views.label(run) for run in opponents(runs))
        self.choices = [self.choice(self.options[name]) for name in first]
        self.cases = CaseList([c.value for c in self.choices], self.letters)
        self.controls()
        self.pairs()
        self.holder = pn.Column(**frame.WIDE)
        self.build()
        self.cases.worst()
        self.watch()
        self.draw()

    # ------------------------------------------------------------ widgets

    @property
    def letters(self) -> list[str]:
        return list(ascii_uppercase[: len(self.choices)])

    @property
    def chosen_runs(self) -> list[Run]:
        return [choice.value for choice in self.choices]

    def choice(self, run: Run) -> pn.widgets.Select:
        made = pn.widgets.Select(options=self.options, value=run, margin=0, stylesheets=[frame.STYLE], **frame.STRETCH)
        made.param.watch(lambda _: self.choose(), "value")
        return made

    def controls(self) -> None:
        style = {"margin": 0, "stylesheets": [frame.STYLE]}
        lines = "".join(
            f":host .bk-btn:nth-child({place}) {{ border-bottom: 3px solid {tint}; }}"
            for place, tint in enumerate(self.tints.values(), 1)
        )
        names = list(self.labels)
        self.style = pn.widgets.RadioButtonGroup(options=list(STYLES[: 3 if self.volume else 2]), **style)
        self.opacity = pn.widgets.IntSlider(value=60, start=0, end=100, step=5, show_value=False, width=90, **style)
        self.shown = pn.widgets.CheckButtonGroup(options=names, value=names, margin=0, stylesheets=[frame.STYLE, lines])
        self.truth = pn.widgets.Toggle(label="Truth on runs", value=True, width=100, height=30, **style)
        self.focus = frame.select({name: name for name in names}, 110)
        self.focus.value = names[-1]
        self.pair = frame.select({}, 66)
        self.whole, self.more = frame.button("Whole image", 96), frame.button("Add run", 70)
        self.save = pn.widgets.FileDownload(
            callback=self.export, filename="masks.html", label=f"Export {EXPORTED} cases", width=130, **style
        )
        self.convention = frame.select({name.capitalize(): name for name in volumes.CONVENTIONS}, 120)
        self.center = frame.button("Go to truth", 90)
        self.sliders = {
            plane.name: pn.widgets.IntSlider(
                value=self.shape[plane.axis] // 2, start=0, end=self.shape[plane.axis] - 1, show_value=False,
                stylesheets=[frame.STYLE], **frame.WIDE,
            )
            for plane in self.planes if plane.axis is not None
        }  # fmt: skip

    def watch(self) -> None:
        for widget in (self.style, self.shown, self.truth, self.focus, self.convention, *self.sliders.values()):
            widget.param.watch(lambda _: self.draw(), "value")
        self.opacity.param.watch(lambda event: self.fade(event.new), "value")
        self.pair.param.watch(lambda _: self.contrast(), "value")
        self.whole.on_click(lambda _: self.pictures.reset())
        self.more.on_click(lambda _: self.add())
        self.center.on_click(lambda _: self.go(segmentation.center(self.cases.runs[0], self.cases.case)))
        self.cases.param.watch(lambda _: self.draw(), "case")
        self.cases.metric.param.watch(lambda _: self.plot(), "value")
        self.cases.table.param.watch(lambda _: self.say(place=self.cases.place()), ["sorters", "value"])

    def fade(self, per_cent: int) -> None:
        self.pictures.opaque(per_cent / 100)
        self.pictures.push()

    # ------------------------------------------------------------ which runs

    def add(self) -> None:
        """One more column: a run that is not shown yet."""
        taken = set(map(views.label, self.chosen_runs))
        free = [run for name, run in self.options.items() if name not in taken]
        if free and len(self.choices) < MOST:
            self.become([*self.choices, self.choice(free[0])])

    def become(self, choices: list[pn.widgets.Select]) -> None:
        """More or fewer columns, unless their runs have nothing in common."""
        before, self.choices = self.choices, choices
        if not self.choose(rebuild=True):
            self.choices = before

    def choose(self, rebuild: bool = False) -> bool:
        """Other runs: the cases all of them share, the case kept where they have it; whether there are any."""
        with pn.io.hold():
            try:
                segmentation.alike(self.chosen_runs)
                self.cases.show(self.chosen_runs, self.letters, self.pairs())
            except InvalidRun as error:
                self.say(message=f"<div>{escape(str(error))}</div>")
                return False
            if rebuild:
                self.build()
            self.plot()
            self.draw()
        return True

    def pairs(self) -> tuple[str, ...]:
        """The two runs whose difference is told: the chosen pair as long as both are shown, else the first two."""
        options = {f"{a}, {b}": (a, b) for a, b in permutations(self.letters, 2)}
        frame.offer(self.pair, options)
        self.pair.visible = len(self.letters) > 2
        return self.pair.value or ()

    def contrast(self) -> None:
        """Another pair in the table and in the scatter plot."""
        if self.pair.value and self.pair.value != self.cases.pair:
            self.cases.show(self.cases.runs, self.letters, self.pair.value)
            self.plot()

    def build(self) -> None:
        """Pictures and board for as many runs as are chosen."""
        columns = ["image", *(["luma"] if self.colored else []), *layers(self.letters)]
        steps = self.cases.runs[0].samples.array("spacing")[0]
        self.pictures = Pictures(
            self.planes, columns, ["truth", *self.letters], volumes.lengths(self.shape, steps),
            [*self.tints.values(), *segmentation.ERRORS.values()], self.tapped if self.volume else None,
        )  # fmt: skip
        self.pictures.opaque(self.opacity.value / 100)
        self.more.disabled = len(self.choices) >= min(MOST, len(self.options))
        self.board = self.layout(self.letters)
        self.holder.objects = [self.board]

    def layout(self, keys: list[str]) -> board.Board:
        made, spots, picture = [], [], self.pictures.picture
        widest = max(self.pictures.frames[plane.across] for plane in self.planes)
        for number, plane in enumerate(self.planes):
            row = 3 + 2 * number if self.volume else 2
            width = 100 * self.pictures.frames[plane.across] / widest
            for column, key in enumerate(["truth", *keys], 1):
                layer = key if key == "truth" else f"layer_{key}"
                made.append(picture(plane, "image", layer, key, self.colored))
                spots.append([row, column, width])
        if not self.volume:
            plane = self.planes[0]
            made.append(picture(plane, "image", None, None, self.colored))
            made += [picture(plane, "luma" if self.colored else "image", f"error_{key}", None, False) for key in keys]
            spots += [[4, column, 100] for column in range(1, 2 + len(keys))]
        lines = [2 + 2 * number for number in range(len(self.planes))] if self.volume else [3]
        return board.Board(
            back=self.cases.back, forth=self.cases.forth, style=self.style, opacity=self.opacity, shown=self.shown,
            truth=self.truth, focus=self.focus, whole=self.whole, more=self.more, save=self.save,
            extra=pn.Row(self.convention, self.center, margin=0) if self.volume else pn.Spacer(width=0, margin=0),
            choices=[self.head(number) for number in range(len(keys))],
            sliders=list(self.sliders.values()) or [pn.Spacer(width=0, margin=0)], pictures=made,
            letters=self.letters, spots=spots, lines=lines, columns=1 + len(keys), share=self.share(),
            noted=[[row, column] for row in lines for column in range(2, 2 + len(keys))],
            texts={"legend": board.legend(next(iter(self.tints.values()))), "errors": board.errors()}, **frame.WIDE,
        )  # fmt: skip

    def share(self) -> float:
        """The width of a column per height of all rows of pictures."""
        frames = self.pictures.frames
        rows = [frames[plane.up] for plane in self.planes] * (1 if self.volume else 2)
        return round(max(frames[plane.across] for plane in self.planes) / sum(rows), 3)

    def head(self, number: int) -> pn.viewable.Viewable:
        """What chooses the run of a column; from the third run on it can be taken away."""
        choice = self.choices[number]
        if number < 2:
            return choice
        away = frame.button("✕", 30)
        away.on_click(lambda _: self.become([other for other in self.choices if other is not choice]))
        return pn.Row(choice, away, margin=0, **frame.STRETCH)

    # ------------------------------------------------------------ what is seen

    def chosen(self, number: int) -> None:
        """A click on a point of the scatter plot."""
        self.cases.case = self.cases.shared[number]

    def tapped(self, plane: Plane, across: float, up: float) -> None:
        """A click on a picture of a volume: the other planes go there."""
        at, steps = list(self.at()), self.steps()
        for axis, place in ((plane.across, across), (plane.up, up)):
            at[axis] = int(np.clip(place // steps[axis], 0, self.shape[axis] - 1))
        self.go(at)

    def go(self, at: Sequence[int]) -> None:
        """Moves the slices to a voxel."""
        with pn.io.hold():
            for plane in self.planes:
                self.sliders[plane.name].value = at[plane.axis]

    def at(self) -> tuple[int, ...]:
        """The voxel where the planes meet."""
        return tuple(slider.value for slider in self.sliders.values())

    def steps(self) -> np.ndarray:
        """The spacing of the case, in mm."""
        run = self.cases.runs[0]
        return np.array(run.samples.array("spacing")[segmentation.number(run, self.cases.case)])

    @cached_property
    def points(self) -> Points:
        """The scatter plot, made when it is first asked for: the pictures come first."""
        made = self.__dict__["points"] = Points(self.chosen)
        self.plot()
        return made

    def plot(self) -> None:
        """Another pair of runs or another metric in the scatter plot."""
        metric, pair = self.cases.metric.value, self.cases.pair
        if "points" not in self.__dict__:
            return
        self.points.plate.visible = len(pair) == 2
        if len(pair) < 2:
            return
        tables = [self.cases.scores[self.letters.index(name)] for name in pair]
        values, names = [table[metric].to_numpy("float32") for table in tables], [key[0] for key in self.cases.shared]
        self.points.show(values, names, pair, curves.ylabel(metric), compare.better(metric))
        self.mark()

    def mark(self) -> None:
        """Puts the ring round the point of the case."""
        if len(self.cases.pair) == 2 and "points" in self.__dict__:
            self.points.mark(self.cases.shared.index(self.cases.case))
            self.points.push()

    def draw(self) -> None:
        """Another case, slice or look: new data in the same pictures."""
        try:
            found = {plane: self.read(plane) for plane in self.planes}
        except InvalidRun as error:
            self.say(message=f"<div>{escape(str(error))}</div>")
            return
        shown = [name for name in self.labels if name in self.shown.value]
        look = Look(self.labels, shown, self.focus.value, self.style.value, self.truth.value, below=not self.volume)
        with pn.io.hold():
            mirrored = any(plane.mirrored(self.convention.value) for plane in self.planes)
            extent = volumes.lengths(self.shape, self.steps())
            self.pictures.fit(extent, mirrored)
            for plane, arrays in found.items():
                lines = look.lines(arrays, self.cross(plane, extent))
                self.pictures.draw(plane, look.images(arrays), lines, (extent[plane.up], extent[plane.across]))
            self.pictures.push()
            self.mark()
            self.say(**self.words(found, look))

    def read(self, plane: Plane) -> dict[str, Arrays]:
        """The arrays of one slice by the letter of the run; the image is only read of the first."""
        found, index = {}, self.at()[plane.axis] if self.volume else 0
        for letter, run in zip(self.letters, self.cases.runs):
            names = ("label", "mask") if found else ("image", "label", "mask")
            found[letter] = segmentation.read(run, self.cases.case, plane, index, names)
        return found

    def cross(self, plane: Plane, extent: Sequence[float]) -> list[np.ndarray]:
        """Where the other planes cut this one, in mm."""
        if not self.volume:
            return []
        axes, at = (plane.across, plane.up), self.at()
        x, y = ((at[axis] + 0.5) * extent[axis] / self.shape[axis] for axis in axes)
        width, height = (extent[axis] for axis in axes)
        return [np.array([[x, 0], [x, height]]), np.array([[0, y], [width, y]])]

    # ------------------------------------------------------------ what is said

    def say(self, **texts: str) -> None:
        """Puts texts into their places on the board."""
        self.board.texts = self.board.texts | texts

    def words(self, found: dict[Plane, dict[str, Arrays]], look: Look) -> dict[str, str]:
        """Numbers, counts, letters and messages of what is shown."""
        metrics = [colors.numbers(table, self.cases.case) for table in self.cases.scores]
        told = {"place": self.cases.place(), "numbers": numbers.table(self.letters, metrics, self.length)}
        odd = [text for arrays in found.values() for text in messages(arrays, self.labels)]
        lines = dict.fromkeys([*self.unlike(), *odd])
        told["message"] = f"<div>{'<br>'.join(map(escape, lines))}</div>" if lines else ""
        counted = not self.volume or look.style == "Errors"
        for number, (plane, arrays) in enumerate(found.items()):
            told |= self.around(number, plane)
            for column, each in enumerate(arrays.values()):
                text = board.counted(segmentation.counts(look.wrong(each))) if counted else ""
                told[f"note_{number * len(arrays) + column}"] = text
        return told

    def around(self, number: int, plane: Plane) -> dict[str, str]:
        """Which slice a row of pictures shows and which side is which; of images their size."""
        if not self.volume:
            (height, width), (row, column) = self.shape, self.steps()
            return {"slice_0": f"<b>Image</b> {width} × {height}, {column:g} × {row:g} {self.length}"}
        columns, marks = 1 + len(self.letters), board.marks(plane.letters(self.convention.value))
        text = f"<b>{plane.name.capitalize()}</b> {self.at()[plane.axis] + 1}/{self.shape[plane.axis]}"
        return {f"slice_{number}": text} | {f"letters_{number * columns + c}": marks for c in range(columns)}

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
        told = {"opacity": 0.0 if self.style.value == "Contours" else self.opacity.value / 100}
        text = report.write(self.cases.runs, rows, self.focus.value, convention=self.convention.value, **told)
        return io.BytesIO(text.encode())

    def view(self) -> pn.Row:
        choice = pn.Row(
            frame.muted("Metric"), self.cases.metric, self.pair, margin=(8, 12, 4, 12), styles={"gap": "6px"}
        )
        styles = frame.CARD | {"max-height": "max(730px, calc(100vh - 152px))"}  # the scatter plot in sight
        look = {"styles": styles, "width": 370, "sizing_mode": "stretch_height", "margin": (0, 16, 0, 0)}
        side = pn.Column(choice, self.cases.keys, **look)
        pn.state.onload(lambda: side.extend([self.cases.table, self.points.plate]))
        return pn.Row(side, self.holder, css_classes=["workbench-page"], margin=(14, 20), **frame.STRETCH)
