"""LT-Net against its source: both fields, every term, the way of every gradient, every ablation, one atlas alone."""

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from torch import nn
from torch.nn import functional as F

from workbench import data, fit
from workbench.data import Cases
from workbench.errors import InvalidParameter
from workbench.losses.registration import dice_loss, local_ncc, one_hot, rho, smoothness
from workbench.method import Stream
from workbench.methods import ltnet
from workbench.methods.ltnet import closed_way
from workbench.models.warp import compose, cycle_error, warp

SILENT = {f"{name}_weight": 0.0 for name in ("sim", "smooth", "cyc", "trans", "anat")}
ALL = {"gan_weight": 0.1, "diff_weight": 1.0, "cyc_weight": 1.0, "trans_weight": 1.0, "anat_weight": 1.0}
TERMS = {"sim", "smooth", "gan", "cyc", "trans", "anat", "diff"}
CLASSES = 5


def make(**changes):
    return moved(small_method("ltnet", **changes))


def moved(model, size=0.3):
    """The same with heads that give fields of about a voxel instead of none."""
    torch.manual_seed(1)
    for net in (model.forth, model.back):
        nn.init.normal_(net.decoder.head.weight, std=size)
    return model


def batch_of(count=4):
    return small_data("anatomy3d").train.__getitems__(range(count))


def bodies(model, batch=None, seed=0):
    """All updates of one batch without a step of any optimizer: (side, loss, logs)."""
    model.stream = Stream(seed)
    return list(model.updates(batch or batch_of()))


def terms_of(model, batch=None):
    side, loss, logs = bodies(model, batch)[-1]
    assert side == "generator"
    return loss.item(), {key: float(value) for key, value in logs.items()}


def gradient(model, part, batch=None):
    """The sum of absolute gradients that the generator's loss leaves in one network."""
    model.zero_grad()
    bodies(model, batch)[-1][1].backward()
    return sum(p.grad.abs().sum().item() for p in getattr(model, part).parameters() if p.grad is not None)


def way(model, batch):
    """(atlas with labels, DpF, u- with labels, DpB, l- with labels), step by step as the card writes them."""
    given = torch.cat([batch["atlas"], one_hot(batch["atlas_label"], CLASSES)], 1)
    forth = model.forth(batch["atlas"], batch["image"])
    warped = warp(given, forth)
    back = model.back(warped[:, :1], batch["atlas"])
    return given, forth, warped, back, warp(warped, back)


class Fixed(nn.Module):
    """A network that gives one field whatever it sees, and keeps what it saw."""

    def __init__(self, flow):
        super().__init__()
        self.flow, self.seen = nn.Parameter(flow), []

    def forward(self, moving, fixed, encoder=None):
        self.seen.append((moving, fixed))
        return self.flow.expand(len(moving), *self.flow.shape[1:])


def shift(*steps, side=32):
    return torch.tensor(steps, dtype=torch.float32).view(1, -1, 1, 1).repeat(1, 1, side, side)


def fixed(forth, back, **changes):
    model = small_method("ltnet", **changes)
    model.forth, model.back = Fixed(forth), Fixed(back)
    return model


# ---------------------------------------------------------------- what the networks are shown


def test_backward_network_sees_the_warped_atlas_and_the_atlas():
    batch = batch_of()
    model = fixed(shift(2.0, -1.0), shift(0.0, 0.0))
    bodies(model, batch)
    ((moving, target),) = model.back.seen
    assert torch.equal(target, batch["atlas"])
    torch.testing.assert_close(moving, warp(batch["atlas"], shift(2.0, -1.0).expand(4, -1, -1, -1)))
    assert moving.requires_grad, "detached, the way back would teach the forward network nothing"
    ((moving, target),) = model.forth.seen
    assert torch.equal(moving, batch["atlas"]) and torch.equal(target, batch["image"])


