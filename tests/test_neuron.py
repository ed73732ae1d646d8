"""Traced neurons: phantoms with errors, labels, cubes, rules, folders of stacks with SWC files."""

import dataclasses
import functools

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from workbench import data
from workbench.data import neuron
from workbench.data.io import swc
from workbench.data.neuron import (
    Options,
    cases,
    drawing,
    folders,
    injection,
    labels,
    perturbation,
    phantoms,
    rules,
    volumes,
)
from workbench.data.neuron.cases import greatest
from workbench.data.neuron.labels import KINDS, Draft, Event
from workbench.errors import InvalidImage, InvalidParameter
from workbench.models import stacks

SMALL = {"size": 32, "train": 4, "valid": 2, "test": 2, "folds": 3}
SPLITS = ("train", "valid", "test")
ONE = np.ones(3)


@functools.cache
def small(**changes):
    return data.open_data("neuron", **SMALL | changes)


@functools.cache
def neurons(count=40, **changes):
    return [phantoms.neuron(number, Options(**changes)) for number in range(count)]


def path_of(points):
    """A tree without branches."""
    return np.array(points, float), np.arange(-1, len(points) - 1)


def straight(count, axis=0, start=(0, 0, 0), step=1.0):
    points = np.tile(np.array(start, float), (count, 1))
    points[:, axis] += step * np.arange(count)
    return points, np.arange(-1, count - 1)


# ---------------------------------------------------------------- phantoms and folds


