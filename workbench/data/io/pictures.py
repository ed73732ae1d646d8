"""Pages of PNG, JPEG, TIFF and BMP files through Pillow, at their full depth."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from workbench.data.io.guard import check_size, mute
from workbench.errors import InvalidImage, InvalidParameter

# Opened by class, not through Image.open: only these formats, and the size limit is max_pixels alone.
_OPENERS = {"PNG": PngImageFile, "JPEG": JpegImageFile, "TIFF": TiffImageFile, "BMP": BmpImageFile}
MAX_PAGES = 4096  # Pillow takes quadratic time over the pages of a TIFF
MAX_SCANS = 200  # a progressive JPEG has about ten; each is decoded over the whole image
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339  # TIFF tags
_SHALLOW = {"L;2": 85, "L;4": 17}  # Pillow spreads 2- and 4-bit grey over 0..255 by these factors
_TO_RGB = {"CMYK": "RGB", "YCbCr": "RGB", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}


class Stored(NamedTuple):
    """A decoded page before its values are scaled.

    Attributes:
        array: (H, W) or (H, W, C) as stored; C counts an alpha channel, the last.
        top: The value that means white, or None where the file sets none (float and 32-bit integers).
        alpha: Whether the last channel is opacity.
        inverted: Whether 0 means white.
    """

    array: np.ndarray
    top: int | None
    alpha: bool
    inverted: bool


def read_pictures(path: Path, kind: str, max_pixels: int) -> list[np.ndarray]:
    """Every page as (H, W) or (H, W, 3) float32 in [0, 1]."""
    with path.open("rb") as file, mute if kind == "TIFF" else nullcontext():
        return [_scaled(path, _stored(path, file, kind, page)) for page in _pages(path, file, kind, max_pixels)]


def read_label_map(path: Path, kind: str, max_pixels: int) -> np.ndarray:
    """The labels (H, W) int64 of a one-page picture, exactly as stored."""
    with path.open("rb") as file, mute if kind == "TIFF" else nullcontext():
        if (count := len(list(_pages(path, file, kind, max_pixels)))) != 1:
            raise InvalidImage(path.name, "a mask of one page", f"{count} pages", "store one page a file")
        picture = _open(file, kind)
        if picture.mode == "P":
            return np.asarray(ImageOps.exif_transpose(picture)).astype(np.int64)
        factor = _SHALLOW.get(_rawmode(picture), 1)
        return _labels(path, _stored(path, file, kind, 0)) // factor


def _labels(path: Path, stored: Stored) -> np.ndarray:
    array = stored.array
    if stored.alpha and not (array[..., -1] == stored.top).all():
        found, remedy = "a transparent mask", "store opaque labels, background as 0"
        raise InvalidImage(path.name, "one label a pixel", found, remedy)
    array = array[..., :-1] if stored.alpha else array
    if array.ndim == 3:
        if (array != array[..., :1]).any():
            remedy = "store label numbers as 8- or 16-bit grey, or as a palette image"
            raise InvalidImage(path.name, "a mask of label numbers", "a colour picture", remedy)
        array = array[..., 0]
    if stored.inverted and stored.top != 1:
        remedy = "save it as 8- or 16-bit grey where 0 is black (photometric BlackIsZero)"
        raise InvalidImage(path.name, "a mask where 0 is black", "a TIFF where 0 is white", remedy)
    if array.dtype.kind == "f" or array.min() < 0:
        remedy = "save whole numbers from 0 as 8- or 16-bit grey"
        raise InvalidImage(path.name, "a mask of label numbers", "fractions or negative values", remedy)
    return array.astype(np.int64)


def _open(file: BinaryIO, kind: str, page: int = 0) -> ImageFile.ImageFile:
    file.seek(0)
    picture = _OPENERS[kind](file)
    if page:
        picture.seek(page)
    return picture


def _pages(path: Path, file: BinaryIO, kind: str, max_pixels: int) -> Iterator[int]:
    """The page numbers, once every header has been checked."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        remedy = "set it back: it makes Pillow invent the missing part of a cut file"
        raise InvalidParameter("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", "False", "True", remedy)
    picture = _open(file, kind)
    _check_codec(path, file, kind, picture)
    count, pixels, nbytes = 0, 0, 0
    while True:
        count, size = count + 1, picture.size[0] * picture.size[1]
        pixels += size
        nbytes += size * len(picture.getbands()) if picture.mode != "1" else 0  # fax coding has no bound
        check_size(path, pixels, nbytes, max_pixels=max_pixels)
        if size == 0 or count > MAX_PAGES:
            found = f"more than {MAX_PAGES}" if size else "a page without pixels"
            raise InvalidImage(path.name, "a file of 1 to 4096 pages", found, "split or export it again")
        try:
            picture.seek(count)
        except EOFError:
            return iter(range(count))


