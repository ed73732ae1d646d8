"""What all pages of the dashboard look like: colours, header, tabs, cards, notes and empty states."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd
import panel as pn

from workbench import views
from workbench.runs import Run

INK, MUTED, LINE, ACCENT = "#1f2933", "#616e7c", "#dfe3e8", "#0072B2"
FONT = "'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
AFTER_SCRIPTS = 100  # ms
STRETCH = {"sizing_mode": "stretch_width"}
WIDE = {**STRETCH, "margin": 0}
STYLE = f"""
:host {{ font-family: {FONT}; font-size: 13px; color: {INK}; }}
.bk-input {{ font-size: 13px; border-color: #c5ccd4; border-radius: 5px; padding: 0 8px; height: 30px;
             min-height: 30px; }}
.bk-input-group > label, label {{ font-size: 12px; color: {MUTED}; }}
.bk-btn {{ font-size: 13px; border-radius: 5px; border-color: #c5ccd4; height: 30px; padding: 0 10px; }}
:host(.solid) .bk-btn.bk-btn-default.bk-active, :host(.solid) .bk-btn-group .bk-btn.bk-btn-default.bk-active {{
  background: #d3e5f3; box-shadow: none; }}
"""
CARD = {"background": "white", "border": f"1px solid {LINE}", "border-radius": "8px"}
TABS = f"""
:host {{ font-family: {FONT}; }}
.bk-header {{ background: white; border-bottom: 1px solid {LINE}; padding: 0 16px; }}
.bk-tab {{ font-size: 14px; padding: 9px 4px 8px; margin-right: 22px; color: {MUTED};
           border: none; border-bottom: 2px solid transparent; }}
.bk-tab.bk-active {{ color: {INK}; border-bottom: 2px solid {ACCENT}; font-weight: 600; background: none; }}
.bk-tab:focus:not(:focus-visible) {{ outline: none; }}
.bk-tab:hover {{ background: none; color: {INK}; }}
"""
TABLE = f"""
:host .tabulator {{ border: none; background: none; font: 12px {FONT}; }}
:host .tabulator .tabulator-header {{ background: none; border-bottom: 1px solid #c5ccd4; font-weight: 600; }}
:host .tabulator .tabulator-header .tabulator-col {{ background: none; border-right: none; }}
:host .tabulator .tabulator-header .tabulator-col .tabulator-col-content {{ padding: 4px 6px; }}
:host .tabulator .tabulator-col[aria-sort=none] .tabulator-arrow {{ display: none; }}
:host .tabulator .tabulator-col[aria-sort=none] .tabulator-col-title {{ padding-right: 0 !important; }}
:host .tabulator .tabulator-row {{ min-height: 24px; cursor: pointer; border-bottom: 1px solid #eef0f3; }}
:host .tabulator .tabulator-row .tabulator-cell {{ border-right: none; padding: 4px 6px; font-size: 12px;
                                                     height: 24px; }}
:host .tabulator .tabulator-row.tabulator-selected {{ background: #d3e5f3; color: {INK}; }}
:host .tabulator .tabulator-row:hover {{ background: #eef4f9; }}
:host .tabulator .tabulator-row.tabulator-selected:hover {{ background: #c5dcee; }}
"""
CHECKED = ":host .tabulator .tabulator-row.tabulator-selected:not(:hover) { background: none; }"


def html(text: str, **options) -> pn.pane.HTML:
    """Text of the house's own making; what comes from files is escaped by the caller."""
    return pn.pane.HTML(text, **{"margin": 0, "stylesheets": [STYLE]} | options)


def remark(text: str) -> str:
    """A line in small print above a table."""
    return f"<p style='color:{MUTED};font-size:12px;margin:0 0 8px'>{text}</p>"


def button(text: str, width: int = 94) -> pn.widgets.Button:
    return pn.widgets.Button(label=text, width=width, margin=0, stylesheets=[STYLE])


def header(folder: Path) -> pn.pane.HTML:
    where = f"<span style='color:{MUTED};font-size:12px' title='{escape(str(folder))}'>{escape(str(folder))}</span>"
    name = "<b style='font-size:15px;letter-spacing:.01em'>Workbench</b>"
    box = "display:flex;justify-content:space-between;align-items:center;height:42px;padding:0 20px"
    return html(f"<div style='{box};background:{INK}'>{bright(name)}{bright(where)}</div>", sizing_mode="stretch_width")


def bright(text: str) -> str:
    return f"<span style='color:white'>{text.replace(MUTED, '#c3cbd4')}</span>"


def page(folder: Path, content: pn.viewable.Viewable) -> pn.Column:
    """Header over content."""
    return pn.Column(header(folder), content, **WIDE)


def tabs(pages: Sequence[tuple[str, Callable[[list[Run]], pn.viewable.Viewable]]], runs: list[Run]) -> pn.Tabs:
    """Tabs of pages, each drawn when it is first opened and kept then."""
    wait = f"<div style='padding:40px;text-align:center;color:{MUTED}'>Reading the runs …</div>"
    bar = pn.Tabs(
        *[(title, pn.Column(html(wait, **STRETCH), **WIDE)) for title, _ in pages], stylesheets=[TABS], **WIDE
    )
    drawn = set()

    def draw() -> None:
        if bar.active not in drawn:
            drawn.add(bar.active)
            bar[bar.active].objects = [pages[bar.active][1](runs)]

    if pn.state.curdoc is None:
        draw()
    else:  # while the browser is busy with its scripts, and after the server has sent them
        pn.state.curdoc.add_timeout_callback(draw, AFTER_SCRIPTS)
    bar.param.watch(lambda _: draw(), "active")
    return bar


def card(
    title: str, *parts: pn.viewable.Viewable, controls: Sequence[pn.viewable.Viewable] = (), **options
) -> pn.Column:
    """A white box with a title, controls to the right of it, and its parts below."""
    head = html(f"<b style='line-height:30px;white-space:nowrap'>{escape(title)}</b>")
    gap = pn.Spacer(sizing_mode="stretch_width")
    top = pn.Row(head, gap, *controls, margin=(8, 12, 4, 12), styles={"gap": "6px"}, **STRETCH)
    return pn.Column(top, *parts, styles=CARD, **{"sizing_mode": "stretch_width", "margin": 0} | options)


def columns(*cards: pn.viewable.Viewable, least: int = 0) -> pn.Row:
    """Cards of equal width side by side; below one another where each has fewer than `least` pixels."""
    for card in cards:
        card.styles = {**CARD, "flex": f"1 1 {least}px", "min-width": "0"}
    return pn.Row(*cards, styles={"gap": "14px", "flex-wrap": "wrap"}, margin=(0, 0, 14, 0), **STRETCH)


def select(options: dict, width: int) -> pn.widgets.Select:
    return pn.widgets.Select(options=options, width=width, margin=0, stylesheets=[STYLE])


def offer(widget: pn.widgets.Select, options: dict, preferred: object = None) -> None:
    """Gives a widget other options; its value stays where it is among them, else becomes the preferred or the first."""
    values = list(options.values())
    ranked = [value for value in (widget.value, preferred) if value in values] + values
    widget.param.update(options=options, value=ranked[0] if ranked else None)


def plot(height: int) -> pn.pane.HoloViews:
    return pn.pane.HoloViews(None, backend="bokeh", height=height, margin=(0, 6, 6, 6), linked_axes=False, **STRETCH)


def table(value: pd.DataFrame, **options) -> pn.widgets.Tabulator:
    """A table to sort and choose from, not to edit; it scrolls, however many rows it has."""
    look = {
        "theme": "simple",
        "show_index": False,
        "pagination": None,
        "disabled": True,
        "margin": 0,
        "stylesheets": [TABLE],
    }
    return pn.widgets.Tabulator(value, **look | options)


def grid(head: Sequence[str], rows: Sequence[Sequence[object]], best: Mapping[int, int] | None = None) -> str:
    """A small table to read: the first column names, the others numbers; `best` is the row in bold by column."""
    cell = "padding:4px 6px;white-space:nowrap;vertical-align:top;text-align:"
    sides = ["left", *["right"] * (len(head) - 1)]
    top = "".join(f"<th style='{cell}{side};font-weight:600'>{escape(name)}</th>" for name, side in zip(head, sides))
    lines = []
    for number, row in enumerate(rows):
        weights = [600 if (best or {}).get(column) == number else 400 for column in range(len(row))]
        cells = (
            f"<td style='{cell}{side};border-top:1px solid {LINE};font-weight:{weight}'>{below(str(value))}</td>"
            for value, side, weight in zip(row, sides, weights)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    style = "border-collapse:collapse;font-size:12px;width:100%"
    return f"<div style='overflow-x:auto'><table style='{style}'><tr>{top}</tr>{''.join(lines)}</table></div>"


def below(text: str) -> str:
    """What follows ± goes below, in grey."""
    return escape(text).replace(" ± ", f"<br><span style='color:{MUTED};font-weight:400'>± ")


def muted(text: str) -> pn.pane.HTML:
    return html(f"<div style='line-height:30px;white-space:nowrap;color:{MUTED};margin-right:8px'>{text}</div>")


def empty(what: str, command: str) -> pn.pane.HTML:
    """What to do where there is nothing to see."""
    code = f"<code style='background:#e9ecf0;padding:3px 8px;border-radius:4px'>{escape(command)}</code>"
    text = (
        f"<p style='font-size:17px;margin:0 0 10px'><b>{escape(what)}</b></p>Train some: {code}, then reload this page."
    )
    return html(
        f"<div style='padding:90px 24px;text-align:center;color:{MUTED}'>{text}</div>", sizing_mode="stretch_width"
    )


def trouble(text: str) -> pn.pane.HTML:
    """What went wrong, in the words of the error."""
    return html(f"<div style='padding:40px 24px'><b>This page cannot be drawn.</b> {escape(text)}</div>", **STRETCH)


def note(aside: Sequence[tuple[Run, str]]) -> pn.viewable.Viewable:
    """A folded list of the runs that are not shown, with the reason."""
    if not aside:
        return pn.Spacer(height=0, margin=0)
    rows = "".join(f"<li><b>{escape(called(run))}</b> – {escape(why)}</li>" for run, why in aside)
    text = (
        f"<summary style='cursor:pointer'>{len(aside)} run{'s' * (len(aside) > 1)} not shown</summary><ul>{rows}</ul>"
    )
    return html(
        f"<details style='color:{MUTED};padding:6px 20px 16px;font-size:12px'>{text}</details>",
        **{"sizing_mode": "stretch_width"},
    )


def called(run: Run) -> str:
    """A name for a run whose settings may be unreadable."""
    return f"{run.name}/{run.id}" if run.state.startswith("broken") else views.label(run)
