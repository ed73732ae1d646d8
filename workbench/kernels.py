"""Kernels forked from a warm process: how that process is started, asked, and ended."""

import atexit
import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATIENCE = 180.0  # s for a kernel to start; on a busy disk importing torch alone can take a minute


class Warm:
    """A warm process and the folder of its sockets; it ends with `stop`, and with the process that started it."""

    def __init__(self, libraries: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> None:
        base = tempfile.gettempdir()
        base = base if len(base) < 60 else "/tmp"  # the address of a Unix socket has 107 characters at most
        self.folder = Path(tempfile.mkdtemp(prefix="kernels-", dir=base))
        self.address = str(self.folder / "warm")
        with socket.socket(socket.AF_UNIX) as listener, open(self.folder / "log", "wb") as log:
            listener.bind(self.address)
            listener.listen(128)
            command = [sys.executable, "-P", "-m", "workbench.warm", str(listener.fileno()), str(self.folder)]
            pipes = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log, "pass_fds": [listener.fileno()]}
            pipes["env"] = os.environ | dict(env or {})
            self.process = subprocess.Popen([*command, *libraries], start_new_session=True, **pipes)

    def stop(self) -> None:
        """End the warm process and with it every kernel that is left."""
        self.process.terminate()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


_own: dict[str, Warm] = {}
_joined: list[str] = []
_lock = threading.Lock()


def join(address: str) -> None:
    """Use another process's warm process from here on."""
    _joined[:] = [address]


def address(libraries: tuple[str, ...] = ()) -> str:
    """The warm process to ask for kernels: the one that was joined, else this process's own, started when needed."""
    if _joined:
        return _joined[0]
    with _lock:
        if "warm" not in _own or _own["warm"].process.poll() is not None:
            _own["warm"] = Warm(libraries)
            atexit.register(_own["warm"].stop)
        return _own["warm"].address


class Forked:
    """A forked kernel with the part of `subprocess.Popen` that jupyter_client uses."""

    stdin = stdout = stderr = None

    def __init__(self, address: str, request: dict[str, Any]) -> None:
        self.pid, self.returncode, self.said = 0, None, b""
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.settimeout(PATIENCE)
            self.socket.connect(address)
            self.socket.sendall(json.dumps(request).encode() + b"\n")
            while not (ready := b"ready\n" in self.said) and (part := self.socket.recv(4096)):
                self.said += part
                if b"exit " in self.said:
                    break
        except OSError as error:
            raise RuntimeError(f"the warm process does not answer: {error}{last_words(address)}") from None
        if not ready:
            raise RuntimeError(f"a kernel could not start{last_words(address)}")
        self.pid = int(self.said.split(b"pid ")[1].split()[0])

    def poll(self) -> int | None:
        """None while the kernel lives; without the warm process it does not."""
        if self.returncode is None and select.select([self.socket], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                part = self.socket.recv(4096)
            self.said += part
            if not part or b"exit " in self.said:
                self.returncode = int(self.said.split(b"exit ")[1].split()[0]) if b"exit " in self.said else -9
                self.socket.close()
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            select.select([self.socket], [], [])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)

    def terminate(self) -> None:
        self.send_signal(15)


def last_words(address: str) -> str:
    """The last line that the warm process or a kernel wrote outside of any notebook."""
    try:
        lines = Path(address).with_name("log").read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
