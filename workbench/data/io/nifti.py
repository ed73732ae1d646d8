"""Volumes from NIfTI files, turned to RAS+ axes."""

import gzip
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
import psutil

from workbench.data.io.guard import MAX_RATIO, damaged, guard
from workbench.data.io.kind import HEAD, PICTURES, kind_of, nifti_version
from workbench.errors import InvalidImage

MM_PER_UNIT = {
    0: 1.0,
    1: 1000.0,
    2: 1.0,
    3: 0.001,
}  # codes of xyzt_units: unknown, metre, millimetre, micrometre
MAX_CONDITION = 1e6  # of the 3x3 part of the affine; beyond it an axis has vanished
CHUNK = 2**20
CGROUPS = (  # of a container, which may allow less than the machine has: version 2, version 1
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
_quiet = logging.Logger("nifti header", logging.CRITICAL + 1)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar volume on RAS+ axes.

    Attributes:
        array: (X, Y, Z) float32, finite; X grows to the patient's right, Y to the front, Z to the head.
        affine: (4, 4) float64, from voxel index to mm.
        spacing: (3,) float64, voxel size along X, Y, Z in mm.
        path: The file it came from.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing: np.ndarray
    path: Path


def read_volume(path: str | os.PathLike) -> Volume:
    """The volume of a NIfTI file (.nii, .nii.gz), its axes flipped and swapped to the nearest RAS+ order.

    Values are those of the file with its slope and intercept applied; nothing is resampled. A file that
    states no orientation at all is taken as left-anterior-superior, as nibabel does.

    Raises:
        InvalidImage: not NIfTI, cut short or damaged, not 3D, colour or complex voxels, a singular affine,
            NaN or infinite voxels, or more voxels than fit in memory.
    """
    path = Path(path)
    with guard(path, "NIfTI volume"):
        if (kind := kind_of(path)) != "NIfTI":
            remedy = "read pictures with read_image; convert other volumes to .nii.gz (dcm2niix, mri_convert)"
            found = f"a {kind} file" if kind in (*PICTURES, "DICOM") else kind
            raise InvalidImage(path.name, "a NIfTI volume (.nii, .nii.gz)", found, remedy)
        with _stream(path) as stream:
            header = _header(stream)
            shape, affine = _shape(path, header), _affine(path, header)
            array = _voxels(path, stream, header, shape)
        image = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, affine))
        array = np.ascontiguousarray(image.dataobj)
        return Volume(array, image.affine, np.linalg.norm(image.affine[:3, :3], axis=0), path)


def _stream(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")


def _header(stream: BinaryIO) -> nibabel.Nifti1Header:
    head = stream.read(HEAD)
    kind = nibabel.Nifti1Header if nifti_version(head) == 1 else nibabel.Nifti2Header
    header = kind(head[: kind.sizeof_hdr], check=False)
    header.check_fix(logger=_quiet, error_level=40)
    return header


def _shape(path: Path, header: nibabel.Nifti1Header) -> tuple[int, ...]:
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        series = "split it into one file per volume (fslsplit, nibabel.four_to_three)"
        remedy = series if len(shape) == 4 else "save one scalar volume; a single slice needs a third axis of size 1"
        raise InvalidImage(path.name, "a volume of 3 axes", f"{len(shape)} axes, shape {shape}", remedy)
    if min(shape) < 1:
        raise damaged(path, "NIfTI volume")
    return shape


def _affine(path: Path, header: nibabel.Nifti1Header) -> np.ndarray:
    """(4, 4) from voxel index to mm."""
    scale = MM_PER_UNIT.get(int(header["xyzt_units"]) & 7)
    if scale is None:
        raise InvalidImage(path.name, "voxel sizes in m, mm or um", "an unknown unit", "set xyzt_units to mm")
    affine = np.diag([scale, scale, scale, 1.0]) @ header.get_best_affine()
    if not np.isfinite(affine).all() or np.linalg.cond(affine[:3, :3]) > MAX_CONDITION:
        remedy = "repair its sform or qform (for example fslorient -copyqform2sform), or export it again"
        raise InvalidImage(path.name, "an invertible voxel-to-mm matrix", "a singular or infinite affine", remedy)
    return affine


def _voxels(path: Path, stream: BinaryIO, header: nibabel.Nifti1Header, shape: tuple[int, ...]) -> np.ndarray:
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        found = f"voxels of type {header.get_value_label('datatype')}"
        raise InvalidImage(path.name, "one real number a voxel", found, "store one channel, or the magnitude")
    _check_memory(path, shape, dtype, header.get_data_offset())
    raw = _bytes(path, stream, header.get_data_offset(), math.prod(shape) * dtype.itemsize)
    array = np.frombuffer(raw, dtype).reshape(shape, order="F").astype(np.float32)
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        array *= np.float32(slope)
        array += np.float32(intercept)
    if bad := array.size - np.count_nonzero(np.isfinite(array)):
        remedy = "replace them (numpy.nan_to_num) and save the volume again"
        raise InvalidImage(path.name, "finite voxel values", f"NaN or infinity in {bad} voxels", remedy)
    return array


def _bytes(path: Path, stream: BinaryIO, offset: int, size: int) -> bytearray:
    """The voxels' bytes; reads on to the end, where a gzip stream proves its checksum."""
    stream.seek(offset)
    raw, filled = bytearray(size), 0
    view = memoryview(raw)
    while filled < size:
        if not (got := stream.readinto(view[filled : filled + CHUNK])):
            raise damaged(path, "NIfTI volume")
        filled += got
    for _ in range(64):
        if not stream.read(CHUNK):
            return raw
    raise InvalidImage(path.name, "voxels and nothing else", "over 64 MB after the last voxel", "export it again")


def _check_memory(path: Path, shape: tuple[int, ...], dtype: np.dtype, offset: int) -> None:
    size = math.prod(shape)
    if offset + size * dtype.itemsize > MAX_RATIO * path.stat().st_size:
        raise damaged(path, "NIfTI volume")
    need, free = size * (dtype.itemsize + 8), free_memory()  # the raw voxels, float32, and its turned copy
    if need > free:
        found = f"{' x '.join(map(str, shape))} voxels, about {need >> 20} MB, with {free >> 20} MB free"
        raise InvalidImage(path.name, "a volume that fits in memory", found, "crop or resample it first")


def free_memory() -> int:
    """Bytes this process may still take: what the machine has left, or its container if that is less."""
    limits = [psutil.virtual_memory().available]
    for limit, used in CGROUPS:
        if limit.is_file() and (value := limit.read_text().strip()).isdigit():
            limits.append(int(value) - int(used.read_text()))
    return min(limits)
