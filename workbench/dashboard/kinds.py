"""Runs on unlike data on one page: those that can be compared stand together, and which of them is chosen above."""

from collections.abc import Callable

import panel as pn

from workbench import views
from workbench.dashboard import frame
from workbench.runs import Run
from workbench.views import masks


def apart(runs: list[Run], draw: Callable[[list[Run]], pn.viewable.Viewable]) -> pn.viewable.Viewable:
    """What `draw` makes of runs with cases of one size and the same classes; a choice above where there are unlike."""
    found = kinds(runs)
    if len(found) == 1:
        return draw(runs)
    choice = frame.select({title: title for title in found}, 420)
    place = pn.Column(draw(found[choice.value]), **frame.WIDE)
    choice.param.watch(lambda event: place.param.update(objects=[draw(found[event.new])]), "value")
    return pn.Column(pn.Row(frame.muted("Data"), choice, margin=(12, 20, 0, 20)), place, **frame.WIDE)


def kinds(runs: list[Run]) -> dict[str, list[Run]]:
    """Runs that can be compared, by a title that tells their data, the size of a case and the classes."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        size = " × ".join(map(str, masks.shape(run)))
        told = views.flat(run.config.get("data", {})).get("kind", "")
        found.setdefault(f"{told} {size} · {', '.join(masks.labels(run))}".strip(), []).append(run)
    return found
