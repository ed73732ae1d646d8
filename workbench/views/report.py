"""Self-contained HTML files: cases as pictures, contours and numbers without a script, and saved live pictures."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np
from bokeh.embed import components
from bokeh.resources import Resources
from PIL import Image

from workbench import compare, views
from workbench.views import colors, masks, numbers
from workbench.views.masks import Panel

if TYPE_CHECKING:
    import pandas as pd

    from workbench.runs import Run

LONGER = 220  # pixels, the longer side of a picture
STYLE = """
body { font: 14px 'Segoe UI', Roboto, Arial, sans-serif; color: #1f2933; margin: 24px auto; max-width: 1200px;
       padding: 0 24px; }
h1 { font-size: 20px; } h2 { font-size: 15px; margin: 28px 0 6px; border-top: 1px solid #dfe3e8; padding-top: 14px; }
table { border-collapse: collapse; font-size: 12px; } td, th { padding: 2px 10px; text-align: right; }
td:first-child { text-align: left; } tr + tr { border-top: 1px solid #dfe3e8; } .muted { color: #616e7c; }
.case { display: flex; flex-wrap: wrap; gap: 14px 28px; break-inside: avoid; }
.row { display: flex; gap: 12px; margin-bottom: 8px; } figure { margin: 0; }
figcaption { font-size: 11px; height: 16px; white-space: nowrap; }
svg { display: block; background: black; } svg image { image-rendering: pixelated; }
svg text { font: bold 11px sans-serif; fill: white; stroke: black; stroke-width: 2.5px; paint-order: stroke;
           text-anchor: middle; dominant-baseline: central; }
i { display: inline-block; width: 10px; height: 10px; margin: 0 5px 0 14px; }
"""


def write(
    runs: Sequence["Run"],
    cases: Iterable[tuple[str, str]],
    focus: str | None = None,
    opacity: float = 0.0,
    convention: str = "radiological",
) -> str:
    """The page: means over the cases that all runs share, and for each of `cases` pictures and numbers.

    Args:
        cases: keys as of `views.shared`, in the order in which they are to stand.
        focus, opacity, convention: as of `masks.comparison`.

    Raises:
        InvalidParameter, InvalidRun: as `masks.comparison`.
    """
    masks.alike(runs)
    names = masks.labels(runs[0])
    focus = list(names)[-1] if focus is None else focus
    shared = views.shared(runs)
    tables = [views.scores(run).loc[shared] for run in runs]
    parts = [section(runs, tables, case, focus, opacity, convention) for case in cases]
    title = " · ".join(dict.fromkeys(run.arm for run in runs))
    length = views.length(runs)
    told = f"{len(parts)} of {len(tables[0])} cases that all runs were tested on. Distances in {length}."
    head = f"<h1>{escape(title)}</h1><p>{told}</p><p>{legend(names, focus)}</p>"
    letters = [f"{letter}: {views.label(run)}" for letter, run in zip(ascii_uppercase, runs)]
    means = numbers.table(letters, [table.mean().to_dict() for table in tables], length)
    body = f"{head}<h2>Mean over all {len(tables[0])} cases</h2>{means}{''.join(parts)}"
    top = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html><head>{top}</head><body>{body}</body></html>"


def worst(tables: "Sequence[pd.DataFrame]", metric: str, count: int = 12) -> list[tuple[str, str]]:
    """The keys of the cases in which the first run is worst by a metric, or worst against a second one.

    Args:
        tables: of `views.scores`, one or two with the same index.
    """
    values = tables[0][metric] - (tables[1][metric] if len(tables) > 1 else 0)
    return list((values * compare.better(metric)).sort_values().index[:count])


def section(
    runs: Sequence["Run"], tables: "Sequence[pd.DataFrame]", case: tuple[str, str], focus: str, opacity: float,
    convention: str,
) -> str:  # fmt: skip
    """Pictures and numbers of one case."""
    rows = masks.panels(runs, case, focus, opacity, None, convention)
    pictures = "".join(f"<div class='row'>{''.join(map(figure, row))}</div>" for row in rows)
    values = [colors.numbers(table, case) for table in tables]
    told = numbers.table(ascii_uppercase[: len(runs)], values, views.length(runs))
    name = " ".join(case).strip()
    return f"<h2>{escape(name)}</h2><div class='case'><div>{pictures}</div><div>{told}</div></div>"


def figure(panel: Panel) -> str:
    """A panel as a figure: the picture embedded, the strokes over it, letters at the edges of a slice."""
    file = io.BytesIO()
    Image.fromarray(panel.image).save(file, "png")
    data = base64.b64encode(file.getvalue()).decode()
    scale = LONGER / max(panel.sides)
    height, width = (side * scale for side in panel.sides)
    size = f"width='{width:.1f}' height='{height:.1f}'"
    image = f"<image href='data:image/png;base64,{data}' {size} preserveAspectRatio='none'/>"
    lines = "".join(line(path * scale, *look) for path, *look in panel.lines)
    places = ((9, height / 2), (width - 9, height / 2), (width / 2, height - 9), (width / 2, 9))
    marks = "".join(f"<text x='{x:.0f}' y='{y:.0f}'>{mark}</text>" for mark, (x, y) in zip(panel.letters, places))
    return f"<figure><figcaption>{escape(panel.title)}</figcaption><svg {size}>{image}{lines}{marks}</svg></figure>"


def line(path: np.ndarray, color: str, thick: float, dash: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
    dashes = "" if dash == "solid" else f" stroke-dasharray='{dash}'"
    return f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='{thick}'{dashes}/>"


def legend(names: masks.Labels, focus: str) -> str:
    """What the colours and lines mean."""
    swatch = "<i style='background:{}'></i>{}"
    classes = "".join(swatch.format(tint, escape(name)) for name, tint in masks.palette(names).items())
    wrong = "".join(swatch.format(tint, name) for name, tint in masks.ERRORS.items())
    lines = "Contours: white with dashes the truth, plain the prediction."
    return f"{lines}{classes} &emsp; Errors of {escape(focus)}:{wrong}"


def save(element: hv.core.Dimensioned, path: Path | str, title: str = "") -> None:
    """Writes plain HoloViews pictures to one HTML file that asks for nothing else, as `hv.save` does not.

    Raises:
        OSError: the file cannot be written.
    """
    Path(path).write_text(document(title, [("", [element])]), encoding="utf-8")


def document(title: str, sections: Iterable[tuple[str, Sequence[hv.core.Dimensioned]]], first: str = "") -> str:
    """A page of live pictures that asks for nothing else: a heading each section, its pictures side by side.

    Args:
        first: HTML that stands above them.
    """
    sections = [(heading, list(elements)) for heading, elements in sections]
    drawn = tuple(hv.render(element, backend="bokeh") for _, elements in sections for element in elements)
    script, places = components(drawn)
    code = Resources("inline", components=["bokeh"]).js_raw  # without what other packages have it load beside
    library = "".join(f"<script>{text}</script>" for text in code)
    rest, body = iter(places), ""
    for heading, elements in sections:
        shown = "".join(f"<div>{place}</div>" for _, place in zip(elements, rest))
        body += (f"<h2>{escape(heading)}</h2>" if heading else "") + f"<div class='case'>{shown}</div>"
    head = f"<meta charset='utf-8'><title>{escape(title)}</title>{library}{script}"
    named = f"<h1>{escape(title)}</h1>" if title and (first or len(sections) > 1) else ""
    style = f"<style>{STYLE}</style>" if named else ""
    return f"<!doctype html><html><head>{head}{style}</head><body>{named}{first}{body}</body></html>"