def test_phantoms_are_the_same_every_time_and_differ_by_seed():
    first, again, other = small(), data.open_data("neuron", **SMALL), data.open_data("neuron", **SMALL, data_seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_items_have_the_documented_form():
    whole, node = small().test.__getitems__([0, 1]), small().train.__getitems__([0, 5, 7])
    count = whole["nodes"].shape[2]
    shapes = {
        "stack": (2, 2, 2, 32, 32, 32), "nodes": (2, 2, count, 3), "parent": (2, 2, count), "onset": (2, 2, count),
        "branch": (2, 2, count), "rules": (2, 2, count, 11), "place": (2, 2, 3), "kind": (2, 2), "spacing": (2, 3),
        "tolerance": (2,), "image": (2, 1, 32, 32),
    }  # fmt: skip
    seen = {"volume": (2, 32, 32, 32), "block": (2, 3), "origin": (2, 3)}
    assert {key: tuple(value.shape) for key, value in whole.items()} == shapes | seen
    assert small().valid.__getitems__([0, 1]).keys() == shapes.keys()
    assert {key: tuple(value.shape) for key, value in node.items()} == {
        "stack": (3, 1, 2, 32, 32, 32), "nodes": (3, 1, 1, 3), "parent": (3, 1, 1), "onset": (3, 1, 1),
        "branch": (3, 1, 1), "rules": (3, 1, 1, 11), "place": (3, 1, 3), "kind": (3, 1), "spacing": (3, 3),
        "tolerance": (3,),
    }  # fmt: skip
    assert whole["stack"].dtype == node["stack"].dtype == torch.uint8
    assert set(whole["stack"][:, :, 1].unique().tolist()) == {0, 255}
    real = whole["parent"] > -2
    assert (whole["parent"] < torch.arange(count)).all() and not real.all()
    assert (whole["onset"][~real] == -1).all() and (whole["branch"][~real] == -1).all()
    assert len(small().train.table["case"]) == len(small().train)


def test_what_is_kept_to_look_at_does_not_change_the_data():
    made = small()
    assert not {"volume", "block", "origin"} & made.test.tensors.keys() and set(made.shown) <= set(
        made.test.__getitems__([0])
    )


def test_large_volumes_are_kept_as_the_greatest_values_of_blocks():
    test = dataclasses.replace(small().test, kept=len(small().test) * 16 * 16 * 32)
    item, stack = test.__getitems__([1]), small().test.tensors["stack"][1, 0, 0]
    block = item["block"][0].int().tolist()
    assert sorted(block) == [1, 2, 2] and item["volume"].dtype == torch.uint8
    for z, y, x in ((0, 0, 0), (3, 5, 7), (15, 15, 15)):
        part = stack[tuple(slice(i * b, (i + 1) * b) for i, b in zip((z, y, x), block))]
        assert item["volume"][0, z, y, x] == part.max()
    odd = greatest(torch.arange(5, dtype=torch.uint8).view(1, 1, 1, 5), (1, 1, 2))
    assert odd.flatten().tolist() == [1, 3, 4]


def test_no_neuron_is_in_two_folds_and_each_is_tested_once():
    tested = []
    for fold in range(3):
        made = small(fold=fold)
        groups = [set(getattr(made, split).table["group"]) for split in SPLITS]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 8
        tested += made.test.table["group"]
    assert len(tested) == len(set(tested)) == 6


@pytest.mark.parametrize("options", [{}, {"folds": 2, "test": 5, "train": 4, "valid": 1}, {"train": 40}, {"folds": 9}])
def test_dealing(options):
    for fold in range(Options(**options).folds):
        chosen = Options(**options, fold=fold)
        splits = phantoms.dealt(chosen)
        assert {name: len(numbers) for name, numbers in splits.items()} == {s: getattr(chosen, s) for s in SPLITS}
        everyone = [number for numbers in splits.values() for number in numbers]
        assert len(everyone) == len(set(everyone))
        assert splits["test"] == list(range(fold * chosen.test, (fold + 1) * chosen.test))


def test_a_neuron_is_the_same_in_every_fold():
    first, second = small(fold=0), small(fold=1)
    name = first.test.table["case"][0]
    places = (first.test, 0), (second.train, second.train.table["case"].index(name))
    one, other = (part.tensors["stack"] for part, _ in places)
    row = int(second.train.where[places[1][1], 0])
    assert torch.equal(one[0, 0], other[row, 0])


def test_all_kinds_of_error_occur_equally_often():
    counts = np.bincount([event.kind for one in neurons() for event in one.draft.events], minlength=5)[1:]
    assert counts.sum() >= 78 and counts.min() >= 14


def test_wrong_branches_and_missed_ones_are_what_they_are_called():
    """Against the fibres, which the injection of errors only knows in part."""
    seen = {kind: [] for kind in KINDS}
    for number in range(40):
        one = neurons()[number]
        gold = cKDTree(drawing.samples(one.gold.points, one.gold.parent)[0])
        bright = rules.brightness(one.stack, one.draft.points, one.draft.parent, ONE)
        for index, event in enumerate(one.draft.events, 1):
            kind, own = KINDS[event.kind - 1], one.draft.wrong == index
            if kind == "missed":
                left = cKDTree(drawing.samples(one.draft.points, one.draft.parent)[0])
                assert not own.any() and (left.query(one.gold.points)[0] > 3).any()
                continue
            assert own.sum() >= 2
            seen[kind].append((gold.query(one.draft.points[own])[0][-1], np.median(bright[own])))
    for kind in ("overshoot", "spurious"):
        off, bright = np.array(seen[kind]).T
        assert (off > 2).all() and np.median(bright) < 0.35
    off, bright = np.array(seen["jump"]).T
    assert (off > 3).all() and np.median(bright) > 0.6


def test_events_do_not_touch_one_another():
    for one in neurons():
        first, second = (event.at for event in one.draft.events)
        assert np.linalg.norm(first - second) > 2 * Options().tolerance - 1


def test_gold_control_follows_the_fibre_and_is_not_the_trace():
    for one in neurons()[:10]:
        right = cKDTree(drawing.samples(one.gold.points, one.gold.parent)[0])
        kept = one.draft.points[one.draft.wrong == 0]
        assert np.median(right.query(kept)[0]) < 0.6 and not one.gold.wrong.any()
        assert not np.isin(kept, one.gold.points).all(1).any()
        assert (one.stack != one.gold_stack).mean() > 0.8


def test_right_and_wrong_nodes_have_the_same_spacing_and_jitter():
    steps = {0: [], 1: []}
    for one in neurons():
        inner = one.draft.parent >= 0
        edge = rules.lengths(one.draft.points, one.draft.parent)
        for wrong in (0, 1):
            steps[wrong] += edge[inner & ((one.draft.wrong > 0) == wrong)].tolist()
    assert abs(np.median(steps[0]) - np.median(steps[1])) < 0.15
    assert abs(np.std(steps[0]) - np.std(steps[1])) < 0.25


def test_thick_slices():
    flat, thick = (phantoms.neuron(3, Options(thickness=t)) for t in (1, 4))
    assert thick.stack.shape == (12, 48, 48) and thick.spacing.tolist() == [4, 1, 1]
    made = cases.traces([thick], Options(thickness=4), gold=True).tensors
    on = drawing.samples(thick.gold.points, thick.gold.parent)[0]
    level = perturbation.values_at(thick.stack, on, np.array([4, 1, 1])).mean()
    assert level > 1.5 * thick.stack.mean()
    shift = thick.gold.points - flat.gold.points
    np.testing.assert_allclose(shift, np.tile([0, 0, -1.5], (len(shift), 1)), atol=1e-9)
    np.testing.assert_allclose(made["nodes"][0, 1, : len(shift), 0], thick.gold.points[:, 2] / 4, rtol=1e-5)
    drawn = made["stack"][0, 0, 1] > 0
    assert drawn[tuple(stacks.voxels(made["nodes"][0, 0, 0]))]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fold": 5}, "fold"), ({"folds": 1}, "folds"), ({"thickness": 5}, "thickness"), ({"spacing": 2}, "spacing"),
        ({"spacing": "a,b,c"}, "spacing"), ({"spacing": "1,0,1"}, "spacing"), ({"coordinates": "mm"}, "coordinates"),
    ],
)  # fmt: skip
def test_options_that_cannot_work(options, words):
    with pytest.raises(InvalidParameter, match=words):
        Options(**options)
    assert Options(spacing=(0.3, 0.3, 1)).sides == (0.3, 0.3, 1.0)


