"""The dashboard: Panel pages over a folder of runs, served to browsers or shown in a notebook.

    from workbench import dashboard
    dashboard.inline()                   # once a notebook
    dashboard.colorizations(runs)        # one page
    dashboard.app("runs")                # all pages

`serve` is what `workbench dashboard` starts. A page is one decorated function in one file of `dashboard/pages`: nothing
else needs to know of it, and it appears wherever a run wrote the arrays it needs. Nothing here imports torch.
"""

import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import panel as pn
from panel.io.resources import LOCAL_DIST

from workbench import runs as run_folders
from workbench.dashboard import frame
from workbench.dashboard.pages import Page, discover
from workbench.errors import unknown
from workbench.runs import Run

EXTENSIONS = ("tabulator",)  # what the pages use; 'ipywidgets' would break the display in JupyterLab
OPTIONS = {"respect_explicit_sizing": True, "notifications": False}


def __getattr__(name: str) -> Any:
    """Every page is a function of this module: `dashboard.colorizations(runs)`."""
    pages = {page.name: page for page in discover()} if not name.startswith("_") else {}
    if name not in pages:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return pages[name]


def inline() -> None:
    """Loads into a notebook what the pages need, from the installed package: no network."""
    import holoviews as hv

    hv.extension("bokeh", inline=True, logo=False)
    hv.plotting.bokeh.ElementPlot.active_tools = []  # the wheel scrolls the notebook until a plot's tool is chosen
    pn.extension(*EXTENSIONS, inline=True, **OPTIONS)


def app(root: Path | str | None = None, pages: Sequence[str] | None = None) -> pn.viewable.Viewable:
    """Pages over a folder of runs as tabs, each built when it is first opened: those named, or all with runs to show.

    Raises:
        InvalidParameter: a page that does not exist.
    """
    folder = Path(root).absolute() if root is not None else run_folders.root_folder()
    found = run_folders.find(folder)
    chosen = suited(found) or select(None) if pages is None else select(pages)
    if not found:
        return frame.page(folder, pn.Column(frame.empty(f"No runs under {folder}", "workbench run smcgan")))
    return frame.page(folder, frame.tabs([(page.title, page) for page in chosen], found))


def suited(runs: Iterable[Run]) -> list[Page]:
    """The pages that have something to show of these runs, in order."""
    runs = list(runs)
    return [page for page in discover() if page.worth(runs)]


def select(names: Iterable[str] | None) -> list[Page]:
    pages = {page.name: page for page in discover()}
    for name in names or ():
        if name not in pages:
            raise unknown("page", name, pages)
    return [pages[name] for name in names or pages]


def serve(
    root: Path | str | None = None,
    port: int = 5006,
    show: bool = True,
    address: str = "127.0.0.1",
    origins: Sequence[str] = (),
    unix_socket: Path | None = None,
    **options: Any,
) -> Any:
    """Serves `app(root)`, one session a visitor, until interrupted; to this machine alone unless told otherwise.

    Args:
        port: 0 for any that is free.
        origins: host:port of other addresses it is reached by, such as a Jupyter server that proxies it.
        unix_socket: a path to listen on in place of a port, for a server on this machine that passes requests on.
        options: passed on to `panel.serve`, such as `threaded=True` or `start=False`.
    """
    pn.extension(*EXTENSIONS, **OPTIONS)
    app(root).get_root()  # what is loaded and read once is loaded and read before the first visitor
    if unix_socket:
        where = {"port": 0, "show": False, "unix_socket": str(unix_socket), "websocket_origin": "*"}
    else:
        port = port or free_port(address)
        hosts = {f"{host}:{port}" for host in ("localhost", "127.0.0.1", address)}
        where = {"port": port, "address": address, "show": show, "websocket_origin": sorted({*hosts, *origins})}
    return pn.serve(
        {"/": lambda: visited(root)},
        **where,
        title="Workbench",
        compress_response=True,
        websocket_compression_level=1,
        **options,
    )


def visited(root: Path | str | None) -> pn.viewable.Viewable:
    """The app for one visitor. Its style sheets are this server's also where a session begins without a page being
    asked for, as when a browser comes back after a pause; Panel would name a server on the network.
    """
    pn.state.curdoc.template_variables["dist_url"] = LOCAL_DIST
    return app(root)


def free_port(address: str) -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return listener.getsockname()[1]


__all__ = ["EXTENSIONS", "Run", "app", "inline", "serve", "suited"]
