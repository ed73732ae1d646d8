"""Making a store: every image is decoded once, in parallel, and a pack that was stopped goes on where it was."""

import csv
import errno
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Literal

import filelock
import numpy as np
import torch
from tqdm.auto import tqdm

from workbench.config import Config, Side
from workbench.data import io
from workbench.data.asoct.halves import resized
from workbench.data.io.kind import kind_of
from workbench.data.store import folder
from workbench.data.store.folder import BYTES, GOOD, MTIME, PATH, Header, is_store
from workbench.data.store.listing import Listing, listed
from workbench.errors import InvalidImage, InvalidParameter

PIECE = 32  # images that a process is given at a time
PAUSE = 2.0  # seconds between notes of what is done
LINE = 60.0  # seconds between lines where no bar can be drawn
SPARE = 2**26  # bytes that stay free on the disk
ENDS = (0.1, 99.9)  # percentiles that become black and white where images are deeper than 8 bits


@dataclass(frozen=True)
class Packing(Config):
    size: Side = 256  # side of the square images, pixels; crops of 224 are cut from it (inferred)
    channels: Literal[1, 3] = 1  # 1 turns colours into luma, 3 repeats grey images
    window: Literal["auto", "full"] = "auto"  # auto stretches pictures of over 8 bits, 0.1 to 99.9 %; DICOM as told


@dataclass(frozen=True)
class Packed:
    """What a pack came to."""

    root: Path
    count: int
    refused: list[tuple[str, str]]

    def __str__(self) -> str:
        aside = f"; {len(self.refused)} set aside, see {self.root / folder.REFUSED}" if self.refused else ""
        return f"{self.count} images in {self.root}{aside}"


