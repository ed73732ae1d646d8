"""What a Bokeh document shows, read from the JSON in a notebook's output: HoloViews figures, dashboards, tables.

Read as JSON and not as live models: the models of the extensions that drew it need not be there, and ids, style
sheets and tools, which differ from run to run or say nothing of the content, are never looked at.
"""

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import numpy as np

from workbench.check import pictures
from workbench.check.facts import Fact, Facts, listed, prefixed, said

START = re.compile(r"docs_json = (?=\{)|(?<=[>'])\s*(?=\{\"[0-9a-f-]{36}\":\{\"version\")")
WIDGET = ("label", "title", "value", "options", "labels", "start", "end", "active")
STYLE = ("line_color", "fill_color", "line_dash", "text_color", "marker", "line_width", "text")

Html = Callable[[str], Facts]


def documents(html: str) -> list[dict]:
    """The Bokeh documents of a text/html output."""
    found = []
    for place in START.finditer(html):
        try:
            found += json.JSONDecoder().raw_decode(html[place.end() :])[0].values()
        except (ValueError, RecursionError):
            found.append({"roots": []})
    return found


def facts(document: dict, html: Html) -> Facts:
    """The facts of a document; `html` reads the markup inside its panes."""
    try:
        return shown(document, html)
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RecursionError) as error:
        return {"": Fact("figure that cannot be read"), "reason": Fact(type(error).__name__)}


def shown(document: dict, html: Html) -> Facts:
    objects = list(walk(document.get("roots", [])))
    read = Reader({one["id"]: one for one in objects}, html)
    plots = [one for one in objects if one["name"] in ("Figure", "Plot")]
    panes = [one for one in objects if isinstance(attributes(one).get("text"), str) and one["name"] != "Title"]
    tables = [one for one in objects if one["name"].endswith(("DataTable", "DataTabulator"))]
    widgets = [one for one in objects if "Button" in one["name"] or "value" in attributes(one)]
    found = {}
    parts = (("plot", plots, read.plot), ("pane", panes, read.pane), ("table", tables, read.table))
    for kind, group, reader in (*parts, ("widget", widgets, read.widget)):
        for number, one in enumerate(group, 1):
            found |= prefixed(f"{kind} {number}", reader(one))
    return {"": Fact("figure")} | found


def walk(value: Any) -> Iterator[dict]:
    """Every object of a document that stands whole in it, in its order."""
    if isinstance(value, dict):
        if value.get("type") == "object" and "id" in value:
            yield value
        for part in value.values():
            yield from walk(part)
    elif isinstance(value, list):
        for part in value:
            yield from walk(part)


def attributes(one: dict) -> dict:
    return one.get("attributes", {})


def chosen(part: Any) -> Any:
    """What a property is set to: a value, or the name of a column."""
    return part.get("value", part.get("field")) if isinstance(part, dict) else part


