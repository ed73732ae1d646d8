"""Where everything stands on the page of modalities: a row of pictures a run, controls above, numbers beside."""

import param
from panel.reactive import ReactiveHTML
from panel.viewable import Child, Children

from workbench.dashboard import frame
from workbench.views.modalities import BAR, GIVEN, MADE, UNIT


def scale(limit: float) -> str:
    """The colours of the maps, from 0 to the limit."""
    ticks = "".join(f"<span>{limit * part / 5:g}</span>" for part in range(5)) + f"<span>≥ {limit:g} {UNIT}</span>"
    return f"<div class='bar' style='background:linear-gradient(90deg,{BAR})'></div><div class='ticks'>{ticks}</div>"


TITLES = "".join(
    f'<div class="title">{name} <span class="muted">{"input" if name == GIVEN else "as acquired"}</span></div>'
    for name in (GIVEN, *MADE)
)


class Board(ReactiveHTML):
    """One component, which starts faster than nested ones. Pictures are counted row by row, that of the truth first."""

    back, forth, shown, outlines, limit, whole, more, save = (Child() for _ in range(8))
    choices = Children(doc="What chooses the run of a row, from the second row on.")
    pictures = Children(doc="The pictures, four a row.")
    letters = param.List(doc="What the rows from the second on are called.")
    rows = param.Integer()
    wrong = param.Boolean(False, doc="Whether maps of errors are shown.")
    texts = param.Dict(default={}, doc="Markup by the name of its place.")

    _template = """
    <div id="board" class="board">
      <div id="message" class="message" data-place="message"></div>
      <div class="tools">
        <div id="at_back">${back}</div><div id="at_forth">${forth}</div>
        <div class="place" data-place="place"></div>
        <div id="at_whole">${whole}</div><div id="at_more">${more}</div><div id="at_save">${save}</div>
      </div>
      <div class="tools">
        <div class="pair"><span class="muted">Runs as</span><div id="at_shown">${shown}</div></div>
        <div class="pair"><span class="muted">Tumour</span><div id="at_outlines">${outlines}</div></div>
        <div class="pair"><span class="muted">Errors up to</span><div id="at_limit">${limit}</div></div>
        <div id="scale" class="scale" data-place="scale"></div>
      </div>
      <div class="flow">
        <div id="grid" class="grid" style="--rows: {{ rows }}">
          TITLES
          {% for choice in choices %}
          <div class="head" style="grid-row: {{ 3 * loop.index + 1 }}">
            {{ letters[loop.index0] }}<div id="choice" class="choice">${choice}</div></div>
          {% endfor %}
          <div id="notes" style="display: contents">
          {% for letter in letters %}{% set row = loop.index %}{% for column in [0, 1, 2, 3] %}
          <div class="note" style="grid-row: {{ 3 * row + 3 }}; grid-column: {{ column + 1 }}"
               data-place="note_{{ row }}_{{ column }}"></div>
          {% endfor %}{% endfor %}
          </div>
          <div id="cells" style="display: contents">
          {% for picture in pictures %}
          <div class="cell" style="grid-row: {{ 3 * (loop.index0 // 4) + 2 }}; grid-column: {{ loop.index0 % 4 + 1 }}">
            <div id="picture">${picture}</div></div>
          {% endfor %}
          </div>
        </div>
        <div class="numbers"><div class="title">This case</div><div data-place="numbers"></div></div>
      </div>
    </div>
    """.replace("TITLES", TITLES)
    _scripts = {
        "render": "self.texts(); self.wrong()",
        "wrong": "scale.style.opacity = data.wrong ? 1 : 0.35",
        "texts": """
          for (const [name, text] of Object.entries(data.texts)) {
            const place = board.querySelector(`[data-place="${name}"]`)
            if (place && place.innerHTML !== text) place.innerHTML = text
          }
        """,
    }
    _stylesheets = [
        f"""
        .board {{ font: 13px {frame.FONT}; color: {frame.INK}; max-width: 1900px; container-type: inline-size; }}
        .tools {{ display: flex; align-items: center; gap: 6px 8px; margin-bottom: 6px; min-height: 32px;
                  flex-wrap: wrap; white-space: nowrap; }}
        .pair {{ display: flex; align-items: center; gap: 8px; }}
        .place {{ flex: 1; min-width: 190px; overflow: hidden; text-overflow: ellipsis; padding: 0 6px; }}
        .message > div {{ background: #fdf3d8; border: 1px solid #ecd9a0; border-radius: 6px; padding: 6px 12px;
                          margin-bottom: 8px; }}
        .flow {{ display: flex; flex-wrap: wrap; gap: 10px 28px; }}
        .grid {{ display: grid; gap: 0 8px; align-content: start; max-width: 100%;
                 --room: calc((100cqw - 258px) / 4 - 8px);
                 --fit: max(120px, (100vh - 240px - 54px * var(--rows)) / var(--rows));
                 --side: max(110px, min(var(--room), var(--fit)));
                 grid-template-columns: repeat(4, var(--side)); }}
        @container (max-width: 760px) {{ .grid {{ --room: calc((100cqw - 24px) / 4); --fit: 400px;
                                                  --side: min(var(--room), var(--fit)); }} }}
        .head {{ grid-column: 1 / -1; display: flex; gap: 6px; align-items: center; height: 34px; font-weight: 600; }}
        .choice {{ font-weight: 400; }}
        .title {{ height: 24px; line-height: 24px; font-weight: 600; white-space: nowrap; overflow: hidden;
                  text-overflow: ellipsis; }}
        .cell {{ min-width: 0; }}
        .muted {{ color: {frame.MUTED}; font-weight: 400; }}
        .note {{ color: {frame.MUTED}; font-size: 11px; height: 18px; line-height: 18px; overflow: hidden;
                 white-space: nowrap; text-overflow: ellipsis; }}
        .scale {{ flex: 1; min-width: 180px; max-width: 340px; height: 26px; font-size: 11px; color: {frame.MUTED}; }}
        .scale .bar {{ height: 10px; border-radius: 2px; }}
        .scale .ticks {{ display: flex; justify-content: space-between; }}
        .numbers {{ flex: 1 1 220px; max-width: 360px; }}
        table {{ width: 100%; border-collapse: collapse; font-size: 12px; line-height: 19px; }}
        td, th {{ padding: 0 4px; text-align: right; }}
        td:first-child {{ text-align: left; padding-left: 0; white-space: nowrap; }}
        tr + tr {{ border-top: 1px solid {frame.LINE}; }}
        """
    ]