def _check_codec(path: Path, file: BinaryIO, kind: str, picture: ImageFile.ImageFile) -> None:
    """Refuses what Pillow would decode slowly, only in part, or without looking at checksums."""
    if kind == "PNG":
        if picture.is_animated:
            remedy = "save its frames as pages of a TIFF or as single files"
            raise InvalidImage(path.name, "a PNG of one image", f"an animation of {picture.n_frames} frames", remedy)
        _open(file, kind).verify()  # every chunk's checksum
    if kind == "JPEG":
        file.seek(0)
        if (scans := file.read().count(b"\xff\xda")) > MAX_SCANS:
            raise InvalidImage(path.name, f"at most {MAX_SCANS} scans", str(scans), "save it as baseline JPEG")


def _rawmode(picture: ImageFile.ImageFile) -> str:
    args = picture.tile[0].args if picture.tile else ""
    return args if isinstance(args, str) else args[0]


def _stored(path: Path, file: BinaryIO, kind: str, page: int) -> Stored:
    picture = _open(file, kind, page)
    tags = picture.tag_v2 if kind == "TIFF" else {}
    bits, signed = max(tags.get(_BITS, (8,))), max(tags.get(_SAMPLE_FORMAT, (1,))) == 2
    inverted = kind == "TIFF" and tags.get(_PHOTOMETRIC, 0) == 0
    raw, mode, key = _rawmode(picture), picture.mode, picture.info.get("transparency")
    _check_mode(path, mode, bits, signed, tags)
    if raw == "LA;16B":
        array = _deep_grey_alpha(picture)
        return Stored(array, 65535, True, False)
    if raw[:-1] in ("RGB;16", "RGBA;16", "RGBX;16"):
        array = _deep_colour(picture, _open(file, kind, page), raw)
        return _keyed(Stored(array, 65535, array.shape[2] == 4, False), key)
    if mode == "P":
        picture_mode = "RGBA" if key is not None else "RGB"
        array = np.asarray(ImageOps.exif_transpose(picture.convert(picture_mode)))
        return Stored(array, 255, picture_mode == "RGBA", False)
    upright = ImageOps.exif_transpose(picture)
    array = np.asarray(upright.convert(_TO_RGB[mode]) if mode in _TO_RGB else upright)
    if mode.startswith("I;16"):
        return _keyed(Stored(array, 4095 if bits == 12 else 65535, False, inverted), key)
    if mode == "I" and bits == 32 and not signed:
        array = array.view(np.uint32)
    top = {"1": 1, "I": None, "F": None}.get(mode, 255)
    alpha = array.ndim == 3 and array.shape[2] in (2, 4)
    # Pillow has inverted white-is-zero pages of at most 8 bits itself.
    already = mode in ("1", "L", "LA")
    return _keyed(Stored(array, top, alpha, inverted and not already), key)


def _check_mode(path: Path, mode: str, bits: int, signed: bool, tags: dict) -> None:
    if mode in ("LAB", "HSV"):
        raise InvalidImage(path.name, "a grey or RGB image", f"a {mode} image", "convert it to RGB")
    if signed and bits == 8:
        raise InvalidImage(path.name, "unsigned 8-bit values", "signed 8-bit values", "save it as 16-bit")
    if bits == 16 and tags.get(_PLANES, 1) == 2 and mode.startswith("RGB"):
        found, remedy = "16-bit colour stored plane by plane", "save it with interleaved (chunky) pixels"
        raise InvalidImage(path.name, "colour stored pixel by pixel", found, remedy)


