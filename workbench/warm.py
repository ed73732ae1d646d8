"""The warm process: it has imported what kernels need and forks one kernel a request, in milliseconds.

Started as `python -m workbench.warm FD FOLDER NAME ...`, where FD is a listening Unix socket in FOLDER, which is
removed at the end. A request is one line of JSON with the kernel's words, folder and environment; the answers are the
lines `pid N`, `ready` and `exit N`. A kernel lives no longer than the connection that asked for it, and none outlives
this process.

What is imported here must start no thread that a child would need and must not touch a GPU: a child has neither. So
only the libraries below are imported, never a notebook's own modules, and only those that the notebook asks for.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys

LIBRARIES = {
    # torch imports torch._dynamo when the first optimizer is made, which takes longer than a tiny training
    "workbench": ("torch._dynamo", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.ndimage", "PIL.Image", "panel"),
    "holoviews": ("bokeh.plotting",),  # not itself: it looks once, at its import, whether it is in a notebook
    "kornia": ("kornia",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "panel": ("panel",),
    "PIL": ("PIL.Image",),
    "scipy": ("scipy", "scipy.stats", "scipy.ndimage"),
    "skimage": ("skimage",),
    "torch": ("torch",),
}


def load(names: list[str]) -> None:
    """Import ipykernel and the libraries that stand behind the names; one that is missing is the notebook's to tell."""
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    for name in ("ipykernel.kernelapp", "ipykernel.ipkernel", *(part for n in names for part in LIBRARIES.get(n, ()))):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        raise RuntimeError("an import has initialised CUDA, which cannot be used after a fork")
    gc.collect()
    gc.freeze()  # so that collections in the children do not copy these pages


class Server:
    """One loop without threads: connections in, forks and their exits out."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener, self.kernels = listener, {}
        self.selector = selectors.DefaultSelector()
        self.wake, wakeup = socket.socketpair()
        for end in (self.wake, wakeup):
            end.setblocking(False)
        self.wakeup = wakeup
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the sweep to handle
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        for source in (listener, self.wake, sys.stdin):
            self.selector.register(source, selectors.EVENT_READ)

    def run(self) -> tuple[socket.socket, dict] | None:
        """Serve until the owner's end of stdin closes; comes back with its request in every child."""
        try:
            while True:
                for key, _ in self.selector.select():
                    if key.fileobj is sys.stdin:
                        return None
                    if key.fileobj is self.wake:
                        self.reap()
                    elif key.fileobj is self.listener:
                        self.accept()
                    elif request := self.hear(key.fileobj):
                        return key.fileobj, request
        finally:
            for pid in self.kernels:
                kill(pid)

    def accept(self) -> None:
        connection, _ = self.listener.accept()
        self.selector.register(connection, selectors.EVENT_READ)

    def hear(self, connection: socket.socket) -> dict | None:
        """A request, to be answered by a child, or the end of a connection and so of its kernel."""
        line = b""
        with contextlib.suppress(OSError):
            while (part := connection.recv(65536)) and not (line := line + part).endswith(b"\n"):
                pass
        if line.endswith(b"\n"):
            return self.fork(connection, json.loads(line))
        self.selector.unregister(connection)
        connection.close()
        for pid, owner in self.kernels.items():
            if owner is connection:
                kill(pid)
        return None

    def fork(self, connection: socket.socket, request: dict) -> dict | None:
        request["parent"] = os.getpid()
        pid = os.fork()
        if not pid:
            self.forget(connection)
            return request
        self.kernels[pid] = connection
        tell(connection, f"pid {pid}")
        return None

    def forget(self, connection: socket.socket) -> None:
        """In a child: let go of everything that is the server's."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        self.selector.close()
        for one in {self.listener, self.wake, self.wakeup, *self.kernels.values()} - {connection}:
            one.close()
        self.kernels = {}

    def reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.wake.recv(4096):
                pass
        for pid in list(self.kernels):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                kill(pid)  # what it has left behind
                tell(self.kernels.pop(pid), f"exit {os.waitstatus_to_exitcode(status)}")


def tell(connection: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        connection.sendall(f"{line}\n".encode())


def kill(pid: int) -> None:
    """End a kernel and all that it started; it leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def become_kernel(connection: socket.socket, request: dict) -> None:
    """The child's life: a session of its own, the asked folder and environment, then ipykernel until its shutdown."""
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # else all kernels would draw the same numbers
    import ipykernel_launcher
    from ipykernel.kernelapp import IPKernelApp

    sys.argv = [ipykernel_launcher.__file__, *request["words"]]
    app = IPKernelApp.instance()
    app.initialize([*request["words"], f"--IPKernelApp.parent_handle={request['parent']}"])
    tell(connection, "ready")
    connection.close()
    app.start()


def main() -> None:
    listener = socket.socket(fileno=int(sys.argv[1]))
    server = Server(listener)
    try:
        load(sys.argv[3:])
        child = server.run()
    finally:
        if server.listener.fileno() >= 0:  # not in a child
            shutil.rmtree(sys.argv[2], ignore_errors=True)
    if child:
        become_kernel(*child)


if __name__ == "__main__":
    main()