def pack(
    source: str | os.PathLike, root: str | os.PathLike, packing: Packing | None = None, *,
    table: str | os.PathLike | None = None, jobs: int = 1,
) -> Packed:  # fmt: skip
    """Decode the images of a folder or list into a store; what an earlier pack finished is kept.

    8-bit images keep their values; of deeper pictures the 0.1th to 99.9th percentile become 0 to 255 (`window=full`
    divides by their type's range instead); DICOM files are windowed as they say. Images are scaled to squares without
    aliasing. Files that cannot be read are set aside in refused.csv, and tried again when the same pack is asked for.

    Args:
        source, table: As `listing.listed`.
        root: The store; a new or empty folder, or a store of the same images and settings.
        jobs: Processes.

    Raises:
        InvalidImage: nothing to pack, a folder with other files, a store made with other settings or of other files, a
            disk that is too small, or not one image that can be read. InvalidParameter: jobs.
        KeyboardInterrupt: stopped; says how far it came.
    """
    source, root, packing = Path(source), Path(root), packing or Packing()
    if jobs < 1:
        raise InvalidParameter("jobs", "at least 1", str(jobs), "leave it out for one a core")
    with alone(root):
        listing = listed(source, Path(table) if table else None)
        header, rows = begun(root, listing, packing)
        refused = decoded(root, listing, header, rows, jobs)
        write_refused(root, refused)
        if not (count := int((rows["state"] == GOOD).sum())):
            raise InvalidImage(source.name, "one image that can be read", ": ".join(refused[0]), "mend the files")
        folder.write_header(root, replace(header, done=True))
        return Packed(root, count, refused)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """The folder of the store, made where there is none, and no other pack at work in it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        strange = [path.name for path in root.iterdir() if path.name not in folder.NAMES and path.name[0] != "."]
    except OSError as error:
        remedy = "choose another place"
        raise InvalidImage(root.name, "a folder that can be written", error.strerror or "none", remedy) from None
    if not is_store(root) and [name for name in strange if not name.startswith("index-")]:
        raise InvalidImage(root.name, "a new folder, or a store", f"one with {strange[0]}", "give a new folder")
    try:
        with filelock.FileLock(root / folder.LOCK, timeout=0):
            yield
    except filelock.Timeout:
        raise InvalidImage(root.name, "a store that is free", "one that is being packed", "wait for its end") from None


# ---------------------------------------------------------------- beginning, and going on


def begun(root: Path, listing: Listing, packing: Packing) -> tuple[Header, np.ndarray]:
    """The header and the rows, mapped, of a new store or of the one that is there."""
    count = len(listing.files)
    header = Header(count, packing.channels, packing.size, packing.window, "")
    if is_store(root):
        old = folder.read_header(root)
        told = {name: getattr(old, name) for name in ("size", "channels", "window")}
        if told != {name: getattr(packing, name) for name in told}:
            words = ["--" + " --".join(f"{k} {v}" for k, v in one.items()) for one in (vars(packing), told)]
            raise InvalidImage(root.name, f"a store made with {words[0]}", words[1], "pack into another folder")
        rows = folder.read_rows(root, old)
        check_files(root, listing, old, rows)
        folder.first_byte(root / folder.PIXELS, old)
        check_space(root, int((rows["state"] != GOOD).sum()) * old.row_bytes)
        header = old
    else:
        check_space(root, count * header.row_bytes)
        for name, shape, dtype in ((folder.PIXELS, header.shape, np.uint8), (folder.ROWS, (count,), folder.ROW)):
            np.lib.format.open_memmap(root / name, "w+", dtype, shape).flush()
    header = replace(header, index=folder.write_index(root, listing.index))
    folder.write_header(root, header)
    for path in root.glob("index-*.parquet"):
        if path.name != header.index:
            path.unlink(missing_ok=True)
    return header, np.load(root / folder.ROWS, mmap_mode="r+")


def check_space(root: Path, need: int) -> None:
    free = shutil.disk_usage(root).free - SPARE
    if need > free:
        remedy = "choose a smaller --size, or a folder on another disk"
        raise InvalidImage(root.name, f"{need / 1e9:.1f} GB of free disk", f"{max(free, 0) / 1e9:.1f} GB", remedy)


def check_files(root: Path, listing: Listing, header: Header, rows: np.ndarray) -> None:
    """Raises InvalidImage where the list, its table or the files that were packed are no longer the same."""
    old, new = folder.read_index(root, header), listing.index
    remedy = "pack them into another folder, or delete this store first"
    names, fresh = set(old[PATH].to_pylist()), set(new[PATH].to_pylist())
    if names != fresh:
        found = f"{len(fresh - names)} new and {len(names - fresh)} gone"
        raise InvalidImage(root.name, "the files that the store was begun with", found, remedy)
    if not old.drop_columns([BYTES, MTIME]).equals(new.drop_columns([BYTES, MTIME])):
        raise InvalidImage(root.name, "the list that the store was begun with", "other columns or order", remedy)
    stamps = [np.stack([table[name].to_numpy() for name in (BYTES, MTIME)]) for table in (old, new)]
    changed = np.flatnonzero((stamps[0] != stamps[1]).any(0) & (rows["state"] == GOOD))
    if len(changed):
        found = f"{len(changed)} that changed since, such as {Path(new[PATH][int(changed[0])].as_py()).name}"
        raise InvalidImage(root.name, "files as they were packed", found, remedy)


# ---------------------------------------------------------------- decoding

Row = tuple[int, int, int, int, str]  # number, height, width, checksum of the pixels, why it is refused


def decoded(root: Path, listing: Listing, header: Header, rows: np.ndarray, jobs: int) -> list[tuple[str, str]]:
    """Decode every row that is not good yet; the names of those that cannot be, with reasons."""
    waiting = np.flatnonzero(rows["state"] != GOOD).tolist()
    pieces = [waiting[first : first + PIECE] for first in range(0, len(waiting), PIECE)]
    names, refused, done = listing.index[PATH], [], []
    watch = Watch(len(rows), len(rows) - len(waiting))
    with open(root / folder.PIXELS, "r+b") as pixels, noting(pixels, rows, done), watch.bar:
        for made in spread(pieces, listing.files, root / folder.PIXELS, header, min(jobs, len(pieces))):
            done += [row for row in made if not row[4]]
            refused += [(names[row[0]].as_py(), row[4]) for row in made if row[4]]
            if watch.update(len(made)):
                note(pixels, rows, done)
    return refused


class Watch:
    """A bar where there is a terminal or notebook, else a line a minute; and when it is time to note what is done."""

    def __init__(self, total: int, count: int) -> None:
        self.total, self.count, self.noted, self.lined = total, count, monotonic(), monotonic()
        self.bar = tqdm(total=total, initial=count, unit="image", mininterval=1.0, disable=None)

    def update(self, more: int) -> bool:
        self.count += more
        self.bar.update(more)
        now = monotonic()
        if self.bar.disable and now - self.lined > LINE:
            print(f"{self.count} of {self.total} images", file=sys.stderr, flush=True)
            self.lined = now
        if due := now - self.noted > PAUSE:
            self.noted = now
        return due


@contextmanager
def noting(pixels: BinaryIO, rows: np.ndarray, done: list[Row]) -> Iterator[None]:
    """Whatever ends the body, the rows that it finished are noted."""
    try:
        yield
    except KeyboardInterrupt:
        note(pixels, rows, done)
        good = int((rows["state"] == GOOD).sum())
        raise KeyboardInterrupt(f"stopped at {good} of {len(rows)} images; the same command goes on") from None
    finally:
        note(pixels, rows, done)


def note(pixels: BinaryIO, rows: np.ndarray, done: list[Row]) -> None:
    """Mark rows as good, but not before their pixels are on the disk: a row half written is never one of them."""
    with writing(Path(pixels.name)):
        os.fsync(pixels.fileno())
        for number, height, width, crc, _ in done:
            rows[number] = GOOD, height, width, crc
        rows.flush()
    done.clear()


@contextmanager
def writing(pixels: Path) -> Iterator[None]:
    """Turns what a full or broken disk does into one line."""
    try:
        yield
    except OSError as error:
        remedy = "make room or mend it, and the same command goes on"
        raise InvalidImage(pixels.parent.name, "a disk to write to", error.strerror or "an error", remedy) from None


def spread(
    pieces: Sequence[list[int]], files: Sequence[Path], pixels: Path, header: Header, jobs: int
) -> Iterator[list[Row]]:
    """The rows of every piece, decoded here or in processes of which each has one piece and another waiting."""
    place = (pixels, folder.first_byte(pixels, header), header)
    if jobs < 2:
        for piece in pieces:
            yield decode([(number, files[number]) for number in piece], *place)
        return
    pool = ProcessPoolExecutor(jobs, get_context("forkserver"), quiet)
    try:
        running: deque[Future] = deque()
        for piece in pieces:
            running.append(pool.submit(decode, [(number, files[number]) for number in piece], *place))
            if len(running) >= 2 * jobs:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BrokenProcessPool:
        remedy = "run the same command with fewer --jobs, and it goes on"
        raise InvalidImage(pixels.parent.name, "processes that live", "one that was killed", remedy) from None
    finally:
        pool.shutdown(cancel_futures=True)


def quiet() -> None:
    """Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def decode(piece: Sequence[tuple[int, Path]], pixels: Path, start: int, header: Header) -> list[Row]:
    """Decode the files and write each into its row."""
    made = []
    with writing(pixels), open(pixels, "r+b", buffering=0) as file:
        for number, path in piece:
            try:
                image, height, width = square(path, header)
            except InvalidImage as error:
                made.append((number, 0, 0, 0, f"expected {error.expected}, found {error.found}; {error.remedy}"))
                continue
            if os.pwrite(file.fileno(), image, start + number * header.row_bytes) != header.row_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            made.append((number, height, width, folder.checksum(image), ""))
    return made


