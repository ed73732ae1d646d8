"""Kernels for notebooks: forked from a warm process, spoken to over Unix sockets, watched while they run.

papermill runs a notebook with the engine of this module and so keeps its own part: parameters, metadata, errors. What
differs from its default engine: kernels start in milliseconds and need no TCP port (two that start at once cannot
take the same one); the notebook is written every few seconds and not twice a cell; a cell that prints without end is
stopped; a file that appears (`stop`) interrupts the run so that a training in it saves its checkpoint.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from workbench.kernels import PATIENCE, Forked

NAME = "warm"  # of the engine, for papermill
TEXT, ALL = 8 << 20, 128 << 20  # characters that a notebook may print, and with pictures and widgets, before it fails
SHOWN = 10_000  # characters that are kept of the cell that printed too much
SAVE_EVERY = 5.0  # s between saves of a running notebook
LOOK_EVERY = 0.2  # s between looks at whether the kernel lives and whether the run is to stop
GRACE = 20.0  # s that a training has to save its checkpoint when it is to stop


class Provisioner(LocalProvisioner):
    """Starts kernels by asking the warm process."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        words = cmd[cmd.index("-f") :]
        request = {"words": words, "cwd": str(kwargs["cwd"]), "env": dict(kwargs["env"])}
        self.process = await asyncio.to_thread(Forked, self.parent.address, request)
        self.pid = self.pgid = self.process.pid  # it leads a group of its own
        self.cwd = kwargs["cwd"]
        return self.connection_info


class Client(AsyncKernelClient):
    """A client that is ready as soon as the kernel answers on both channels.

    The base class then listens 0.2 s for stray messages; nbclient tells those by their parent and needs no silence.
    """

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        deadline = time.monotonic() + (timeout or PATIENCE)
        while time.monotonic() < deadline and await self._async_is_alive():
            self.kernel_info()
            with contextlib.suppress(Empty):
                await self.shell_channel.get_msg(timeout=1)
                await self.iopub_channel.get_msg(timeout=0.2)
                return
        raise RuntimeError("a kernel has started and does not answer")


class Manager(AsyncKernelManager):
    """Kernels of one warm process, over Unix sockets in its folder."""

    def __init__(self, address: str) -> None:
        file = Path(address).with_name(f"{os.urandom(6).hex()}.json")
        super().__init__(
            kernel_name="python3", transport="ipc", connection_file=str(file), client_factory=Client, autorestart=False
        )
        self.address = address
        self.provisioner = Provisioner(parent=self, kernel_id=file.stem, kernel_spec=self.kernel_spec)

    async def _async_wait(self, pollinterval: float = 0.1) -> None:
        await super()._async_wait(min(pollinterval, 0.005))


class Runner(PapermillNotebookClient):
    """papermill's client with an eye on what the notebook prints and on whether it is to stop."""

    def __init__(self, nb_man: NotebookExecutionManager, address: str, stops: tuple[Path, ...], **kwargs: Any) -> None:
        super().__init__(nb_man, **kwargs)
        self.address, self.stops = address, stops
        self.text = self.all = 0
        self.stopping: float | None = None
        self.why, self.code = "", None

    def create_kernel_manager(self) -> Manager:
        self.km = Manager(self.address)
        return self.km

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Count what is printed; past the limit nothing more is kept and the kernel is ended."""
        content = msg["content"]
        text = len(content["text"]) if msg["msg_type"] == "stream" else 0
        self.text += text
        self.all += text + sum(len(str(value)) for value in content.get("data", {}).values())
        if (self.text > TEXT or self.all > ALL) and msg["msg_type"] not in ("status", "execute_input"):
            if not self.why:
                self.why = f"more than {TEXT >> 20} MB of text" if self.text > TEXT else f"more than {ALL >> 20} MB"
                self.why = f"cell {cell_index + 1} printed {self.why}, and nothing stops it; the rest is cut off"
                self.km.provisioner.process.kill()
            return None
        return super().process_message(msg, cell, cell_index)

    async def _async_poll_kernel_alive(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.stop_if_asked()
            process = self.km.provisioner.process
            if process.poll() is not None:
                self.code = process.returncode
                self.task_poll_for_reply.cancel()
                return

    async def stop_if_asked(self) -> None:
        if self.stopping is None and any(path.exists() for path in self.stops):
            self.stopping = time.monotonic()
            await self.km.interrupt_kernel()
        elif self.stopping is not None and time.monotonic() > self.stopping + GRACE:
            self.km.provisioner.process.kill()

    def tell_death(self) -> None:
        """Write into the cell that ran, as its error, why there is no kernel any more."""
        cell = next(cell for cell in reversed(self.nb.cells) if cell.metadata.papermill["status"] != "pending")
        how = f"by signal {-self.code}" if (self.code or 0) < 0 else f"with status {self.code}"
        memory = "; perhaps the memory was not enough" if self.code == -9 and not self.stopping else ""
        why = self.why or f"the kernel ended {how}{memory}"
        for output in cell.outputs:
            if output.output_type == "stream" and len(output.text) > SHOWN and self.why:
                output.text = output.text[:SHOWN] + "\n[cut off]\n"
        name = "TooMuchOutput" if self.why else "DeadKernel"
        cell.metadata.papermill |= {"status": self.nb_man.FAILED, "exception": True}
        cell.outputs.append(nbformat.v4.new_output("error", ename=name, evalue=why, traceback=[f"{name}: {why}"]))


class Saving(NotebookExecutionManager):
    """Writes the running notebook every few seconds and at the end, and whole or not at all."""

    def save(self, **kwargs: Any) -> None:
        self.nb = kwargs.get("nb") or self.nb
        due = (self.now() - self.last_save_time).total_seconds() >= SAVE_EVERY
        if due or self.end_time or not Path(self.output_path).exists():
            super().save()


class WarmEngine(Engine):
    """papermill's engine for kernels of a warm process."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, output_path: str, progress_bar: bool = True, **kwargs: Any):
        told = Saving(nb, output_path, progress_bar=progress_bar, autosave_cell_every=SAVE_EVERY)
        told.notebook_start()
        try:
            cls.execute_managed_notebook(told, kernel_name, **kwargs)
        finally:
            told.cleanup_pbar()
            told.notebook_complete()
        return told.nb

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Saving,
        kernel_name: str,
        *,
        address: str,
        stops: tuple[Path, ...],
        folder: Path,
        env: dict,
        **_: Any,
    ) -> None:
        runner = Runner(nb_man, address, stops, store_widget_state=False, startup_timeout=PATIENCE)
        try:
            runner.execute(cwd=str(folder), env=env)
        except DeadKernelError:
            runner.tell_death()


papermill_engines.register(NAME, WarmEngine)
