"""Where everything stands on the page of masks: pictures in a grid, a column a run, controls above, numbers beside."""

from collections.abc import Mapping
from html import escape

import param
from panel.reactive import ReactiveHTML
from panel.viewable import Child, Children

from workbench.dashboard import frame
from workbench.views.masks import ERRORS

LINE = (
    "<svg width='26' height='12' style='vertical-align:-2px;background:#555;border-radius:2px'>"
    "<line x1='0' y1='6' x2='26' y2='6' stroke='{}' stroke-width='{}'/>"
    "<line x1='0' y1='6' x2='26' y2='6' stroke='{}' stroke-width='2' stroke-dasharray='{}'/></svg>"
)
SWATCH = "<i style='background:{}'></i>{}"


def legend(tint: str) -> str:
    """What the lines mean, in the colour of one class, and the colours of the errors."""
    lines = {"truth": ("white", 3, tint, "4 4"), "prediction": ("black", 4, tint, "none")}
    drawn = [f"{LINE.format(*look)} {name}" for name, look in lines.items()]
    return f"<span>{'</span><span>'.join(drawn)}</span>"


def errors() -> str:
    """The colours of the errors by name."""
    return "".join(f"<span>{SWATCH.format(tint, name)}</span>" for name, tint in ERRORS.items())


def counted(seen: Mapping[str, int]) -> str:
    """The colours of the errors in short, each with its number of pixels."""
    short = {name: "".join(word[0] for word in name.split()).upper() for name in ERRORS}
    told = " ".join(SWATCH.format(tint, f"{short[name]} {seen[name]}") for name, tint in ERRORS.items())
    return f"<span title='pixels of this slice'>{told}</span>"


def marks(letters: str) -> str:
    """The letters at the left, right, lower and upper edge of a picture."""
    sides = zip(("left", "right", "lower", "upper"), letters)
    return "".join(f"<b class='{side}'>{escape(letter)}</b>" for side, letter in sides)


