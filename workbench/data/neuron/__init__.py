"""Traced neurons in image stacks: every node of a trace is to be judged, right or wrong.

`phantom()` draws branching fibres and puts errors into the trace of one; `load(root)` reads stacks with SWC traces.
Both return `Data`. An item of validation and test is a whole neuron, with V versions of stack and trace: the trace to
judge, and where there is one the gold control (a correct trace, re-noised and sampled anew). A training item is a cube
about one node in the same form, V = N = 1. Nodes are padded to the largest number N, events to E.

    stack      (B, V, 2, Z, Y, X)  uint8: the image, and the trace drawn as a tube, 0 or 255
    nodes      (B, V, N, 3)        z, y, x in voxels
    parent     (B, V, N)           the place of each node's parent, always a lower one; -1 of a root, -2 of padding
    onset      (B, V, N)           1 about the node where wrong tracing begins, 0 right, -1 left out, padding too
    branch     (B, V, N)           1 on all of a wrong branch, 0 right, -1 left out
    rules      (B, V, N, F)        what hand-written rules measure, see rules.py
    place      (B, E, 3)           where each error begins, z, y, x in voxels
    kind       (B, E)              1 jump, 2 overshoot, 3 missed branch, 4 spurious branch; 0 for none
    spacing    (B, 3)              sides of a voxel along z, y, x
    tolerance  (B,)                between an alert and the error it detects, finest voxels
    image      (B, 1, Y, X)        whole neurons: the stack's greatest values along z, in [0, 1], to look at

Test neurons also have what is kept to look at:

    volume     (B, Z', Y', X')     uint8: the stack, of large ones the greatest values of blocks of voxels
    block      (B, 3)              sides of these blocks along z, y, x in voxels, 1 where nothing was reduced
    origin     (B, 3)              of the stack in its file along z, y, x, in units of the spacing

`unjudged(image, trace)` makes one trace without known errors ready for `predict`; `write_alerts` writes what comes
of it as SWC and CSV.
"""

from workbench.data.neuron.alerts import unjudged, write_alerts
from workbench.data.neuron.cases import Neuron, Options
from workbench.data.neuron.folders import check, entries, load
from workbench.data.neuron.phantoms import phantom

__all__ = ["Neuron", "Options", "check", "entries", "load", "phantom", "unjudged", "write_alerts"]
