"""Frames of DICOM images through pydicom: decompressed, windowed, in display polarity."""

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, get_decoder, pixel_array
from pydicom.uid import UID

from workbench.data.io.guard import MAX_RATIO, check_size, damaged
from workbench.data.io.pictures import finite, stretch
from workbench.errors import InvalidImage

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
RARE = ("HSV", "ARGB", "CMYK", "XYB", "YBR_PARTIAL_420", "YBR_PARTIAL_422")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
NEEDED = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")
MAX_DEFLATED = 2**26  # bytes of a deflated data set once unpacked, which pydicom does in one piece
MAX_TABLE = 2**18  # bytes of one palette: 65536 entries of 16 bits fit twice
RLE_RATIO = 64  # two bytes of PackBits stand for at most 128
_JPEG = (pydicom.uid.JPEGBaseline8Bit, pydicom.uid.JPEGExtended12Bit)
_JPEG2000 = (pydicom.uid.JPEG2000Lossless, pydicom.uid.JPEG2000)
_DISPLAY = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
)
_INSTALL = 'install more decoders (pip install "workbench[dicom]") or export the series uncompressed'
_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


def read_frames(path: Path, max_pixels: int) -> list[np.ndarray]:
    """Every frame as (H, W) or (H, W, 3) float32 in [0, 1].

    Grey: the modality LUT or rescale, then the first VOI LUT or window of the file. Without one, unsigned values
    of at most 8 bits are divided by their range, all others stretched from the least to the greatest value of the
    file, padding left out. MONOCHROME1 is inverted. Palette and YBR frames become RGB.
    """
    ds = _parsed(path)
    _check_pixels(path, ds)
    photometric = ds.PhotometricInterpretation
    if photometric not in (*GREY, *COLOUR, "PALETTE COLOR"):
        found = f"{photometric if photometric in RARE else 'unknown'} pixels"
        raise InvalidImage(path.name, "grey, palette, RGB or YBR pixels", found, "export it as RGB")
    _check_syntax(path, ds)
    count = int(ds.get("NumberOfFrames") or 1)
    _check_extent(path, ds, count, max_pixels)
    frames = _decoded(path, ds, count)
    if photometric in GREY:
        return _grey(path, ds, frames)
    return [_palette(path, ds, f) if photometric == "PALETTE COLOR" else _colour(path, ds, f) for f in frames]


def _parsed(path: Path) -> pydicom.FileDataset:
    with path.open("rb") as file:
        read_preamble(file, force=True)
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        if meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian:
            unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
            packed = file.read()
            while packed and (got := unpacker.decompress(packed, 2**20)):
                packed, size = unpacker.unconsumed_tail, size + len(got)
                if size > MAX_DEFLATED:
                    found, remedy = "more", "export it with uncompressed pixels"
                    raise InvalidImage(path.name, f"at most {MAX_DEFLATED} bytes once unpacked", found, remedy)
    return pydicom.dcmread(path, force=True)


def _check_pixels(path: Path, ds: pydicom.Dataset) -> None:
    if any(keyword in ds for keyword in PIXELS):
        if missing := [keyword for keyword in NEEDED if ds.get(keyword) in (None, "")]:
            raise InvalidImage(path.name, "a complete image header", f"no {', '.join(missing)}", "export it again")
        return
    if not len(ds):
        raise damaged(path, "DICOM image")
    uid = UID(str(ds.get("SOPClassUID") or ds.file_meta.get("MediaStorageSOPClassUID") or ""))
    what = uid.name.removesuffix(" Storage") if uid.name != str(uid) else "data set"
    remedy = "choose the image series: plans, structure sets, reports, waveforms and disc indexes hold no picture"
    raise InvalidImage(path.name, "a DICOM image", f"a DICOM {what} without pixels", remedy)