class Board(ReactiveHTML):
    """One component, which starts faster than nested ones. Rows and columns of the grid count from 1."""

    back, forth, style, opacity, shown, truth, focus, whole, more, save, extra = (Child() for _ in range(11))
    choices = Children(doc="What chooses the run of a column, from the second column on.")
    sliders = Children(doc="What stands at the left above each row of pictures.")
    pictures = Children(doc="The pictures.")
    letters = param.List(doc="What the columns from the second on are called.")
    spots = param.List(doc="Row, column and width in per cent of each picture.")
    lines = param.List(doc="The row of each of the sliders.")
    noted = param.List(doc="Row and column of each of the notes.")
    columns = param.Integer()
    share = param.Number(doc="The width of a column per height of all rows of pictures.")
    texts = param.Dict(default={}, doc="Markup by the name of its place.")

    _template = """
    <div id="board" class="board">
      <div id="message" class="message" data-place="message"></div>
      <div class="tools">
        <div id="at_back">${back}</div><div id="at_forth">${forth}</div>
        <div class="place" data-place="place"></div>
        <div id="at_style">${style}</div>
        <span class="muted">Opacity</span><div id="at_opacity">${opacity}</div>
        <div id="at_whole">${whole}</div><div id="at_more">${more}</div><div id="at_save">${save}</div>
      </div>
      <div class="tools">
        <span class="muted">Classes</span><div id="at_shown">${shown}</div>
        <div id="at_truth">${truth}</div><div class="key" data-place="legend"></div>
        <span class="muted">Errors of</span><div id="at_focus">${focus}</div>
        <div class="key" data-place="errors"></div>
        <div id="at_extra" class="extra">${extra}</div>
      </div>
      <div class="flow">
        <div id="grid" class="grid" style="--columns: {{ columns }}; --share: {{ share }};
             --beside: {{ 250 if columns < 4 else 0 }}px; --above: {{ 330 + 28 * lines|length }}px">
          <div class="head">Truth</div>
          {% for choice in choices %}
          <div class="head" style="grid-column: {{ loop.index + 1 }}">{{ letters[loop.index0] }}
            <div id="choice" class="choice">${choice}</div></div>
          {% endfor %}
          <div id="rows" style="display: contents">
          {% for slider in sliders %}
          <div class="line" style="grid-row: {{ lines[loop.index0] }}">
            <span class="muted" data-place="slice_{{ loop.index0 }}"></span>
            <div id="slider" class="slider">${slider}</div></div>
          {% endfor %}
          </div>
          <div id="notes" style="display: contents">
          {% for note in noted %}
          <div class="note" style="grid-row: {{ note[0] }}; grid-column: {{ note[1] }}"
               data-place="note_{{ loop.index0 }}"></div>
          {% endfor %}
          </div>
          <div id="cells" style="display: contents">
          {% for picture in pictures %}
          <div class="cell" style="grid-row: {{ spots[loop.index0][0] }}; grid-column: {{ spots[loop.index0][1] }}">
            <div class="box" style="width: {{ spots[loop.index0][2] }}%" data-place="box_{{ loop.index0 }}">
              <div id="picture">${picture}</div>
              <div class="letters" data-place="letters_{{ loop.index0 }}"></div>
            </div></div>
          {% endfor %}
          </div>
        </div>
        <div class="numbers"><div class="head">This case</div><div data-place="numbers"></div></div>
      </div>
    </div>
    """
    _scripts = {
        "render": "self.texts()",
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
        .place {{ flex: 1; min-width: 190px; overflow: hidden; text-overflow: ellipsis; padding: 0 6px; }}
        .message > div {{ background: #fdf3d8; border: 1px solid #ecd9a0; border-radius: 6px; padding: 6px 12px;
                          margin-bottom: 8px; }}
        .key {{ display: flex; gap: 12px; font-size: 12px; }}
        .key i, .note i {{ display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px; }}
        .flow {{ display: flex; flex-wrap: wrap; gap: 10px 28px; }}
        .grid {{ display: grid; gap: 4px 14px; align-content: start; max-width: 100%; overflow-x: auto;
                 --room: calc((100cqw - var(--beside)) / var(--columns) - 14px);
                 --side: max(130px, min(var(--room), max(190px, (100vh - var(--above)) * var(--share))));
                 grid-template-columns: repeat(var(--columns), var(--side)); }}
        @container (max-width: 800px) {{ .grid {{ --room: calc(100cqw / var(--columns) - 14px) }} }}
        .head {{ display: flex; gap: 6px; align-items: center; height: 32px; font-weight: 600; white-space: nowrap; }}
        .choice {{ flex: 1; min-width: 0; font-weight: 400; }}
        .line {{ grid-column: 1; display: flex; gap: 8px; align-items: center; height: 26px; white-space: nowrap;
                 font-size: 12px; }}
        .slider {{ flex: 1; min-width: 40px; max-width: 160px; }}
        .muted {{ color: {frame.MUTED}; font-weight: 400; }}
        .note {{ color: {frame.MUTED}; font-size: 11px; height: 26px; line-height: 26px; overflow: hidden;
                 white-space: nowrap; text-overflow: ellipsis; }}
        .note i {{ width: 8px; height: 8px; margin: 0 3px 0 5px; }}
        .cell {{ min-width: 0; }}
        .box {{ position: relative; margin: 0 auto; }}
        .letters b {{ position: absolute; color: white; font-size: 11px; text-shadow: 0 0 3px black, 0 0 2px black;
                      pointer-events: none; }}
        .left {{ left: 5px; top: calc(50% - 8px); }} .right {{ right: 5px; top: calc(50% - 8px); }}
        .lower {{ bottom: 3px; left: calc(50% - 4px); }} .upper {{ top: 3px; left: calc(50% - 4px); }}
        .numbers {{ flex: 1 1 200px; max-width: 360px; }}
        table {{ width: 100%; border-collapse: collapse; font-size: 12px; line-height: 19px; }}
        td, th {{ padding: 0 4px; text-align: right; }}
        td:first-child {{ text-align: left; padding-left: 0; white-space: nowrap; }}
        tr + tr {{ border-top: 1px solid {frame.LINE}; }}
        """
    ]
