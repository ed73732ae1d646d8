"""The one boundary around the decoding libraries: whatever a bad file makes them do becomes InvalidImage."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import InvalidImage, WorkbenchError

MAX_PIXELS = 2**28  # all pages of a file together: about 1 GiB as grey float32
MAX_RATIO = 2048  # no codec here packs more bytes of pixels into one byte of file, bar bilevel fax
LOGGERS = ("pydicom", "PIL", "nibabel.global", "tifffile")

_MISSING = ("an existing file", "nothing of that name", "check the spelling and give the full path")
_FOLDER = ("a file", "a folder", "give one file of it, or list them with list_images")
_LOCKED = ("a file that may be read", "no permission to read it", "ask its owner for read access")
_MEMORY = ("a file that fits in memory", "too little memory to decode it", "crop or reduce it first")
_DAMAGED = ("found damaged or incomplete data", "copy or export the file again from its source")


class _Silence:
    """Keeps library warnings and log lines from the user while at least one thread reads a file."""

    def __init__(self) -> None:
        self._lock, self._readers = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
                self._levels = [(name, logging.getLogger(name).level) for name in LOGGERS]
                for name in LOGGERS:
                    logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._caught.__exit__(*failure)
                for name, level in self._levels:
                    logging.getLogger(name).setLevel(level)


_silence = _Silence()


@contextmanager
def guard(path: Path, expected: str) -> Iterator[None]:
    """Turns every failure of the body into InvalidImage and keeps the libraries quiet.

    The text of library errors is dropped: it may quote header fields, and with them a patient's name.

    Raises:
        InvalidImage: naming the file, never its folder.
    """
    try:
        with _silence:
            yield
    except WorkbenchError:
        raise
    except FileNotFoundError:
        raise InvalidImage(path.name, *_MISSING) from None
    except (IsADirectoryError, NotADirectoryError):
        raise InvalidImage(path.name, *_FOLDER) from None
    except PermissionError:
        raise InvalidImage(path.name, *_LOCKED) from None
    except MemoryError:
        raise InvalidImage(path.name, *_MEMORY) from None
    except Exception:  # decoders raise anything on hostile bytes: struct.error, zlib.error, RecursionError
        raise damaged(path, expected) from None


def damaged(path: Path, expected: str) -> InvalidImage:
    """The error for a file whose content contradicts itself or ends early."""
    found, remedy = _DAMAGED
    return InvalidImage(path.name, f"an intact {expected}", found.removeprefix("found "), remedy)


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
        found = f"a header that promises {nbytes} bytes of pixels in a file of {stored}"
        raise InvalidImage(path.name, "a complete file", found, _DAMAGED[1])