# ---------------------------------------------------------------- labels


def forked():
    """Twelve nodes on a path; from node 5 a wrong branch of nodes 12 to 17."""
    points, parent = straight(12)
    side = np.array([[5.0, k, 0] for k in range(1, 7)])
    return np.concatenate([points, side]), np.concatenate([parent, [5], np.arange(12, 17)])


def test_labels_of_a_spurious_branch_by_hand():
    points, parent = forked()
    draft = Draft(points, parent, np.where(np.arange(18) >= 12, 1, 0), (Event(4, points[12]),))
    onset, branch, first = labels.labelled(draft, near=2, band=1)
    assert first == [12]
    assert onset.tolist() == [0, 0, 0, -1, 1, 1, 1, -1, 0, 0, 0, 0, *[1, 1, 1, -1, -1, -1]]
    assert branch.tolist() == [0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0] + [1] * 6
    wider = labels.labelled(draft, near=2, band=2)[1]
    assert wider.tolist() == [0, 0, 0, 0, -1, -1, -1, 0, 0, 0, 0, 0] + [1] * 6


def test_labels_of_a_missed_branch_by_hand():
    points, parent = straight(12)
    draft = Draft(points, parent, np.zeros(12, int), (Event(3, np.array([6.2, 0.5, 0])),))
    onset, branch, first = labels.labelled(draft, near=1, band=2)
    assert first == [6] and onset.tolist() == branch.tolist() == [0, 0, 0, -1, -1, 1, 1, 1, -1, -1, 0, 0]


def test_labels_of_a_trace_without_errors():
    onset, branch, first = labels.labelled(Draft(*straight(5), np.zeros(5, int)), 2, 2)
    assert not onset.any() and not branch.any() and first == []


def test_differences_from_a_gold_standard_are_told_apart():
    gold = np.concatenate([straight(40)[0], [[20.0, k, 0] for k in range(1, 15)]])
    gold_parent = np.concatenate([straight(40)[1], [20], np.arange(40, 53)])
    cut = (gold[:40], gold_parent[:40])  # the branch at 20 is missed
    longer = path_of([[k, 0, 0] for k in range(52)])  # an overshoot, and the branch is missed
    side = (
        np.concatenate([gold, [[8.0, 0, k] for k in range(1, 12)]]),
        np.concatenate([gold_parent, [8], np.arange(54, 64)]),
    )
    turned = path_of([*[[k, 0, 0] for k in range(21)], *[[20, -k, 0] for k in range(1, 15)]])  # instead of both ways on
    told = lambda trace: [KINDS[e.kind - 1] for e in labels.compared(*trace, gold, gold_parent, 3, 6).events]  # noqa: E731
    assert told((gold, gold_parent)) == []
    assert told(cut) == ["missed"] and told(longer) == ["overshoot", "missed"] and told(side) == ["spurious"]
    assert told(turned) == ["jump"]
    made = labels.compared(*longer, gold, gold_parent, 3, 6)
    assert np.flatnonzero(made.wrong).tolist() == list(range(41, 52)) and made.events[0].at.tolist() == [41, 0, 0]
    assert np.linalg.norm(made.events[1].at - [20, 0, 0]) <= 3


