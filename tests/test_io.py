"""Reading image files: right values by hand-made files, one clear refusal for everything else."""

import gzip
import logging
import os
import shutil
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
    RTStructureSetStorage,
)

from workbench.data import io
from workbench.data.io import nifti
from workbench.errors import InvalidImage, InvalidParameter

RAMP = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)  # fifths of white
COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [51, 102, 204], [255, 255, 255]]], np.uint8)


def save(path: Path, array, mode=None, **options) -> Path:
    (
        array if isinstance(array, Image.Image) else Image.fromarray(array, mode) if mode else Image.fromarray(array)
    ).save(path, **options)
    return path


def refused(call, *words: str) -> InvalidImage:
    with pytest.raises(InvalidImage) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and "/" not in message.split(":")[0], message
    for word in words:
        assert word in message, message
    return caught.value


def png(width: int, height: int, bits: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG put together by hand, for the layouts Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    body = b"".join(chunk(*extra) for extra in chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def dicom(path: Path, array: np.ndarray | None, photometric: str = "MONOCHROME2", **elements) -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = elements.pop("syntax", ExplicitVRLittleEndian)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = elements.pop("uid", CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    ds.PatientName, ds.PatientID = "Doe^Jane", "4711"
    if array is not None:
        ds.SamplesPerPixel = 3 if photometric in ("RGB", "YBR_FULL") else 1
        frames = array.ndim - (ds.SamplesPerPixel == 3) == 3
        ds.Rows, ds.Columns = array.shape[frames : frames + 2]
        if frames:
            ds.NumberOfFrames = len(array)
        if ds.SamplesPerPixel == 3:
            ds.PlanarConfiguration = 0
        ds.PhotometricInterpretation = photometric
        ds.BitsAllocated = ds.BitsStored = 8 * array.itemsize
        ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(array.dtype.kind == "i")
        ds.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def volume(path: Path, array: np.ndarray, affine=None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a"])
def test_grey_8_bit_is_divided_by_255(tmp_path, name):
    path = save(tmp_path / name, RAMP, format=None if "." in name else "PNG")
    image = io.read_image(path)
    assert image.dtype == np.float32 and image.flags.c_contiguous
    np.testing.assert_allclose(image, [[0, 0.2, 0.4], [0.6, 0.8, 1]], atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_16_bit_is_divided_by_65535(tmp_path, name):
    path = save(tmp_path / name, np.array([[0, 257, 65535]], np.uint16))
    np.testing.assert_allclose(io.read_image(path), [[0, 1 / 255, 1]], atol=1e-7)


def test_bits_palette_and_colour(tmp_path):
    bits = save(tmp_path / "bits.png", Image.fromarray(RAMP > 150))
    np.testing.assert_array_equal(io.read_image(bits), [[0, 0, 0], [1, 1, 1]])
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 51, 0, 1, 2, 3])
    image = io.read_image(save(tmp_path / "palette.png", palette))
    np.testing.assert_allclose(image[0], [[1, 0, 0], [0, 0.2, 0], [1 / 255, 2 / 255, 3 / 255]], atol=1e-6)
    np.testing.assert_allclose(io.read_image(save(tmp_path / "c.png", COLOURS)) * 255, COLOURS, atol=1e-4)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_keeps_its_depth(tmp_path, channels):
    values = [1, 256, 65535, 65535][:channels]
    kind = {3: 2, 4: 6}[channels]
    (tmp_path / "deep.png").write_bytes(png(1, 1, 16, kind, b"\0" + struct.pack(f">{channels}H", *values)))
    np.testing.assert_allclose(io.read_image(tmp_path / "deep.png")[0, 0] * 65535, [1, 256, 65535], atol=0.01)


def test_16_bit_grey_with_alpha_png_keeps_its_depth(tmp_path):
    (tmp_path / "deep.png").write_bytes(png(2, 1, 16, 4, b"\0" + struct.pack(">4H", 257, 65535, 65535, 32768)))
    np.testing.assert_allclose(io.read_image(tmp_path / "deep.png")[0] * 65535, [257, 32768], atol=0.01)


@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_colour_tiff_keeps_its_depth(tmp_path, compression, order):
    data = struct.pack(order + "3H", 1, 256, 65535)
    packed = zlib.compress(data) if compression else data
    path = tmp_path / "deep.tif"
    entries = [
        (256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 134), (259, 3, 1, 8 if compression else 1), (262, 3, 1, 2),
        (273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, len(packed)), (284, 3, 1, 1),
    ]  # fmt: skip
    path.write_bytes(tiff(order, entries, struct.pack(order + "3H", 16, 16, 16) + packed))
    np.testing.assert_allclose(io.read_image(path)[0, 0] * 65535, [1, 256, 65535], atol=0.01)


def tiff(order: str, entries: list[tuple[int, int, int, int]], data: bytes) -> bytes:
    """One TIFF page whose data begin at byte 134 where there are ten entries."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        single = kind == 3 and count == 1
        head += struct.pack(order + "HHI", tag, kind, count)
        head += struct.pack(order + ("HH" if single else "I"), *((value, 0) if single else (value,)))
    return head + b"\0\0\0\0" + data


def test_white_is_zero_tiff_of_16_bit_is_inverted(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[0, 65535]], np.uint16), tiffinfo={262: 0})
    raw = bytearray(path.read_bytes())
    at = raw.find(struct.pack("<HHI", 262, 3, 1))
    raw[at + 8 : at + 10] = b"\0\0"
    path.write_bytes(raw)
    np.testing.assert_array_equal(io.read_image(path), [[1, 0]])


def test_opaque_alpha_is_dropped_and_other_alpha_lies_on_black(tmp_path):
    opaque = np.dstack([COLOURS, np.full((2, 3), 255, np.uint8)])
    np.testing.assert_allclose(io.read_image(save(tmp_path / "o.png", opaque)) * 255, COLOURS, atol=1e-4)
    half = opaque.copy()
    half[0, 0, 3], half[1, 2, 3] = 0, 51
    image = io.read_image(save(tmp_path / "h.png", half))
    np.testing.assert_allclose(image[0, 0], 0)  # the red below full transparency is gone
    np.testing.assert_allclose(image[1, 2], 0.2, atol=1e-6)
    grey = np.array([[[255, 255], [255, 51]]], np.uint8)
    np.testing.assert_allclose(io.read_image(save(tmp_path / "g.png", grey, "LA")), [[1, 0.2]], atol=1e-6)
    half[..., 3] = 0
    clear = save(tmp_path / "clear.png", half)
    refused(lambda: io.read_image(clear), "clear.png", "wholly transparent", "alpha")


def test_transparent_value_lies_on_black(tmp_path):
    grey = save(tmp_path / "g.png", RAMP, transparency=255)
    np.testing.assert_allclose(io.read_image(grey), [[0, 0.2, 0.4], [0.6, 0.8, 0]], atol=1e-6)
    colour = save(tmp_path / "c.png", COLOURS, transparency=(255, 255, 255))
    np.testing.assert_array_equal(io.read_image(colour)[1, 2], [0, 0, 0])
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([255, 255, 255, 0, 255, 0])
    image = io.read_image(save(tmp_path / "p.png", palette, transparency=0))
    np.testing.assert_array_equal(image[0], [[0, 0, 0], [0, 1, 0]])


def test_jpeg_grey_colour_and_cmyk(tmp_path):
    flat = np.full((16, 16), 128, np.uint8)
    np.testing.assert_allclose(io.read_image(save(tmp_path / "g.jpg", flat)), 128 / 255, atol=0.01)
    green = np.zeros((16, 16, 3), np.uint8) + np.array([0, 255, 0], np.uint8)
    np.testing.assert_allclose(io.read_image(save(tmp_path / "c.jpg", green, quality=95))[8, 8], [0, 1, 0], atol=0.02)
    cmyk = Image.fromarray(green).convert("CMYK")
    np.testing.assert_allclose(io.read_image(save(tmp_path / "k.jpg", cmyk, quality=95))[8, 8], [0, 1, 0], atol=0.02)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_exif_orientation_turns_the_image(tmp_path, name):
    upright = np.zeros((8, 16), np.uint8)
    upright[:, 8:] = 255
    exif = Image.Exif()
    exif[274] = 6  # shown after a quarter turn clockwise: what is stored left comes up
    image = io.read_image(save(tmp_path / name, upright, exif=exif))
    assert image.shape == (16, 8)
    assert image[:4].max() < 0.1 and image[12:].min() > 0.9


def test_pages_of_a_tiff(tmp_path):
    pages = [Image.fromarray(np.full((2, 3 + k), 51 * k, np.uint8)) for k in range(3)]
    path = save(tmp_path / "stack.tif", pages[0], save_all=True, append_images=pages[1:])
    assert [page.shape for page in io.read_pages(path)] == [(2, 3), (2, 4), (2, 5)]
    np.testing.assert_allclose(io.read_image(path, page=2), 0.4, atol=1e-6)
    refused(lambda: io.read_image(path), "3 pages", "page=0 to 2", "read_pages")
    refused(lambda: io.read_image(path, page=3), "page=3")
    refused(lambda: io.read_image(path, page=-1), "page=-1")
    refused(lambda: io.read_pages(path, max_pixels=23), "max_pixels=23", "24")


def test_float_tiff(tmp_path):
    kept = save(tmp_path / "kept.tif", np.array([[0.25, 0.5]], np.float32))
    np.testing.assert_array_equal(io.read_image(kept), [[0.25, 0.5]])
    stretched = save(tmp_path / "wide.tif", np.array([[-10, 0, 30]], np.float32))
    np.testing.assert_allclose(io.read_image(stretched), [[0, 0.25, 1]])
    np.testing.assert_array_equal(io.read_image(save(tmp_path / "flat.tif", np.full((2, 2), 7, np.float32))), 0)
    np.testing.assert_allclose(io.read_image(save(tmp_path / "i.tif", np.array([[0, 1, 4]], np.int32))), [[0, 0.25, 1]])
    for value in (np.nan, np.inf):
        bad = save(tmp_path / "bad.tif", np.array([[value, 1]], np.float32))
        refused(lambda bad=bad: io.read_image(bad), "bad.tif", "NaN or infinity", "nan_to_num")


def test_colour_or_grey_as_asked(tmp_path):
    grey, colour = save(tmp_path / "g.png", RAMP), save(tmp_path / "c.png", COLOURS)
    luma = io.read_image(colour, color=False)
    np.testing.assert_allclose(luma[0], [0.299, 0.587, 0.114], atol=1e-6)
    np.testing.assert_allclose(luma[1], [0, (0.299 * 51 + 0.587 * 102 + 0.114 * 204) / 255, 1], atol=1e-6)
    assert io.read_image(colour, color=True).shape == (2, 3, 3)
    assert io.read_image(grey, color=False).shape == (2, 3)
    refused(lambda: io.read_image(grey, color=True), "colour image", "grey image")


def test_cut_and_altered_files_are_refused(tmp_path):
    texture = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    for name in ("a.png", "a.jpg", "a.tif", "a.bmp"):
        path = save(tmp_path / name, texture)
        path.write_bytes(path.read_bytes()[:-400])
        refused(lambda path=path: io.read_pages(path), name, "damaged or incomplete", "copy or export")
    altered = save(tmp_path / "b.png", texture).read_bytes()
    for place in (2000, -14):  # in the pixels; in their checksum alone
        (tmp_path / "b.png").write_bytes(altered[:place] + bytes([altered[place] ^ 1]) + altered[place:][1:])
        refused(lambda: io.read_pages(tmp_path / "b.png"), "damaged or incomplete")


def test_inventing_the_missing_part_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", RAMP)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(InvalidParameter, match="LOAD_TRUNCATED_IMAGES"):
        io.read_pages(path)


def test_bombs_are_refused_by_their_header(tmp_path):
    huge, empty = tmp_path / "huge.png", tmp_path / "empty.png"
    huge.write_bytes(png(60000, 60000, 8, 2, b"\0"))
    refused(lambda: io.read_pages(huge), "max_pixels=268435456", "3600000000")
    empty.write_bytes(png(9000, 9000, 8, 2, b"\0"))
    refused(lambda: io.read_pages(empty), "promises 81000000 pixels", "copy or export")
    small = save(tmp_path / "small.png", RAMP)
    refused(lambda: io.read_pages(small, max_pixels=5), "max_pixels=5", "6 by its header")
    assert len(io.read_pages(small, max_pixels=6)) == 1
    assert len(io.read_pages(dicom(tmp_path / "d", RAMP), max_pixels=6)) == 1
    refused(lambda: io.read_pages(tmp_path / "d", max_pixels=5), "max_pixels=5")


def test_animation_and_other_kinds_are_named(tmp_path):
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP[::-1].copy())]
    moving = save(tmp_path / "m.png", frames[0], save_all=True, append_images=frames[1:])
    refused(lambda: io.read_pages(moving), "animation of 2 frames")
    for content, word in {
        b"": "an empty file",
        b"GIF89a....": "a GIF picture",
        b"%PDF-1.7": "a PDF document",
        b"PK\x03\x04": "a ZIP archive",
        b"image,label\n1,2\n": "a text file",
        bytes(range(256)) * 3: "unknown kind",
    }.items():
        (tmp_path / "scan.png").write_bytes(content)
        refused(lambda: io.read_pages(tmp_path / "scan.png"), "scan.png", word)
    refused(lambda: io.read_pages(volume(tmp_path / "v.nii", np.zeros((2, 2, 2), np.float32))), "read_volume")


def test_paths_that_are_no_files(tmp_path):
    refused(lambda: io.read_pages(tmp_path / "none.png"), "none.png", "nothing of that name")
    refused(lambda: io.read_pages(tmp_path), "a folder", "list_images")
    os.mkfifo(tmp_path / "pipe.png")
    refused(lambda: io.read_pages(tmp_path / "pipe.png"), "pipe")


def test_a_locked_file_is_refused(tmp_path, monkeypatch):
    def locked(*_, **__):
        raise PermissionError(13, "no")

    path = save(tmp_path / "a.png", RAMP)
    monkeypatch.setattr(Path, "open", locked)
    refused(lambda: io.read_pages(path), "a.png", "no permission", "read access")


@pytest.mark.parametrize("failure", [MemoryError, RecursionError, struct.error, zlib.error, OverflowError])
def test_whatever_a_decoder_raises_becomes_a_refusal(tmp_path, monkeypatch, failure):
    def fail(*_):
        raise failure("PatientName Doe^Jane")

    monkeypatch.setattr(io, "read_pictures", fail)
    error = refused(lambda: io.read_pages(save(tmp_path / "a.png", RAMP)), "a.png")
    assert "Doe" not in str(error) and error.__suppress_context__


def test_libraries_stay_silent_and_are_heard_again_afterwards(tmp_path, capfd, caplog):
    path = dicom(tmp_path / "a.dcm", RAMP, WindowWidth="31415926", WindowCenter="1")
    path.write_bytes(path.read_bytes().replace(b"31415926", b"Doe^Jane"))
    strips = bytearray(save(tmp_path / "a.tif", np.tile(RAMP, (9, 9)), compression="tiff_lzw").read_bytes())
    at = strips.find(struct.pack("<HHI", 279, 4, 1)) + 8
    strips[at : at + 4] = b"\5\0\0\0"  # a strip too short for its rows: libtiff complains to the terminal
    (tmp_path / "a.tif").write_bytes(strips)
    logging.getLogger("pydicom").setLevel(logging.WARNING)
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(lambda: io.read_pages(path), "a.dcm")
        refused(lambda: io.read_pages(tmp_path / "a.tif"), "a.tif")
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert warnings.filters == before and logging.getLogger("pydicom").level == logging.WARNING


def test_threads_leave_warnings_as_they_were(tmp_path):
    paths = [save(tmp_path / f"{k}.tif", RAMP, compression="tiff_lzw") for k in range(40)]
    before, place = list(warnings.filters), os.fstat(2).st_ino
    with ThreadPoolExecutor(8) as pool:
        assert all((image[1, 2] == 1) for image in pool.map(io.read_image, paths))
    assert warnings.filters == before and os.fstat(2).st_ino == place


def test_dicom_greys(tmp_path):
    eight = io.read_image(dicom(tmp_path / "8", np.array([[0, 51], [102, 204]], np.uint8)))
    np.testing.assert_allclose(eight, [[0, 0.2], [0.4, 0.8]], atol=1e-6)  # by the range of 8 bits, not by its maximum
    inverse = io.read_image(dicom(tmp_path / "1", np.array([[0, 51], [102, 204]], np.uint8), "MONOCHROME1"))
    np.testing.assert_allclose(inverse, [[1, 0.8], [0.6, 0.2]], atol=1e-6)
    deep = dicom(tmp_path / "16", np.array([[-1000, 0], [1000, -2000]], np.int16), PixelPaddingValue=-2000)
    np.testing.assert_allclose(io.read_image(deep), [[0, 0.5], [1, 0]], atol=1e-6)  # padding is no part of the range


def test_dicom_window_after_rescale(tmp_path):
    stored = np.array([[924, 1064, 1164, 3000]], np.uint16)
    ct = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": [40, 400], "WindowWidth": [401, 2000]}
    image = io.read_image(dicom(tmp_path / "ct", stored, **ct))
    # PS3.3 C.11.2.1.2: ((x - 39.5) / 400 + 0.5) for x = -100, 40, 140
    np.testing.assert_allclose(image, [[0.15125, 0.50125, 0.75125, 1]], atol=1e-6)
    exact = io.read_image(dicom(tmp_path / "e", stored, **ct, VOILUTFunction="LINEAR_EXACT"))
    np.testing.assert_allclose(exact[0, 1], 0.5, atol=1e-6)
    sigmoid = io.read_image(dicom(tmp_path / "s", stored, **ct, VOILUTFunction="SIGMOID"))
    np.testing.assert_allclose(sigmoid[0, 2], 1 / (1 + np.exp(-400 / 401)), atol=1e-6)
    refused(lambda: io.read_image(dicom(tmp_path / "z", stored, WindowCenter=1, WindowWidth=0)), "width 0")


def test_dicom_voi_lut(tmp_path):
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [3, 10, 8])
    table.add_new("LUTData", "US", [0, 51, 255])
    stored = np.array([[0, 10, 11, 12, 99]], np.uint16)
    path = dicom(tmp_path / "lut", stored, VOILUTSequence=Sequence([table]), WindowCenter=5, WindowWidth=2)
    np.testing.assert_allclose(io.read_image(path), [[0, 0, 0.2, 1, 1]], atol=1e-6)  # goes before the window


def test_dicom_frames_and_their_own_windows(tmp_path):
    stack = np.array([[[0, 100]], [[200, 400]]], np.uint16)
    plain = io.read_pages(dicom(tmp_path / "plain", stack))
    np.testing.assert_allclose(plain, [[[0, 0.25]], [[0.5, 1]]], atol=1e-6)  # one range for all frames

    def group(center: float) -> Dataset:
        voi, item = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = center, 200, "LINEAR_EXACT"
        item.FrameVOILUTSequence = Sequence([voi])
        return item

    groups = Sequence([group(100), group(300)])
    own = io.read_pages(dicom(tmp_path / "own", stack, PerFrameFunctionalGroupsSequence=groups))
    np.testing.assert_allclose(own, [[[0, 0.5]], [[0, 1]]], atol=1e-6)
    np.testing.assert_allclose(io.read_image(tmp_path / "own", page=1), [[0, 1]], atol=1e-6)
    refused(lambda: io.read_image(tmp_path / "own"), "2 pages")


def test_dicom_colours(tmp_path):
    np.testing.assert_allclose(io.read_image(dicom(tmp_path / "rgb", COLOURS, "RGB")) * 255, COLOURS, atol=1e-4)
    red = np.full((2, 2, 3), [76, 85, 255], np.uint8)  # Y, Cb, Cr of pure red
    np.testing.assert_allclose(io.read_image(dicom(tmp_path / "ybr", red, "YBR_FULL"))[0, 0], [1, 0, 0], atol=0.01)
    tables = {f"{c}PaletteColorLookupTableDescriptor": [3, 0, 16] for c in ("Red", "Green", "Blue")}
    for shift, colour in enumerate(("Red", "Green", "Blue")):
        entries = np.roll(np.array([65535, 0, 13107], "<u2"), shift)
        tables[f"{colour}PaletteColorLookupTableData"] = entries.tobytes()
    palette = io.read_image(dicom(tmp_path / "p", np.array([[0, 1], [2, 9]], np.uint8), "PALETTE COLOR", **tables))
    np.testing.assert_allclose(palette[0], [[1, 0.2, 0], [0, 1, 0.2]], atol=1e-6)
    np.testing.assert_allclose(palette[1], [[0.2, 0, 1], [0.2, 0, 1]], atol=1e-6)  # beyond the table: its last entry


def test_dicom_palette_of_8_bits_under_16_bit_pixels(tmp_path):
    tables = {f"{c}PaletteColorLookupTableDescriptor": [4, 1, 8] for c in ("Red", "Green", "Blue")}
    tables |= {f"{c}PaletteColorLookupTableData": b"\0\x33\xff\x66" for c in ("Red", "Green", "Blue")}
    stored = np.array([[0, 1, 2, 3, 258]], np.uint16)
    image = io.read_image(dicom(tmp_path / "p", stored, "PALETTE COLOR", **tables))
    np.testing.assert_allclose(
        image[0, :, 0], [0, 0, 0.2, 1, 0.4], atol=1e-6
    )  # 258 is beyond the table: its last entry


def compressed(path: Path, syntax: str, frame: bytes, **elements) -> Path:
    """A DICOM file of one compressed frame whose header says 2 x 3 pixels."""
    ds = pydicom.dcmread(dicom(path, RAMP, **elements))
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path)
    return path


def test_dicom_frames_that_jpeg_stores(tmp_path, monkeypatch):
    small = save(tmp_path / "a.jpg", np.full((2, 3), 128, np.uint8)).read_bytes()
    large = save(tmp_path / "b.jpg", np.full((48, 64), 128, np.uint8)).read_bytes()
    image = io.read_image(compressed(tmp_path / "a", JPEGBaseline8Bit, small))
    np.testing.assert_allclose(image, np.full((2, 3), 128 / 255), atol=0.01)
    deep = compressed(tmp_path / "c", JPEGExtended12Bit, small, BitsStored=12, BitsAllocated=16)
    refused(lambda: io.read_pages(deep), "JPEG Extended", "no decoder")
    cut = compressed(tmp_path / "d", RLELossless, b"\1\0\0\0\x40")
    refused(lambda: io.read_pages(cut), "RLE Lossless data that is damaged")
    other = compressed(tmp_path / "b", JPEGBaseline8Bit, large)  # would unpack to more than its header says
    monkeypatch.setattr(io.dicom, "pixel_array", lambda ds: pytest.fail("unpacked before its size was checked"))
    refused(lambda: io.read_pages(other), "damaged or incomplete")


def test_dicom_without_usable_pixels(tmp_path):
    plan = dicom(tmp_path / "plan", None, uid=RTStructureSetStorage)
    refused(lambda: io.read_pages(plan), "RT Structure Set without pixels", "image series")
    squeezed = compressed(tmp_path / "jls", JPEGLSLossless, b"\xff\xd8\xff\xf7")
    refused(lambda: io.read_pages(squeezed), "JPEG-LS Lossless compression", 'pip install "workbench[dicom]"')
    strange = dicom(tmp_path / "hsv", COLOURS, "RGB", PhotometricInterpretation="HSV")
    refused(lambda: io.read_pages(strange), "HSV pixels", "export it as RGB")
    short = dicom(tmp_path / "short", RAMP.astype(np.uint16), Rows=3)
    refused(lambda: io.read_pages(short), "damaged or incomplete")
    headless = dicom(tmp_path / "headless", RAMP, PhotometricInterpretation=None)
    refused(lambda: io.read_pages(headless), "no PhotometricInterpretation")


def test_dicom_in_a_tiff_preamble_or_without_one(tmp_path):
    path = dicom(tmp_path / "a.tif", RAMP)
    raw = path.read_bytes()
    path.write_bytes(b"II*\0" + raw[4:])
    np.testing.assert_allclose(io.read_image(path)[1], [0.6, 0.8, 1], atol=1e-6)
    (tmp_path / "bare").write_bytes(raw[132:])
    np.testing.assert_allclose(io.read_image(tmp_path / "bare")[1], [0.6, 0.8, 1], atol=1e-6)


def test_masks_are_exact(tmp_path):
    labels = np.array([[0, 1, 2], [7, 128, 255]], np.uint8)
    for name in ("m.png", "m.tif", "m.bmp"):
        mask = io.read_mask(save(tmp_path / name, labels), (2, 3))
        assert mask.dtype == np.int64
        np.testing.assert_array_equal(mask, labels)
    np.testing.assert_array_equal(
        io.read_mask(save(tmp_path / "16.png", np.array([[3, 40000]], np.uint16))), [[3, 40000]]
    )
    np.testing.assert_array_equal(io.read_mask(save(tmp_path / "1.png", Image.fromarray(labels > 5))), labels > 5)
    palette = Image.fromarray(labels, "P")
    palette.putpalette([200, 10, 10] * 256)  # all indices look alike, and still differ
    np.testing.assert_array_equal(io.read_mask(save(tmp_path / "p.png", palette)), labels)
    np.testing.assert_array_equal(io.read_mask(save(tmp_path / "rgb.png", np.dstack([labels] * 3))), labels)
    (tmp_path / "two.png").write_bytes(png(4, 1, 2, 0, b"\0\x1b"))  # two bits a pixel: 0, 1, 2, 3
    np.testing.assert_array_equal(io.read_mask(tmp_path / "two.png"), [[0, 1, 2, 3]])
    np.testing.assert_allclose(io.read_image(tmp_path / "two.png"), [[0, 1 / 3, 2 / 3, 1]], atol=1e-6)


def test_masks_that_cannot_be_labels(tmp_path):
    path = save(tmp_path / "m.png", RAMP)
    refused(lambda: io.read_mask(path, (3, 2)), "m.png", "3 x 2 pixels", "found 2 x 3", "must not be resized")
    refused(lambda: io.read_mask(save(tmp_path / "c.png", COLOURS)), "a colour picture", "label numbers")
    refused(lambda: io.read_mask(save(tmp_path / "m.jpg", RAMP)), "JPEG alters labels")
    refused(lambda: io.read_mask(save(tmp_path / "f.tif", np.array([[0.5]], np.float32))), "fractions")
    refused(lambda: io.read_mask(save(tmp_path / "n.tif", np.array([[-1]], np.int32))), "negative")
    refused(lambda: io.read_mask(dicom(tmp_path / "d", RAMP)), "a DICOM file", "PNG")
    glass = np.dstack([RAMP, RAMP, RAMP, RAMP])
    refused(lambda: io.read_mask(save(tmp_path / "a.png", glass)), "transparent")
    pages = [Image.fromarray(RAMP)] * 2
    two = save(tmp_path / "two.tif", pages[0], save_all=True, append_images=pages[1:])
    refused(lambda: io.read_mask(two), "2 pages")


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_volume_is_turned_to_ras(tmp_path, name):
    array = np.zeros((4, 3, 2), np.int16)
    array[0, 2, 1] = 7  # stored first: the patient's left-most index of an axis that grows to the left
    affine = np.diag([-1.0, 2.0, 3.5, 1.0])
    affine[:3, 3] = 10, 20, 30
    loaded = io.read_volume(volume(tmp_path / name, array, affine))
    assert loaded.array.shape == (4, 3, 2) and loaded.array.dtype == np.float32
    assert loaded.array[3, 2, 1] == 7 and np.count_nonzero(loaded.array) == 1
    np.testing.assert_allclose(loaded.spacing, [1, 2, 3.5])
    np.testing.assert_allclose(loaded.affine @ [3, 2, 1, 1], affine @ [0, 2, 1, 1])  # the same point in mm
    assert np.diag(loaded.affine).min() > 0 and loaded.path == tmp_path / name


def test_volume_axes_scaling_and_units(tmp_path):
    affine = np.zeros((4, 4))
    affine[0, 2], affine[1, 0], affine[2, 1], affine[3, 3] = 1, 2, 3, 1  # stored as Y, Z, X
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1), affine)
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(0.5, -1)
    nibabel.save(image, tmp_path / "v.nii")
    loaded = io.read_volume(tmp_path / "v.nii")
    assert loaded.array.shape == (4, 2, 3)
    np.testing.assert_allclose(loaded.spacing, [1000, 2000, 3000])
    stored = nibabel.load(tmp_path / "v.nii").get_fdata()
    np.testing.assert_allclose(loaded.array[3, 1, 2], stored[1, 2, 3, 0])


def test_volumes_refused(tmp_path, monkeypatch):
    def of(array):
        return lambda: io.read_volume(volume(tmp_path / "v.nii", array))

    cube = np.ones((3, 3, 3), np.float32)
    refused(of(np.zeros((3, 4, 5, 6), np.float32)), "4 axes", "(3, 4, 5, 6)", "split")
    refused(of(np.zeros((3, 4), np.float32)), "2 axes", "(3, 4)")
    flat = volume(tmp_path / "flat.nii", cube)
    raw = bytearray(flat.read_bytes())
    raw[312:328] = bytes(16)  # srow_z
    flat.write_bytes(raw)
    refused(lambda: io.read_volume(flat), "singular", "sform")
    holed = cube.copy()
    holed[0, 0, :2] = np.nan, np.inf
    refused(of(holed), "NaN or infinity in 2 voxels")
    refused(of(cube.astype(np.complex64)), "complex64")
    zipped = volume(tmp_path / "v.nii.gz", np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float32))
    raw = zipped.read_bytes()
    zipped.write_bytes(raw[:-200])
    refused(lambda: io.read_volume(zipped), "v.nii.gz", "damaged or incomplete")
    zipped.write_bytes(raw[:-6] + b"\0\0" + raw[-4:])  # all voxels there, the checksum wrong
    refused(lambda: io.read_volume(zipped), "damaged or incomplete")
    refused(lambda: io.read_volume(save(tmp_path / "a.nii", RAMP, format="PNG")), "a PNG file", "read_image")
    refused(lambda: io.read_volume(tmp_path / "none.nii"), "nothing of that name")
    whole = volume(tmp_path / "big.nii", np.zeros((100, 100, 100), np.int16))
    monkeypatch.setattr(nifti, "free_memory", lambda: 5 * 2**20)
    refused(lambda: io.read_volume(whole), "100 x 100 x 100 voxels", "9 MB", "5 MB free", "crop or resample")


def test_labels(tmp_path):
    path = tmp_path / "labels.csv"
    for mark, start in ((",", ""), (";", "\ufeff"), ("\t", "")):
        path.write_text(start + f"file{mark} label {mark}more\na.png{mark} 1 {mark}x\n\nb.png{mark}{mark}\n", "utf-8")
        rows = io.read_labels(path, columns=("file", "label"))
        assert rows == io.read_labels(path, columns=())
        wanted = [{"file": "a.png", "label": "1", "more": "x"}, {"file": "b.png", "label": "", "more": ""}]
        assert rows == wanted
    path.write_text('file,note\na.png,"x; y, z"\n')
    assert io.read_labels(path, columns=("note",)) == [{"file": "a.png", "note": "x; y, z"}]


def test_labels_refused(tmp_path):
    path = tmp_path / "labels.csv"
    for content, words in {
        b"image,dx\na,b\n": ("the columns file, dx", "no file among image, dx"),
        b"file,dx,dx\na,b,c\n": ("dx twice",),
        b"file,dx\na,b\na\n": ("2 cells a row", "found 1 in line 3"),
        b"file,dx\n": ("a header alone",),
        b"": ("empty",),
        b"PK\x03\x04\0\0\xff": ("spreadsheet", "CSV UTF-8"),
        "file,dx\nm\u00fcller,1\n".encode("latin-1"): ("UTF-8",),
        b'file,dx\n"a,b\n': ("damaged or incomplete",),
    }.items():
        path.write_bytes(content)
        refused(lambda: io.read_labels(path, columns=("file", "dx")), "labels.csv", *words)
    refused(lambda: io.read_labels(tmp_path / "none.csv", columns=("a",)), "nothing of that name")


def test_list_images(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    wanted = [save(tmp_path / "b.png", RAMP), dicom(tmp_path / "sub" / "1.2.840.7", RAMP)]
    wanted.append(volume(tmp_path / "sub" / "v.nii.gz", np.zeros((2, 2, 2), np.float32)))
    (tmp_path / "a.png").write_bytes(b"")  # damaged, but meant as an image: listed, refused when read
    for name in ("._b.png", ".hidden/c.png", "notes.txt", "DICOMDIR"):
        shutil.copy(wanted[0], tmp_path / name) if name != "notes.txt" else (tmp_path / name).write_text("hello")
    assert io.list_images(tmp_path) == [tmp_path / "a.png", *wanted]
    assert io.list_images(str(wanted[0])) == [wanted[0]]


def test_list_images_refused(tmp_path, monkeypatch):
    refused(lambda: io.list_images(tmp_path), "found none", "PNG, JPEG")
    monkeypatch.chdir(tmp_path)
    assert str(refused(lambda: io.list_images("."))).startswith(".: expected")
    (tmp_path / "notes.txt").write_text("hello")
    refused(lambda: io.list_images(tmp_path), "found none")
    refused(lambda: io.list_images(tmp_path / "missing"), "missing", "nothing of that name")

    def locked(*_):
        raise PermissionError(13, "no")

    monkeypatch.setattr(os, "scandir", locked)
    refused(lambda: io.list_images(tmp_path), "no permission")


def test_pairs(tmp_path):
    for folder in ("images/day1", "masks/day1"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("images/a.jpg", "masks/a.png", "images/b.png", "masks/b_mask.png", "images/day1/c.png"):
        save(tmp_path / name, RAMP)
    save(tmp_path / "masks/day1/c_segmentation.tif", RAMP)
    found = [(image.name, mask.name) for image, mask in io.pairs(tmp_path)]
    assert found == [("a.jpg", "a.png"), ("b.png", "b_mask.png"), ("c.png", "c_segmentation.tif")]
    for name in ("images/d.png", "images/e.png", "masks/f.png"):
        save(tmp_path / name, RAMP)
    refused(
        lambda: io.pairs(tmp_path), "images/d.png has no mask", "images/e.png has no mask", "masks/f.png has no image"
    )
    save(tmp_path / "masks/a_mask.png", RAMP)
    refused(lambda: io.pairs(tmp_path), "a.png and a_mask.png")
    refused(lambda: io.pairs(tmp_path, targets="labels"), "labels", "nothing of that name")


def test_patients(tmp_path):
    for folder, names in {"p1": ("FLAIR", "T1"), "p2": ("p2_flair",)}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            volume(tmp_path / folder / f"{name}.nii.gz", np.zeros((2, 2, 2), np.float32))
    found = io.patients(tmp_path)
    assert {patient: list(files) for patient, files in found.items()} == {"p1": ["FLAIR", "T1"], "p2": ["flair"]}
    assert found["p1"]["T1"] == tmp_path / "p1" / "T1.nii.gz"
    volume(tmp_path / "p1" / "T1.nii", np.zeros((2, 2, 2), np.float32))
    refused(lambda: io.patients(tmp_path), "T1.nii and T1.nii.gz")
    refused(lambda: io.patients(tmp_path / "p1"), "no folders")
    (tmp_path / "p1" / "empty").mkdir()
    refused(lambda: io.patients(tmp_path / "p1"), "empty", "found none")


def test_read_many_sets_bad_files_aside(tmp_path):
    good, bad = save(tmp_path / "good.png", RAMP), tmp_path / "bad.png"
    bad.write_bytes(b"hello")
    images, aside = io.read_many([bad, good, tmp_path / "none.png"], io.read_image)
    assert len(images) == 1 and [name for name, _ in aside] == ["bad.png", "none.png"]
    assert "a text file" in aside[0][1] and str(tmp_path) not in str(aside)
    refused(lambda: io.read_many([bad], io.read_image), "1 refused", "bad.png", "a text file")
    refused(lambda: io.read_many([], io.read_image), "found none")
    with pytest.raises(ZeroDivisionError):  # a fault of the caller is no bad file
        io.read_many([good], lambda path: 1 / 0)


def samples(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (12, 10), np.uint8)
    files = [
        save(folder / "a.png", texture), save(folder / "rgb.png", np.dstack([texture] * 4)),
        save(folder / "p.png", Image.fromarray(texture).quantize(8)), save(folder / "a.jpg", texture),
        save(folder / "c.jpg", np.dstack([texture] * 3), progressive=True), save(folder / "a.bmp", texture),
        save(folder / "a.tif", texture), save(folder / "f.tif", texture.astype(np.float32)),
        save(folder / "z.tif", np.dstack([texture] * 3), compression="tiff_lzw"),
        dicom(folder / "a.dcm", texture.astype(np.int16), RescaleSlope=2, RescaleIntercept=-9, WindowCenter=9,
              WindowWidth=99),
        dicom(folder / "c.dcm", np.dstack([texture] * 3), "YBR_FULL"),
        dicom(folder / "m.dcm", texture.reshape(2, 6, 10)),
        volume(folder / "a.nii", texture.reshape(3, 4, 10)), volume(folder / "a.nii.gz", texture.reshape(3, 4, 10) / 7),
    ]  # fmt: skip
    ds = pydicom.dcmread(files[9])
    ds.compress(RLELossless)
    ds.save_as(folder / "rle.dcm")
    return {path.name: path.read_bytes() for path in [*files, folder / "rle.dcm"]}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutants")
    return folder, samples(folder)


edits = st.tuples(
    st.sampled_from(["flip", "delete", "insert", "cut", "zip"]), st.floats(0, 1), st.integers(1, 255), st.integers(1, 9)
)


def mutate(data: bytes, changes: list[tuple[str, float, int, int]]) -> bytes:
    """`data` with bytes flipped, deleted, inserted or cut off; `zip` applies the changes to unpacked gzip data."""
    zipped = data.startswith(b"\x1f\x8b") and any(kind == "zip" for kind, *_ in changes)
    raw = bytearray(gzip.decompress(data) if zipped else data)
    for kind, place, value, length in changes:
        at = int(place**3 * len(raw))  # headers come first, and matter most
        if kind == "flip" and raw:
            raw[min(at, len(raw) - 1)] ^= value
        elif kind == "delete":
            del raw[at : at + length]
        elif kind == "insert":
            raw[at:at] = bytes([value]) * length
        elif kind == "cut":
            del raw[int(place * len(raw)) :]
    return gzip.compress(bytes(raw), 1) if zipped else bytes(raw)


def check_read(path: Path) -> None:
    """Reads a file in every way that could fit; anything but a sound array or InvalidImage is an error."""
    for read in (io.read_pages, io.read_volume, io.read_mask):
        try:
            result = read(path)
        except InvalidImage as error:
            assert "Doe" not in str(error) and "4711" not in str(error) and "\n" not in str(error)
            continue
        if read is io.read_pages:
            for image in result:
                assert image.dtype == np.float32 and (image.ndim == 2 or image.shape[2:] == (3,)), image.shape
                assert image.size and np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
        elif read is io.read_volume:
            assert result.array.ndim == 3 and np.isfinite(result.array).all() and np.isfinite(result.affine).all()
            assert np.isfinite(result.spacing).all() and (result.spacing > 0).all()
        else:
            assert result.ndim == 2 and result.dtype == np.int64 and result.min() >= 0


@settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), changes=st.lists(edits, min_size=1, max_size=6))
def test_mutated_files_are_read_or_refused(workplace, data, changes):
    folder, files = workplace
    name = data.draw(st.sampled_from(sorted(files)))
    path = folder / "mutant"
    path.write_bytes(mutate(files[name], changes))
    check_read(path)


def test_unmutated_samples_are_all_read(workplace):
    folder, files = workplace
    for name in files:
        check_read(folder / name)
        read = io.read_volume if ".nii" in name else io.read_pages
        read(folder / name)
