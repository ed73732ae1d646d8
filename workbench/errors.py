"""The errors a user can meet: each names the place, what was expected, what was found and what to do."""

import difflib
from collections.abc import Iterable


class WorkbenchError(ValueError):
    """Bad input, told in one line.

    >>> print(WorkbenchError("lr", "a positive number", "-1", "give for example lr=2e-4"))
    lr: expected a positive number, found -1; give for example lr=2e-4
    """

    def __init__(self, where: object, expected: str, found: str, remedy: str) -> None:
        super().__init__(f"{where}: expected {expected}, found {found}; {remedy}")
        self.where, self.expected, self.found, self.remedy = str(where), expected, found, remedy

    def __reduce__(self):  # so that the error survives the way back from a worker process
        return type(self), (self.where, self.expected, self.found, self.remedy)


class InvalidImage(WorkbenchError):
    """A file or folder that cannot serve as an image, volume, mask or table."""


class InvalidParameter(WorkbenchError):
    """A setting of an unknown name, a wrong type or a value out of range."""


class InvalidRun(WorkbenchError):
    """A run folder that is missing, unsafe, incomplete or written by something else."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InvalidParameter:
    """The error for a name that is not among the known ones, with the nearest of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "choose one of them"
    return InvalidParameter(kind, f"one of {', '.join(known)}", repr(name), hint)
