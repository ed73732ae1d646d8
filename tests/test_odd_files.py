"""The odd and broken files of the pydicom and nibabel collections: each is read right or refused in one clear line.

Set WORKBENCH_DATA to a folder that holds odd_files/dicom and odd_files/nifti.
"""

import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from workbench.data import io
from workbench.errors import InvalidImage

ROOT = Path(os.environ.get("WORKBENCH_DATA", "missing")) / "odd_files"
DICOM, NIFTI = ROOT / "dicom", ROOT / "nifti"
pytestmark = pytest.mark.skipif(
    not (DICOM.is_dir() and NIFTI.is_dir()), reason="WORKBENCH_DATA is not set, or has no odd_files/dicom and nifti"
)
FILES = sorted(path for path in (*DICOM.rglob("*"), *NIFTI.rglob("*")) if path.is_file()) if ROOT.is_dir() else []

NO_IMAGES = {  # and a word of the reason
    "rtplan.dcm": "RT Plan",
    "rtstruct.dcm": "RT Structure Set",
    "test-SR.dcm": "Comprehensive SR",
    "waveform_ecg.dcm": "ECG Waveform",
    "DICOMDIR": "Media Storage Directory",
    "rtplan.dump": "a text file",
    "crayons.icc": "unknown kind",
    "zipMR.gz": "a gzip archive",
    "README": "a text file",
    "MR_truncated.dcm": "damaged or incomplete",
    "JPEGLSNearLossless_08.dcm": "JPEG-LS",
    "JPEG-lossy.dcm": "JPEG Extended",
    "SC_rgb_jpeg_gdcm.dcm": "JPEG Lossless",
}
NO_VOLUMES = {
    "example4d.nii.gz": "4 axes, shape (128, 96, 24, 2)",
    "functional.nii": "4 axes, shape (17, 21, 3, 20)",
    "row_major.dconn.nii": "6 axes",
    "resampled_anat_moved.nii": "NaN or infinity in 153 voxels",
    "nifti1.hdr": "two-file NIfTI",
    "analyze.hdr": "Analyze",
    "tiny.mnc": "MINC 1",
    "small.mnc": "MINC 2",
    "test.mgz": "gzip archive",
}


def found(name: str) -> Path:
    return next(path for path in FILES if path.name == name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_is_read_or_refused(path, capfd):
    read = io.read_volume if NIFTI in path.parents else io.read_pages
    try:
        result = read(path)
    except InvalidImage as error:
        message = str(error)
        assert message.startswith(f"{path.name}: expected ") and "\n" not in message
        assert str(path.parent) not in message
    else:
        arrays = result if isinstance(result, list) else [result.array]
        assert arrays and all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays)
        if isinstance(result, list):
            assert all(image.ndim == 2 or image.shape[2:] == (3,) for image in result)
            assert all(image.min() >= 0 and image.max() <= 1 for image in result)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "reason"), NO_IMAGES.items())
def test_no_image(name, reason):
    with pytest.raises(InvalidImage) as caught:
        io.read_pages(found(name))
    if reason not in str(caught.value):
        decoders = pydicom.pixels.get_decoder(
            pydicom.dcmread(found(name)).file_meta.TransferSyntaxUID
        ).available_plugins
        pytest.skip(f"a decoder of {', '.join(decoders)} reads it")


@pytest.mark.parametrize(("name", "reason"), NO_VOLUMES.items())
def test_no_volume(name, reason):
    with pytest.raises(InvalidImage) as caught:
        io.read_volume(found(name))
    assert reason in str(caught.value)


def test_rgb_is_its_bytes():
    path = found("examples_rgb_color.dcm")
    np.testing.assert_allclose(io.read_image(path) * 255, pydicom.dcmread(path).pixel_array, atol=1e-4)


def test_ct_without_window_spans_its_values_without_padding():
    path = found("CT_small.dcm")
    stored = pydicom.dcmread(path).pixel_array.astype(float)
    low, high = stored[stored != -2000].min(), stored.max()
    np.testing.assert_allclose(io.read_image(path), ((stored - low) / (high - low)).clip(0, 1), atol=1e-6)


def test_window_agrees_with_pydicom():
    path = found("MR_small.dcm")
    ds = pydicom.dcmread(path)
    shown = pydicom.pixels.apply_windowing(ds.pixel_array, ds)
    expected = (shown + 2**15) / (2**16 - 1)  # its window ends at the range of 16-bit signed values
    np.testing.assert_allclose(io.read_image(path), expected, atol=1e-6)


@pytest.mark.parametrize("variant", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "padded"])
def test_variants_of_one_slice_are_equal(variant):
    plain, other = (io.read_image(found(f"MR_small{end}.dcm")) for end in ("", f"_{variant}"))
    np.testing.assert_array_equal(plain, other)
    assert plain.std() > 0.1


RGB = ("+eb+cr", "+eb+cy+n1", "+eb+cy+n2", "+eb+cy+np", "+eb+cy+s2", "+eb+cy+s4")


@pytest.mark.parametrize("name", [*(f"SC_rgb_dcmtk_{end}.dcm" for end in RGB), "SC_rgb_gdcm_KY.dcm"])
def test_variants_of_one_colour_chart_agree(name):
    chart, other = io.read_image(found("SC_rgb_rle.dcm")), io.read_image(found(name))
    assert np.abs(chart - other).mean() < 0.03  # lossy, and chroma at half resolution


@pytest.mark.parametrize("bits", ["16bit", "32bit"])
def test_deep_colour_agrees_with_8_bit(bits):
    chart, deep = io.read_image(found("SC_rgb_rle.dcm")), io.read_image(found(f"SC_rgb_rle_{bits}.dcm"))
    np.testing.assert_allclose(deep, chart, atol=1 / 255)
    assert len(io.read_pages(found(f"SC_rgb_rle_{bits}_2frame.dcm"))) == 2


def test_palette_is_coloured():
    path = found("examples_palette.dcm")
    ds = pydicom.dcmread(path)
    table = np.stack(
        [np.frombuffer(getattr(ds, f"{c}PaletteColorLookupTableData"), "<u2") for c in ("Red", "Green", "Blue")]
    )
    np.testing.assert_allclose(io.read_image(path), table.T[ds.pixel_array] / 65535, atol=1e-6)


def test_dose_frames_agree_over_encodings():
    plain = np.stack(io.read_pages(found("rtdose.dcm")))
    assert plain.shape == (15, 10, 10) and plain.max() == 1
    for name in ("rtdose_expb.dcm", "rtdose_rle.dcm"):
        np.testing.assert_array_equal(plain, io.read_pages(found(name)))


def test_volume_agrees_with_nibabel():
    path = found("anatomical.nii")
    reference = nibabel.as_closest_canonical(nibabel.load(path))
    loaded = io.read_volume(path)
    np.testing.assert_allclose(loaded.array, reference.get_fdata(), rtol=1e-6)
    np.testing.assert_allclose(loaded.affine, reference.affine)
    assert nibabel.aff2axcodes(loaded.affine) == ("R", "A", "S")
