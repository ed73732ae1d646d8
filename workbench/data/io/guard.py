"""The one boundary around the decoding libraries: whatever a bad file makes them do becomes InvalidImage."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from PIL import Image

from workbench.errors import InvalidImage, WorkbenchError

MAX_PIXELS = 2**28  # all pages of a file together: about 1 GiB as grey float32
MAX_RATIO = 2048  # no codec here packs more bytes of pixels into one byte of file, bar bilevel fax
LOGGERS = ("pydicom", "PIL", "nibabel.global", "tifffile")

_MISSING = ("an existing file or folder", "nothing of that name", "check the spelling and give the full path")
_FOLDER = ("a file", "a folder", "give one file of it, or list them with list_images")
_LOCKED = ("a file that may be read", "no permission to read it", "ask its owner for read access")
_MEMORY = ("a file that fits in memory", "too little memory to decode it", "crop or reduce it first")
_BOMB = ("as many pixels as Pillow allows", "more", "crop or reduce it, or raise PIL.Image.MAX_IMAGE_PIXELS")
_DAMAGED = ("damaged or incomplete data", "copy or export the file again from its source")


class _Shared:
    """A context of the whole process: the first of several threads enters it, the last one leaves it."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make, self._lock, self._users = make, threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._context = self._make()
                self._context.__enter__()
            self._users += 1

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._context.__exit__(None, None, None)


@contextmanager
def _no_warnings() -> Iterator[None]:
    levels = [(logger, logger.level) for logger in map(logging.getLogger, LOGGERS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger, _ in levels:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    for logger, level in levels:
        logger.setLevel(level)


@contextmanager
def _no_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    yield
    os.dup2(kept, 2)
    os.close(kept)


_silence = _Shared(_no_warnings)
mute = _Shared(_no_stderr)  # for libtiff, which writes to the process's error stream on its own


@contextmanager
def guard(path: Path, expected: str) -> Iterator[None]:
    """Turns every failure of the body into InvalidImage and keeps the libraries quiet.

    The text of library errors is dropped: it may quote header fields, and with them a patient's name.

    Raises:
        InvalidImage: naming the file, never its folder.
    """
    name = path.name or str(path)  # "." has no name
    try:
        with _silence:
            yield
    except WorkbenchError:
        raise
    except FileNotFoundError:
        raise InvalidImage(name, *_MISSING) from None
    except (IsADirectoryError, NotADirectoryError):
        raise InvalidImage(name, *_FOLDER) from None
    except PermissionError:
        raise InvalidImage(name, *_LOCKED) from None
    except MemoryError:
        raise InvalidImage(name, *_MEMORY) from None
    except Image.DecompressionBombError:
        raise InvalidImage(name, *_BOMB) from None
    except Exception:  # decoders raise anything on hostile bytes: struct.error, zlib.error, RecursionError
        raise damaged(path, expected) from None


def damaged(path: Path, expected: str) -> InvalidImage:
    """The error for a file whose content contradicts itself or ends early."""
    found, remedy = _DAMAGED
    return InvalidImage(path.name, f"an intact {expected}", found, remedy)


def check_size(path: Path, pixels: int, nbytes: int, *, max_pixels: int, ratio: int = MAX_RATIO) -> None:
    """Refuses, before anything is decoded, a header that asks for too much.

    Args:
        path: The file.
        pixels: Pixels of all pages, by the header.
        nbytes: Bytes of those pixels once decoded.
        max_pixels: The most pixels that may be decoded.
        ratio: The most decoded bytes that one stored byte can stand for.
    """
    if pixels > max_pixels:
        remedy = "crop or reduce it, or raise max_pixels if the file can be trusted"
        raise InvalidImage(path.name, f"at most max_pixels={max_pixels} pixels", f"{pixels} by its header", remedy)
    stored = path.stat().st_size
    if nbytes > ratio * stored:
        found = f"a file of {stored} bytes whose header promises {pixels} pixels"
        raise InvalidImage(path.name, "a complete file", found, _DAMAGED[1])
