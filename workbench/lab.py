"""The dashboard as a tile of JupyterLab's launcher, served through the Jupyter server: on Binder, on hubs, at home.

jupyter-server-proxy finds `dashboard` by the package's entry point. Nothing here imports more, for it is imported by
every Jupyter server of the environment.
"""

import sys
from typing import Any


def dashboard() -> dict[str, Any]:
    """What answers below `workbench/` of a Jupyter server's address; started when somebody first asks for it.

    The two talk over a Unix socket, which no other page in a visitor's browser can reach; so the dashboard need not
    know the address by which the server is reached.
    """
    return {
        "command": [sys.executable, "-m", "workbench", "dashboard", "--socket", "{unix_socket}"],
        "unix_socket": True,
        "timeout": 60,  # s; on Binder the first import takes a while
        "launcher_entry": {"title": "Workbench dashboard"},
    }