def _deep_colour(high: ImageFile.ImageFile, low: ImageFile.ImageFile, raw: str) -> np.ndarray:
    """(H, W, C) uint16 from two decodings, as Pillow keeps one byte a sample: the high bytes, then the low."""
    swapped = raw[:-1] + ("L" if raw.endswith("B") else "B")  # in the other byte order the low byte comes up
    low.tile = [t._replace(args=swapped if isinstance(t.args, str) else (swapped, *t.args[1:])) for t in low.tile]
    high, low = (np.asarray(ImageOps.exif_transpose(picture)) for picture in (high, low))
    return high.astype(np.uint16) << 8 | low


def _deep_grey_alpha(picture: ImageFile.ImageFile) -> np.ndarray:
    """(H, W, 2) uint16: Pillow would halve the depth, so its four bytes a pixel are taken as they come."""
    picture.tile = [tile._replace(args="RGBA") for tile in picture.tile]
    raw = np.asarray(ImageOps.exif_transpose(picture)).astype(np.uint16)
    return raw[..., ::2] << 8 | raw[..., 1::2]


def _keyed(stored: Stored, key: int | tuple[int, ...] | bytes | None) -> Stored:
    """The page with an opacity channel where the file names one stored value as transparent."""
    if key is None or stored.alpha:
        return stored
    differs = stored.array != (bool(key) if stored.top == 1 else np.asarray(key))
    opaque = differs.any(-1) if stored.array.ndim == 3 else differs
    colours = stored.array.reshape(*stored.array.shape[:2], -1)
    array = np.concatenate([colours, (opaque * stored.top).astype(colours.dtype)[..., None]], axis=-1)
    return stored._replace(array=array, alpha=True)


def _scaled(path: Path, stored: Stored) -> np.ndarray:
    """(H, W) or (H, W, 3) float32 in [0, 1]."""
    if stored.top is None:
        image = _stretched(path, stored.array)
    else:
        image = np.divide(stored.array, np.float32(stored.top), dtype=np.float32)
    if stored.alpha:
        image = _over_black(path, image)
    if stored.inverted:
        image = 1 - image
    return np.ascontiguousarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)


def _stretched(path: Path, array: np.ndarray) -> np.ndarray:
    """Grey values without a stated range: float already within [0, 1] stays, all else goes from min to max."""
    low, high = float(finite(path, array).min()), float(array.max())
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return array.astype(np.float32)
    return stretch(array, low, high)


def finite(path: Path, array: np.ndarray) -> np.ndarray:
    """The array, if it holds neither NaN nor infinity.

    Raises:
        InvalidImage: it does.
    """
    if not np.isfinite(array).all():
        remedy = "replace them (numpy.nan_to_num) and save the image again"
        raise InvalidImage(path.name, "finite pixel values", "NaN or infinity", remedy)
    return array


def stretch(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps low..high to 0..1 and clips; 0 everywhere if high is not above low. float32."""
    if not high > low:
        return np.zeros(array.shape, np.float32)
    wide = np.float32 if array.itemsize <= 2 else np.float64
    scaled = np.subtract(array, wide(low), dtype=wide)
    scaled /= wide(high - low)
    return np.clip(scaled, 0, 1, out=scaled).astype(np.float32, copy=False)


def _over_black(path: Path, image: np.ndarray) -> np.ndarray:
    """Drops opacity that is full everywhere; else lays the image over black, the background of medical images."""
    colours, opacity = image[..., :-1], image[..., -1:]
    if (opacity == 1).all():
        return colours
    if not opacity.any():
        remedy = "save it without its alpha channel, if the colours below are meant"
        raise InvalidImage(path.name, "an image that can be seen", "a wholly transparent one", remedy)
    return colours * opacity
