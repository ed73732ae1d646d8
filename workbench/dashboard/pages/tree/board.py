"""Where everything stands on the page of trees: trees above or beside the three slices, the controls on top."""

import param
from panel.reactive import ReactiveHTML
from panel.viewable import Child

from workbench.dashboard import frame
from workbench.views.turntable import CHOSEN, TRUTH, palette

MARKS = (
    ("<i style='background:none;border:2px solid {0};transform:rotate(45deg) scale(.8)'></i>an error begins", TRUTH),
    ("<i style='background:{0};opacity:.5;width:16px;height:6px;vertical-align:1px'></i>wrong branch", TRUTH),
    ("<i style='background:#ffe65e;border-radius:50%;border:2px solid {0}'></i>alert", "white"),
    ("<i style='background:none;border-radius:50%;border:2px solid {0}'></i>chosen", CHOSEN),
)


def legend() -> str:
    """What the marks mean, on the black of the pictures."""
    return "".join(f"<span>{text.format(color)}</span>" for text, color in MARKS)


def scale(low: float, high: float, lowest: float) -> str:
    """The colours of the score between two values, and from where on it is an alert."""
    tints = ",".join(palette(16))
    ends = f"<span>{low:.2g}</span><b style='background:linear-gradient(90deg,{tints})'></b><span>{high:.2g}</span>"
    return ends + (f"<span class='muted'>alerts from {lowest:.3g}</span>" if lowest < float("inf") else "")


class Board(ReactiveHTML):
    """One component, which starts faster than nested ones."""

    back, forth, last, following, a, b, active, stretch, field, trace, save = (Child() for _ in range(11))
    views, tree_a, tree_b, slice_0, slice_1, slice_2 = (Child() for _ in range(6))
    single = param.Boolean(False, doc="Whether there is one tree, which is then drawn large.")
    texts = param.Dict(default={}, doc="Markup by the name of its place.")

    _template = (
        """
    <div id="board" class="board">
      <div id="message" class="message"></div>
      <div class="tools">
        <div id="at_back">${back}</div><div id="at_forth">${forth}</div><div id="place" class="place"></div>
        <span class="head">A</span><div id="at_a" class="choice">${a}</div>
        <span class="head">B</span><div id="at_b" class="choice">${b}</div>
        <div id="at_save">${save}</div>
      </div>
      <div class="tools">
        <span class="muted">Alerts of</span><div id="at_active">${active}</div>
        <div id="at_last" title="key p">${last}</div><div id="at_following" title="key n">${following}</div>
        <div id="count" class="count"></div>
        <span class="muted">View</span><div id="at_views">${views}</div>
        <div class="legend">LEGEND</div>
      </div>
      <div id="grid" class="grid">
        <div class="tree first"><div class="head">A <span id="name_a" class="muted"></span></div>
          <div id="at_tree_a" class="dark">${tree_a}</div><div id="scale_a" class="scale"></div></div>
        <div class="tree second"><div class="head">B <span id="name_b" class="muted"></span></div>
          <div id="at_tree_b" class="dark">${tree_b}</div><div id="scale_b" class="scale"></div></div>
        <div class="told">
          <div class="line"><div id="node" class="node"></div>
            <span class="muted">Score</span><div id="at_stretch">${stretch}</div><span class="muted">Field</span>
            <div id="at_field">${field}</div><div id="at_trace">${trace}</div></div>
          <div class="slices">
            <div class="cell"><div id="head_0" class="head"></div>
              <div id="at_slice_0" class="dark">${slice_0}</div></div>
            <div class="cell"><div id="head_1" class="head"></div>
              <div id="at_slice_1" class="dark">${slice_1}</div></div>
            <div class="cell"><div id="head_2" class="head"></div>
              <div id="at_slice_2" class="dark">${slice_2}</div></div>
          </div></div>
      </div>
    </div>
    """
    ).replace("LEGEND", legend())
    _scripts = {
        "render": "self.texts(); self.single()",
        "single": "grid.classList.toggle('single', data.single)",
        "texts": """
          const places = {message, place, count, node, name_a, name_b, scale_a, scale_b, head_0, head_1, head_2}
          for (const [name, text] of Object.entries(data.texts))
            if (places[name] && places[name].innerHTML !== text) places[name].innerHTML = text
        """,
    }
    _stylesheets = [
        f"""
        .board {{ font: 13px {frame.FONT}; color: {frame.INK}; max-width: 1700px; container-type: inline-size; }}
        .tools, .line {{ display: flex; align-items: center; gap: 6px 8px; margin-bottom: 6px; min-height: 32px;
                  flex-wrap: wrap; white-space: nowrap; }}
        .place {{ flex: 1; min-width: 150px; overflow: hidden; text-overflow: ellipsis; padding: 0 6px; }}
        .choice {{ width: clamp(140px, 20cqw, 230px); }}
        .count {{ width: 90px; }}
        .message > div {{ background: #fdf3d8; border: 1px solid #ecd9a0; border-radius: 6px; padding: 6px 12px;
                          margin-bottom: 8px; }}
        .legend {{ background: #14181d; color: #d5dbe2; border-radius: 5px; padding: 0 4px 0 10px; font-size: 12px;
                   line-height: 28px; }}
        .legend span {{ margin-right: 12px; }}
        .legend i {{ display: inline-block; width: 8px; height: 8px; margin-right: 6px; box-sizing: content-box; }}
        .grid {{ display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 2px 14px; align-items: start;
                 --tall: max(230px, calc((100vh - 330px) * 0.53)); }}
        .tree {{ width: min(100%, calc(var(--tall) * 1.6)); }}
        .told {{ grid-column: 1 / 3; }}
        .slices {{ display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 2px 14px;
                   width: min(100%, calc(3 * max(200px, (100vh - 330px) * 0.46) + 28px)); }}
        .single.grid {{ grid-template-columns: minmax(0, 1.15fr) minmax(0, 1fr); }}
        .single .second {{ display: none; }}
        .single .tree {{ width: min(100%, calc((100vh - 270px) * 1.1)); }}
        .single .node {{ flex: 1 0 100%; }}
        .single .told {{ grid-column: 2; }}
        .single .slices {{ grid-template-columns: repeat(2, minmax(0, 1fr));
                           width: min(100%, max(320px, calc(100vh - 330px))); }}
        @container (max-width: 700px) {{
          .grid, .single.grid {{ grid-template-columns: minmax(0, 1fr); }}
          .told, .single .told {{ grid-column: 1; }} }}
        .head {{ font-weight: 600; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; line-height: 26px; }}
        .dark {{ background: #14181d; }}
        .muted {{ color: {frame.MUTED}; font-weight: 400; }}
        .scale {{ display: flex; gap: 6px; align-items: center; height: 24px; font-size: 11px; white-space: nowrap;
                  overflow: hidden; }}
        .scale b {{ width: 120px; height: 9px; border-radius: 2px; }}
        .node {{ flex: 1; min-width: 240px; overflow: hidden; text-overflow: ellipsis; }}
        """
    ]
