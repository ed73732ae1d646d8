"""Classifications: what is true of every test case, and how probable a run takes every class or finding to be.

A run tells the truth of every test case as the number of a class (N,), or as findings (N, L) that are each there, not
there or unknown. It judges them by `logits` (N, K) of classes that exclude each other, or by `score`, the probability
(N, L) of each finding or (N,) of the second of two classes. `matrices`, `reliability` and `embeddings` draw them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from workbench import views
from workbench.errors import InvalidRun, unknown
from workbench.views.curves import plain

if TYPE_CHECKING:
    from workbench.runs import Run

NAMED = 18  # letters of a name that an axis has room for
SQUARE = {  # how a square picture looks by itself
    "backend": "bokeh",
    "width": 440,
    "height": 420,
    "default_tools": ["save"],
    "active_tools": [],
    "hooks": [plain],
}
FONTS = {"title": "10pt", "labels": "9pt", "ticks": "8.5pt", "legend": "8.5pt"}


@dataclass(frozen=True)
class Outcome:
    """What is true of the test cases of a run and what it makes of them.

    Of classes that exclude each other `truth` (N,) holds numbers, `probability` (N, K) sums to 1 and `called` (N,) are
    numbers; of findings `truth` (N, L) is 1, 0 or NaN where unknown, `probability` (N, L) lies in [0, 1] and `called`
    (N, L) is 1 or 0.
    """

    names: list[str]
    truth: np.ndarray
    probability: np.ndarray
    called: np.ndarray

    @property
    def exclusive(self) -> bool:
        """Whether a case has one class, and not any number of findings."""
        return self.truth.ndim == 1


def truth(run: "Run") -> tuple[list[str], np.ndarray]:
    """The names of the classes, and the class (N,) int or the findings (N, L), NaN where unknown, of every test case.

    Raises:
        InvalidRun: the run does not tell it, or the arrays are not what they should be.
    """
    samples, index = run.samples, run.samples.index
    key, labels = index.get("truth"), index.get("labels")
    if not (isinstance(key, str) and key in samples.keys and isinstance(labels, Mapping) and labels):
        raise InvalidRun(samples.path / "index.json", "a truth and the names of its classes", "neither", views.REMEDY)
    names, array = list(map(str, labels)), np.array(samples.array(key), float)
    whole = array.ndim == 1 and np.isin(array, range(len(names))).all()
    several = array.ndim == 2 and array.shape[1] == len(names) and np.isin(array, (0, 1)).all()
    if not (whole or several):
        expected = f"classes 0 to {len(names) - 1}, or {len(names)} findings of 0 and 1"
        raise InvalidRun(samples.path / f"{key}.npy", expected, f"shape {array.shape} or other values", views.REMEDY)
    if whole:
        return names, array.astype(int)
    known = np.array(samples.array("known")) if "known" in samples.keys else np.ones_like(array)
    if known.shape != array.shape:
        raise InvalidRun(samples.path / "known.npy", f"shape {array.shape}", str(known.shape), views.REMEDY)
    return names, np.where(known > 0.5, array, np.nan)


def judges(run: "Run") -> bool:
    """Whether a run tells a truth and judges it: pre-training does not."""
    return bool(run.samples.index.get("truth")) and bool({"logits", "score"} & set(run.samples.keys))


def read(run: "Run") -> Outcome:
    """Truth and probabilities of every test case.

    Raises:
        InvalidRun: an array is missing, or not what it should be.
    """
    names, true = truth(run)
    key = "logits" if "logits" in run.samples.keys else "score"
    values = np.array(run.samples.array(key), float)
    if key == "logits":
        values = special.softmax(values, axis=1)
    elif true.ndim == 1 and values.shape == true.shape and len(names) == 2:
        values = np.stack([1 - values, values], 1)
    expected = (len(true), len(names))
    if values.shape != expected or not ((values >= 0) & (values <= 1)).all():
        found = f"shape {values.shape} or others"
        raise InvalidRun(run.samples.path / f"{key}.npy", f"probabilities of shape {expected}", found, views.REMEDY)
    called = values.argmax(1) if true.ndim == 1 else (values >= 0.5).astype(int)
    return Outcome(names, true, values, decided(run, true) if key == "score" and true.ndim == 1 else called)


def decided(run: "Run", true: np.ndarray) -> np.ndarray:
    """Which of two classes the run called every case (N,): its threshold need not be 1/2, its `accuracy` tells."""
    table = views.scores(run)
    if "accuracy" not in table or len(table) != len(true):
        raise InvalidRun(run.path / "scores.parquet", "an accuracy of every case", "none", views.REMEDY)
    return np.where(table["accuracy"].to_numpy() > 0.5, true, 1 - true)


def shorter(name: str) -> str:
    """A name that fits an axis.

    >>> shorter("a rather long name of a class")
    'a rather long nam…'
    """
    return name if len(name) <= NAMED else name[: NAMED - 1] + "…"


def chosen(outcome: Outcome, finding: str | None) -> int | None:
    """The column of a finding; None where classes exclude each other.

    Raises:
        InvalidParameter: no such finding; none chosen of several.
    """
    if outcome.exclusive:
        return None
    if finding is None and len(outcome.names) == 1:
        return 0
    if finding not in outcome.names:
        raise unknown("finding", finding or "", outcome.names)
    return outcome.names.index(finding)


def sure(outcome: Outcome, finding: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and whether it was right, a value a case: of the class called and whether it is the true one, or of
    one finding its probability and whether it is there, the cases where that is unknown left out.

    Raises:
        InvalidParameter: no such finding.
    """
    column = chosen(outcome, finding)
    if column is None:
        return outcome.probability.max(1), (outcome.probability.argmax(1) == outcome.truth).astype(float)
    known = np.isfinite(outcome.truth[:, column])
    return outcome.probability[known, column], outcome.truth[known, column]
