"""What a picture shows: its size, a thumbnail in colour, how much detail it has, and whether it is blank.

A thumbnail's pixel is the mean over its block, so that noise, antialiasing and compression vanish and a lost
curve, another case, turned colours or a lost label do not.
"""

import base64
import io
import re
import xml.etree.ElementTree as tree

import numpy as np
from PIL import Image, UnidentifiedImageError

from workbench.check.facts import Fact, Facts, listed, said

SIDE = 24  # pixels of a thumbnail
BLANK = 2.0  # grey levels: less contrast than this is a blank picture
NOISE = 12.0  # grey levels: smaller steps from pixel to pixel are no detail
DETAIL = 0.3  # tolerance of the detail, relative
URI = re.compile(r"data:image/([\w.+-]+);base64,([A-Za-z0-9+/=\s]+)")
NUMBERS = re.compile(r"[-+]?(?:\d*\.\d+|\d+)(?:e[-+]?\d+)?")


def facts(kind: str, content: bytes) -> Facts:
    """The facts of an image file; `kind` is what follows image/ in its media type."""
    if kind.startswith("svg"):
        return drawn(content.decode("utf-8", "replace"))
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        return {"": Fact("picture that cannot be read"), "reason": Fact(type(error).__name__)}
    return shown(image)


def shown(image: Image.Image) -> Facts:
    """The facts of a picture; transparency is laid over white."""
    flat = Image.new("RGBA", image.size, "white")
    flat.alpha_composite(image.convert("RGBA"))
    pixels = np.asarray(flat.convert("RGB"), np.float32)
    if np.ptp(pixels) < BLANK:
        return {"": Fact("blank picture"), "size": size(image.size)}
    grey = np.asarray(flat.convert("L"), np.float32)
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (0, 1) if grey.shape[axis] > 1]
    detail = sum(float((step * (step > NOISE)).mean()) for step in steps)
    small = flat.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return {
        "": Fact("picture"),
        "size": size(image.size),
        "content": Fact(picture=packed(small)),
        "detail": Fact(numbers=(f"{detail:.4e}",), rtol=DETAIL),
    }


def size(sides: tuple[int, int]) -> Fact:
    return Fact("# x #", tuple(map(str, sides)))


def packed(small: Image.Image) -> str:
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def unpacked(picture: str) -> np.ndarray:
    """(SIDE, SIDE, 3), 0 to 255."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))), float)


def difference(expected: str, found: str) -> float:
    """The largest difference of two thumbnails in any pixel and colour, relative to the contrast of the first."""
    first, second = unpacked(expected), unpacked(found)
    return float(np.abs(first - second).max() / max(np.ptp(first), 16.0))


def array(values: np.ndarray) -> Facts:
    """The facts of an image inside a figure: (H, W) numbers or packed colours (H, W) uint32."""
    if values.dtype == np.uint32:
        return shown(Image.fromarray(np.ascontiguousarray(values).view(np.uint8).reshape(*values.shape, 4), "RGBA"))
    finite = values[np.isfinite(values)].astype(float)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    grey = np.nan_to_num((values - low) / max(high - low, 1e-12), nan=0.0, posinf=1.0, neginf=0.0)
    limits = listed([float(low), float(high)])
    return shown(Image.fromarray((grey * 255).astype(np.uint8))) | {"limits": limits}


def drawn(source: str) -> Facts:
    """The facts of an SVG drawing: what it is made of, its words, and where its lines go."""
    try:
        root = tree.fromstring(source)
    except tree.ParseError:
        return {"": Fact("drawing that cannot be read")}
    nodes = [(str(node.tag).rpartition("}")[2], node) for node in root.iter()]
    shapes = [(name, node) for name, node in nodes if name in ("path", "polyline", "polygon")]
    found = {
        "": Fact("drawing"),
        "size": said(f"{root.get('width')} x {root.get('height')}"),
        "parts": Fact(" ".join(name for name, _ in nodes)),
        "words": said("\n".join(node.text or "" for name, node in nodes if name in ("text", "tspan", "title"))),
    }
    for number, (name, node) in enumerate(shapes, 1):
        places = [float(word) for word in NUMBERS.findall(node.get("points") or node.get("d") or "")]
        style = f"{name} {node.get('stroke')} {node.get('fill')}"
        line = listed(places[1::2])  # heights; where a line has other commands they still tell drawings apart
        found[f"line {number}"] = Fact(style, line.numbers, scale=line.scale)
    return found