def test_networks_are_two():
    model = make()
    ids = [{id(p) for p in net.parameters()} for net in (model.forth, model.back)]
    assert not ids[0] & ids[1]
    assert len(ids[0]) == len(ids[1])


def test_shared_encoder_is_one():
    model = make(shared=True)
    assert not hasattr(model.back, "encoder")
    names = {key.rpartition(".")[0] for key in model.state_dict()}
    assert any(name.startswith("forth.encoder") for name in names)
    assert not any(name.startswith("back.encoder") for name in names)
    fit.step(model, model.optimizers(), [batch_of()], 0, FLOAT32, bf16=False)
    assert torch.isfinite(model.score(batch_of(), model.predict(batch_of()))["cycle"]).all()


# ---------------------------------------------------------------- the terms


def test_terms_by_hand():
    model, batch = make(**ALL, smooth_weight=0.5), batch_of()
    given, forth, warped, back, again = way(model, batch)
    sides = torch.tensor([32.0, 32.0]).view(1, 2, 1, 1)
    expected = {
        "sim": local_ncc(warped[:, :1], batch["image"], 9),
        "smooth": 0.5 * (smoothness(forth) + smoothness(back)),
        "gan": 0.1 * (model.critic(warped[:, :1]) - 1).square().mean(),
        "cyc": (again[:, :1] - given[:, :1]).abs().mean(),
        "trans": rho((back + warp(forth, back)) / sides).mean(),
        "anat": dice_loss(again[:, 1:], given[:, 1:]),
        "diff": (again[:, 1:] - given[:, 1:]).abs().mean(),
    }
    loss, logs = terms_of(model, batch)
    assert logs == pytest.approx({name: term.item() for name, term in expected.items()}, rel=1e-4)
    assert loss == pytest.approx(sum(logs.values()), rel=1e-5)


@pytest.mark.parametrize("term", sorted(TERMS))
def test_weights_multiply_their_terms(term):
    _, one = terms_of(make(**ALL))
    weight = {**vars(ltnet.Config()), **ALL}[f"{term}_weight"]
    _, two = terms_of(make(**ALL | {f"{term}_weight": 2 * weight}))
    assert set(one) == set(two) == TERMS
    assert two[term] == pytest.approx(2 * one[term], rel=1e-5) and one[term] != 0
    assert all(two[key] == pytest.approx(one[key], rel=1e-5) for key in TERMS - {term})


def test_constant_shifts_that_cancel_leave_rho_alone():
    forth, back = shift(3.0, -2.0), shift(-3.0, 2.0)
    floor = rho(torch.zeros(())).item()
    assert closed_way(forth, back).item() == pytest.approx(floor, rel=1e-3)
    assert closed_way(forth, forth).item() == pytest.approx(
        (rho(torch.tensor(6 / 32)) + rho(torch.tensor(4 / 32))).item() / 2, rel=1e-4
    )


def test_closed_way_reads_the_forward_field_where_the_backward_one_leads():
    """Stretching by 2 and halving cancel; the plain sum of both fields does not."""
    places = torch.arange(32.0).view(1, 1, 32, 1).expand(1, 1, 32, 32)
    still = torch.zeros_like(places)
    forth, back = torch.cat([places, still], 1), torch.cat([-places / 2, still], 1)
    floor = rho(torch.zeros(())).item()
    assert closed_way(forth, back).item() == pytest.approx(floor, rel=0.01)
    assert rho((forth + back) / 32).mean().item() > 10 * floor


def test_symmetric_closed_way_adds_its_partner():
    batch = batch_of()
    _, forth, _, back, _ = way(make(), batch)
    one, two = (terms_of(make(symmetric=both, trans_weight=1.0), batch)[1]["trans"] for both in (False, True))
    assert two - one == pytest.approx(closed_way(back, forth).item(), rel=1e-4)
    assert one == pytest.approx(closed_way(forth, back).item(), rel=1e-4)


