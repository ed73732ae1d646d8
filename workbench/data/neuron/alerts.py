"""A trace of one's own, without known errors: made ready to be judged, and its alerts written back."""

from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from workbench.data.io.swc import Tree, read_swc, write_alert_table, write_swc
from workbench.data.neuron.cases import DEFAULTS, Neuron, Options, traces
from workbench.data.neuron.labels import Draft
from workbench.data.neuron.perturbation import of_file
from workbench.data.neuron.volumes import cropped, placed, read_stack
from workbench.models.tracing import runs


def unjudged(
    image: str | Path, trace: str | Path, options: Options = DEFAULTS
) -> tuple[dict[str, Tensor], Tree, np.ndarray]:
    """A batch of one neuron to predict on, its trace as in the file, and the judged node (N,) nearest to each of that.

    Raises:
        InvalidImage: as `load`.
    """
    stack, tree = read_stack(Path(image), options), read_swc(trace)
    points = placed(Path(trace), tree, stack)
    array, shift = cropped(stack.array, points, stack.spacing / stack.spacing.min(), options.box)
    made, kinds = of_file(tree, points + shift, options.step)
    draft = Draft(made.points, made.parent, np.zeros(len(made), int))
    one = Neuron(array, draft, stack.spacing, "trace", "trace", kinds=kinds)
    near = cKDTree(made.points).query(points + shift)[1]
    return traces([one], options, gold=False).__getitems__([0]), tree, near


def write_alerts(path: str | Path, tree: Tree, score: np.ndarray, alert: np.ndarray, *, by_type: bool = False) -> None:
    """The trace with alerts (N,) bool as SWC, and beside it a CSV of the alerted nodes, their scores (N,) and runs."""
    path = Path(path)
    write_swc(path, tree, alert, by_type=by_type)
    write_alert_table(path.with_suffix(".csv"), tree, score, runs(alert, tree.parent))
