"""The outputs of a cell as facts: streams, tables, pictures, figures, widgets, markup, errors."""

import base64
import binascii
import re

from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode

from workbench.check import figures, pictures
from workbench.check.facts import Fact, Facts, plain, prefixed, said

LOADING = ("application/vnd.holoviews_load.v0+json", "application/vnd.bokehjs_load.v0+json")  # libraries, not content
BOKEH = "application/vnd.bokehjs_exec.v0+json"  # the document stands in the script beside it
IMAGES = ("image/png", "image/svg+xml", "image/jpeg", "image/gif", "image/webp")  # the same one is written as several
WIDGET = "application/vnd.jupyter.widget-view+json"
WARNING = re.compile(r"\b\w*Warning\b")
MISSING = ("", "nan", "None", "NaN", "NaT", "<NA>")


def facts(outputs: list[NotebookNode]) -> Facts:
    """The facts of a cell; parts of one stream are joined, for where they are cut is chance."""
    found = {}
    for stream in ("stdout", "stderr"):
        text = "".join(one.text for one in outputs if one.output_type == "stream" and one.name == stream)
        if plain(text).strip():
            found[stream] = said(text)
    shown = [one for one in outputs if one.output_type in ("display_data", "execute_result")]
    seen = [part for one in shown if (part := rich(one.data))]
    for number, part in enumerate(seen, 1):
        found |= prefixed(f"output {number}", part)
    for one in outputs:
        if one.output_type == "error":
            found["error"] = said(f"{one.ename}: {one.evalue}")
    return {name: fact for name, fact in found.items() if fact.words or fact.numbers or fact.picture}


def rich(data: dict) -> Facts:
    """The facts of one shown object, from the richest form it has; nothing of what only loads a library."""
    if not data or any(kind in data for kind in LOADING):
        return {}
    text = joined(data.get("text/plain", ""))
    if BOKEH in data:
        return marked(joined(data.get("application/javascript", "")))
    if WIDGET in data:
        return {"": Fact(f"widget {text.partition('(')[0].strip()[:40] if '(' in text else ''}".strip())}
    for kind in IMAGES:
        if kind in data:
            text = joined(data[kind])
            return pictures.facts(kind.removeprefix("image/"), text.encode() if "svg" in kind else unpacked(text))
    if "text/html" in data:
        return marked(joined(data["text/html"]))
    for kind in ("text/markdown", "text/latex", "application/json", "text/plain"):
        if kind in data:
            return {"": Fact("text"), "words": said(joined(data[kind]))}
    return {"": Fact(" ".join(sorted(data)))}


def joined(value: object) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def unpacked(text: str) -> bytes:
    """The bytes of base64, none where it is damaged."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def marked(text: str) -> Facts:
    """The facts of markup: Bokeh documents, tables, embedded pictures, and the words of what is left."""
    found = {}
    for number, document in enumerate(figures.documents(text), 1):
        parts = figures.facts(document, marked)
        found |= parts if number == 1 else prefixed(f"document {number}", parts)
    if found:
        return found if len(found) > 1 else {}
    soup = BeautifulSoup(text, "html.parser")
    for part in soup(["script", "style"]):
        part.decompose()
    tables = [one.extract() for one in soup("table") if not one.find_parent("table")]
    for number, one in enumerate(tables, 1):
        parts = table(one)
        found |= parts if number == 1 else prefixed(f"table {number}", parts)
    for number, one in enumerate(pictures.URI.finditer(text), 1):
        found |= prefixed(f"picture {number}", pictures.facts(one[1], unpacked(one[2])))
    drawings = [one.extract() for one in soup("svg") if not one.find_parent("svg")]
    for number, one in enumerate(drawings, 1):
        found |= prefixed(f"drawing {number}", pictures.drawn(str(one)))
    words = said(soup.get_text("" if soup.find("pre") else "\n"))
    if words.words:
        found = found | {"words": words}
    return {"": Fact("markup")} | found if found else {}


def table(one: Tag) -> Facts:
    """The facts of an HTML table: names and order of the columns, the index, and every column with its type."""
    head = [row(["th", "td"]) for row in one("tr") if row.find_parent("thead")]
    body = [row(["th", "td"]) for row in one("tr") if not row.find_parent("thead")]
    names = header(head)
    grid = spanned(body)
    width = max([len(names), *map(len, grid)], default=0)
    names += [f"{number}" for number in range(len(names), width)]
    found = {"": Fact("table"), "columns": Fact("\n".join(names)), "rows": Fact("#", (str(len(grid)),))}
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        key = f"column {name or 'index'}" + (f" ({seen[name]})" if seen[name] > 1 else "")
        found |= prefixed(key, column([row[number] if number < len(row) else "" for row in grid]))
    return found


def header(rows: list[list[Tag]]) -> list[str]:
    """One name a column: the levels joined by a slash; a last row of index names goes into the gaps above."""
    levels = spanned(rows)
    width = max(map(len, levels), default=0)
    columns = [[level[number] if number < len(level) else "" for level in levels] for number in range(width)]
    return ["/".join(word for word in words if word) for words in columns]


def spanned(rows: list[list[Tag]]) -> list[list[str]]:
    """The texts of rows of cells, with cells that span rows or columns repeated."""
    grid: list[list[str]] = []
    below: dict[tuple[int, int], str] = {}
    for y, cells in enumerate(rows):
        line: list[str] = []
        for cell in cells:
            while (y, len(line)) in below:
                line.append(below[y, len(line)])
            text = cell.get_text(" ", strip=True)
            for _ in range(span(cell, "colspan")):
                for deeper in range(1, span(cell, "rowspan")):
                    below[y + deeper, len(line)] = text
                line.append(text)
        grid.append(line)
    return grid


def span(cell: Tag, name: str) -> int:
    told = str(cell.get(name, "1"))
    return min(max(int(told), 1), 1000) if told.isdecimal() else 1


def column(cells: list[str]) -> Facts:
    """A column's values and its type as printed."""
    values = said("\n".join(cell if cell not in MISSING else "nan" for cell in cells))
    known = [cell for cell in cells if cell not in MISSING]
    if not known:
        kind = "empty"
    elif any(not re.fullmatch(r"[-+]?(?:[\d,]*\.?\d+|\d+\.)(?:[eE][-+]?\d+)?|[-+]?inf", cell) for cell in known):
        kind = "text"
    else:
        kind = "whole" if all(re.fullmatch(r"[-+]?\d+", cell) for cell in known) else "number"
    return {"": values, "type": Fact(kind)}


def warnings(words: str) -> list[str]:
    """The names of the warnings in a text, each once."""
    return list(dict.fromkeys(WARNING.findall(words)))
