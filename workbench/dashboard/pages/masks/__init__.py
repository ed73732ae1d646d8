"""Segmentations of any runs beside the truth: contours, filled classes and errors, of images and of planes of volumes."""

from collections.abc import Sequence
from html import escape
from string import ascii_uppercase

import numpy as np
import panel as pn

from workbench import compare, views
from workbench.dashboard import cases, frame
from workbench.dashboard.pages import page
from workbench.dashboard.pages.masks import board
from workbench.dashboard.pictures import Pictures, line
from workbench.dashboard.scatter import Points
from workbench.errors import InvalidRun
from workbench.runs import Run
from workbench.views import colors, curves, volumes
from workbench.views import masks as segmentation
from workbench.views.volumes import Plane

STYLES = ("Contours", "Filled", "Errors")
MOST = 8  # columns that can still be told apart
CROSS = "#ffffffa0"


@page("Masks", needs=segmentation.NEEDS, order=15, also=segmentation.check, example="workbench run crossdenoise")
def masks(runs: list[Run]) -> pn.viewable.Viewable:
    """Compares the masks of any runs case by case; runs on data of another size or other classes are chosen apart."""
    found = kinds(runs)
    views_of = {title: list(found)[number] for number, title in enumerate(found)}
    if len(found) == 1:
        return Comparison(runs).view()
    choice = frame.select(views_of, 420)
    place = pn.Column(Comparison(found[choice.value]).view(), **frame.WIDE)
    choice.param.watch(lambda event: place.param.update(objects=[Comparison(found[event.new]).view()]), "value")
    return pn.Column(pn.Row(frame.muted("Data"), choice, margin=(12, 20, 0, 20)), place, **frame.WIDE)


