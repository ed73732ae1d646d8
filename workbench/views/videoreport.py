"""Translated videos as one HTML file that asks for nothing else and plays them."""

from collections.abc import Iterable, Sequence
from html import escape
from string import ascii_uppercase
from typing import TYPE_CHECKING

from bokeh.embed import components
from bokeh.models import Column, LayoutDOM, Row, Title
from bokeh.resources import Resources

from workbench import views
from workbench.views import colors, masks, numbers, report, videos
from workbench.views.player import Player

if TYPE_CHECKING:
    import pandas as pd

    from workbench.runs import Run

SIDE = 300  # pixels of a picture
HOW = "Frames are played by the browser; the wheel zooms all pictures, a double click starts over."


def player(letters: Sequence[str], **look: object) -> Player:
    """A player of the original and of what runs of these letters made of it, with the contours of all on all."""
    tints = {"truth": videos.TRUTH} | dict(zip(letters, videos.FOUND))
    pictures = {"original": list(tints)} | {letter: ["truth", letter] for letter in letters}
    return Player(pictures, tints, {letter: tints[letter] for letter in letters}, **look)


def picture(runs: Sequence["Run"], case: tuple[str, str]) -> LayoutDOM:
    """One case as one or two runs translated it: a Bokeh layout for notebooks and HTML files, which plays in both.

    Raises:
        InvalidParameter, InvalidRun: as `videos.read`, and where the runs hold clips of unlike size or classes.
    """
    masks.alike(runs)
    letters = ascii_uppercase[: len(runs)]
    made, drawn = player(letters), videos.drawn(runs, letters, case)
    made.show(drawn["pictures"], drawn["outlines"], drawn["curves"])
    names = ["Original", *(f"{letter}: {views.label(run)}" for letter, run in zip(letters, runs))]
    for name, plot in zip(names, made.plots.values()):
        plot.update(sizing_mode="fixed", width=SIDE, height=SIDE + 24, aspect_ratio=None)
        plot.title = Title(text=name, text_font_style="normal")
    width = (SIDE + 10) * len(names) - 10
    made.curve.update(sizing_mode="fixed", width=width)
    made.slider.update(sizing_mode="fixed", width=max(width - 240, 200), margin=(0, 14, 0, 14))
    top = Row(children=[made.play, made.slider, made.pace])
    below = Row(children=[made.outlined, made.channel, made.steady], spacing=14)
    return Column(children=[top, Row(children=list(made.plots.values()), spacing=10), below, made.curve], spacing=6)


def write(runs: Sequence["Run"], cases: Iterable[tuple[str, str]]) -> str:
    """The page: means over the cases that all runs share, and for each of `cases` a player and numbers.

    Raises:
        InvalidParameter, InvalidRun: as `picture`.
    """
    cases, shared = list(cases), views.shared(runs)
    script, drawn = components([picture(runs, case) for case in cases])
    code = Resources("inline", components=["bokeh", "bokeh-widgets"]).js_raw  # without what other packages add
    library = "".join(f"<script>{text}</script>" for text in code)
    title = " · ".join(dict.fromkeys(run.arm for run in runs))
    top = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{report.STYLE}</style>{library}{script}"
    tables = [views.scores(run).loc[shared] for run in runs]
    letters = [f"{letter}: {views.label(run)}" for letter, run in zip(ascii_uppercase, runs)]
    means = numbers.table(letters, [table.mean().to_dict() for table in tables], views.length(runs))
    told = f"{len(cases)} of {len(shared)} cases that all runs were tested on. {HOW}"
    head = f"<h1>{escape(title)}</h1><p>{told}</p><p>{legend(len(runs))}</p>"
    parts = [section(runs, tables, case, made) for case, made in zip(cases, drawn, strict=True)]
    body = f"{head}<h2>Mean over all {len(shared)} cases</h2>{means}{''.join(parts)}"
    return f"<!doctype html><html><head>{top}</head><body>{body}</body></html>"


def legend(count: int) -> str:
    """What the colours of the contours mean."""
    names = ["truth", *ascii_uppercase[:count]]
    swatch = "<i style='background:{}; border: 1px solid #555'></i>{}"
    return "".join(swatch.format(tint, name) for tint, name in zip((videos.TRUTH, *videos.FOUND), names))


def section(runs: Sequence["Run"], tables: "Sequence[pd.DataFrame]", case: tuple[str, str], made: str) -> str:
    """Player and numbers of one case."""
    letters = ascii_uppercase[: len(runs)]
    told = numbers.table(letters, [colors.numbers(table, case) for table in tables], views.length(runs))
    unknown = "" if videos.labelled(runs[0], case) else " <span class='muted'>no truth is known</span>"
    return f"<h2>{escape(' '.join(case).strip())}{unknown}</h2>{made}{told}"