def test_errors_put_into_phantoms_are_found_again():
    """Of all 48 the place; of all but some jumps, beside which the gold standard goes on unnoticed, the kind."""
    wrong = 0
    for one in neurons()[:24]:
        made = labels.compared(one.draft.points, one.draft.parent, one.gold.points, one.gold.parent, 3, 6)
        for event in one.draft.events:
            found = [other.kind for other in made.events if np.linalg.norm(other.at - event.at) < 6]
            assert found
            wrong += event.kind not in found
    assert wrong <= 5


def test_short_and_slight_differences_are_none():
    gold = straight(30)
    near = path_of(gold[0] + [0, 2.5, 0])
    assert labels.compared(*near, *gold, 3, 6).events == ()
    longer = path_of([[k, 0, 0] for k in range(36)])
    assert labels.compared(*longer, *gold, 3, 6).events == ()


# ---------------------------------------------------------------- drawing and cutting


@pytest.mark.parametrize("ratio", [(1, 1, 1), (3, 1, 1), (1, 2, 1.5)])
def test_tube_is_what_is_near_the_trace(ratio):
    rng, ratio, sides = np.random.default_rng(0), np.array(ratio, float), (9, 12, 14)
    points = rng.uniform(0.1, 0.9, (6, 3)) * (np.array(sides) * ratio)[::-1]
    parent = np.array([-1, 0, 1, 1, -1, 4])
    drawn = drawing.tube(points, parent, sides, ratio, 1.7)
    at = drawing.samples(points, parent)[0]
    fine = np.concatenate(
        [
            points[parent[n]] + t * (points[n] - points[parent[n]])
            for n in (1, 2, 3, 5)
            for t in np.linspace(0, 1, 400)[:, None]
        ]
    )
    voxels = np.stack(np.meshgrid(*map(np.arange, sides), indexing="ij"), -1) * ratio
    distance = cKDTree(fine.reshape(-1, 3)).query(voxels[..., ::-1])[0]
    assert (drawn == (cKDTree(at).query(voxels[..., ::-1])[0] <= 1.7)).all()
    assert not (drawn & (distance > 1.7)).any() and not (~drawn & (distance < 1.7 - 0.05)).any()


def test_tube_of_one_node_is_a_ball():
    drawn = drawing.tube(np.array([[5.0, 6, 7]]), np.array([-1]), (15, 15, 15), ONE, 2.0)
    seed = np.ones((15, 15, 15))
    seed[7, 6, 5] = 0
    assert (drawn == (distance_transform_edt(seed) <= 2)).all()


def test_cubes_are_slices():
    stack = torch.randint(0, 256, (2, 2, 12, 14, 16), dtype=torch.uint8)
    points = torch.tensor([[5.4, 6.6, 8.0], [6, 7, 7.5]])
    made = stacks.cubes(stack, torch.tensor([0, 1]), points, torch.ones(2, 3), 6)
    assert torch.equal(made[0], stack[0, :, 2:8, 4:10, 5:11]) and torch.equal(made[1], stack[1, :, 3:9, 4:10, 5:11])


def test_cubes_beyond_the_border():
    stack = torch.randint(1, 256, (1, 2, 6, 6, 6), dtype=torch.uint8)
    made = stacks.cubes(stack, torch.tensor([0]), torch.tensor([[0.0, 5, 3]]), torch.ones(1, 3), 4)[0]
    assert torch.equal(made[0, 0], made[0, 2]) and torch.equal(made[0, :, 3], made[0, :, 2])
    assert torch.equal(made[0, 2], stack[0, 0, 0].index_select(0, torch.tensor([3, 4, 5, 5]))[:, 1:5])
    assert not made[1, :2].any() and not made[1, :, 3].any() and made[1, 2:, :3].all()


def test_cubes_of_thick_slices_repeat_them():
    stack = torch.arange(6, dtype=torch.uint8)[None, None, :, None, None].expand(1, 2, 6, 20, 20).contiguous()
    made = stacks.cubes(stack, torch.tensor([0]), torch.tensor([[3.0, 9, 9]]), torch.tensor([[3.0, 1, 1]]), 8)[0]
    assert made[0, :, 0, 0].tolist() == [2, 2, 2, 3, 3, 3, 4, 4] and (made[0] == made[0, :, :1, :1]).all()


