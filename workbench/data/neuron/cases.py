"""The settings of the kind, one traced neuron in its stack, and how neurons become the items of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from workbench.config import Bound, Config, Count, Natural, Positive, Side
from workbench.data import Cases, Data
from workbench.data.io.nifti import free_memory
from workbench.data.neuron.drawing import tube
from workbench.data.neuron.labels import Draft, labelled
from workbench.data.neuron.rules import RULES, measured
from workbench.errors import InvalidImage, InvalidParameter
from workbench.models import stacks

SHOWN = (
    "image", "volume", "block", "origin", "nodes", "parent", "onset", "branch", "place", "kind", "spacing", "tolerance",
)  # fmt: skip
KEPT = 256 << 20  # bytes of a split's volumes that are kept to look at


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder: images/ of TIFF or NIfTI stacks with traces/ of SWC files, perhaps gold/
    size: Side = 48  # side of a phantom's volume, voxels (card: tiny preset; 64 at the demonstration's scale)
    train: Count = 12  # neurons to train on (card: 4 tiny, 20 demonstration)
    valid: Count = 4  # neurons of the training folds for choosing settings and the threshold (inferred)
    test: Count = 4  # neurons to test on: those of one fold (card: 5 tiny, 6 demonstration)
    folds: Annotated[int, Bound(2)] = 5  # parts that neurons are dealt into, by group (paper: five-fold)
    fold: Natural = 0  # the part that is tested on, from 0
    step: Positive = 2.0  # between nodes of a trace, finest voxels, also of folders (inferred)
    events: Count = 2  # errors put into a trace where none are known (card: about 5 % positive nodes)
    near: Natural = 2  # r: nodes about where wrong tracing begins that count as such (card: 2 to 3, inferred)
    band: Natural = 2  # nodes beside these that are left out (inferred)
    tube: Positive = 1.5  # radius that a trace is drawn with, finest voxels (card: 1 to 2, inferred)
    box: Side = 32  # side of the cubes cut out for training, finest voxels: patch times scales at least
    tolerance: Positive = 5.0  # between an alert and the error it detects, finest voxels (inferred)
    thickness: Count = 1  # of a phantom's slices, voxels: anisotropic from 2 on; divides size
    spacing: str = ""  # folders: voxel along x,y,z such as 0.3,0.3,1; empty: the NIfTI header's, 1,1,1 of TIFF
    coordinates: Literal["voxel", "physical"] = "voxel"  # folders: unit of the SWC files, voxels or as spacing
    apart: Positive = 3.0  # folders with gold/: distance from the gold standard that is wrong, finest voxels (inferred)
    least: Positive = 6.0  # folders with gold/: shortest wrong or missed path, finest voxels (inferred)
    data_seed: Natural = 0  # which phantoms are drawn; how a folder is dealt; which errors are put in

    def __post_init__(self) -> None:
        if isinstance(self.spacing, int | float | tuple | list) and not isinstance(self.spacing, bool):
            object.__setattr__(self, "spacing", ",".join(map(str, np.atleast_1d(self.spacing).tolist())))
        super().__post_init__()
        if self.fold >= self.folds:
            found, remedy = f"{self.fold}", "choose a lower fold, or more folds"
            raise InvalidParameter("fold", f"a number from 0 to {self.folds - 1}", found, remedy)
        if self.size % self.thickness:
            raise InvalidParameter("thickness", f"a divisor of size={self.size}", str(self.thickness), "give 2 or 4")
        if self.spacing and not (len(self.sides) == 3 and min(self.sides) > 0):
            found = repr(self.spacing)
            raise InvalidParameter("spacing", "three numbers above 0 for x,y,z", found, "give spacing=0.3,0.3,1")

    @property
    def sides(self) -> tuple[float, ...]:
        """The sides of a voxel along x, y, z; none where the files decide."""
        try:
            return tuple(float(part) for part in self.spacing.split(",") if part.strip())
        except ValueError:
            return ()


DEFAULTS = Options()


@dataclass
class Neuron:
    """A stack with one trace in it, and the same neuron's gold control: correct, re-noised and sampled anew.

    Stacks are (Z, Y, X) uint8, traces in finest voxels; `spacing` (3,) are the sides of a voxel along z, y, x.
    """

    stack: np.ndarray
    draft: Draft
    spacing: np.ndarray
    case: str
    group: str
    gold_stack: np.ndarray | None = None
    gold: Draft | None = None
    origin: np.ndarray | None = None  # (3,) of the stack in its file along z, y, x, in units of the spacing
    kinds: np.ndarray | None = field(default=None, repr=False)  # SWC types of the draft's nodes


@dataclass(frozen=True)
class Traces(Cases):
    """Whole neurons: the stacks stay uint8."""

    def __getitems__(self, items: Sequence[int]) -> dict[str, Tensor]:
        index = torch.as_tensor(items)
        return {key: tensor[index] for key, tensor in self.tensors.items()}


@dataclass(frozen=True)
class Seen(Traces):
    """Whole neurons with what is kept to look at: `volume`, `block` and `origin` beside what all have.

    `origins` (B, 3) are those of the neurons; `kept` is the number of bytes that all volumes may take together.
    """

    origins: Tensor = field(default_factory=lambda: torch.zeros(0, 3))
    kept: int = KEPT

    def __getitems__(self, items: Sequence[int]) -> dict[str, Tensor]:
        batch = super().__getitems__(items)
        stack = batch["stack"][:, 0, 0]
        block = blocks(stack.shape[1:], self.kept // len(self))
        size = torch.tensor(block, dtype=torch.float32).expand(len(stack), 3)
        return batch | {"volume": greatest(stack, block), "block": size, "origin": self.origins[torch.as_tensor(items)]}


@dataclass(frozen=True)
class Nodes(Traces):
    """Single nodes of whole neurons: an item is a cube of the stack about a node, which is a neuron of one node.

    `where` (N, 2) are the neuron and the node of each item, `box` the side of the cubes. Cubes are cut when they are
    asked for; their voxels are as long along every axis.
    """

    where: Tensor = field(default_factory=lambda: torch.zeros(0, 2, dtype=torch.long))
    box: int = 32

    def __len__(self) -> int:
        return len(self.where)

    def __getitems__(self, items: Sequence[int]) -> dict[str, Tensor]:
        item, node = self.where[torch.as_tensor(items)].unbind(1)
        whole, count = self.tensors, len(item)
        point, spacing = whole["nodes"][item, 0, node], whole["spacing"]
        cube = stacks.cubes(whole["stack"][:, 0], item, point, spacing, self.box)
        one = {key: whole[key][item, 0, node][:, None, None] for key in ("onset", "branch", "rules")}
        return one | {
            "stack": cube[:, None],
            "nodes": point.new_full((count, 1, 1, 3), self.box // 2),
            "parent": torch.full((count, 1, 1), -1),
            "place": point.new_zeros(count, 1, 3),
            "kind": torch.zeros(count, 1, dtype=torch.long),
            "spacing": spacing[item].amin(1, keepdim=True).expand(-1, 3),
            "tolerance": whole["tolerance"][item],
        }


# ---------------------------------------------------------------- tensors


def assembled(name: str, splits: Mapping[str, Sequence[Neuron]], options: Options, **rest: Any) -> Data:
    """The data set of these neurons: nodes to train on, whole neurons to choose and to test on."""
    train = traces(splits["train"], options, gold=False)
    onset, branch = (train.tensors[key][:, 0] for key in ("onset", "branch"))
    where = ((onset >= 0) | (branch >= 0)).nonzero()
    table = {key: [values[item] for item in where[:, 0].tolist()] for key, values in train.table.items()}
    nodes = Nodes(train.tensors, table, where, options.box)
    made = {split: traces(splits[split], options, gold=True) for split in ("valid", "test")}
    origins = np.array([np.zeros(3) if one.origin is None else one.origin for one in splits["test"]], np.float32)
    made["test"] = Seen(made["test"].tensors, made["test"].table, torch.from_numpy(origins))
    odds = {f"{key}_odds": ratio(labels) for key, labels in (("onset", onset), ("branch", branch))}
    spec = {"box": options.box, "rules": len(RULES), **odds}
    return Data(name, train=nodes, **made, spec=spec, shown=SHOWN, **rest)


def ratio(label: Tensor) -> float:
    """Right nodes per wrong one; 1 where there is no wrong one."""
    return round((label == 0).sum().item() / max(1, (label == 1).sum().item()), 4) or 1.0


def traces(neurons: Sequence[Neuron], options: Options, gold: bool) -> Traces:
    """The tensors of whole neurons, padded to the largest; of versions V the second is the gold control."""
    versions = [[(one.stack, one.draft, one.kinds)] for one in neurons]
    if gold and all(one.gold is not None for one in neurons):
        for row, one in zip(versions, neurons):
            row.append((one.gold_stack, one.gold, None))
    sides = np.max([one.stack.shape for one in neurons], axis=0)
    check_memory(len(neurons) * len(versions[0]), sides)
    count = max(len(draft.parent) for row in versions for _, draft, _ in row)
    rows = [
        [version(*parts, one.spacing, sides, count, options) for parts in row] for row, one in zip(versions, neurons)
    ]
    made = {key: np.stack([np.stack([v[key] for v in row]) for row in rows]) for key in rows[0][0]}
    made |= events(neurons, options)
    made["image"] = made["stack"][:, 0, 0].max(1)[:, None] / np.float32(255)
    made["spacing"] = np.array([one.spacing for one in neurons], np.float32)
    made["tolerance"] = np.full(len(neurons), options.tolerance, np.float32)
    table = {"case": [one.case for one in neurons], "group": [one.group for one in neurons]}
    return Traces({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in made.items()}, table)


def blocks(sides: Sequence[int], most: int) -> tuple[int, ...]:
    """The sides of blocks that a volume is reduced by, the longest side halved until at most so many voxels are left.

    >>> blocks((100, 400, 300), 100 * 200 * 200)
    (1, 2, 2)
    """
    block = [1, 1, 1]
    while np.prod(left := [-(-side // part) for side, part in zip(sides, block)]) > max(most, 1):
        block[int(np.argmax(left))] *= 2
    return tuple(block)


def greatest(volume: Tensor, block: Sequence[int]) -> Tensor:
    """The greatest value of each block of volumes (B, Z, Y, X), those at the far ends perhaps smaller ones."""
    for axis, (side, part) in enumerate(zip(volume.shape[1:], block), 1):
        if part > 1:
            starts = range(0, side, part)
            volume = torch.stack([volume.narrow(axis, at, min(part, side - at)).amax(axis) for at in starts], axis)
    return volume


def check_memory(count: int, sides: np.ndarray) -> None:
    """Raises InvalidImage where so many stacks with their traces, padded to these sides, cannot fit."""
    need, free = 6 * count * int(np.prod(sides)), free_memory()
    if need > free:
        found = f"{count} of {' x '.join(map(str, sides))} voxels, about {need >> 20} MB, with {free >> 20} MB free"
        remedy = "crop the stacks about their traces, or take fewer (train=, valid=, test=)"
        raise InvalidImage("the stacks", "volumes that fit in memory together", found, remedy)


def version(
    stack: np.ndarray, draft: Draft, kinds: np.ndarray | None, spacing: np.ndarray, sides: np.ndarray, count: int,
    options: Options,
) -> dict[str, np.ndarray]:  # fmt: skip
    """One stack with one trace: both as uint8 (2, Z, Y, X), and what is known of every node, padded to `count`."""
    finest = spacing / spacing.min()
    drawn = tube(draft.points, draft.parent, stack.shape, finest, options.tube)
    more = [(0, side - own) for side, own in zip(sides, stack.shape)]
    both = np.stack([np.pad(stack, more, mode="edge"), np.pad(drawn.astype(np.uint8) * 255, more)])
    onset, branch, _ = labelled(draft, options.near, options.band)
    rest = count - len(draft.parent)
    return {
        "stack": both,
        "nodes": np.pad(draft.points[:, ::-1] / finest, ((0, rest), (0, 0))).astype(np.float32),
        "parent": np.pad(draft.parent.astype(np.int64), (0, rest), constant_values=-2),
        "onset": np.pad(onset, (0, rest), constant_values=-1),
        "branch": np.pad(branch, (0, rest), constant_values=-1),
        "rules": np.pad(measured(stack, draft, finest, kinds), ((0, rest), (0, 0))).astype(np.float32),
    }


def events(neurons: Sequence[Neuron], options: Options) -> dict[str, np.ndarray]:
    """Where errors begin, (B, E, 3) in voxels, and the number of their kinds (B, E), 0 for none."""
    most = max(1, *(len(one.draft.events) for one in neurons))
    place, kind = np.zeros((len(neurons), most, 3), np.float32), np.zeros((len(neurons), most), np.int64)
    for row, one in enumerate(neurons):
        *_, first = labelled(one.draft, options.near, options.band)
        for column, (node, event) in enumerate(zip(first, one.draft.events)):
            if node >= 0:
                place[row, column] = one.draft.points[node, ::-1] * one.spacing.min() / one.spacing
                kind[row, column] = event.kind
    return {"place": place, "kind": kind}