def square(path: Path, header: Header) -> tuple[np.ndarray, int, int]:
    """An image as the store holds it, (C, S, S) uint8, and the height and width of its file."""
    image = io.read_image(path)
    if header.window == "auto" and image.ndim == 2 and kind_of(path) != "DICOM":
        image = windowed(image)
    if header.channels == 1 and image.ndim == 3:
        image = image @ io.LUMA
    planes = [resized(plane, header.size) for plane in np.atleast_3d(image).transpose(2, 0, 1)]
    return np.stack(planes * (header.channels // len(planes))), *image.shape[:2]


def windowed(image: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1] of more than 8 bits from its 0.1th to its 99.9th percentile; of 8 bits as it is."""
    steps = image * 255
    if np.abs(steps - np.round(steps)).max() < 1e-3:
        return image
    low, high = np.percentile(image, ENDS)
    return ((image - low) / (high - low)).clip(0, 1).astype(np.float32) if high > low else image


def write_refused(root: Path, refused: Sequence[tuple[str, str]]) -> None:
    file = StringIO(newline="")
    csv.writer(file).writerows([("file", "reason"), *sorted(refused)])
    if refused:
        folder.write(root / folder.REFUSED, file.getvalue().encode())
    else:
        (root / folder.REFUSED).unlink(missing_ok=True)