def cut(stack, points, spacing, side):
    """One cube (2, S, S, S) from a stack (2, Z, Y, X), voxel by voxel."""
    around = (np.arange(side) - side // 2) * (spacing.min() / spacing)[:, None]
    at = np.floor(np.floor(points + np.float32(0.5))[:, None] + around.astype(np.float32) + np.float32(0.5)).astype(int)
    last = np.array(stack.shape[1:])[:, None] - 1
    made = stack[(slice(None), *np.ix_(*at.clip(0, last)))]
    z, y, x = (at >= 0) & (at <= last)
    made[1] *= z[:, None, None] & y[:, None] & x
    return made


@pytest.mark.parametrize("side", [5, 8, 20])
def test_cubes_cut_one_by_one_are_the_same(side):
    stack = torch.randint(0, 256, (3, 2, 7, 15, 14), dtype=torch.uint8)
    points, item = 20 * torch.rand(30, 3) - 3, torch.randint(0, 3, (30,))
    for spacing in ([[1.0, 1, 1], [2.5, 1, 1], [3, 2, 1]], [[1.0, 1, 1], [1, 1, 2.5], [1, 1.5, 2]]):
        spacing = torch.tensor(spacing)
        made = stacks.cubes(stack, item, points, spacing, side)
        for own, n, point in zip(made.numpy(), item.tolist(), points.numpy()):
            assert np.array_equal(own, cut(stack[n].numpy(), point, spacing[n].numpy(), side))


def test_no_cubes_of_no_points():
    stack, none = torch.zeros(1, 2, 5, 6, 7, dtype=torch.uint8), torch.zeros(0, dtype=torch.long)
    assert stacks.cubes(stack, none, torch.zeros(0, 3), torch.ones(1, 3), 8).shape == (0, 2, 8, 8, 8)


@pytest.mark.parametrize("thickness", [1, 2])
def test_training_cubes_are_those_of_the_whole_stack(thickness):
    part = small(thickness=thickness).train
    whole, items = part.tensors, list(range(0, len(part), 17))
    item, node = part.where[items].unbind(1)
    got = part.__getitems__(items)
    direct = stacks.cubes(whole["stack"][:, 0], item, whole["nodes"][item, 0, node], whole["spacing"], 12)
    again = stacks.cubes(got["stack"][:, 0], torch.arange(len(items)), got["nodes"][:, 0, 0], got["spacing"], 12)
    assert torch.equal(direct, again)
    assert torch.equal(got["onset"][:, 0, 0], whole["onset"][item, 0, node])
    assert ((whole["onset"][item, 0, node] >= 0) | (whole["branch"][item, 0, node] >= 0)).all()


# ---------------------------------------------------------------- rules


def test_rules_of_a_path_by_hand():
    points, parent = straight(30, axis=0, start=(5, 10, 10))
    points[20:, 1] += np.arange(1, 11)
    points[20:, 0] = points[19, 0]
    stack = np.zeros((20, 30, 40), np.uint8)
    stack[10, 10, 5:25] = stack[10, 10:21, 24] = 200
    stack[10, 10, 12:16] = 0
    found = dict(zip(rules.RULES, rules.measured(stack, Draft(points, parent, np.zeros(30, int)), ONE).T))
    assert np.argmax(found["turn"]) == 19 and found["turn"][19] == pytest.approx(np.pi / 2)
    assert found["gap"][8:10].min() >= 3 and not found["gap"][[2, 3, 25]].any()
    assert found["darkest"][12] < 0.3 and found["brightness"][3] == pytest.approx(1, abs=0.01)
    assert not found["detached"].any() and not found["crossing"].any() and (found["distance"][10:12] > 6).all()
    assert found["leap"][5] == 1 and not found["multifurcation"].any()


def test_rules_see_crossings_forks_detached_parts_and_types():
    one, two = straight(21, 0, (0, 10, 10)), straight(21, 1, (10, 0, 12))
    points = np.concatenate([one[0], two[0], [[0, 11, 10], [-1, 10, 10], [0, 9, 10]]])
    parent = np.concatenate([one[1], np.where(two[1] >= 0, two[1] + 21, -1), [0, 0, 0]])
    kinds = np.where(np.arange(45) == 7, 2, 3)
    draft = Draft(points, parent, np.zeros(45, int))
    found = dict(zip(rules.RULES, rules.measured(np.eye(3)[None].repeat(3, 0) * 9, draft, ONE, kinds).T))
    assert found["distance"][10] == pytest.approx(2) and found["crossing"][10] == 1 and found["crossing"][0] == 0
    assert found["detached"].sum() == 21 and found["multifurcation"][0] == 2
    assert np.flatnonzero(found["type jump"]).tolist() == [7, 8]
    assert found["branch angle"][0] == pytest.approx(np.pi / 2)


def test_other_paths_by_brute_force():
    rng = np.random.default_rng(1)
    parent = np.array([-1, *[rng.integers(max(0, k - 2), k) for k in range(1, 60)]])
    points = np.cumsum(rng.normal(0, 1.5, (60, 3)), 0)
    hops = np.full((60, 60), 99)
    np.fill_diagonal(hops, 0)
    for node in range(1, 60):
        hops[node, parent[node]] = hops[parent[node], node] = 1
    for k in range(60):
        hops = np.minimum(hops, hops[:, k : k + 1] + hops[k])
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    slow = np.where(hops > rules.APART, distance, rules.FAR).min(1).clip(max=rules.FAR)
    np.testing.assert_allclose(rules.to_others(points, parent), slow)


# ---------------------------------------------------------------- folders


def tiff(path, array):
    pages = [Image.fromarray(page) for page in array]
    path.parent.mkdir(parents=True, exist_ok=True)
    pages[0].save(path, save_all=True, append_images=pages[1:])


def trace(path, points, parent):
    path.parent.mkdir(parents=True, exist_ok=True)
    swc.write_swc(path, swc.tree_of(points, parent))


def folder(root, count=4, size=32, traces=True, gold=False):
    """Phantom scenes as TIFF stacks with the right trace, or with traces with errors beside the right ones."""
    for number in range(count):
        one = phantoms.neuron(number, Options(size=size))
        tiff(root / f"images/n{number}.tif", one.stack.astype(np.uint16) * 16)
        if gold:
            trace(root / f"gold/n{number}.swc", one.gold.points, one.gold.parent)
        if traces:
            draft = one.draft if gold else one.gold
            trace(root / f"traces/n{number}.swc", draft.points, draft.parent)
    return root


FEW = {"train": 2, "valid": 1, "test": 1, "folds": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("stacks"))


def load(root, **options):
    return neuron.load(root, Options(**FEW | options))


def refused(call, *words):
    with pytest.raises(InvalidImage) as caught:
        call()
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), str(caught.value)


