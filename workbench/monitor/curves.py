"""Learning curves as SVG: drawn in plain Python, so that a notebook shows them without a plotting library."""

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from workbench import views

SIZE = (500, 280)  # pixels
POINTS = 250  # drawn of one curve
DASHES = ("none", "6 3", "2 3")  # for each round through the colours
INK, GRID = "#333333", "#e3e6ea"

Point = tuple[float, float]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from low to high.

    >>> ticks(0, 10)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= 0.999 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, last + 1)]


def label_of(value: float, step: float) -> str:
    """A tick's number, with as many decimals as tell it from its neighbours."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.1e}" if digits > 4 or abs(value) >= 1e5 else f"{value:.{digits}f}"


def span(values: Iterable[float], margin: float = 0.0) -> tuple[float, float]:
    """Limits that hold all values, never of no width, with a margin at both ends in parts of the width."""
    values = list(values)
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - (0.1 * abs(low) or 1.0), high + (0.1 * abs(high) or 1.0)
    return low - margin * (high - low), high + margin * (high - low)


def thin(points: Sequence[Point]) -> list[Point]:
    """At most about POINTS of them, evenly, the last always; those that are not finite are left out."""
    kept = [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    stride = max(1, math.ceil(len(kept) / POINTS))
    return kept[::stride] + (kept[-1:] if (len(kept) - 1) % stride else [])


def draw(
    series: Mapping[str, Sequence[Sequence[Point]]],
    ylabel: str,
    xlabel: str = "step",
    steps: int = 0,
    size: tuple[int, int] = SIZE,
) -> str:
    """Learning curves as an SVG drawing: one line a run, one colour and one entry of the legend an arm.

    Args:
        series: for each arm its runs, each a sequence of (x, y); an arm without points keeps its colour for later.
        ylabel, xlabel: names of the axes with their units.
        steps: where the horizontal axis ends at least.
        size: width and height, pixels.
    """
    lines = {arm: [points for run in group if (points := thin(run))] for arm, group in series.items()}
    every = [point for group in lines.values() for run in group for point in run]
    area = (64, 12, size[0] - 130, size[1] - 44)  # left, top, right, bottom
    x_limits = span([0, steps, *(x for x, _ in every)])
    y_limits = span([y for _, y in every] or [0, 1], margin=0.04)
    parts = [f'<rect width="{size[0]}" height="{size[1]}" fill="white"/>']
    parts += axes(area, x_limits, y_limits, xlabel, ylabel)
    for number, (arm, group) in enumerate(lines.items()):
        style = f'stroke="{color(number)}" stroke-dasharray="{DASHES[number // len(views.OKABE_ITO) % len(DASHES)]}"'
        for run in group:
            xs = [place(x, x_limits, area[0], area[2]) for x, _ in run]
            ys = [place(y, y_limits, area[3], area[1]) for _, y in run]
            parts.append(polyline(xs, ys, style))
            parts.append(f'<circle cx="{xs[-1]:.1f}" cy="{ys[-1]:.1f}" r="3" fill="{color(number)}"/>')
        parts += legend(arm, area[2] + 12, area[1] + 10 + 17 * number, style) if group else []
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
        f'viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{html.escape(ylabel)} over {html.escape(xlabel)}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}">{"".join(parts)}</svg>'
    )


def color(number: int) -> str:
    return views.OKABE_ITO[number % len(views.OKABE_ITO)]


def place(value: float, limits: tuple[float, float], start: float, stop: float) -> float:
    return start + (value - limits[0]) / (limits[1] - limits[0]) * (stop - start)


def polyline(xs: Sequence[float], ys: Sequence[float], style: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return f'<polyline fill="none" stroke-width="1.8" stroke-linejoin="round" {style} points="{points}"/>'


def legend(arm: str, x: int, y: int, style: str) -> list[str]:
    short = arm if len(arm) <= 13 else f"{arm[:12]}…"
    line = f'<line x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}" stroke-width="2.5" {style}/>'
    return [line, f'<text x="{x + 24}" y="{y}"><title>{html.escape(arm)}</title>{html.escape(short)}</text>']


def axes(area: tuple[int, int, int, int], x_limits: Point, y_limits: Point, xlabel: str, ylabel: str) -> Iterator[str]:
    """Grid, ticks and names of both axes."""
    left, top, right, bottom = area
    marks = ticks(*y_limits)
    for value in marks:
        y = place(value, y_limits, bottom, top)
        yield f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{label_of(value, marks[1] - marks[0])}</text>'
    marks = ticks(*x_limits)
    for value in marks:
        x = place(value, x_limits, left, right)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}" stroke="{INK}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{label_of(value, marks[1] - marks[0])}</text>'
    yield f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="{INK}"/>'
    yield f'<text x="{(left + right) / 2}" y="{bottom + 35}" text-anchor="middle">{html.escape(xlabel)}</text>'
    middle = (top + bottom) / 2
    yield f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{html.escape(ylabel)}</text>'