def kinds(runs: list[Run]) -> dict[str, list[Run]]:
    """Runs that can be compared, by a title that tells their data, the size of a case and the classes."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        size = " × ".join(map(str, segmentation.shape(run)))
        told = views.flat(run.config.get("data", {})).get("kind", "")
        found.setdefault(f"{told} {size} · {', '.join(segmentation.labels(run))}".strip(), []).append(run)
    return found


class Comparison:
    """The state of the page, which is that of its widgets, and the pictures they change."""

    def __init__(self, runs: list[Run]) -> None:
        self.options = {views.label(run): run for run in runs}
        self.labels, self.shape = segmentation.labels(runs[0]), segmentation.shape(runs[0])
        self.tints = segmentation.palette(self.labels)
        self.planes, self.volume = volumes.planes(len(self.shape)), len(self.shape) == 3
        self.colored = not self.volume and runs[0].samples.array("image").ndim == 4
        first = dict.fromkeys(views.label(run) for run in cases.opponents(runs))
        self.choices = [self.choice(self.options[name]) for name in first]
        self.cases = cases.CaseList([c.value for c in self.choices], self.letters)
        self.points = Points(self.chosen)
        self.controls()
        self.holder, self.trouble = pn.Column(**frame.WIDE), {}
        self.side = pn.Column(**frame.WIDE)
        self.build()
        self.cases.worst()
        self.plot()
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
        self.opacity = pn.widgets.IntSlider(value=50, start=0, end=100, step=5, show_value=False, width=100, **style)
        self.shown = pn.widgets.CheckButtonGroup(
            options=names, value=names, margin=0, stylesheets=[frame.STYLE, lines]
        )
        self.truth = pn.widgets.Toggle(label="Truth on runs", value=True, width=100, height=30, **style)
        self.focus = frame.select({name: name for name in names}, 110)
        self.focus.value = names[-1]
        self.whole, self.more = frame.button("Whole image", 96), frame.button("Add run", 70)
        self.save = pn.Spacer(width=0, margin=0)
        self.convention = frame.select({name.capitalize(): name for name in volumes.CONVENTIONS}, 120)
        self.center = frame.button("Go to truth", 90)
        self.sliders = {
            plane.name: pn.widgets.IntSlider(
                value=self.shape[plane.axis] // 2, start=0, end=self.shape[plane.axis] - 1, show_value=False,
                margin=0, stylesheets=[frame.STYLE], width=110,
            )
            for plane in self.planes if plane.axis is not None
        }  # fmt: skip

    def watch(self) -> None:
        for widget in (self.style, self.shown, self.truth, self.focus, self.convention):
            widget.param.watch(lambda _: self.draw(), "value")
        for name, slider in self.sliders.items():
            slider.param.watch(lambda _, name=name: self.draw(), "value")
        self.opacity.param.watch(lambda event: self.fade(event.new), "value")
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
            self.choices.append(self.choice(free[0]))
            self.choose(rebuild=True)

    def remove(self, choice: pn.widgets.Select) -> None:
        self.choices = [other for other in self.choices if other is not choice]
        self.choose(rebuild=True)

    def choose(self, rebuild: bool = False) -> None:
        """Other runs: the cases all of them share, the case kept where they have it."""
        with pn.io.hold():
            try:
                segmentation.alike(self.chosen_runs)
                self.cases.show(self.chosen_runs, self.letters)
            except InvalidRun as error:
                self.say(message=f"<div>{escape(str(error))}</div>")
                return
            if rebuild:
                self.build()
            self.plot()
            self.draw()

    def build(self) -> None:
        """Pictures and board for as many runs as are chosen."""
        keys = [letter.lower() for letter in self.letters]
        layers = ["truth", *(f"layer_{key}" for key in keys), *(f"error_{key}" for key in keys)]
        columns = ["image", *(["grey"] if self.colored else []), *layers]
        steps = self.cases.runs[0].samples.array("spacing")[0]
        self.pictures = Pictures(
            self.planes, columns, ["truth", *keys], volumes.lengths(self.shape, steps),
            [*self.tints.values(), *segmentation.ERRORS.values()], self.tapped if self.volume else None,
        )  # fmt: skip
        self.pictures.opaque(self.opacity.value / 100)
        self.more.disabled = len(self.choices) >= min(MOST, len(self.options))
        self.board = self.layout(keys)
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
            made += [picture(plane, "grey" if self.colored else "image", f"error_{key}", None, False) for key in keys]
            spots += [[4, column, 100] for column in range(1, 2 + len(keys))]
        lines = [2 + 2 * number for number in range(len(self.planes))] if self.volume else [3]
        return board.Board(
            back=self.cases.back, forth=self.cases.forth, style=self.style, opacity=self.opacity, shown=self.shown,
            truth=self.truth, focus=self.focus, whole=self.whole, more=self.more, save=self.save,
            extra=pn.Row(self.convention, self.center, margin=0) if self.volume else pn.Spacer(width=0, margin=0),
            choices=[self.head(number) for number in range(len(keys))],
            sliders=list(self.sliders.values()) or [frame.html("<b>Image</b>")], pictures=made,
            letters=self.letters, spots=spots, lines=lines, columns=1 + len(keys), share=self.share(),
            noted=[[row, column] for row in lines for column in range(2, 2 + len(keys))], **frame.WIDE,
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
        away.on_click(lambda _: self.remove(choice))
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

    def plot(self) -> None:
        """The scatter of the pair of runs."""
        metric, pair = self.cases.metric.value, self.cases.pair
        if len(pair) < 2:
            return
        tables = [self.cases.scores[self.letters.index(name)] for name in pair]
        values = [table[metric].to_numpy("float32") for table in tables]
        self.points.show(values, [key[0] for key in self.cases.shared], pair, curves.ylabel(metric), compare.better(metric))
        self.mark()

    def mark(self) -> None:
        if len(self.cases.pair) == 2:
            self.points.mark(self.cases.shared.index(self.cases.case))
            self.points.push()

    def draw(self) -> None:
        """Another case, slice or look: new data in the same pictures."""
        try:
            slices = {plane: self.slices(plane) for plane in self.planes}
        except InvalidRun as error:
            self.say(message=f"<div>{escape(str(error))}</div>")
            return
        with pn.io.hold():
            mirrored = any(plane.mirrored(self.convention.value) for plane in self.planes)
            self.pictures.fit(volumes.lengths(self.shape, self.steps()), mirrored)
            for plane, found in slices.items():
                self.fill(plane, found)
            self.pictures.push()
            self.mark()
            self.say(**self.words(slices))

    def slices(self, plane: Plane) -> list[dict[str, np.ndarray]]:
        """The arrays of one slice, one entry a run; the image is that of the first."""
        index, (first, *others) = self.at()[plane.axis] if self.volume else 0, self.cases.runs
        found = [segmentation.read(first, self.cases.case, plane, index)]
        return found + [segmentation.read(run, self.cases.case, plane, index, ("label", "mask")) for run in others]

    def fill(self, plane: Plane, found: list[dict[str, np.ndarray]]) -> None:
        """Puts one slice into its pictures."""
        first, style, blank = found[0], self.style.value, np.zeros((1, 1), np.uint8)
        shown = [name for name in self.labels if name in self.shown.value]
        values, beyond = self.labels[self.focus.value], np.uint8(len(self.labels))
        sides = volumes.lengths(first["label"].shape, first["spacing"])
        images = {"image": colors.rgba(first["image"]) if self.colored else first["image"]}
        if self.colored:
            images["grey"] = segmentation.grey(first["image"])
        filled = style == "Filled"
        images["truth"] = segmentation.codes(first["label"], self.labels, shown) if filled else blank
        lines = {"truth": [] if filled else self.outline(first, "label", shown, sides)}
        cross = self.cross(plane, sides)
        for letter, arrays in zip(self.letters, found):
            key, wrong = letter.lower(), blank
            if style == "Errors" or not self.volume:
                wrong = segmentation.errors(arrays["label"], arrays["mask"], values)
                wrong = np.where(wrong > 0, wrong + beyond, wrong)
            seen = segmentation.codes(arrays["mask"], self.labels, shown) if filled else blank
            images |= {f"layer_{key}": wrong if style == "Errors" else seen, f"error_{key}": wrong if not self.volume else blank}
            lines[key] = self.outline(arrays, "mask", shown, sides) if style == "Contours" else []
            if self.truth.value and style != "Errors":
                lines[key] = lines[key] + self.outline(arrays, "label", shown, sides)
        self.pictures.draw(plane, images, {name: drawn + cross for name, drawn in lines.items()}, sides)

    def outline(self, arrays: dict[str, np.ndarray], which: str, shown: Sequence[str], sides: Sequence[float]) -> list:
        """Contours of the shown classes: of the truth white with dashes in colour, of a prediction dark and colour."""
        made = []
        for name in shown:
            paths = segmentation.contours(arrays[which], self.labels[name], arrays["spacing"])
            paths = [np.c_[path[:, 0], sides[0] - path[:, 1]] for path in paths]
            below, above = ((("white", 2.6), "4 4") if which == "label" else (("#000000a0", 4.0), "solid"))
            made += line(paths, *below) + line(paths, self.tints[name], 2.0, above)
        return made

    def cross(self, plane: Plane, sides: Sequence[float]) -> list:
        """Where the other planes cut this one."""
        if not self.volume:
            return []
        at, steps = self.at(), self.steps()
        x, y = ((at[axis] + 0.5) * steps[axis] for axis in (plane.across, plane.up))
        paths = [np.array([[x, 0], [x, sides[0]]]), np.array([[0, y], [sides[1], y]])]
        return line(paths, CROSS, 1.0)

    # ------------------------------------------------------------ what is said

    def say(self, **texts: str) -> None:
        """Puts texts into their places on the board."""
        self.board.texts = self.board.texts | texts

    def words(self, slices: dict[Plane, list[dict[str, np.ndarray]]]) -> dict[str, str]:
        """Numbers, counts, letters and messages of what is shown."""
        metrics = [colors.numbers(table, self.cases.case) for table in self.cases.scores]
        told = {"place": self.cases.place(), "numbers": cases.numbers(self.letters, ordered(metrics, self.labels))}
        told |= {"legend": board.legend(next(iter(self.tints.values()))), "errors": board.errors()}
        told |= {"message": "".join(f"<div>{escape(text)}</div>" for text in self.messages(slices))}
        columns = 1 + len(self.letters)
        for number, (plane, found) in enumerate(slices.items()):
            if self.volume:
                told[f"slice_{number}"] = f"{plane.name} {self.at()[plane.axis] + 1} of {self.shape[plane.axis]}"
                for column in range(columns):
                    told[f"letters_{number * columns + column}"] = board.marks(plane.letters(self.convention.value))
            else:
                (height, width), (row, column) = self.shape, found[0]["spacing"]
                told[f"slice_{number}"] = f"{width} × {height} pixels of {column:g} × {row:g} mm"
            for column, arrays in enumerate(found):
                wrong = segmentation.errors(arrays["label"], arrays["mask"], self.labels[self.focus.value])
                seen = segmentation.counts(wrong)
                told[f"note_{number * len(found) + column}"] = (
                    board.errors(seen) if not self.volume or self.style.value == "Errors" else ""
                )
        return told

    def messages(self, slices: dict[Plane, list[dict[str, np.ndarray]]]) -> list[str]:
        """What is odd about the runs, or about what is shown of them."""
        counts, shared = [len(run.samples.cases) for run in self.cases.runs], len(self.cases.shared)
        told = []
        if set(counts) != {shared}:
            tested = ", ".join(f"{name} on {count}" for name, count in zip(self.letters, counts))
            told.append(f"Tested on unlike cases ({tested}): the {shared} that all share are shown.")
        return told

    def view(self) -> pn.Row:
        choice = pn.Row(frame.muted("Metric"), self.cases.metric, margin=(8, 12, 4, 12))
        look = {"styles": frame.CARD, "width": 370, "sizing_mode": "stretch_height", "margin": (0, 16, 0, 0)}
        side = pn.Column(choice, self.cases.keys, **look)
        pn.state.onload(lambda: side.extend([self.cases.table, self.points.plate]))  # the pictures first
        return pn.Row(side, self.holder, css_classes=["workbench-page"], margin=(14, 20), **frame.STRETCH)


def ordered(metrics: list[dict[str, float]], labels: Sequence[str]) -> list[dict[str, float]]:
    """The metrics with those of the classes behind the mean of their kind."""
    kinds = list(dict.fromkeys(name.partition("_")[0] for name in metrics[0]))
    return [dict(sorted(each.items(), key=lambda item: kinds.index(item[0].partition("_")[0]))) for each in metrics]
