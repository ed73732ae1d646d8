"""Synthetic MR modalities: a slice as it was acquired and as some runs made it of T2, and how far off they are.

Pictures are (H, W) uint8 grey levels, 255 being white; `target` and `color` (H, W, 3) hold the modalities of MADE as
their channels. Errors are absolute differences in per cent of white.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import ascii_uppercase
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np
from bokeh.palettes import Inferno256

from workbench import views
from workbench.views import colors, masks, numbers, report, volumes
from workbench.views.masks import Panel

if TYPE_CHECKING:
    import pandas as pd

    from workbench.runs import Run

NEEDS = {"image": 3, "target": 4, "color": 4, "label": 3, "mask": 3}
GIVEN, MADE = "T2", ("FLAIR", "T1ce", "T1")  # the input, and the channels of what is made of it
TRUTH, FOUND = colors.OUTLINES["foreground"], colors.OUTLINES["mask"]
LIMIT, UNIT = 30, "% of white"
BAR = ",".join(Inferno256[::15])


def read(run: "Run", case: tuple[str, str]) -> dict[str, np.ndarray]:
    """The arrays of NEEDS of one case and `spacing` (2,), mm a row and a column.

    Raises:
        InvalidParameter: the run was not tested on this case.
        InvalidRun: an array cannot be read.
    """
    return masks.read(run, case, names=tuple(NEEDS))


def error(target: np.ndarray, color: np.ndarray) -> np.ndarray:
    """The absolute difference of two uint8 arrays, float32, in per cent of white.

    >>> error(np.array([255, 51], np.uint8), np.array([0, 51], np.uint8)).tolist()
    [100.0, 0.0]
    """
    return np.abs(target.astype(np.float32) - color) / np.float32(2.55)


def overlap(label: np.ndarray, mask: np.ndarray) -> str:
    """How well the two outlines of a slice agree, in words: Dice, or what there is where one of them is missing.

    >>> overlap(np.array([1, 1, 0]), np.array([1, 0, 0])), overlap(np.zeros(2), np.ones(2))
    ('Dice of outlines 0.667', 'no tumour, 2 px found')
    """
    truth, found = label > 0, mask > 0
    if not truth.any():
        return f"no tumour, {int(found.sum())} px found"
    return f"Dice of outlines {2 * (truth & found).sum() / (truth.sum() + found.sum()):.3f}"


def unlike(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """Says so where runs, by their letters, hold other acquired images or another truth of a case than the first."""
    told, first = [], next(iter(found))
    for letter, arrays in found.items():
        acquired = all(np.array_equal(arrays[key], found[first][key]) for key in ("image", "target"))
        truth = np.array_equal(arrays["label"], found[first]["label"])
        kinds = ["acquired images"] * (not acquired) + ["truths"] * (not truth)
        told += [f"{first} and {letter} hold unlike {kind} of this case; each has its own errors." for kind in kinds]
    return told


# ---------------------------------------------------------------- static pictures


def strokes(arrays: Mapping[str, np.ndarray], truth: bool) -> list[masks.Stroke]:
    """The tumour's outline: the true one, and of a run the one that was found, above a dark casing."""
    lines = []
    for key, tint in (("label", TRUTH),) if truth else (("mask", FOUND), ("label", TRUTH)):
        paths = [path * arrays["spacing"][::-1] for path in colors.outline(arrays[key])]
        lines += [(path, *look) for look in (("#000000", 3.0, "solid"), (tint, 1.6, "solid")) for path in paths]
    return lines


def tinted(values: np.ndarray, limit: float = LIMIT) -> np.ndarray:
    """Errors (H, W) in the colours of the bar from 0 to `limit`, (H, W, 3) uint8."""
    table = np.array([tuple(bytes.fromhex(tint[1:])) for tint in Inferno256], np.uint8)
    return table[(values * (len(table) / limit)).astype(int).clip(0, len(table) - 1)]


