"""What the AGE challenge asks for: halves of scans without labels, and its two tables made from predictions."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.data import Cases, io
from workbench.data.asoct.folders import Aside, check_width
from workbench.data.asoct.halves import SIDES, Scan, cases, cut, to_half
from workbench.errors import InvalidImage, InvalidParameter

TABLES = ("Classification_Results.csv", "Localization_Results.csv")
CLASSIFICATION = ("ASOCT_NAME", "LEFT_ANGLE_RESULTS", "RIGHT_ANGLE_RESULTS")
LOCALIZATION = ("ASOCT_NAME", "X_LEFT", "Y_LEFT", "X_RIGHT", "Y_RIGHT")  # order of a participant's code


@dataclass(frozen=True)
class Unlabelled:
    """Scans without labels: names and widths (N), their halves (2 N) in the order left, right, and those set aside.

    The halves give batches with `image`, `scale` and `mirrored`, as the labelled ones do.
    """

    names: list[str]
    widths: list[int]
    halves: Cases
    aside: Aside


def unlabelled(root: str | Path, size: int) -> Unlabelled:
    """Every scan below a folder such as Validation_ASOCT_Image, cut and scaled to `size` pixels as in training.

    Raises:
        InvalidImage: no folder, or not one scan that can be read.
    """

    def read(path: Path) -> tuple[str, int, list]:
        image = io.read_image(path, color=False)
        check_width(path.name, image.shape)
        return path.name, image.shape[1], cut(Scan(image, (None, None), (False, False), path.stem, ""), size)

    good, aside = io.read_many(io.list_images(root), read)
    made = cases([half for _, _, parts in good for half in parts])
    known = {key: made.tensors[key] for key in ("image", "scale", "mirrored")}
    return Unlabelled([name for name, _, _ in good], [width for _, width, _ in good], Cases(known, made.table), aside)


def write_submission(
    folder: str | Path,
    names: Sequence[str],
    widths: Sequence[int],
    score: Tensor,
    point: Tensor,
    threshold: float = 0.5,
) -> tuple[Path, Path]:
    """Write Classification_Results.csv and Localization_Results.csv and return their paths.

    Args:
        names, widths: of the N scans, as files and in source pixels.
        score: (2 N,) probability of a closed angle, left and right in turn. It is written as the organisers' code
            does, from -1 over 0 at the `threshold`, in (0, 1), to 1.
        point: (2 N, 2) x and y in source pixels of the half, as predicted; mirrored back and written in pixels of
            the scan.

    Raises:
        InvalidParameter: numbers that do not fit together, are not finite or not probabilities.
    """
    count = len(names)
    score_shape, point_shape = tuple(score.shape), tuple(point.shape)
    if (len(widths), score_shape, point_shape) != (count, (2 * count,), (2 * count, 2)):
        found = f"{len(widths)} widths, score {score_shape} and point {point_shape}"
        expected = f"{count} widths, score ({2 * count},) and point ({2 * count}, 2)"
        raise InvalidParameter("submission", expected, found, "give the predictions of both halves of every scan")
    score, point = score.double().cpu(), point.double().cpu()
    if not (torch.isfinite(point).all() and ((score >= 0) & (score <= 1)).all()):
        raise InvalidParameter("submission", "finite points and scores in [0, 1]", "others", "look at the run")
    if not 0 < threshold < 1:
        raise InvalidParameter("threshold", "a value in (0, 1)", repr(threshold), "give that of the run")
    centred = torch.where(score >= threshold, (score - threshold) / (1 - threshold), score / threshold - 1)
    spurs = [
        [to_half(tuple(point[2 * i + k].tolist()), side, width) for k, side in enumerate(SIDES)]
        for i, width in enumerate(widths)
    ]
    first = [[name, *(f"{v:.6f}" for v in pair)] for name, pair in zip(names, centred.view(-1, 2).tolist())]
    second = [[name, *(f"{v:.3f}" for v in (*left, *right))] for name, (left, right) in zip(names, spurs)]
    return (
        written(Path(folder) / TABLES[0], CLASSIFICATION, first),
        written(Path(folder) / TABLES[1], LOCALIZATION, second),
    )


def written(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    except OSError as error:
        raise InvalidImage(
            path.name, "a table that can be written", str(error.strerror), "choose another folder"
        ) from error
    return path
