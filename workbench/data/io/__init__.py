"""Safe reading of medical images: a file becomes an array in a stated range, or is refused in one clear line.

Content, not extension, decides what a file is. A refusal is an InvalidImage naming the file, never folder or patient.
"""

import os
from pathlib import Path

import numpy as np

from workbench.data.io.dicom import read_frames
from workbench.data.io.folders import list_images, pairs, patients, read_many
from workbench.data.io.guard import MAX_PIXELS, guard
from workbench.data.io.kind import PICTURES, kind_of
from workbench.data.io.nifti import Volume, read_volume
from workbench.data.io.pictures import read_label_map, read_pictures
from workbench.data.io.tables import read_labels
from workbench.errors import InvalidImage

__all__ = [
    "Volume", "list_images", "pairs", "patients", "read_image", "read_labels", "read_many", "read_mask", "read_pages",
    "read_volume",
]  # fmt: skip

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601
LOSSLESS = ("PNG", "TIFF", "BMP")


def read_pages(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> list[np.ndarray]:
    """Every page or frame of a PNG, JPEG, TIFF, BMP or DICOM file: (H, W) or (H, W, 3) float32 in [0, 1].

    8- and 16-bit values are divided by 255 and 65535; 16-bit colour keeps its depth, save CMYK and premultiplied
    TIFF. Float TIFF within [0, 1] stays; other float and 32-bit pages go from their least to their greatest value.
    DICOM frames are windowed as the file says (see dicom.read_frames). Opacity that is full everywhere is dropped,
    else the image lies on black. Palette, YCbCr and CMYK become RGB; EXIF orientation is applied.

    Args:
        path: The file; its content decides what it is.
        max_pixels: The most pixels of all pages together; checked in the header, before decoding.

    Raises:
        InvalidImage: no image, a cut or damaged one, NaN, wholly transparent, too large, or in a compression that
            nothing installed can decode.
    """
    path = Path(path)
    with guard(path, "image"):
        kind = kind_of(path)
        if kind in PICTURES:
            return read_pictures(path, kind, max_pixels)
        if kind == "DICOM":
            return read_frames(path, max_pixels)
    raise InvalidImage(path.name, "a PNG, JPEG, TIFF, BMP or DICOM image", *_other(kind))


def read_image(path: str | os.PathLike, *, color: bool | None = None, page: int | None = None) -> np.ndarray:
    """One image of a file: (H, W) or (H, W, 3) float32 in [0, 1], scaled as by read_pages.

    Args:
        path: The file.
        color: True demands RGB, False turns RGB into luma (Rec. 601), None takes what there is.
        page: Which page, from 0; needed where a file has several.

    Raises:
        InvalidImage: as read_pages; several pages and none chosen, no such page, or grey where RGB is demanded.
    """
    path = Path(path)
    pages = read_pages(path)
    if page is None and len(pages) > 1:
        remedy = f"choose one with page=0 to {len(pages) - 1}, or take all with read_pages"
        raise InvalidImage(path.name, "one image", f"{len(pages)} pages", remedy)
    if not 0 <= (page or 0) < len(pages):
        raise InvalidImage(path.name, f"page=0 to {len(pages) - 1}", f"page={page}", "choose an existing page")
    image = pages[page or 0]
    if color and image.ndim == 2:
        raise InvalidImage(path.name, "a colour image", "a grey image", "choose colour images, or color=False")
    return image @ LUMA if color is False and image.ndim == 3 else image


def read_mask(path: str | os.PathLike, shape: tuple[int, int] | None = None) -> np.ndarray:
    """The label numbers of a mask, (H, W) int64, exactly as stored: grey levels, palette indices, or 0 and 1.

    Args:
        path: A one-page PNG, TIFF or BMP; RGB is taken where the three channels agree.
        shape: The (H, W) it must have, that of its image.

    Raises:
        InvalidImage: colours, transparency, fractions, several pages, lossy compression, or another size.
    """
    path = Path(path)
    with guard(path, "mask"):
        kind = kind_of(path)
        if kind not in LOSSLESS:
            found, remedy = _other(kind)
            remedy = "JPEG alters labels: export the mask as PNG" if kind == "JPEG" else remedy
            raise InvalidImage(path.name, "a PNG, TIFF or BMP mask", found, remedy)
        mask = read_label_map(path, kind, MAX_PIXELS)
    if shape is not None and mask.shape != tuple(shape):
        expected = f"a mask of {shape[0]} x {shape[1]} pixels (height x width), as its image"
        remedy = "export it at the size of its image; labels must not be resized"
        raise InvalidImage(path.name, expected, f"{mask.shape[0]} x {mask.shape[1]}", remedy)
    return mask


def _other(kind: str) -> tuple[str, str]:
    """What was found instead, and what to do."""
    if kind == "NIfTI":
        return "a NIfTI volume", "read it with read_volume"
    if kind in (*PICTURES, "DICOM"):
        return f"a {kind} file", "export it as PNG"
    if kind == "an empty file":
        return kind, "copy or export the file again from its source"
    return kind, "convert it to one of these, or choose another file"