def panels(
    runs: Sequence["Run"], case: tuple[str, str], errors: bool = False, limit: float = LIMIT
) -> list[list[Panel]]:
    """A row of what was acquired, and a row a run: T2 with the outlines, then each modality as it was made.

    Args:
        errors: whether the maps of errors stand in place of what the runs made.
        limit: the error at the upper end of the colours, in per cent of white.

    Raises:
        InvalidParameter: unknown case.
        InvalidRun: an array cannot be read, or the runs hold cases of unlike size or classes.
    """
    masks.alike(runs)
    found = [read(run, case) for run in runs]
    first = found[0]
    sides = volumes.lengths(first["label"].shape, first["spacing"])
    blank, none = np.zeros_like(first["label"]), []
    grey = [masks.painted(image, blank, none) for image in (first["image"], *np.moveaxis(first["target"], -1, 0))]
    rows = [[Panel(name, each, strokes(first, truth=True), sides) for name, each in zip((GIVEN, *MADE), grey)]]
    for run, arrays in zip(runs, found):
        lines = strokes(arrays, truth=False)
        row = [Panel(views.label(run), masks.painted(arrays["image"], blank, none), lines, sides)]
        for number, name in enumerate(MADE):
            made, target = arrays["color"][..., number], arrays["target"][..., number]
            shown = tinted(error(target, made), limit) if errors else masks.painted(made, blank, none)
            row.append(Panel(f"{name}, {'error' if errors else 'made'}", shown, [] if errors else lines, sides))
        rows.append(row)
    return rows


def comparison(runs: Sequence["Run"], case: tuple[str, str], errors: bool = False, limit: float = LIMIT) -> hv.Layout:
    """`panels` as plain HoloViews with linked pan and zoom; maps of errors bear a colour bar.

    Raises:
        InvalidParameter, InvalidRun: as `panels`.
    """
    rows = panels(runs, case, errors, limit)
    made = [masks.picture(panel) for row in rows[: 1 if errors else None] for panel in row]
    for run, row in zip(runs, rows[1:] if errors else []):
        arrays = read(run, case)
        wrong = error(arrays["target"], arrays["color"])
        made += [masks.picture(row[0])]
        made += [
            error_map(wrong[..., number], row[0].sides, row[1 + number].title, limit) for number in range(len(MADE))
        ]
    return hv.Layout(made).cols(1 + len(MADE))


def error_map(values: np.ndarray, sides: Sequence[float], title: str, limit: float) -> hv.Image:
    """Errors (H, W) as a picture with a colour bar from 0 to `limit`."""
    height, width = sides
    element = hv.Image(values, bounds=(0, 0, width, height), kdims=["x", "y"], vdims=UNIT, label=title)
    bar = {"cmap": "inferno", "clim": (0, limit), "colorbar": True, "clabel": UNIT, "tools": ["hover"]}
    return element.opts(**colors.frame(height, width), fontsize={"title": "8pt"}, **bar)


def write(runs: Sequence["Run"], cases: Iterable[tuple[str, str]], limit: float = LIMIT) -> str:
    """One HTML file without a script: means over the cases that all runs share, and of `cases` pictures and errors.

    Raises:
        InvalidParameter, InvalidRun: as `panels`.
    """
    cases, shared = list(cases), views.shared(runs)
    tables = [views.scores(run).loc[shared] for run in runs]
    title, length = " · ".join(dict.fromkeys(run.arm for run in runs)), views.length(runs)
    letters = [f"{letter}: {views.label(run)}" for letter, run in zip(ascii_uppercase, runs)]
    means = numbers.table(letters, [table.mean().to_dict() for table in tables], length)
    swatch = "<i style='background:{}'></i>{}"
    told = f"Tumour:{swatch.format(TRUTH, 'truth')}{swatch.format(FOUND, 'prediction')}"
    bar = f"<i style='width:120px;background:linear-gradient(90deg,{BAR})'></i>"
    told += f" &emsp; |made − target| from 0 {bar} to {limit:g} {UNIT}"
    head = (
        f"<h1>{escape(title)}</h1><p>{len(cases)} of {len(shared)} cases that all runs were tested on.</p><p>{told}</p>"
    )
    parts = [section(runs, tables, case, limit) for case in cases]
    top = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{report.STYLE}</style>"
    body = f"{head}<h2>Mean over all {len(shared)} cases</h2>{means}{''.join(parts)}"
    return f"<!doctype html><html><head>{top}</head><body>{body}</body></html>"


def section(runs: Sequence["Run"], tables: "Sequence[pd.DataFrame]", case: tuple[str, str], limit: float) -> str:
    """Pictures, errors and numbers of one case."""
    made, wrong = (panels(runs, case, errors, limit) for errors in (False, True))
    rows = made[:1] + [row for pair in zip(made[1:], wrong[1:]) for row in (pair[0], pair[1][1:])]
    pictures = "".join(
        f"<div class='row' style='justify-content:flex-end'>{''.join(map(report.figure, r))}</div>" for r in rows
    )
    values = [colors.numbers(table, case) for table in tables]
    told = numbers.table(ascii_uppercase[: len(runs)], values, views.length(runs))
    name = " ".join(case).strip()
    return f"<h2>{escape(name)}</h2><div class='case'><div>{pictures}</div><div>{told}</div></div>"