class Reader:
    """Reads objects of one document, which refer to one another by id."""

    def __init__(self, objects: dict[str, dict], html: Html) -> None:
        self.objects, self.html = objects, html

    def get(self, one: dict, name: str) -> Any:
        """An attribute: references followed, arrays and maps decoded; None where there is none."""
        return self.value(attributes(one).get(name))

    def value(self, raw: Any) -> Any:
        if isinstance(raw, list):
            return [self.value(part) for part in raw]
        if not isinstance(raw, dict):
            return raw
        match raw.get("type"):
            case "ndarray":
                return decoded(raw)
            case "map":
                return {str(self.value(key)): self.value(part) for key, part in raw.get("entries", [])}
            case "number":
                return float(raw["value"])
            case None:
                return self.objects.get(raw["id"], raw) if "id" in raw else raw
            case _:
                return raw

    def plot(self, one: dict) -> Facts:
        """Title, axes, ranges, legend and layers."""
        title = self.get(one, "title")
        found = {"": Fact(one["name"]), "title": said(str(self.get(title, "text") if isinstance(title, dict) else ""))}
        for axis in ("x", "y"):
            found[f"{axis} range"] = self.limits(self.get(one, f"{axis}_range"))
        around = [part for side in ("below", "left", "above", "right", "center") for part in self.get(one, side) or []]
        labels = [self.get(part, "axis_label") for part in around if part["name"].endswith("Axis")]
        found["axes"] = said("\n".join(str(label) for label in labels))
        for kind in ("Legend", "ColorBar"):
            if group := [part for part in around if part["name"] == kind]:
                found[kind.lower()] = said("\n".join(word for part in group for word in self.entries(part)))
        for number, layer in enumerate(self.get(one, "renderers") or [], 1):
            found |= prefixed(f"layer {number}", self.layer(layer))
        return found

    def entries(self, legend: dict) -> Iterator[str]:
        yield str(self.get(legend, "title") or "")
        for item in self.get(legend, "items") or []:
            yield str(chosen(attributes(item).get("label") or ""))

    def limits(self, limits: dict | None) -> Fact:
        if not limits:
            return Fact("none")
        if factors := self.get(limits, "factors"):
            return said("\n".join(map(str, factors)))
        if limits["name"] != "Range1d":
            return Fact("found by the browser")
        ends = [attributes(limits).get(*end) for end in (("start", 0.0), ("end", 1.0))]  # defaults are left out
        if any(not isinstance(end, int | float) for end in ends):
            return said(" ".join(map(str, ends)))
        return listed(map(float, ends))

    def layer(self, layer: dict) -> Facts:
        """A glyph, its colours and the columns that it is drawn from."""
        glyph = self.get(layer, "glyph")
        if not isinstance(glyph, dict):
            return {"": Fact(layer["name"])}
        style = {name: self.get(glyph, name) for name in STYLE if name in attributes(glyph)}
        words = said("\n".join(f"{name} {chosen(part)}" for name, part in style.items()))
        return {"": Fact(glyph["name"]), "style": words} | self.columns(self.get(layer, "data_source"))

    def columns(self, source: dict | None) -> Facts:
        columns = (self.get(source, "data") if source else None) or {}
        parts = [prefixed(f"column {name}", column(values)) for name, values in columns.items()]
        return {name: fact for part in parts for name, fact in part.items()}

    def table(self, one: dict) -> Facts:
        return {"": Fact("table")} | self.columns(self.get(one, "source"))

    def pane(self, one: dict) -> Facts:
        return self.html(unescape(attributes(one)["text"]))

    def widget(self, one: dict) -> Facts:
        told = {name: self.get(one, name) for name in WIDGET if name in attributes(one)}
        words = said("\n".join(f"{name} {part}" for name, part in told.items()))
        return {"": Fact(one["name"].rpartition(".")[2]), "state": words}


def column(values: Any) -> Facts:
    """The facts of one column of a data source: numbers, words, pictures or lines of several parts."""
    if isinstance(values, np.ndarray):
        values = list(values) if values.ndim > 1 else values
    if isinstance(values, np.ndarray):
        return {"": listed(values)}
    if not isinstance(values, list):
        return {"": said(str(values))}
    if values and all(isinstance(one, np.ndarray) and one.ndim == 2 for one in values):
        parts = [prefixed(f"image {number}", pictures.array(one)) for number, one in enumerate(values, 1)]
        return {name: fact for part in parts for name, fact in part.items()}
    if values and all(isinstance(one, np.ndarray | list) for one in values):
        lines = [np.asarray(one).ravel() for one in values]
        if all(line.dtype.kind in "bifu" for line in lines):
            return {"": listed(np.concatenate(lines)), "lengths": listed(map(len, lines))}
        return {"": said(str(values))}
    return {"": listed(values)}


def decoded(raw: dict) -> np.ndarray | list:
    """An array as Bokeh writes it: base64, since version 3.7 packed as gzip."""
    array = raw.get("array")
    if isinstance(array, list):
        return array
    content = base64.b64decode(array["data"])
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    order = ">" if raw.get("order") == "big" else "<"
    return np.frombuffer(content, np.dtype(raw["dtype"]).newbyteorder(order)).reshape(raw["shape"])