def test_gold_traces_get_errors(made):
    found = load(made)
    assert found.aside == [] and len(found.test) == 1
    assert (found.train.tensors["kind"] > 0).any(1).all() and (found.train.tensors["onset"] == 1).any()
    assert found.fingerprint == load(made).fingerprint != load(made, data_seed=3).fingerprint
    assert all("n0" not in case and len(case) == 10 for case in found.train.table["case"])
    control, own = (found.test.tensors["onset"][0, version] for version in (1, 0))
    assert not (control == 1).any() and (own == 1).any()


def test_errors_in_real_traces_are_off_or_on_signal():
    """Of a stack alone, without knowing its fibres: jumps follow something bright, overshoots do not."""
    found = {kind: [] for kind in KINDS}
    for number in range(16):
        one = phantoms.neuron(number, Options(size=48))
        rng = np.random.default_rng(number)
        gold = perturbation.drafted(one.gold.points, one.gold.parent)
        draft = perturbation.perturbed(rng, one.stack, gold, ONE, 2.0, 2, number, 10)
        bright = rules.brightness(one.stack, draft.points, draft.parent, ONE)
        for index, event in enumerate(draft.events, 1):
            if (own := draft.wrong == index).any():
                found[KINDS[event.kind - 1]].append(np.median(bright[own]))
    assert all(len(found[kind]) >= 3 for kind in ("jump", "overshoot", "spurious"))
    assert np.median(found["jump"]) > 0.5 > 0.4 > np.median(found["overshoot"] + found["spurious"])


def test_real_errors_are_found_beside_a_gold_standard(tmp_path):
    root = folder(tmp_path, size=48, gold=True)
    found = load(root, test=2)
    got = [kind for split in SPLITS for kind in getattr(found, split).tensors["kind"].flatten().tolist() if kind]
    assert 6 <= len(got) <= 10
    lines = list(neuron.check(root, Options(**FEW | {"test": 2})))
    assert lines[-1] == "4 neurons can be used, 0 are set aside" and "errors" in lines[0]


