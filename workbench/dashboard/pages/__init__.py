"""The pages of the dashboard. A page is a function that takes runs and returns what Panel can show:

    @page("Masks", needs={"image": (3, 4), "label": (3, 4), "mask": (3, 4)})
    def masks(runs: list[Run]) -> pn.viewable.Viewable: ...

in a file or folder of its own in this one. It is given finished runs that wrote the arrays it needs, read and found
whole.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import panel as pn

from workbench import views
from workbench.dashboard import frame
from workbench.errors import InvalidRun, WorkbenchError
from workbench.runs import Run

REGISTER: dict[str, "Page"] = {}


@dataclass(frozen=True)
class Page:
    """A function that draws runs, the arrays of `samples/` it reads with their axes, and what else it asks of a run."""

    name: str
    title: str
    needs: Mapping[str, "views.Axes"]
    draw: Callable[[list[Run]], pn.viewable.Viewable]
    order: int
    also: Callable[[Run], None] | None
    kind: Callable[[Run], bool] | None
    example: str
    among: Callable[[list[Run]], bool] | None = None

    def __call__(self, runs: Iterable[Run]) -> pn.viewable.Viewable:
        """The page for the runs it can show, over a note on those set aside; never fails for a broken run."""
        survey = views.survey(runs, self.needs, self.also, self.kind)
        if not survey.runs:
            what = "No finished runs" + (f" with {', '.join(self.needs)}" if self.needs else "")
            return pn.Column(frame.empty(what, self.example), frame.note(survey.aside), **frame.WIDE)
        try:
            drawn = self.draw(survey.runs)
        except WorkbenchError as error:  # a file that changed since the survey, or runs that have nothing in common
            drawn = frame.trouble(str(error))
        return pn.Column(drawn, frame.note(survey.aside), **frame.WIDE)

    def concerns(self, run: Run) -> bool:
        """Whether a run wrote the arrays of this page, and of its kind; of a run that cannot tell, no."""
        try:
            return set(self.needs) <= set(views.written(run)) and (self.kind is None or self.kind(run))
        except InvalidRun:
            return False

    def worth(self, runs: Iterable[Run]) -> bool:
        """Whether there is something to show among all these runs."""
        found = [run for run in runs if self.concerns(run)]
        return bool(found) and (self.among is None or self.among(found))


def page(
    title: str,
    needs: Mapping[str, "views.Axes"],
    order: int = 50,
    also: Callable[[Run], None] | None = None,
    kind: Callable[[Run], bool] | None = None,
    example: str = "workbench run smcgan",
    among: Callable[[list[Run]], bool] | None = None,
) -> Callable[[Callable], Page]:
    """Makes a page of a function.

    Args:
        order: pages of a lower one come first.
        also: raises InvalidRun for a run that has the arrays and cannot be shown all the same.
        kind: whether a run with these arrays is one that the page shows; it leaves others to other pages.
        example: a command that makes runs for it.
        among: whether those that it concerns are, together, worth a page.
    """

    def register(draw: Callable[[list[Run]], pn.viewable.Viewable]) -> Page:
        made = Page(draw.__name__, title, dict(needs), draw, order, also, kind, example, among)
        REGISTER[draw.__name__] = made
        return made

    return register


@cache
def discover() -> tuple[Page, ...]:
    """Every page of this folder, in order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return tuple(sorted(REGISTER.values(), key=lambda page: (page.order, page.name)))
