"""Where runs are executed: processes of this machine, a Dask cluster, Slurm; each is a concurrent.futures executor."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from workbench import kernels
from workbench.errors import InvalidParameter, WorkbenchError
from workbench.workers import follow_parent

T = TypeVar("T")
ANSWER = 10.0  # s that a scheduler has to answer
TRIES = 3  # executors that may break in a row, and workers of a cluster that may die with a run
POLL = 2.0  # s between looks at the state of Slurm's jobs


def missing(extra: str, package: str) -> WorkbenchError:
    return WorkbenchError("--on", f"the package {package}", "none", f"pip install 'workbench[{extra}]'")


@contextlib.contextmanager
def opened(on: str, jobs: int, libraries: tuple[str, ...], stop: Path) -> Iterator[Callable[[], Executor]]:
    """A function that gives the executor, a fresh one where the last has broken.

    `on` is empty for processes of this machine, dask://HOST:PORT, or slurm with options as slurm:partition=gpu,...;
    `stop` is the file that appears when all is to stop.

    Raises:
        InvalidParameter: none of these, a scheduler that does not answer; WorkbenchError: a package that is missing.
    """
    kind, _, rest = on.partition(":")
    if not on:
        with processes(jobs, libraries) as executor:
            yield executor
    elif kind == "dask" and rest.startswith("//"):
        with dask(f"tcp:{rest}") as executor:
            yield lambda: executor
    elif kind == "slurm":
        with Slurm(rest, jobs, stop) as executor:
            yield lambda: executor
    else:
        raise InvalidParameter(
            "--on", "dask://HOST:PORT or slurm", repr(on), "leave it out for this machine's processes"
        )


# ---------------------------------------------------------------- this machine


@contextlib.contextmanager
def processes(jobs: int, libraries: tuple[str, ...]) -> Iterator[Callable[[], Executor]]:
    """A pool of worker processes that share one warm process; their kernels share the threads this one may use."""
    threads = str(max(1, allowed_threads() // jobs))
    warm, pools = kernels.Warm(libraries, {"OMP_NUM_THREADS": threads}), []

    def fresh() -> Executor:
        context = multiprocessing.get_context("forkserver")  # this process may have threads
        context.set_forkserver_preload(["__main__", "workbench.__main__", "workbench.engine", "filelock", "nbconvert"])
        pools.append(ProcessPoolExecutor(jobs, context, initializer=begin, initargs=(warm.address, threads)))
        return pools[-1]

    before = set(multiprocessing.active_children())
    try:
        yield fresh
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        workers = set(multiprocessing.active_children()) - before
        for worker in workers:
            worker.terminate()
        warm.stop()
        for worker in workers:
            worker.join()


def allowed_threads() -> int:
    """What OMP_NUM_THREADS says, else the cores that this process may use."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdigit():
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def begin(address: str, threads: str) -> None:
    """In a worker: the sweep handles Ctrl-C; without it a worker ends, and with the worker its kernel."""
    os.environ["OMP_NUM_THREADS"] = threads  # more threads than cores make every run many times slower
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kernels.join(address)
    follow_parent()


# ---------------------------------------------------------------- Dask


@contextlib.contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The executor of a Dask scheduler; what a lost worker was running is given to another."""
    try:
        from distributed import Client
    except ImportError:
        raise missing("cluster", "distributed") from None
    try:
        client = Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        remedy = "start it with `dask scheduler` and workers with `dask worker`, or correct the address"
        raise InvalidParameter("--on", f"a Dask scheduler at {address}", why, remedy) from None
    with client:
        if not client.scheduler_info()["workers"]:
            print(f"{address} has no workers yet; runs begin with the first", file=sys.stderr, flush=True)
        yield client.get_executor(pure=False, retries=TRIES - 1)


# ---------------------------------------------------------------- Slurm


class Slurm(Executor):
    """submitit as an executor of concurrent.futures: what is submitted together becomes one job array.

    Options are those of submitit, such as partition=gpu,timeout_min=60,slurm_mem=16G; cluster=local tries it without
    Slurm.
    """

    def __init__(self, options: str, jobs: int, stop: Path) -> None:
        try:
            import submitit
        except ImportError:
            raise missing("cluster", "submitit") from None
        from workbench import config

        chosen = config.parse(part for part in options.split(",") if part)
        cluster = chosen.pop("cluster", "slurm")
        if cluster == "slurm" and not shutil.which("sbatch"):
            remedy = "run it where Slurm's commands are, or leave --on out"
            raise InvalidParameter("--on", "Slurm's sbatch on this machine", "none", remedy)
        self.executor = submitit.AutoExecutor(folder=stop.parent / "slurm" / "%j", cluster=cluster)
        try:
            self.executor.update_parameters(
                **chosen, **({"slurm_array_parallelism": jobs} if cluster == "slurm" else {})
            )
        except Exception as error:  # NameError, TypeError, ValueError and AssertionError, by option
            raise InvalidParameter("--on", "options of submitit", str(error), "such as slurm:partition=gpu") from None
        self.new: list[tuple[Future, Callable, tuple]] = []
        self.running: dict[Future, Any] = {}
        self.stop, self.lock, self.closed = stop, threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future: Future = Future()
        with self.lock:
            self.new.append((future, function, (args, kwargs)))
        return future

    def watch(self) -> None:
        """Submit what has come in, then look which jobs have ended; until closed."""
        while not self.closed.wait(0.3 if self.new else POLL):
            with self.lock:
                new, self.new = self.new, []
            new = [one for one in new if one[0].set_running_or_notify_cancel()]
            if new:
                self.start(new)
            for future, job in list(self.running.items()):
                if self.stop.exists() and job.state == "PENDING":
                    job.cancel()
                    del self.running[future]
                    future.set_exception(CancelledError())
                elif job.done():
                    self.settle(future, job)

    def start(self, new: list[tuple[Future, Callable, tuple]]) -> None:
        try:
            with self.executor.batch():
                jobs = [self.executor.submit(function, *args, **kwargs) for _, function, (args, kwargs) in new]
            self.running |= dict(zip([one[0] for one in new], jobs, strict=True))
        except Exception as error:  # of sbatch; it belongs to those who wait
            for future, *_ in new:
                future.set_exception(error)

    def settle(self, future: Future, job: Any) -> None:
        del self.running[future]
        try:
            future.set_result(job.result())
        except Exception as error:  # what the job raised, or how it was lost
            future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.closed.set()
        self.thread.join()
        for job in self.running.values():
            job.cancel()


# ---------------------------------------------------------------- any of them


def spread(fresh: Callable[[], Executor], work: dict[Any, tuple]) -> Iterator[tuple[Any, Future]]:
    """Submit (function, *arguments) for every key and yield the keys with their futures as these end.

    Where workers die and break the executor, what was not finished goes to a fresh one, until TRIES in a row
    have finished nothing.
    """
    left, stuck = dict(work), 0
    while left:
        executor, waiting, before = fresh(), {}, len(left)
        with contextlib.suppress(BrokenExecutor):  # while submitting; those that are in will tell
            for key, (function, *arguments) in left.items():
                waiting[executor.submit(function, *arguments)] = key
        for future in as_completed(waiting):
            broken = not future.cancelled() and isinstance(future.exception(), BrokenExecutor)
            if not broken or stuck + 1 >= TRIES:
                del left[waiting[future]]
                yield waiting[future], future
        stuck = stuck + 1 if len(left) == before else 0
