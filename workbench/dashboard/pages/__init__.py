"""The pages of the dashboard. A page is a function that takes runs and returns what Panel can show:

    @page("Masks", needs={"image": 3, "target": 3, "mask": 3})
    def masks(runs: list[Run]) -> pn.viewable.Viewable: ...

in a file of its own in this folder. It is given finished runs that wrote the arrays it needs, read and found whole.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import panel as pn

from workbench import views
from workbench.dashboard import frame
from workbench.errors import WorkbenchError
from workbench.runs import Run

REGISTER: dict[str, "Page"] = {}


@dataclass(frozen=True)
class Page:
    """A function that draws runs, and the arrays of `samples/` it reads, each with its number of axes."""

    name: str
    title: str
    needs: Mapping[str, int]
    draw: Callable[[list[Run]], pn.viewable.Viewable]
    order: int

    def __call__(self, runs: Iterable[Run]) -> pn.viewable.Viewable:
        """The page for the runs it can show, over a note on those set aside; never fails for a broken run."""
        survey = views.survey(runs, self.needs)
        if not survey.runs:
            what = "No finished runs" + (f" with {', '.join(self.needs)}" if self.needs else "")
            return pn.Column(frame.empty(what, "workbench run smcgan"), frame.note(survey.aside), **frame.WIDE)
        try:
            drawn = self.draw(survey.runs)
        except WorkbenchError as error:  # a file that changed since the survey, or runs that have nothing in common
            drawn = frame.trouble(str(error))
        return pn.Column(drawn, frame.note(survey.aside), **frame.WIDE)


def page(title: str, needs: Mapping[str, int], order: int = 50) -> Callable[[Callable], Page]:
    """Makes a page of a function; pages of a lower `order` come first."""

    def register(draw: Callable[[list[Run]], pn.viewable.Viewable]) -> Page:
        REGISTER[draw.__name__] = made = Page(draw.__name__, title, dict(needs), draw, order)
        return made

    return register


@cache
def discover() -> tuple[Page, ...]:
    """Every page of this folder, in order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return tuple(sorted(REGISTER.values(), key=lambda page: (page.order, page.name)))
