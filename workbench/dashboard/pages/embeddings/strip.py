"""A case and its neighbours as a row of pictures; a click on one chooses it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import param
from panel.reactive import ReactiveHTML
from PIL import Image

from workbench.dashboard import frame

SIDE = 96  # pixels of a picture that is sent, at most


@dataclass(frozen=True)
class Shown:
    """One picture of the row: the number of its case, (H, W) or (H, W, 3) uint8 or None, and what stands below.

    `same` is whether it is like the first one, None where that is not known.
    """

    number: int
    image: np.ndarray | None
    title: str
    words: Sequence[str]
    same: bool | None = None


class Strip(ReactiveHTML):
    """The row; `picked` is the number of the case whose picture was clicked last."""

    content = param.Dict(default={}, doc="Its markup under the name `markup`.")
    picked = param.Integer(-1)

    _template = '<div id="strip" class="strip"></div>'
    _scripts = {
        "render": """
          strip.addEventListener('click', (event) => {
            const one = event.target.closest('[data-case]')
            if (one) data.picked = Number(one.dataset.case)
          })
          self.content()
        """,
        "content": "strip.innerHTML = data.content.markup || ''",
    }
    _stylesheets = [
        f"""
        .strip {{ display: flex; gap: 6px; font: 11px {frame.FONT}; color: {frame.INK}; flex-wrap: wrap; }}
        button {{ all: unset; flex: 1 1 56px; min-width: 56px; max-width: 88px; cursor: pointer; overflow: hidden; }}
        button:focus-visible {{ outline: 2px solid {frame.ACCENT}; }}
        button.first {{ cursor: default; margin-right: 8px; }}
        img, .none {{ display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #e9ecf0;
                      image-rendering: pixelated; box-sizing: border-box; border: 3px solid #c5ccd4; }}
        .first img {{ border-color: black; }} .same img {{ border-color: #009E73; }}
        .other img {{ border-color: #D55E00; border-style: dashed; }}
        div div, button div {{ white-space: nowrap; overflow: hidden; text-overflow: ellipsis; line-height: 15px; }}
        .muted {{ color: {frame.MUTED}; }}
        """
    ]


def markup(row: Sequence[Shown]) -> str:
    """The row as markup, the case itself first."""
    return "".join(figure(one, not place) for place, one in enumerate(row))


def figure(one: Shown, first: bool) -> str:
    kind = "first" if first else {True: "same", False: "other", None: ""}[one.same]
    picture = f"<img alt='' src='{source(one.image)}'>" if one.image is not None else "<div class='none'></div>"
    lines = "".join(f"<div class='muted'>{escape(words)}</div>" for words in one.words)
    tell = escape(" · ".join([one.title, *one.words]), quote=True)
    return (
        f"<button class='{kind}' data-case='{one.number}' title='{tell}'>{picture}"
        f"<div>{escape(one.title)}</div>{lines}</button>"
    )


def source(image: np.ndarray) -> str:
    """An image as the address of a PNG of at most 96 pixels a side."""
    drawn, file = Image.fromarray(image), io.BytesIO()
    if max(drawn.size) > SIDE:
        drawn.thumbnail((SIDE, SIDE))
    drawn.save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
