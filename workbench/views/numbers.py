"""Tables of metrics as markup: a row a metric, a column a run, the best in bold."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from workbench import compare, views
from workbench.views import curves


def table(names: Sequence[str], values: Sequence[Mapping[str, float]], length: str = "mm") -> str:
    """The metrics that all of the named runs have, those of single classes below the mean of their kind."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    shared = [metric for metric in values[0] if all(metric in each for each in values)]
    kinds = list(dict.fromkeys(map(kind, shared)))
    rows = (row(m, [each[m] for each in values], length) for m in sorted(shared, key=lambda m: kinds.index(kind(m))))
    return f"<table><tr><td></td>{heads}</tr>{''.join(rows)}</table>"


def kind(metric: str) -> str:
    """What a metric measures, whatever the class.

    >>> kind("hd95_cup"), kind("fg_psnr")
    ('hd95', 'fg_psnr')
    """
    first = metric.partition("_")[0]
    return first if first in views.NAMES else metric


def row(metric: str, values: Sequence[float], length: str) -> str:
    best = max((value * compare.better(metric) for value in values if np.isfinite(value)), default=None)
    tags = ["th" if value * compare.better(metric) == best else "td" for value in values]
    cells = "".join(f"<{tag}>{number(metric, value)}</{tag}>" for tag, value in zip(tags, values))
    name = views.unit(metric, length)
    unit = "" if name in views.short(metric) else f" <span class='muted'>{name}</span>"
    return f"<tr><td>{escape(views.short(metric))}{unit}</td>{cells}</tr>"


def number(metric: str, value: float) -> str:
    return f"{value:.{curves.digits(metric)}f}" if np.isfinite(value) else "–"