def test_closed_way_by_volumes_of_unequal_sides():
    forth, back = torch.zeros(1, 3, 8, 16, 24), torch.zeros(1, 3, 8, 16, 24)
    forth[:, 1] = 4
    expected = (rho(torch.tensor(4 / 16)) + 2 * rho(torch.tensor(0.0))) / 3
    assert closed_way(forth, back).item() == pytest.approx(expected.item(), rel=1e-4)


def test_way_back_that_undoes_the_way_there_costs_nothing():
    batch = batch_of()
    _, there = terms_of(fixed(shift(2.0, -1.0), shift(-2.0, 1.0), **ALL | {"gan_weight": 0.0}), batch)
    _, astray = terms_of(fixed(shift(2.0, -1.0), shift(2.0, -1.0), **ALL | {"gan_weight": 0.0}), batch)
    assert there["smooth"] == astray["smooth"] == 0
    assert all(there[name] < 0.2 * astray[name] for name in ("cyc", "trans", "anat", "diff"))  # the border is lost


def test_labels_are_warped_linearly():
    """Half a voxel halves a one-hot label at its edge; the nearest label would stay whole."""
    batch = batch_of(1)
    model = fixed(shift(0.5, 0.0), shift(0.0, 0.0), **SILENT | {"anat_weight": 1.0})
    given = one_hot(batch["atlas_label"], CLASSES)
    half = F.pad((given[:, :, :-1] + given[:, :, 1:]) / 2, (0, 0, 0, 1))
    assert ((half == 0.5).sum()) > 10
    _, logs = terms_of(model, batch)
    assert logs["anat"] == pytest.approx(dice_loss(half, given).item(), abs=1e-4)


# ---------------------------------------------------------------- where gradients go


@pytest.mark.parametrize("term", ["cyc", "trans", "anat", "diff"])
@pytest.mark.parametrize("part", ["forth", "back"])
def test_every_term_of_the_way_back_reaches_both_networks(term, part):
    assert gradient(make(**SILENT | {f"{term}_weight": 1.0}), part) > 0


def test_likeness_reaches_the_forward_network_alone():
    assert gradient(make(**SILENT | {"sim_weight": 1.0}), "forth") > 0
    assert gradient(make(**SILENT | {"sim_weight": 1.0}), "back") == 0


def test_warped_atlas_is_not_detached_before_the_way_back():
    """The gradient of L_cyc in the forward network has a part through what the backward network is shown."""
    batch, gradients = batch_of(), []
    for detach in (False, True):
        model = make(**SILENT | {"cyc_weight": 1.0})
        if detach:
            original = model.back.forward
            model.back.forward = lambda moving, target, encoder=None, run=original: run(moving.detach(), target)
        model.zero_grad()
        bodies(model, batch)[-1][1].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.forth.parameters()]))
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[0].norm()


def test_one_joint_step_trains_both_networks():
    model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    sides = [side for side, *_ in bodies(model)]
    fit.step(model, model.optimizers(), [batch_of()], 0, FLOAT32, bf16=False)
    assert sides == ["generator"] and list(model.optimizers()) == ["generator"]
    assert not [key for key, value in model.state_dict().items() if torch.equal(value, before[key])]


# ---------------------------------------------------------------- the critic


def test_critic_sees_scans_as_real_and_the_warped_atlas_as_made():
    model, batch = make(gan_weight=0.1), batch_of()
    seen, critic = [], model.critic.forward
    model.critic.forward = lambda image: seen.append(image) or critic(image)
    sides = [side for side, *_ in bodies(model, batch)]
    _, _, warped, _, _ = way(model, batch)
    assert sides == ["critic", "generator"]
    assert torch.equal(seen[0], batch["image"])
    torch.testing.assert_close(seen[1], warped[:, :1])
    torch.testing.assert_close(seen[2], warped[:, :1])
    assert not seen[1].requires_grad and seen[2].requires_grad


