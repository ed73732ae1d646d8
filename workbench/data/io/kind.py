"""What a file is, told from its first bytes; names and extensions lie, and DICOM files often have none."""

import gzip
import hashlib
import os
import stat
from pathlib import Path

from workbench.errors import InvalidImage

PICTURES = ("PNG", "JPEG", "TIFF", "BMP")
SUFFIXES = (
    ".nii.gz", ".nii", ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".ima",
)  # fmt: skip
HEAD = 544  # bytes: the longest header needed, NIfTI-2

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    *((magic, "TIFF") for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)
_FOREIGN = (
    (b"GIF8", "a GIF picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or Office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file (perhaps MINC 2 or MATLAB)"),
    (b"CDF", "a NetCDF file (perhaps MINC 1)"),
    (b"NRRD", "an NRRD volume"),
    (b"ObjectType", "a MetaImage volume"),
)
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_VRS = (b"UI", b"UL", b"OB", b"SH", b"CS", b"DA", b"TM", b"LO", b"PN", b"SQ", b"ST", b"US", b"UN")


def kind_of(path: Path) -> str:
    """The kind of a file: PNG, JPEG, TIFF, BMP, DICOM, NIfTI, or words for what else it is.

    Raises:
        InvalidImage: for anything but a regular file that has content.
    """
    if not stat.S_ISREG(mode := path.stat().st_mode):
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(path)
        raise InvalidImage(path.name, "a regular file", "a device, pipe or socket", "copy its content to a file")
    with path.open("rb") as file:
        head = file.read(HEAD)
    return sniff(unzipped(path)) if head.startswith(b"\x1f\x8b") else sniff(head)


def unzipped(path: Path) -> bytes:
    """The first bytes of what a gzip archive holds; its own first bytes unless that is a NIfTI volume."""
    try:
        with gzip.open(path) as file:
            inner = file.read(HEAD)
    except (
        OSError,
        EOFError,
        ValueError,
        gzip.zlib.error,
    ):  # a broken archive is named as what it is, an archive
        return b"\x1f\x8b"
    return inner if nifti_version(inner) else b"\x1f\x8b"


def sniff(head: bytes) -> str:
    """The kind of a file that begins with these bytes.

    >>> sniff(b"GIF89a")
    'a GIF picture'
    """
    if not head:
        return "an empty file"
    if head[128:132] == b"DICM":  # first, as its preamble may pose as another format, TIFF by habit
        return "DICOM"
    for magic, kind in (*_KINDS, *_FOREIGN):
        if head.startswith(magic):
            return kind
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if nifti_version(head):
        return "NIfTI"
    return "DICOM" if _bare_dicom(head) else _other(head)


def nifti_version(head: bytes) -> int:
    """1 or 2 for the header of a single-file NIfTI volume, else 0."""
    if head[344:348] == b"n+1\0" and b"\x5c\x01" in (head[:2], head[3:1:-1]):
        return 1
    return 2 if head[4:8] == b"n+2\0" and b"\x1c\x02" in (head[:2], head[3:1:-1]) else 0


def hashed(text: str) -> str:
    """Ten hex digits that stand for a name or path in ids, which must not tell it."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:10]


def stem(path: Path) -> str:
    """A file name without its image extension; dots of DICOM identifiers stay.

    >>> stem(Path("case1.nii.gz")), stem(Path("1.2.840.1"))
    ('case1', '1.2.840.1')
    """
    suffix = next((end for end in SUFFIXES if path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(suffix)]


def _bare_dicom(head: bytes) -> bool:
    """Whether DICOM elements start at once, without the 128-byte preamble (old archives, network dumps)."""
    for order in ("little", "big"):
        group, element = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
        explicit = head[4:6] in _VRS
        implicit = order == "little" and int.from_bytes(head[4:8], "little") <= 64
        if group in (0x0002, 0x0008) and element <= 0x0018 and len(head) > 16 and (explicit or implicit):
            return True
    return False


def _other(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP picture"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypavif", b"ftypmif1"):
        return "a HEIC or AVIF picture"
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        return "the header of a two-file NIfTI volume"
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return "an Analyze header"
    text = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    return "a text file" if text > 0.95 * len(head) else "a file of unknown kind"