def test_folds_keep_groups_together(tmp_path):
    root = folder(tmp_path, count=6)
    rows = "".join(f"n{number}.tif,brain{number // 2}\n" for number in range(6))
    (root / "labels.csv").write_text("file,brain\n" + rows)
    tested = []
    for fold in range(3):
        found = load(root, fold=fold, train=9, valid=2, test=9)
        groups = [set(getattr(found, split).table["group"]) for split in SPLITS]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 3
        tested += found.test.table["case"]
    assert len(tested) == len(set(tested)) == 6


def test_nifti_in_any_orientation_is_the_same_neuron(tmp_path):
    one = phantoms.neuron(0, Options(size=32))
    array = np.ascontiguousarray(one.stack.transpose(2, 1, 0))
    tree = swc.tree_of(one.gold.points, one.gold.parent)
    read = {}
    for name, flip in (("plain", ()), ("flipped", (0, 2))):
        stored, affine, points = array, np.diag([0.5, 0.5, 2.0, 1]), one.gold.points.copy()
        for axis in flip:
            stored = np.flip(stored, axis)
            affine[axis] *= -1
            points[:, axis] = 31 - points[:, axis]
        swapped = np.moveaxis(stored, 0, 1)
        affine = affine[:, [1, 0, 2, 3]]
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(swapped, affine), path)
        stack = volumes.read_stack(path, Options())
        own = swc.replace(tree, points=points[:, [1, 0, 2]])
        read[name] = stack.array, volumes.placed(path, own, stack), stack.spacing
    for first, second in zip(*read.values()):
        np.testing.assert_allclose(first, second)
    assert read["plain"][2].tolist() == [2, 0.5, 0.5]
    np.testing.assert_allclose(read["plain"][1], one.gold.points * [1, 1, 4])


@pytest.mark.parametrize("coordinates", ["voxel", "physical"])
def test_anisotropic_tiff(tmp_path, coordinates):
    array = np.random.default_rng(0).integers(0, 255, (6, 30, 20)).astype(np.uint8)
    tiff(tmp_path / "a.tif", array)
    options = Options(spacing="0.5,0.5,2", coordinates=coordinates)
    stack = volumes.read_stack(tmp_path / "a.tif", options)
    voxels = np.array([[3.0, 7, 2], [19, 29, 5]])
    tree = swc.tree_of(voxels * ([0.5, 0.5, 2] if coordinates == "physical" else 1), [-1, 0])
    placed = volumes.placed(tmp_path / "a.swc", tree, stack)
    np.testing.assert_allclose(placed, voxels * [1, 1, 4])
    assert np.corrcoef(stack.array.ravel(), array.ravel())[0, 1] > 0.999


def test_stacks_are_cut_to_their_trace():
    array = np.arange(20 * 60 * 60).reshape(20, 60, 60)
    points = np.array([[30.0, 10, 8], [35, 20, 12]])
    part, shift = volumes.cropped(array, points, np.array([2.0, 1, 1]), 4)
    moved = points + shift
    at = lambda volume, p: volume[int(p[2] / 2), int(p[1]), int(p[0])]  # noqa: E731
    assert [at(part, p) for p in moved] == [at(array, p) for p in points] and part.size < array.size / 20


def test_places_in_a_cut_stack_are_told_as_in_the_file(tmp_path):
    one = phantoms.neuron(0, Options(size=32))
    tiff(tmp_path / "images/a.tif", np.pad(one.stack.astype(np.uint16) * 16, [(20, 0), (30, 0), (40, 0)]))
    trace(tmp_path / "traces/a.swc", one.gold.points + np.array([40, 30, 20]), one.gold.parent)
    entry = folders.Entry("a", tmp_path / "images/a.tif", tmp_path / "traces/a.swc", None, "a", 0)
    cut = folders.neuron(entry, tmp_path, Options(box=16, spacing="0.5,0.5,0.5"))
    first = swc.read_swc(entry.trace).points[0]
    assert (cut.origin[::-1] > 1).all() and cut.stack.shape < (52, 62, 72)
    np.testing.assert_allclose(
        cut.origin[::-1] + 0.5 * cut.draft.points[0], 0.5 * first, atol=0.7
    )  # nodes are jittered


