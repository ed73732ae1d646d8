"""The folder of a store: which files it holds, what its header says, and how each of them is refused.

store.json         version, shape, settings, whether packing has ended, the index it goes with
pixels.npy         (N, C, S, S) uint8, a row for every listed image; rows of refused images are blank
rows.npy           (N,) of ROW: what is known of each row; a row counts once its pixels are on the disk
index-*.parquet    (N,) path, bytes and mtime of each file, and all columns of its table, as text
refused.csv        files that could not be read, with reasons
"""

import dataclasses
import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from workbench.data.io.guard import guard
from workbench.errors import InvalidImage

VERSION = 1
HEADER, PIXELS, ROWS, REFUSED, LOCK = "store.json", "pixels.npy", "rows.npy", "refused.csv", "pack.lock"
NAMES = {HEADER, PIXELS, ROWS, REFUSED, LOCK}
WAITING, GOOD = 0, 1  # states of a row
ROW = np.dtype([("state", "<u4"), ("height", "<u4"), ("width", "<u4"), ("crc", "<u4")])  # of the file; of the pixels
PATH, BYTES, MTIME = "_path", "_bytes", "_mtime"  # columns of the index beside those of the table


@dataclass(frozen=True)
class Header:
    """What store.json says."""

    count: int
    channels: int
    size: int
    window: str
    index: str
    done: bool = False
    version: int = VERSION

    @property
    def row_bytes(self) -> int:
        return self.channels * self.size**2

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.count, self.channels, self.size, self.size


def checksum(row: np.ndarray) -> int:
    """Of the pixels of a row, contiguous uint8."""
    return zlib.crc32(row)


def is_store(root: str | os.PathLike) -> bool:
    return (Path(root) / HEADER).is_file()


def read_header(root: Path) -> Header:
    """The header of a store, finished or not.

    Raises:
        InvalidImage: no store, one of another version, or a header that is damaged.
    """
    with guard(root, "store"):
        root.stat()
    if not is_store(root):
        remedy = f"make one with `workbench data pack SRC {root.name}`"
        raise InvalidImage(root.name, "a store of images", f"a folder without {HEADER}", remedy)
    try:
        said = json.loads((root / HEADER).read_text("utf-8"))
        version = int(said["version"])
        header = Header(**said) if version == VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        remedy = "copy the store again, or delete it and pack anew"
        raise InvalidImage(f"{root.name}/{HEADER}", "the header of a store", "damaged text", remedy) from None
    if header is None:
        remedy = "pack the images anew, or use the release that made it"
        raise InvalidImage(root.name, f"a store of version {VERSION}", f"version {version}", remedy)
    return header


def write_header(root: Path, header: Header) -> None:
    write(root / HEADER, (json.dumps(dataclasses.asdict(header), indent=1) + "\n").encode())


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_rows(root: Path, header: Header) -> np.ndarray:
    """What is known of each row, (N,) of ROW.

    Raises:
        InvalidImage: missing, damaged, or of another length.
    """
    try:
        rows = np.load(root / ROWS, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        rows = np.zeros(0)
    if rows.dtype != ROW or rows.shape != (header.count,):
        remedy = "copy the store again, or delete it and pack anew"
        raise InvalidImage(f"{root.name}/{ROWS}", f"{header.count} rows", "a damaged or other file", remedy)
    return rows


def write_index(root: Path, table: pa.Table) -> str:
    """The name of the index, which holds a hash of its content."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    name = f"index-{hashlib.sha256(content).hexdigest()[:12]}.parquet"
    write(root / name, content)
    return name


def read_index(root: Path, header: Header) -> pa.Table:
    """The index (N,).

    Raises:
        InvalidImage: missing, changed, or cut off.
    """
    try:
        content = (root / header.index).read_bytes()
    except OSError:
        content = b""
    if header.index != f"index-{hashlib.sha256(content).hexdigest()[:12]}.parquet":
        remedy = "copy the store again, or delete it and pack anew"
        raise InvalidImage(f"{root.name}/{header.index}", "the index of this store", "a damaged or other file", remedy)
    return parquet.read_table(pa.BufferReader(content))


def first_byte(path: Path, header: Header) -> int:
    """Where the pixels begin in pixels.npy.

    Raises:
        InvalidImage: missing, of another shape, or cut off.
    """
    expected = f"{header.count} images of {header.size} x {header.size} pixels"
    remedy = "copy the store again, or delete it and pack anew"
    title = f"{path.parent.name}/{path.name}"
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(file)
            start = file.tell()
    except (OSError, ValueError, EOFError, KeyError):
        raise InvalidImage(title, expected, "a damaged or missing file", remedy) from None
    if (shape, fortran, dtype) != (header.shape, False, np.dtype(np.uint8)):
        raise InvalidImage(title, expected, f"an array of shape {shape}", remedy)
    whole = start + header.count * header.row_bytes
    if (size := path.stat().st_size) != whole:
        raise InvalidImage(title, f"{expected}, {whole} bytes", f"{size} bytes", remedy)
    return start