def test_critic_and_generator_step_in_turn():
    model, batch = make(gan_weight=0.1), batch_of()
    optimizers, model.stream = model.optimizers(), Stream(0)
    moved_by = {}
    states = {key: value.clone() for key, value in model.state_dict().items()}
    for side, loss, _ in model.updates(batch):
        optimizers[side].zero_grad()
        weights = [p for group in optimizers[side].param_groups for p in group["params"]]
        torch.autograd.backward(loss, inputs=weights)
        optimizers[side].step()
        now = model.state_dict()
        moved_by[side] = {key.split(".")[0] for key in now if not torch.equal(now[key], states[key])}
        states = {key: value.clone() for key, value in now.items()}
    assert moved_by == {"critic": {"critic"}, "generator": {"forth", "back"}}


@pytest.mark.parametrize("dims", [2, 3])
def test_critic_gives_a_score_a_patch(dims):
    assert ltnet.Critic(dims, 4)(torch.rand(2, 1, *[32] * dims)).shape == (2, 1, *[4] * dims)


# ---------------------------------------------------------------- one atlas alone


def test_labels_of_training_subjects_are_never_read():
    train = small_data("anatomy3d").train
    poisoned = Cases(train.tensors | {"label": torch.full_like(train.tensors["label"], -1)}, train.table)
    models = [fit.fit(make(**ALL), cases, FLOAT32, seed=3) for cases in (train, poisoned)]
    one, two = (model.state_dict() for model in models)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_labels_of_the_atlas_are_read():
    train = small_data("anatomy3d").train
    emptied = Cases(train.tensors | {"atlas_label": torch.zeros_like(train.tensors["atlas_label"])}, train.table)
    models = [fit.fit(make(**ALL), cases, FLOAT32, seed=3) for cases in (train, emptied)]
    assert not torch.equal(*[model.forth.decoder.head.weight for model in models])


def test_prediction_needs_no_label_of_the_scan():
    model, batch = make(), batch_of()
    bare = {key: batch[key] for key in ("image", "atlas", "atlas_label", "spacing")}
    assert torch.equal(model.predict(bare)["mask"], model.predict(batch)["mask"])


def test_prediction_is_the_forward_way_alone():
    model, batch = make(), batch_of()
    found = model.predict(batch)
    model.back = None
    again = model.predict(batch)
    assert torch.equal(found["mask"], again["mask"]) and torch.equal(found["flow"], again["flow"])
    assert found["flow"].shape == (4, 2, 32, 32) and found["mask"].shape == (4, 1, 32, 32)
    assert set(found["mask"].unique().tolist()) <= set(range(CLASSES + 1))


def test_score_holds_the_cycle_error():
    model, batch = make(), batch_of()
    _, forth, _, back, _ = way(model, batch)
    found = model.score(batch, model.predict(batch))
    torch.testing.assert_close(found["cycle"], cycle_error(forth, back))
    expected = (back + warp(forth, back)).norm(dim=1).flatten(1).mean(1)
    torch.testing.assert_close(found["cycle"], expected)
    assert found["cycle"].min() > 0


# ---------------------------------------------------------------- ablations, settings, volumes


LADDER = {
    "base": {"sim", "smooth"},
    "cyc": {"sim", "smooth", "cyc"},
    "trans": {"sim", "smooth", "cyc", "trans"},
    "gan": {"sim", "smooth", "cyc", "trans", "anat", "gan"},
    "heavy": {"sim", "smooth", "cyc", "trans", "anat"},
    "smooth0.1": {"sim", "smooth", "cyc", "trans", "anat"},
    "smooth0.01": {"sim", "smooth", "cyc", "trans", "anat"},
}


@pytest.mark.parametrize("name", ltnet.ABLATIONS)
def test_ladder_adds_a_term_a_step(name):
    _, logs = terms_of(make(**ltnet.ABLATIONS[name]))
    assert set(logs) == LADDER[name]
    assert all(getattr(ltnet.Config(), key) != value for key, value in ltnet.ABLATIONS[name].items())


