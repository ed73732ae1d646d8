"""Images that stay where they are, in tar files read one after another: local, over the network or from a command."""

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import torch
from torch.utils.data import IterableDataset

from workbench.data.io.kind import SUFFIXES
from workbench.data.store.folder import Header
from workbench.data.store.packing import Packing, square
from workbench.errors import InvalidImage, InvalidParameter, WorkbenchError

BLOCK = 512  # bytes of a tar file that belong together
PACKED = (b"\x1f\x8b", b"BZ", b"\xfd7")  # gzip, bzip2 and xz, which tell by themselves when they are cut off


class Shards(IterableDataset):
    """Images out of tar files, through webdataset: {"image": (C, S, S) float32 in [0, 1], "key": name in the shard}.

    Every epoch has its own order of the shards, and images are mixed in a buffer; processes and the workers of a
    DataLoader read different shards. An image is decoded as `pack` decodes it; one that cannot be read is told and left
    out. A stream has no length and cannot be taken up within an epoch: what the loop is to train on belongs in a store.

    >>> Shards("https://host/chests-{000..099}.tar", Packing(size=224))  # doctest: +SKIP

    Args:
        urls: Paths and URLs (file:, http:, https:), with braces for ranges, or a list of them. `pipe:` runs a command
            and reads what it prints, so take such URLs from nobody else.
        packing: Size, channels and window of the images.
        buffer: Images that are mixed; 0 keeps the order in a shard.
        seed: What all orders derive from, with `epoch`, which the caller counts up.

    Raises:
        InvalidParameter: webdataset is not installed, no URLs, or fewer than processes. InvalidImage, while reading: a
            shard that is missing or damaged.
    """

    def __init__(
        self, urls: str | Sequence[str], packing: Packing | None = None, *, buffer: int = 1000, seed: int = 0
    ) -> None:
        self.urls = expanded(urls)
        self.packing, self.buffer, self.seed, self.epoch = packing or Packing(), buffer, seed, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        wds = webdataset()
        rank, world, worker, _ = wds.utils.pytorch_worker_info()
        if len(self.urls) < world:
            remedy = "write more, smaller shards"
            raise InvalidParameter("urls", f"a shard for each of {world} processes", str(len(self.urls)), remedy)
        urls = list(self.urls)
        random.Random(f"{self.seed} {self.epoch}").shuffle(urls)
        mixing = random.Random(f"{self.seed} {self.epoch} {rank} {worker}")
        mixed = [wds.shuffle(self.buffer, initial=self.buffer, rng=mixing)] if self.buffer else []
        tar = wds.tariterators
        stages = [
            wds.SimpleShardList(urls), wds.split_by_node, wds.split_by_worker,
            tar.url_opener, whole, tar.tar_file_expander, tar.group_by_keys, *mixed,
        ]  # fmt: skip
        header = Header(0, self.packing.channels, self.packing.size, self.packing.window, "")
        with tempfile.TemporaryDirectory(prefix="shards-") as place:
            for sample in told(wds.DataPipeline(*stages)):
                try:
                    yield {"image": opened(sample, Path(place), header), "key": sample["__key__"]}
                except InvalidImage as error:
                    print(f"set aside: {sample['__key__']}: {error}", file=sys.stderr)


def webdataset() -> ModuleType:
    try:
        import webdataset as wds
    except ImportError:
        remedy = "pip install 'workbench[remote]'"
        raise InvalidParameter("shards", "the package webdataset", "none installed", remedy) from None
    return wds


def expanded(urls: str | Sequence[str]) -> list[str]:
    wds = webdataset()
    found = wds.shardlists.expand_urls(urls) if isinstance(urls, str) else [str(url) for url in urls]
    if not [url for url in found if url]:
        raise InvalidParameter("urls", "one shard or more", "none", "give paths or URLs of tar files")
    return found


class Tail:
    """A stream that remembers the ends of what was read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.first, self.last = stream, b"", b""

    def read(self, count: int = -1) -> bytes:
        got = self.stream.read(count)
        self.first = self.first or got[:2]
        self.last = (self.last + got)[-BLOCK:]
        return got


def whole(shards: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The shards; one that ends without the block of zeros that ends a tar file is told, which tarfile does not.

    Raises:
        InvalidImage: naming the shard.
    """
    for shard in shards:
        stream = shard["stream"] = Tail(shard["stream"])
        yield shard
        if stream.first not in PACKED and any(stream.last):
            remedy = "copy the shard again"
            raise InvalidImage(Path(shard["url"]).name, "a tar file of images", "one that is cut off", remedy)


def told(samples: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The samples; what a missing or damaged shard makes the library raise becomes one line.

    Raises:
        InvalidImage: naming the shard.
    """
    stream, last = iter(samples), ""
    while True:
        try:
            sample = next(stream)
        except StopIteration:
            return
        except WorkbenchError:
            raise
        except Exception as error:  # OSError, tarfile.ReadError, subprocess failures: whatever the source makes of it
            urls = [str(part) for part in error.args if isinstance(part, str)]
            name = Path(urls[-1] if urls else last).name or "a shard"
            remedy = "check the URL, or copy the shard again"
            raise InvalidImage(name, "a tar file of images", f"none ({type(error).__name__})", remedy) from None
        last = sample["__url__"]
        yield sample


def opened(sample: dict[str, Any], place: Path, header: Header) -> torch.Tensor:
    """The image of a sample, decoded from a file in `place` as images of a folder are.

    Raises:
        InvalidImage: none, or one that cannot be read.
    """
    name = next((key for key in sample if f".{key}".endswith(SUFFIXES)), None)
    if name is None:
        found = ", ".join(key for key in sample if not key.startswith("__")) or "nothing"
        raise InvalidImage(Path(sample["__key__"]).name, "an image among its files", found, "write it as .png or .jpg")
    path = place / f"image.{name.rpartition('.')[2]}"
    path.write_bytes(sample[name])
    return torch.from_numpy(square(path, header)[0]).float().div_(255)