def test_what_is_wrong_with_one_neuron_sets_it_aside(tmp_path):
    root = folder(tmp_path, count=6)
    (root / "traces/n1.swc").write_text("1 1 0 0 0 1 -1\n2 3 999 0 0 1 1\n")
    (root / "traces/n2.swc").write_text("1 1 0 0 0 1 -1\n2 3 9 0 0 1 7\n")
    found = load(root, train=4)
    told = dict(found.aside)
    assert "line 2 outside" in told["n1"] and "line 2: parent 7 is no node" in told["n2"]
    assert any("set aside: n1" in line for line in neuron.check(root, Options(**FEW)))


def test_folders_that_cannot_serve(tmp_path, made):
    refused(lambda: load(tmp_path / "none"), "nothing of that name")
    root = folder(tmp_path / "few", count=2)
    refused(lambda: load(root), "at least 3 groups", "2 that can be read")
    trace(root / "traces/n9.swc", *straight(4))
    refused(lambda: load(root), "a stack for every file of traces/", "n9")
    (tmp_path / "other/images").mkdir(parents=True)
    tiff(tmp_path / "other/images/a.tif", np.zeros((3, 8, 8), np.uint8))
    refused(lambda: load(tmp_path / "other"), "images/ with traces/ or gold/")
    (tmp_path / "other/traces").mkdir()
    refused(lambda: load(tmp_path / "other"), "SWC files", "none")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 8, 8), np.uint8), "one value"),
        (np.random.default_rng(0).random((3, 8, 8)).astype(np.float32), "pages of mode F"),
        (np.zeros((3, 8, 8, 3), np.uint8), "pages of mode RGB"),
        (np.eye(8, dtype=np.uint8)[None], "one page"),
    ],
    ids=["empty", "float", "colour", "slice"],
)
def test_stacks_that_cannot_serve(tmp_path, array, words):
    tiff(tmp_path / "a.tif", array)
    refused(lambda: volumes.read_stack(tmp_path / "a.tif", Options()), "a.tif", words)


def test_imagej_stacks_with_hidden_pages_are_refused(tmp_path):
    page = Image.fromarray(np.eye(8, dtype=np.uint8))
    page.save(
        tmp_path / "a.tif", save_all=True, append_images=[page], description="ImageJ=1.53\nimages=40\nslices=40\n"
    )
    refused(lambda: volumes.read_stack(tmp_path / "a.tif", Options()), "2 pages and a note of 40 images")


def test_walks_stay_inside():
    way = injection.walk(np.random.default_rng(0), np.full(3, 5.0), np.array([1.0, 0, 0]), 400, np.array([20, 30, 40]))
    assert (way >= 0).all() and (way <= [19, 29, 39]).all()
    assert np.linalg.norm(np.diff(way, axis=0), axis=1).max() <= 1 + 1e-9
    assert folders.hashed("a") != folders.hashed("b")


# ---------------------------------------------------------------- a trace of one's own


@pytest.mark.parametrize("by_type", [False, True])
def test_alerts_come_back_on_the_nodes_of_the_file(made, tmp_path, by_type):
    batch, tree, near = neuron.unjudged(made / "images/n1.tif", made / "traces/n1.swc", Options(step=3.0))
    assert batch["stack"].shape[:3] == (1, 1, 2) and not (batch["kind"] > 0).any() and len(near) == len(tree)
    assert len(tree) > batch["nodes"].shape[2] and near.max() < batch["nodes"].shape[2]
    score = np.zeros(batch["nodes"].shape[2])
    score[[4, 5]] = 0.9
    alert = (score > 0.5)[near]
    neuron.write_alerts(tmp_path / "out.swc", tree, score[near], alert, by_type=by_type)
    again, found = swc.read_alerts(tmp_path / "out.swc")
    np.testing.assert_array_equal(found, alert)
    np.testing.assert_array_equal(again.points, tree.points)
    np.testing.assert_array_equal(again.parent, tree.parent)
    scores, run = swc.read_alert_table(tmp_path / "out.csv", tree)
    assert set(run[alert]) == {1} and not run[~alert].any() and (scores[alert] == 0.9).all()
    places = tree.points[alert]
    assert 3 <= alert.sum() <= 12 and np.linalg.norm(places - places.mean(0), axis=1).max() < 6
