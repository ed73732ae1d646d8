"""Large sets of images, decoded once: `workbench data pack SRC STORE` makes a store, `Store` reads batches of it.

A store is a folder (see `folder`) whose pixels are one memory map of uint8; reading takes rows of it and keeps nothing
in memory. `pack` makes one, and goes on where it was stopped; `Shards` streams images that lie elsewhere in tar files.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.data import Cases
from workbench.data.io.tables import read_labels
from workbench.data.store import folder
from workbench.data.store.folder import GOOD, PATH, is_store
from workbench.data.store.packing import Packing, pack
from workbench.data.store.shards import Shards
from workbench.errors import InvalidImage

__all__ = ["Packing", "Shards", "Store", "StoredCases", "is_store", "pack"]


class Store:
    """The images of a store, those alone that could be read: a map-style source of batches.

    `store.__getitems__([5, 2])` is {"image": (2, C, S, S) float32 in [0, 1]}. A worker process gets the folder's name
    and opens the files itself.

    Attributes:
        size: Side of the square images, pixels.
        channels: 1 or 3.
        rows: (len(store),) where each image stands in pixels.npy.

    Raises:
        InvalidImage: no store, another version, not packed to its end, or files that are cut off or damaged.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root)
        self.header = folder.read_header(self.root)
        self.size, self.channels = self.header.size, self.header.channels
        self.known = folder.read_rows(self.root, self.header)
        self.rows = np.flatnonzero(self.known["state"] == GOOD)
        if not self.header.done:
            found = f"one cut off at {len(self.rows)} of {self.header.count}"
            remedy = f"run `workbench data pack SRC {self.root.name}` as before, and it goes on"
            raise InvalidImage(self.root.name, "a store packed to its end", found, remedy)
        self.start = folder.first_byte(self.root / folder.PIXELS, self.header)
        self.file = os.open(self.root / folder.PIXELS, os.O_RDONLY)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.root,)

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, items: Sequence[int]) -> dict[str, Tensor]:
        return {"image": self.pixels(items).float().div_(255)}

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        return {"image": self.__getitems__([item])["image"][0]}

    def pixels(self, items: Sequence[int]) -> Tensor:
        """The pixels of these images, (B, C, S, S) uint8, read from the disk or the system's cache of it.

        Read, not mapped: a file that is cut off under way ends in an error, not in a dead process.

        Raises:
            InvalidImage: the file ends early.
        """
        length = self.header.row_bytes
        made = torch.empty(len(items), *self.header.shape[1:], dtype=torch.uint8)
        places = self.rows[np.asarray(items, dtype=np.int64)].tolist()
        for place, row in zip(places, made.view(len(items), length).numpy()):
            if os.preadv(self.file, [row], self.start + place * length) != length:
                title, remedy = f"{self.root.name}/{folder.PIXELS}", "copy the store again, or delete it and pack anew"
                raise InvalidImage(title, f"{self.header.count} images", f"an end before image {place}", remedy)
        return made

    @cached_property
    def index(self) -> pa.Table:
        """A row an image: `_path`, `_bytes`, `_mtime` of its file, then all columns of the table, as text.

        Raises:
            InvalidImage: an index that is damaged or belongs to another store.
        """
        return folder.read_index(self.root, self.header).take(self.rows)

    @property
    def paths(self) -> list[str]:
        """The file that each image comes from, below the folder that was packed."""
        return self.index[PATH].to_pylist()

    @property
    def sizes(self) -> np.ndarray:
        """(len(store), 2) height and width of the files."""
        return np.stack([self.known[name][self.rows] for name in ("height", "width")], 1)

    @cached_property
    def refused(self) -> list[tuple[str, str]]:
        """Files that could not be read, with reasons."""
        path = self.root / folder.REFUSED
        rows = read_labels(path, columns=("file", "reason")) if path.is_file() else []
        return [(row["file"], row["reason"]) for row in rows]

    @cached_property
    def fingerprint(self) -> str:
        """Of the index and the checksums of all pixels: equal images and tables, equal fingerprint."""
        return hashlib.sha256(self.header.index.encode() + self.known.tobytes()).hexdigest()

    def damaged(self, items: Sequence[int]) -> list[int]:
        """Those of the items whose pixels are no longer those that were packed."""
        checks = self.known["crc"][self.rows[np.asarray(items, dtype=np.int64)]]
        rows = self.pixels(items).flatten(1).numpy()
        return [item for item, row, check in zip(items, rows, checks) if folder.checksum(row) != check]


@dataclass(frozen=True)
class StoredCases(Cases):
    """Cases whose `image` is read from a store when a batch is asked for; all else is held in memory."""

    store: Store = field(kw_only=True)
    items: Tensor = field(kw_only=True)  # (N,) which images of the store
    size: int = field(kw_only=True)  # pixels; images are scaled down where the store's are larger

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, items: Sequence[int]) -> dict[str, Tensor]:
        image = self.store.__getitems__(self.items[torch.as_tensor(items)].numpy())["image"]
        if self.size != self.store.size:
            image = F.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True).clamp_(0, 1)
        return {"image": image, **super().__getitems__(items)}

    def content(self) -> Iterator[bytes]:
        yield from super().content()
        yield f"{self.store.fingerprint} {self.size}".encode() + self.items.numpy().tobytes()