def test_whole_method_has_all_terms_but_the_two_that_are_off():
    assert set(terms_of(make())[1]) == {"sim", "smooth", "cyc", "trans", "anat"}


def test_base_is_voxelmorph():
    """Without the way back, the forward network trains as the rival does, but for rounding: the comparison is fair."""
    train = small_data("anatomy3d").train
    base = fit.fit(small_method("ltnet", **ltnet.ABLATIONS["base"]), train, FLOAT32, seed=1)
    rival = fit.fit(small_method("voxelmorph"), train, FLOAT32, seed=1)
    one, two = base.state_dict(), rival.state_dict()
    assert {key for key in one if key.startswith("forth")} == set(two)
    for key in two:
        torch.testing.assert_close(one[key], two[key], atol=1e-5, rtol=1e-4)


def test_rivals_share_the_settings_that_both_have():
    ours = ltnet.Config()
    from workbench import method

    for name in ("voxelmorph", "dataaug", "multiatlas"):
        theirs = method.method_class(name).Config()
        shared = set(vars(ours)) & set(vars(theirs))
        assert {"base", "depth", "finish", "window", "smooth_weight", "lr"} <= shared
        assert {key: getattr(theirs, key) for key in shared} == {key: getattr(ours, key) for key in shared}


@pytest.mark.parametrize(("field", "value"), [("window", 8), ("finish", 4), ("dims", 4), ("cyc_weight", -1.0)])
def test_settings_that_cannot_work_are_refused(field, value):
    with pytest.raises(InvalidParameter, match=field):
        ltnet.Config(**{field: value})


def test_volumes_train_too():
    source = data.open_data("anatomy3d", dims=3, size=16, train=4, valid=1, test=1)
    spec = {key: value for key, value in source.spec.items() if key in vars(ltnet.Config())}
    torch.manual_seed(0)
    model = ltnet.LTNet(ltnet.Config(base=4, depth=2, **ALL, **spec))
    batch = source.train.__getitems__(range(4))
    for bf16 in (False, True):
        logs = fit.step(model, model.optimizers(), [batch], 0, FLOAT32, bf16=bf16)
        assert all(torch.isfinite(value).all() for value in logs.values())
    test = source.test.__getitems__([0])
    found = model.predict(test)
    assert found["flow"].shape == (1, 3, 16, 16, 16) and found["mask"].shape == (1, 1, 16, 16, 16)
    assert {"dice", "hd95", "cycle", "folds", "epe"} <= set(model.score(test, found))


def test_a_few_steps_bring_the_atlas_nearer():
    model, batch = small_method("ltnet", **ltnet.ABLATIONS["base"], smooth_weight=0.1, lr=1e-2), batch_of(8)
    first = terms_of(model, batch)[1]["sim"]
    optimizers = model.optimizers()
    for step in range(30):
        fit.step(model, optimizers, [batch], step, FLOAT32, bf16=False)
    assert terms_of(model, batch)[1]["sim"] < first - 0.03


def test_compose_and_cycle_speak_of_the_same_way():
    _, forth, _, back, _ = way(make(), batch_of())
    torch.testing.assert_close(compose(forth, back).norm(dim=1).flatten(1).mean(1), cycle_error(forth, back))


def test_volumes_are_trained_with_the_default_budget():
    """The memory layout of pictures is the default, and no layout of volumes."""
    source = data.open_data("anatomy3d", dims=3, size=16, train=2, valid=1, test=1)
    model = small_method("ltnet", dims=3, classes=source.spec["classes"])
    assert fit.Budget().channels_last
    fit.fit(model, source.train, fit.Budget(epochs=1, batch=2, valid_every=0, device="cpu"))
    assert all(p.isfinite().all() for p in model.parameters())
