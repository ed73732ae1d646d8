"""The run folder: one training of one method with one seed, kept as plain files that anything can read.

    runs/<name>/<id>/
      config.json      what was asked          env.json       git, versions, device, seed, data fingerprint
      metrics.jsonl    appended line by line   scores.parquet one row a case
      samples/         index.json and one .npy an array: fixed inputs, targets, outputs
      weights.safetensors   state.pt           report.json    times, files set aside     done

`<id>` is a hash of what was asked, so the same question finds the same folder. Nothing here imports torch, and numpy
and pandas only where a table or an array is read. No patient identity is written: cases carry ids made by the loaders.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from workbench.errors import InvalidRun

UNREADABLE = (OSError, ValueError, RecursionError)  # what decoding and parsing a damaged JSON file raise
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def root_folder() -> Path:
    """Where runs go: $WORKBENCH_RUNS, or ./runs."""
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")).absolute()


def identity(request: Any) -> str:
    """Twelve hex digits that stand for a JSON-able request, whatever the order of its keys.

    >>> identity({"a": 1, "b": 2}) == identity({"b": 2, "a": 1})
    True
    """
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextlib.contextmanager
def replacing(path: Path, mode: str = "wb") -> Iterator[IO]:
    """Write a file whole or not at all: temporary name in the same folder, sync, `os.replace`.

    Raises:
        InvalidRun: the disk is full or the folder cannot be written; what stood there before still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")  # opened by hand: mkstemp's files are private
    try:
        with open(temporary, mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        remedy = "free some space or choose another folder, then run again: it resumes"
        raise InvalidRun(path, "a folder that can be written", error.strerror or str(error), remedy) from error
    finally:
        with contextlib.suppress(OSError):  # gone where it was put in place, never there where it could not be made
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    with replacing(path, "w") as file:
        json.dump(value, file, indent=1, allow_nan=False)


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidRun(path, "a file of a run folder", "none", "run it again, or delete the folder") from None
    except UNREADABLE as error:
        found = f"something unreadable ({type(error).__name__})"
        raise InvalidRun(path, "valid JSON", found, "run it again, or delete the folder") from error


@dataclass(frozen=True)
class Run:
    """One run folder. Reading is lazy, and every problem is an `InvalidRun` that names the file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.parent.name

    @property
    def id(self) -> str:
        return self.path.name

    @cached_property
    def config(self) -> dict[str, Any]:
        value = read_json(self.path / "config.json")
        if not isinstance(value, dict) or not isinstance(value.get("method"), str):
            remedy = "this folder was not written by the workbench: move it elsewhere"
            raise InvalidRun(self.path / "config.json", "an object with a method", type(value).__name__, remedy)
        return value

    @property
    def arm(self) -> str:
        """What the run is called in a comparison: the method, or the method with its changed settings' name."""
        return self.config.get("arm", self.config["method"])

    @property
    def seed(self) -> int:
        return self.config.get("seed", 0)

    @cached_property
    def env(self) -> dict[str, Any]:
        return read_json(self.path / "env.json")

    @property
    def state(self) -> str:
        """`done`, `unfinished` (it can be resumed) or `broken: why`."""
        try:
            _ = self.config
        except InvalidRun as error:
            return f"broken: {error}"
        if not (self.path / "done").exists():
            return "unfinished"
        missing = [n for n in ("scores.parquet", "samples/index.json") if not (self.path / n).is_file()]
        return f"broken: {', '.join(missing)} missing" if missing else "done"

    def metrics(self):
        """Learning curves: a DataFrame with `step`, `epoch`, `time` (s) and one column a logged quantity."""
        import pandas as pd

        path, rows = self.path / "metrics.jsonl", []
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(*UNREADABLE):  # a line cut by a crash
                    rows.append(json.loads(line))
        return pd.DataFrame([row for row in rows if isinstance(row, dict)])

    def scores(self):
        """One row a case: `case`, `group`, what the data tells of it, and one column a metric."""
        import pandas as pd

        try:
            return pd.read_parquet(self.path / "scores.parquet")
        except Exception as error:  # damaged bytes make pandas raise anything, TypeError and KeyError too
            found = "none" if isinstance(error, FileNotFoundError) else "something unreadable"
            raise InvalidRun(self.path / "scores.parquet", "a table of scores", found, "run it again") from error

    @cached_property
    def samples(self) -> "Samples":
        return Samples(self.path / "samples")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder while training: a second process that asks for the same run is refused."""
        import filelock

        held = filelock.FileLock(self.path / ".lock", timeout=1)
        try:
            held.acquire()
        except filelock.Timeout:
            remedy = "wait for it to finish or stop it; this run can then be resumed"
            raise InvalidRun(self.path, "a folder of its own", "another process training in it", remedy) from None
        except (OSError, NotImplementedError) as error:
            found = getattr(error, "strerror", None) or str(error)
            raise InvalidRun(self.path, "a folder that can be written and locked", found, "choose another") from error
        try:
            for left in self.path.rglob(".*"):  # what a kill in the middle of a save left behind
                if re.fullmatch(r"\..+\.[0-9a-f]{8}", left.name):
                    left.unlink(missing_ok=True)
            yield
        finally:
            held.release()


@dataclass(frozen=True)
class Samples:
    """Saved inputs, targets and outputs: `index.json` lists the cases, every array is one memory-mapped .npy.

    Arrays have the case first; pictures and labels are uint8. Colorizations: `image` (N, H, W) the grey input and
    `target`, `color` (N, H, W, 3) truth and prediction, 255 is 1.0; `foreground` and `mask` (N, H, W) true and
    predicted labels.
    Segmentations: `image`, and `label` and `mask`, true and predicted label maps (N, H, W) or (N, X, Y, Z); `spacing`
    (N, axes) float32 in mm; the index names the classes in `labels`, each with its values, and the `unit` of spacing.
    Classifications: `feature` (N, D) float16 and either `logits` (N, K) of classes that exclude each other or `score`
    (N, L), (N,), the probabilities of findings; the index names in `truth` the array that holds the class (N,) or the
    findings (N, L) with `known` (N, L), in `labels` the classes, and tells in `train` how many images were learnt from.
    Arrays of the run itself, such as a matrix between classes, have no cases: `whole` names and reads them.
    """

    path: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        value = read_json(self.path / "index.json")
        parts = [value.get(key) for key in ("cases", "arrays")] if isinstance(value, dict) else [None]
        if not all(isinstance(part, list) for part in parts) or not all(NAME.fullmatch(str(key)) for key in parts[1]):
            raise InvalidRun(self.path / "index.json", "cases and arrays", "other content", "run it again")
        return value

    @property
    def cases(self) -> list[dict[str, Any]]:
        """One entry a case, in the order of the arrays: `case`, `group`, and what the data tells of it."""
        return self.index["cases"]

    @property
    def keys(self) -> list[str]:
        return self.index["arrays"]

    @property
    def wholes(self) -> list[str]:
        """The arrays that belong to the run and not to a case."""
        return list(self.index.get("whole", []))

    def array(self, key: str):
        """The whole array of one kind, memory-mapped, read-only."""
        array = self._mapped(key, self.keys)
        if array.shape[:1] != (len(self.cases),):
            found = f"shape {array.shape}"
            raise InvalidRun(self.path / f"{key}.npy", f"{len(self.cases)} cases", found, "run it again")
        return array

    def whole(self, key: str):
        """An array of the run itself, such as `correlation` (classes, classes), memory-mapped, read-only."""
        return self._mapped(key, self.wholes)

    def _mapped(self, key: str, known: list[str]):
        import numpy as np

        path = self.path / f"{key}.npy"
        if key not in known:
            raise InvalidRun(self.path, f"one of {', '.join(known)}", repr(key), "choose another view")
        try:
            return np.lib.format.open_memmap(path, mode="r")  # never unpickles
        except (*UNREADABLE, EOFError) as error:
            raise InvalidRun(path, "an array of samples", "something unreadable", "run it again") from error


def folder(root: Path, name: str, id: str) -> Path:
    """The path of a run, with names checked and the result kept under the root."""
    for part in (name, id):
        if not NAME.fullmatch(part):
            remedy = "use small letters, digits, '_', '.', '-'"
            raise InvalidRun(repr(part), "a plain name", "other characters or length", remedy)
    path = Path(root).resolve() / name / id
    if path.resolve() != path:
        raise InvalidRun(path, "a folder under the runs", "a link that leads elsewhere", "remove the link")
    return path


def create(root: Path, request: dict[str, Any], arm: str) -> Run:
    """The folder for a request (method, config, budget, data, seed), made or found again whatever the arm's name."""
    path = folder(root, request["method"], identity(request))
    try:
        (path / "samples").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRun(path, "a folder that can be made", error.strerror, "choose another with root") from error
    if not (path / "config.json").is_file():
        write_json(path / "config.json", request | {"arm": arm})
    if noted := os.environ.get("WORKBENCH_NOTED"):  # by a notebook, so that its scores can be found
        with contextlib.suppress(OSError), open(noted, "a", encoding="utf-8") as file:
            file.write(f"{path.parent.name}/{path.name}\n")
    return Run(path)


def find(root: Path | str | None = None) -> list[Run]:
    """Every folder under the root that looks like a run, broken ones too, by name and then by time."""
    root = Path(root) if root is not None else root_folder()
    found = [Run(path) for path in root.glob("*/*") if path.is_dir() and NAME.fullmatch(path.parent.name)]
    found = [run for run in found if NAME.fullmatch(run.id)]
    return sorted(found, key=lambda run: (run.name, changed(run.path), run.id))


def changed(path: Path) -> float:
    """When a folder was last changed, s; 0 where it was deleted in the meantime."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def get(text: str | Path, root: Path | str | None = None) -> Run:
    """A run by its path, by `name/id`, or by the first digits of its id."""
    if (Path(text) / "config.json").is_file():
        return Run(Path(text).resolve())
    found = [run for run in find(root) if f"{run.name}/{run.id}" == str(text) or run.id.startswith(str(text))]
    if len(found) != 1:
        what = f"{len(found)} runs" if found else "none"
        remedy = "`workbench list` shows the runs; give more digits of the id or a path"
        raise InvalidRun(str(text), "a run", what, remedy)
    return found[0]


class Log:
    """metrics.jsonl: appended line by line; on resuming, what came after the checkpoint is dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.start = time.monotonic()
        self.before = 0.0
        kept = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(*UNREADABLE, KeyError, TypeError):
                    row = json.loads(line)
                    if row["step"] <= step:
                        kept.append(line)
                        self.before = row["time"]
        with replacing(path, "w") as file:
            file.writelines(f"{line}\n" for line in kept)
        self.path = path
        self.file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()

    def write(self, **values: float) -> None:
        seconds = round(self.before + time.monotonic() - self.start, 3)
        try:
            self.file.write((json.dumps({**values, "time": seconds}) + "\n").encode())
        except OSError as error:
            remedy = "free some space, then run again: it resumes"
            raise InvalidRun(self.path, "a file that can be written", error.strerror, remedy) from error

    def close(self) -> None:
        self.file.close()


def save(path: Path, writer: Callable[[IO[bytes]], None]) -> None:
    """Write binary content through `replacing`."""
    with replacing(path) as file:
        writer(file)
