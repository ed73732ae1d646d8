"""What all pages of the dashboard look like: colours, header, tabs, cards, notes and empty states."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import panel as pn

from workbench import __version__, views
from workbench.runs import Run

INK, MUTED, LINE, PAPER, ACCENT = "#1f2933", "#616e7c", "#dfe3e8", "#f5f6f8", "#0072B2"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
WIDE = {"sizing_mode": "stretch_width", "margin": 0}
GLOBAL = f"""
html, body {{ background: {PAPER}; color: {INK}; font-family: {FONT}; }}
:root {{ --panel-primary-color: {ACCENT}; --design-primary-color: {ACCENT}; --jp-ui-font-size1: 13px; }}
"""
STYLE = f"""
:host {{ font-family: {FONT}; font-size: 13px; color: {INK}; }}
.bk-input {{ font-size: 13px; border-color: #c5ccd4; border-radius: 5px; padding: 0 8px; min-height: 30px; height: 30px; }}
.bk-input-group > label, label {{ font-size: 12px; color: {MUTED}; }}
.bk-btn {{ font-size: 13px; border-radius: 5px; border-color: #c5ccd4; height: 30px; padding: 0 10px; }}
"""
CARD = {"background": "white", "border": f"1px solid {LINE}", "border-radius": "8px"}
TABS = f"""
:host {{ font-family: {FONT}; }}
.bk-header {{ background: white; border-bottom: 1px solid {LINE}; padding: 0 16px; }}
.bk-tab {{ font-size: 14px; padding: 9px 4px 8px; margin-right: 22px; border: none; color: {MUTED}; border-bottom: 2px solid transparent; }}
.bk-tab.bk-active {{ color: {INK}; border: none; border-bottom: 2px solid {ACCENT}; font-weight: 600; background: none; }}
.bk-tab:hover {{ background: none; color: {INK}; }}
"""


def html(text: str, **options) -> pn.pane.HTML:
    """Text of the house's own making; what comes from files is escaped by the caller."""
    return pn.pane.HTML(text, margin=0, stylesheets=[STYLE], **options)


def button(text: str, width: int = 94) -> pn.widgets.Button:
    return pn.widgets.Button(name=text, width=width, margin=0, stylesheets=[STYLE])


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


def tabs(pages: Sequence[tuple[str, Callable[[list[Run]], pn.viewable.Viewable], list[Run]]]) -> pn.Column:
    """Tabs of pages, each drawn when it is first opened and kept then."""
    bar = pn.Tabs(*[(title, pn.Column(**WIDE)) for title, _, _ in pages], stylesheets=[TABS], **WIDE)

    def draw(index: int) -> None:
        _, make, found = pages[index]
        if not len(bar[index]):
            bar[index].append(make(found))

    draw(0)
    bar.param.watch(lambda event: draw(event.new), "active")
    return bar


def card(
    title: str, *parts: pn.viewable.Viewable, controls: Sequence[pn.viewable.Viewable] = (), **options
) -> pn.Column:
    """A white box with a title, controls to the right of it, and its parts below."""
    head = html(f"<b style='font-size:13px;line-height:30px'>{escape(title)}</b>", min_width=10)
    top = pn.Row(
        head, pn.Spacer(sizing_mode="stretch_width"), *controls, margin=(8, 12, 0, 12), sizing_mode="stretch_width"
    )
    return pn.Column(top, *parts, styles=CARD, **{"sizing_mode": "stretch_width", "margin": 0} | options)


def empty(what: str, command: str) -> pn.pane.HTML:
    """What to do where there is nothing to see."""
    code = f"<code style='background:#e9ecf0;padding:3px 8px;border-radius:4px'>{escape(command)}</code>"
    text = (
        f"<p style='font-size:17px;margin:0 0 10px'><b>{escape(what)}</b></p>Train some: {code}, then reload this page."
    )
    return html(
        f"<div style='padding:90px 24px;text-align:center;color:{MUTED}'>{text}</div>", sizing_mode="stretch_width"
    )


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


def version() -> str:
    return __version__