def _check_syntax(path: Path, ds: pydicom.FileDataset) -> None:
    """Refuses compressed pixels that nothing installed can decode; states the syntax where the file does not."""
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        native = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        ds.file_meta.TransferSyntaxUID = native if little else pydicom.uid.ExplicitVRBigEndian
    syntax = UID(ds.file_meta.TransferSyntaxUID)
    try:
        decoders = get_decoder(syntax).available_plugins if syntax.is_encapsulated else ("native",)
    except (NotImplementedError, ValueError):  # an unknown or private syntax
        decoders = ()
    # Pillow keeps 8 bits of extended JPEG and of colour JPEG 2000.
    shallow = syntax == _JPEG[1] or (syntax in _JPEG2000 and ds.SamplesPerPixel > 1)
    if not decoders or (decoders == ("pillow",) and shallow and ds.get("BitsStored", 8) > 8):
        found = f"{_plain(syntax)} compression, for which no decoder is installed"
        raise InvalidImage(path.name, "pixels that can be decoded here", found, _INSTALL)


def _plain(syntax: UID) -> str:
    name = syntax.name if syntax.name != str(syntax) else "an unknown kind of"
    return name.removesuffix(" Image Compression").replace(" Image Compression", "")


def _check_extent(path: Path, ds: pydicom.FileDataset, count: int, max_pixels: int) -> None:
    """Refuses, before decoding, frames that are too large for max_pixels, for the file, or for their own header."""
    pixels = ds.Rows * ds.Columns * count
    if pixels < 1:
        raise damaged(path, "DICOM image")
    syntax = ds.file_meta.TransferSyntaxUID
    ratio = RLE_RATIO if syntax == pydicom.uid.RLELossless else MAX_RATIO
    nbytes = pixels * ds.SamplesPerPixel * max(1, ds.BitsAllocated // 8)
    check_size(path, pixels, nbytes if ds.BitsAllocated > 1 else 0, max_pixels=max_pixels, ratio=ratio)
    if syntax not in (*_JPEG, *_JPEG2000):
        return
    try:
        for frame in generate_frames(ds.PixelData, number_of_frames=count):
            with Image.open(BytesIO(frame), formats=("JPEG", "JPEG2000")) as picture:
                if picture.size != (ds.Columns, ds.Rows):
                    raise damaged(path, "DICOM image")
    except Image.DecompressionBombError:
        raise damaged(path, "DICOM image") from None


def _decoded(path: Path, ds: pydicom.FileDataset, count: int) -> list[np.ndarray]:
    """The stored values of each frame, YBR as RGB."""
    syntax = UID(ds.file_meta.TransferSyntaxUID)
    try:
        stored = pixel_array(ds)
    except RuntimeError:  # pydicom's word for 'no decoder managed'
        if not syntax.is_encapsulated:
            raise
        found = f"{_plain(syntax)} data that is damaged or beyond the installed decoder"
        raise InvalidImage(path.name, "pixels that can be decoded here", found, _INSTALL) from None
    return list(stored[:count]) if stored.ndim == 3 + (ds.SamplesPerPixel > 1) else [stored]


def _grey(path: Path, ds: pydicom.FileDataset, frames: list[np.ndarray]) -> list[np.ndarray]:
    displays = [_display(ds, index) for index in range(len(frames))]
    values = [finite(path, apply_modality_lut(f, display)) for f, display in zip(frames, displays, strict=True)]
    low, high = _range(ds, displays[0], frames, values)
    images = [
        _windowed(path, array, display) if _has_voi(display) else stretch(array, low, high)
        for array, display in zip(values, displays, strict=True)
    ]
    return [1 - image for image in images] if ds.PhotometricInterpretation == "MONOCHROME1" else images


def _display(ds: pydicom.FileDataset, index: int) -> pydicom.Dataset:
    """The elements that decide how a frame is shown: the file's, then those all frames share, then the frame's own."""
    display = pydicom.Dataset()
    display.file_meta = ds.file_meta
    sources = [ds]
    for groups in (ds.get("SharedFunctionalGroupsSequence", [])[:1], _own(ds, index)):
        sources += [item for group in groups for macro in _MACROS for item in group.get(macro, [])[:1]]
    for source in sources:
        for keyword in _DISPLAY:
            if source.get(keyword) is not None:
                display.add(source[keyword])
    return display


def _own(ds: pydicom.FileDataset, index: int) -> list[pydicom.Dataset]:
    return list(ds.get("PerFrameFunctionalGroupsSequence", [])[index : index + 1])


def _has_voi(display: pydicom.Dataset) -> bool:
    return bool(display.get("VOILUTSequence")) or ("WindowCenter" in display and "WindowWidth" in display)


def _range(
    ds: pydicom.FileDataset, display: pydicom.Dataset, frames: list[np.ndarray], values: list[np.ndarray]
) -> tuple[float, float]:
    """The values shown black and white where the file names no window."""
    stored = ds.get("BitsStored", ds.BitsAllocated)
    plain = "ModalityLUTSequence" not in display and display.get("RescaleSlope", 1) == 1
    if stored <= 8 and not ds.get("PixelRepresentation", 0) and plain and frames[0].dtype.kind == "u":
        offset = float(display.get("RescaleIntercept", 0)) if "RescaleSlope" in display else 0.0
        return offset, offset + 2.0**stored - 1
    kept = [array[~_padding(ds, frame)] for frame, array in zip(frames, values, strict=True)]
    kept = [array for array in kept if array.size]
    return (min(float(a.min()) for a in kept), max(float(a.max()) for a in kept)) if kept else (0.0, 0.0)


def _padding(ds: pydicom.FileDataset, frame: np.ndarray) -> np.ndarray:
    """Where stored values stand for 'outside the picture'."""
    if (first := ds.get("PixelPaddingValue")) is None:
        return np.zeros(frame.shape, bool)
    last = ds.get("PixelPaddingRangeLimit", first)
    return (frame >= min(first, last)) & (frame <= max(first, last))


def _windowed(path: Path, values: np.ndarray, display: pydicom.Dataset) -> np.ndarray:
    """The first VOI LUT, else the first window, as float32 in [0, 1]."""
    if display.get("VOILUTSequence"):
        bits = display.VOILUTSequence[0].LUTDescriptor[2]
        return stretch(apply_voi(values, display), 0, 2**bits - 1)
    center, width = (float(np.atleast_1d(display[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
    function = str(display.get("VOILUTFunction", "LINEAR")).upper()
    if not (np.isfinite(center) and width >= (function == "LINEAR") and width > 0):
        found = f"center {center:g}, width {width:g}"
        raise InvalidImage(path.name, "a grey-level window", found, "repair WindowWidth or remove the window")
    return window(path, values, center, width, function)


def window(path: Path, values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Grey levels of a DICOM window, float32 in [0, 1]. Source: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    values = values.astype(np.float64)
    if function == "SIGMOID":
        return (1 / (1 + np.exp(-4 * (values - center) / width))).astype(np.float32)
    if function not in ("LINEAR", "LINEAR_EXACT"):
        expected = "a LINEAR, LINEAR_EXACT or SIGMOID window"
        raise InvalidImage(path.name, expected, "another function", "repair or remove VOILUTFunction")
    if function == "LINEAR":  # counts whole grey levels: its slope spans one level less, half a level lower
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float32)
    return stretch(values, center - width / 2, center + width / 2)


def _colour(path: Path, ds: pydicom.FileDataset, frame: np.ndarray) -> np.ndarray:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype.kind != "u":
        found = f"{ds.SamplesPerPixel} samples a pixel of type {frame.dtype}"
        raise InvalidImage(path.name, "three unsigned colour samples a pixel", found, "export it as RGB")
    return stretch(frame, 0, 2 ** ds.get("BitsStored", ds.BitsAllocated) - 1)


def _palette(path: Path, ds: pydicom.FileDataset, frame: np.ndarray) -> np.ndarray:
    if "RedPaletteColorLookupTableData" not in ds:
        found, remedy = "a segmented or missing palette", "export it as RGB"
        raise InvalidImage(path.name, "a plain palette", found, remedy)
    if len(ds.RedPaletteColorLookupTableData) > MAX_TABLE:
        raise damaged(path, "DICOM image")
    entries, first, bits = ds.RedPaletteColorLookupTableDescriptor
    frame = np.clip(frame.astype(np.int64), first, first + (entries or 2**16) - 1)
    colours = apply_color_lut(frame, ds)[..., :3]
    # Some writers state 8 bits and fill 16.
    return stretch(colours, 0, 255 if bits == 8 and colours.max() <= 255 else 65535)
