"""Runs on unlike data on one page: those that can be compared stand together, and which of them is chosen above."""

from collections.abc import Callable

import panel as pn

from workbench import views
from workbench.dashboard import frame
from workbench.runs import Run
from workbench.views import classes, masks

NAMED = 4  # classes that a title has room for


def sized(run: Run) -> str:
    """Data, size of a case and classes of a segmentation."""
    size = " × ".join(map(str, masks.shape(run)))
    told = views.flat(run.config.get("data", {})).get("kind", "")
    return f"{told} {size} · {', '.join(masks.labels(run))}".strip()


def classed(run: Run) -> str:
    """Data and classes of a classification."""
    asked = views.flat(run.config.get("data", {}))
    names, _ = classes.truth(run)
    words = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f"{asked.get('kind', '')} {asked.get('name') or ''}".strip() + f" · {words}"


def apart(
    runs: list[Run], draw: Callable[[list[Run]], pn.viewable.Viewable], told: Callable[[Run], str] = sized
) -> pn.viewable.Viewable:
    """What `draw` makes of runs that can be compared; a choice above where there are others.

    Those can that `told` has the same words for: unless given, those with cases of one size and the same classes.
    """
    found = kinds(runs, told)
    if len(found) == 1:
        return draw(runs)
    choice = frame.select({title: title for title in found}, 420)
    place = pn.Column(draw(found[choice.value]), **frame.WIDE)
    choice.param.watch(lambda event: place.param.update(objects=[draw(found[event.new])]), "value")
    return pn.Column(pn.Row(frame.muted("Data"), choice, margin=(12, 20, 0, 20)), place, **frame.WIDE)


def kinds(runs: list[Run], told: Callable[[Run], str] = sized) -> dict[str, list[Run]]:
    """Runs that can be compared, by what is told of them."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(told(run), []).append(run)
    return found
