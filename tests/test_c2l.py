"""C2L: contrasts against slow loops, the queue, the teacher, mixing, ShuffleBN, resuming, and how stages are shared."""

import math
import os
from pathlib import Path

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from torch import nn
from torch.nn import functional as F

from workbench import data, device, fit, study
from workbench.data.radiograph.cases import Options
from workbench.errors import InvalidParameter
from workbench.fit import Budget, Stopped
from workbench.method import Stream
from workbench.methods import c2l
from workbench.methods.c2l import ABLATIONS, C2L, PAPER, Config, infonce, mixed, nce, partition
from workbench.study import Study, Task, arms_of

TERMS = {"moco": 1, "images": 2, "features": 2, "all": 3}


def trainer(**change) -> C2L:
    """A small model in pre-training, in training mode."""
    return small_method("c2l", **{"phase": "pretrain", "dim": 8, "queue": 32, "contrast": "nce"} | change).train()


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def unlabelled(count: int = 8) -> data.Cases:
    return data.open_data("radiograph", size=32, train=count, valid=2, test=3, part="unlabelled").train


def stepped(model: C2L, batch: torch.Tensor, seed: int = 0, budget: Budget = FLOAT32, bf16: bool = False) -> dict:
    parts = [{"image": part} for part in batch.chunk(budget.accumulate)]
    return fit.step(model, model.optimizers(), parts, seed, budget, bf16)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


# ---------------------------------------------------------------- contrasts


def looped_nce(query, key, queue, temperature, z, count, eps):
    """The card's formula, one number at a time, in Python's floats."""
    total, m, noise = 0.0, len(queue), 1 / count
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        first = math.exp(sum(a * b for a, b in zip(q, k)) / temperature) / z
        total -= math.log(first / (first + m * noise + eps))
        for other in queue.tolist():
            p = math.exp(sum(a * b for a, b in zip(q, other)) / temperature) / z
            total -= math.log(m * noise / (p + m * noise + eps))
    return total / len(query)


@pytest.mark.parametrize(("count", "eps"), [(50, 1e-7), (512, 1e-5), (700_000, 1e-7), (700_000, 1e-5)])
@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_nce_equals_a_loop(count, eps, temperature):
    query, key, queue = unit(3, 4), unit(3, 4, seed=1), unit(6, 4, seed=2)
    positive, negative = (query * key).sum(1) / temperature, query @ queue.T / temperature
    z = partition(positive, negative, count)
    values = [math.exp(s) for s in torch.cat([positive[:, None], negative], 1).flatten().tolist()]
    assert z.item() == pytest.approx(count * sum(values) / len(values), rel=1e-5)
    found = nce(positive, negative, z, count, eps).item()
    assert found == pytest.approx(looped_nce(query, key, queue, temperature, z.item(), count, eps), rel=1e-4)


def test_nce_begins_at_the_number_of_the_card():
    """K = 16384, T = 0.07, N = 700,000, random unit vectors: about 11.4, and 7 more with eps 1e-5."""
    query, queue = unit(128, 128), unit(16384, 128, seed=1)
    positive, negative = (query * unit(128, 128, seed=2)).sum(1) / 0.07, query @ queue.T / 0.07
    z = partition(positive, negative, 700_000)
    first = nce(positive, negative, z, 700_000, 1e-7).item()
    assert first == pytest.approx(11.4, abs=0.15)
    assert nce(positive, negative, z, 700_000, 1e-5).item() - first == pytest.approx(7, abs=0.4)
    assert infonce(positive, negative).item() == pytest.approx(10.35, abs=0.3)


def test_infonce_is_the_cross_entropy_of_the_first_class():
    positive, negative = torch.randn(5), 3 * torch.randn(5, 9)
    scores = torch.cat([positive[:, None], negative], 1)
    torch.testing.assert_close(infonce(positive, negative), F.cross_entropy(scores, torch.zeros(5, dtype=torch.long)))


def test_contrasts_have_right_gradients():
    positive, negative = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((3,), (3, 5)))
    z = torch.tensor(70.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, n: nce(p, n, z, 60, 1e-7), (positive, negative))
    assert torch.autograd.gradcheck(infonce, (positive, negative))


# ---------------------------------------------------------------- the step against plain code


def released(model: C2L, batch: torch.Tensor, seed: int):
    """One forward pass as the release has it: score, then enqueue, on a copy of the queue; loss, queue and place."""
    c, stream = model.config, Stream(seed)
    how = c2l.recipe(c, batch.shape[3])
    first, second = (c2l.augment(batch, stream.rand(len(batch), how.draws, device=model.device), how) for _ in "ab")
    partner, order = (stream.rand(len(batch), device=model.device).argsort() for _ in "ab")
    model.stream = Stream(seed)
    share = model.share().item()

    def student(x):
        return torch.cat([model.embedding(model.encoder(part)) for part in x.chunk(c.groups)])

    def teacher(x):
        found = torch.cat([model.teacher(part) for part in x[order].chunk(c.groups)])
        return torch.stack([found[(order == item).nonzero().item()] for item in range(len(x))]).detach()

    def mix(x):
        return share * x + (1 - share) * x[partner]

    q, k = student(first), teacher(second)
    blend, mixed_key, mixture = student(mix(first)), teacher(mix(second)), mix(k)
    queue, place, z, terms = model.queue.clone(), model.pointer.item(), model.z.clone(), []
    for query, key in ((q, k), (blend, mixed_key), (blend, mixture)):
        query, key = query / query.norm(dim=1, keepdim=True), key / key.norm(dim=1, keepdim=True)
        positive, negative = (query * key).sum(1) / c.temperature, query @ queue.clone().T / c.temperature
        z = partition(positive, negative, c.images).detach() if z == 0 else z
        terms.append(nce(positive, negative, z, c.images, c.eps))
        if c.enqueue == "release" or len(terms) == 1:
            keys = key if c.enqueue == "release" else key.clone()
            rows = [(place + n) % len(queue) for n in range(len(keys))]
            if c.enqueue == "release":
                queue[rows], place = keys, (place + len(keys)) % len(queue)
            else:
                later = rows, keys
    if c.enqueue == "clean":
        queue[later[0]], place = later[1], (place + len(batch)) % len(queue)
    return torch.stack(terms), queue, place, z


@pytest.mark.parametrize("enqueue", ["release", "clean"])
def test_steps_equal_the_release_written_out(enqueue):
    """Four steps, so that the ring of 32 wraps around in the middle of a batch, and terms see keys in new places."""
    model, twin = (trainer(enqueue=enqueue, queue=31) for _ in range(2))
    for seed in range(4):
        batch = images(4, seed)
        twin.load_state_dict(model.state_dict())
        terms, queue, place, z = released(twin, batch, seed)
        logs = stepped(model, batch, seed)
        torch.testing.assert_close(
            torch.stack([logs[f"term{n}"] for n in (1, 2, 3)]), terms.detach(), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(logs["loss/student"], terms.detach().mean(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.queue, queue, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.z, z, rtol=1e-4, atol=1e-4)
        assert model.pointer.item() == place == (seed + 1) * 4 * (3 if enqueue == "release" else 1) % 31
    assert enqueue == "clean" or (seed + 1) * 12 > 31


def test_release_sees_its_own_keys_and_clean_does_not():
    """Once the queue is full of one direction, only the release's second and third term meet other keys."""
    found = {}
    for enqueue in ("release", "clean"):
        model = trainer(enqueue=enqueue, contrast="infonce")
        model.queue.copy_(unit(1, 8).expand(32, 8))
        found[enqueue] = stepped(model, images())
    assert found["release"]["term1"] == found["clean"]["term1"]
    assert found["release"]["term2"] != found["clean"]["term2"] and found["release"]["term3"] != found["clean"]["term3"]


@pytest.mark.parametrize(("terms", "enqueue", "count"), [
    ("all", "release", 3), ("all", "clean", 1), ("images", "release", 2), ("features", "release", 2),
    ("moco", "release", 1), ("moco", "clean", 1),
])  # fmt: skip
def test_so_many_enqueues_a_step(terms, enqueue, count):
    model = trainer(terms=terms, enqueue=enqueue)
    before = model.queue.clone()
    logs = stepped(model, images())
    changed = (model.queue != before).any(1)
    assert model.pointer.item() == changed.sum().item() == 4 * count and changed[: 4 * count].all()
    assert sum(name.startswith("term") for name in logs) == TERMS[terms]
    torch.testing.assert_close(model.queue[changed].norm(dim=1), torch.ones(4 * count))


def test_wrong_keys_are_those_of_other_images():
    """With queries and keys that are alike in pairs the right answers have cosine 1, the wrong ones 0."""
    found, pairs = {}, [(torch.eye(4, 8), 3 * torch.eye(4, 8))]
    for wrong in (False, True):
        model = trainer(wrong_keys=wrong)
        _, keys, logs = model.contrasted(pairs)
        found[wrong] = logs["positive"].item()
        assert torch.equal(keys, torch.eye(4, 8)), "what is enqueued is the same"
    assert found == {False: 1.0, True: 0.0}


def test_loss_is_the_mean_of_its_terms():
    logs = stepped(trainer(), images())
    torch.testing.assert_close(logs["loss/student"], (logs["term1"] + logs["term2"] + logs["term3"]) / 3)


# ---------------------------------------------------------------- the queue and Z


def test_ring_wraps_around_and_is_written_in_place():
    model = trainer(queue=5)
    address, kept = model.queue.data_ptr(), model.queue.clone()
    keys = torch.arange(3.0)[:, None].expand(3, 8)
    model.write(keys)
    torch.testing.assert_close(model.queue, torch.cat([keys, kept[3:]]))
    model.write(keys + 10)
    torch.testing.assert_close(model.queue[:, 0], torch.tensor([12.0, 1, 2, 10, 11]))
    assert model.pointer.item() == 1 and model.pointer.dtype == torch.int64 and model.queue.data_ptr() == address


def test_queue_begins_with_components_of_the_release():
    queue = trainer(dim=128, queue=2000).queue
    bound = 1 / math.sqrt(128 / 3)
    assert queue.abs().max() <= bound and queue.abs().max() > 0.99 * bound
    assert queue.norm(dim=1).mean() == pytest.approx(1, abs=0.02)


def test_a_queue_shorter_than_the_keys_of_a_step_is_refused():
    with pytest.raises(InvalidParameter, match="room for the 12 keys of a step, found 11"):
        stepped(trainer(queue=11), images())
    stepped(trainer(queue=12), images())


def test_z_is_a_float_fixed_by_the_first_batch_and_kept():
    model = trainer()
    assert model.z.dtype == torch.float32 and model.z == 0 and "z" in model.state_dict()
    stepped(model, images())
    first = model.z.clone()
    assert first > 0 and first != first.round(), "not cut to a whole number"
    stepped(model, images(seed=1), seed=1)
    assert model.z == first
    other = trainer()
    other.load_state_dict(model.state_dict())
    stepped(other, images(seed=2), seed=2)
    assert other.z == first, "and resumed with it"


def test_images_matter_for_eps_alone():
    logs = [stepped(trainer(images=count, eps=0.0), images())["loss/student"] for count in (8, 700_000)]
    torch.testing.assert_close(*logs, rtol=1e-4, atol=1e-4)
    assert small_data("radiograph").spec["images"] == 8


# ---------------------------------------------------------------- the teacher


def test_teacher_begins_as_a_copy_and_follows_by_its_parameters_alone():
    model = trainer(inertia=0.75)
    student = [*model.encoder.parameters(), *model.embedding.parameters()]
    teacher = list(model.teacher.parameters())
    assert all(torch.equal(a, b) for a, b in zip(student, teacher, strict=True))
    before = [p.clone() for p in teacher]
    stepped(model, images())
    for old, own, new in zip(before, student, teacher, strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * own.detach())
    assert any(not torch.equal(a, b) for a, b in zip(before, teacher))
    assert not any(p.requires_grad or p.grad is not None for p in teacher)
    assert not {id(p) for p in teacher} & {id(p) for p in fit.parameters(model.optimizers()["student"])}


def test_teachers_batch_statistics_are_its_own():
    model = trainer(inertia=1.0)
    names = [key for key in model.teacher.state_dict() if "running_mean" in key]
    before, parameters = state(model.teacher), [p.clone() for p in model.teacher.parameters()]
    stepped(model, images())
    own, student = model.teacher.state_dict(), model.encoder.state_dict()
    assert names and all(not torch.equal(own[key], before[key]) for key in names)
    assert not any(torch.equal(own[key], student[key.removeprefix("0.")]) for key in names)
    assert all(torch.equal(a, b) for a, b in zip(parameters, model.teacher.parameters())), "it keeps all of itself"


def test_of_the_teacher_only_batch_norms_are_in_training_mode():
    model = trainer()
    parts = list(model.teacher.modules())
    assert {part.training for part in parts if isinstance(part, nn.BatchNorm2d)} == {True}
    assert not any(part.training for part in parts if not isinstance(part, nn.BatchNorm2d))
    assert model.encoder.training and not any(part.training for part in model.eval().modules())


def test_teacher_follows_once_a_step_in_however_many_parts():
    model = trainer(inertia=0.5, groups=1)
    before, teacher = [p.clone() for p in model.teacher.parameters()], list(model.teacher.parameters())
    stepped(model, images(8), budget=Budget(**vars(FLOAT32) | {"accumulate": 2}))
    student = [*model.encoder.parameters(), *model.embedding.parameters()]
    for old, own, new in zip(before, student, teacher, strict=True):
        torch.testing.assert_close(new, (old + own.detach()) / 2)
    assert model.pointer == 24, "each part enqueues its keys"


# ---------------------------------------------------------------- mixing and ShuffleBN


def test_share_is_above_a_half_for_the_whole_batch_and_uniform():
    model, found = trainer(), []
    for seed in range(400):
        shares = []
        for first in (0, 4):
            model.stream = Stream(seed, first, 8)
            model.rand(4)
            shares.append(model.share())
        assert shares[0].shape == () and shares[0] == shares[1], "in whatever parts the batch is worked"
        found.append(shares[0].item())
    assert min(found) >= 0.5 and max(found) <= 1
    assert sum(found) / 400 == pytest.approx(0.75, abs=0.03) and sum(v < 0.6 for v in found) == pytest.approx(
        80, abs=30
    )


def watched(model: C2L, monkeypatch) -> list[tuple[torch.Tensor, ...]]:
    """What `mixed` is called with from now on."""
    seen, plain = [], mixed
    monkeypatch.setattr(c2l, "mixed", lambda *given: seen.append(given) or plain(*given))
    return seen


def test_one_share_and_one_choice_of_partners_for_both_views_and_the_features(monkeypatch):
    model = trainer()
    seen = watched(model, monkeypatch)
    pairs = model.pairs(images())
    (first, *one), (second, *two), (feature, *three) = seen
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(one, two, three, strict=True))
    assert sorted(one[1].tolist()) == [0, 1, 2, 3]
    assert first.shape == second.shape == (4, 3, 32, 32) and not torch.equal(first, second)
    assert torch.equal(feature, pairs[0][1]), "the key itself, not normalised yet"
    assert (feature.norm(dim=1) - 1).abs().max() > 1e-3
    share, partner = one
    torch.testing.assert_close(pairs[2][1], share * feature + (1 - share) * feature[partner])
    assert torch.equal(pairs[1][0], pairs[2][0]), "one query for both mixed terms"


def test_with_a_share_of_one_nothing_is_mixed(monkeypatch):
    model = trainer()
    monkeypatch.setattr(model, "share", lambda: torch.tensor(1.0))
    (query, key), (blend, mixed_key), (_, mixture) = model.pairs(images())
    assert torch.equal(mixture, key)
    torch.testing.assert_close(blend, query)
    torch.testing.assert_close(mixed_key, key)


def test_shuffling_is_undone_and_changes_the_groups():
    model, batch = trainer().eval(), torch.randn(6, 3, 32, 32)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(model.keys(batch, order), model.teacher(batch))
    model.train()
    halves = model.teacher(batch[[3, 0, 5]]), model.teacher(batch[[1, 4, 2]])
    found, straight = model.keys(batch, order), model.keys(batch, torch.arange(6))
    torch.testing.assert_close(found[[3, 0, 5, 1, 4, 2]], torch.cat(halves))
    assert (found - straight).abs().max() > 1e-3
    one = trainer(groups=1)
    torch.testing.assert_close(one.keys(batch, order), one.keys(batch, torch.arange(6)), atol=1e-4, rtol=1e-4)


def test_without_shuffling_the_order_stays(monkeypatch):
    for shuffle in (True, False):
        model, orders = trainer(shuffle=shuffle), []
        plain = model.keys
        monkeypatch.setattr(model, "keys", lambda image, order, o=orders, p=plain: o.append(order) or p(image, order))
        model.pairs(images(16))
        assert torch.equal(orders[0], orders[1]) and sorted(orders[0].tolist()) == list(range(16))
        assert torch.equal(orders[0], torch.arange(16)) is not shuffle


def test_views_differ_between_themselves_items_and_steps():
    model = trainer()
    same = images(1).expand(4, -1, -1, -1)
    model.stream = Stream(5)
    one, two = model.varied(same), model.varied(same)
    assert one.shape == (4, 3, 32, 32) and not torch.allclose(one[0], one[1]) and not torch.allclose(one, two)
    model.stream = Stream(5)
    torch.testing.assert_close(model.varied(same), one)


# ---------------------------------------------------------------- as a method


@pytest.mark.parametrize("change", [{}, *({"terms": t} for t in TERMS), {"enqueue": "clean"}, {"contrast": "infonce"}])
def test_pretraining_stopped_and_resumed_equals_never_stopped(change, tmp_path):
    """Queue, pointer, Z, teacher and its statistics, momentum: bit-equal."""
    budget, train = Budget(**vars(FLOAT32) | {"epochs": 3, "schedule": "steps"}), unlabelled()
    whole = fit.fit(trainer(**change), train, budget, seed=3)
    with pytest.raises(Stopped):
        fit.fit(trainer(**change), train, budget, seed=3, folder=tmp_path, watch=lambda told: told.total == 3)
    torch.manual_seed(77)
    resumed = fit.fit(trainer(**change), train, budget, seed=3, folder=tmp_path)
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())
    assert whole.pointer == 6 * 4 * (1 if change.get("enqueue") else TERMS[change.get("terms", "all")]) % 32


def process_of_two(rank: int, port: int, folder: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with device.processes():
        model = fit.fit(trainer(), unlabelled(), FLOAT32, folder=Path(folder))
        torch.save(model.state_dict(), Path(folder) / f"rank{rank}.pt")


def test_two_processes_have_one_queue_one_z_and_equal_weights(tmp_path):
    torch.multiprocessing.spawn(process_of_two, (21000 + os.getpid() % 20000, str(tmp_path)), nprocs=2)
    one, two = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    same = [key for key in one if "running_" not in key]  # on CPU each process has batch statistics of its own
    assert {"queue", "pointer", "z"} <= set(same) and all(torch.equal(one[key], two[key]) for key in same)
    assert one["pointer"] == 4 * 3 * 4 % 32, "the keys of both"


@pytest.mark.parametrize("terms", TERMS)
def test_all_of_the_student_learns_and_bf16_is_finite(terms):
    for bf16 in (False, True):
        model = trainer(terms=terms)
        before = state(model)
        logs = stepped(model, images(), bf16=bf16)
        assert all(torch.isfinite(value) for value in logs.values())
        learning = [key for key, p in model.named_parameters() if p.requires_grad]
        assert learning and not [key for key in learning if torch.equal(model.state_dict()[key], before[key])]
        assert model.queue.dtype == model.z.dtype == torch.float32


def test_pretraining_is_scored_without_labels_and_item_by_item():
    model, batch = trainer().eval(), small_data("radiograph").train.__getitems__(range(4))
    found = model.score(batch, model.predict(batch))
    assert set(found) == {"same", "other"} and all(v.shape == (4,) and v.abs().max() <= 1 for v in found.values())
    alone = model.score({"image": batch["image"][2:3]}, model.predict({"image": batch["image"][2:3]}))
    torch.testing.assert_close(alone["same"][0], found["same"][2])
    assert model.pooled(found) == {}


def test_probe_leaves_the_encoder_and_fine_tuning_does_not():
    for phase in ("probe", "finetune"):
        model = small_method("c2l", phase=phase)
        before = state(model.encoder)
        fit.fit(model, small_data("radiograph").train, FLOAT32)
        changed = [key for key, value in model.encoder.state_dict().items() if not torch.equal(value, before[key])]
        assert bool(changed) is (phase == "finetune")
        assert model.train().encoder.training is (phase == "finetune")


def test_probe_is_a_linear_map_of_features():
    model = small_method("c2l", phase="probe")
    fit.fit(model, small_data("radiograph").train, FLOAT32).eval()
    one, two = torch.randn(2, 3, model.encoder.width).unbind()
    torch.testing.assert_close(
        model.head((one + two) / 2), (model.head(one) + model.head(two)) / 2, atol=1e-4, rtol=1e-4
    )


# ---------------------------------------------------------------- stages

OPTIONS = {"size": 32, "train": 24, "labelled": 12, "valid": 4, "test": 6}
SMALL = {"base": 2, "dim": 4, "queue": 64, "pre_epochs": 1, "pre_batch": 8, "proxy_epochs": 1, "proxy_images": 16}
QUICK = {"epochs": 1, "batch": 4, "valid_every": 0, "precision": "float32"}


def tasks(options=OPTIONS, **change) -> dict[str, Task]:
    return {task.name: task for task in Study(arms_of("c2l", ("ablations",), change=SMALL | change), options=options,
                                              budget=QUICK).tasks()}  # fmt: skip


def test_arms_share_their_pretraining_whatever_the_head_and_the_number_of_labels():
    found = tasks()
    ids = {name: task.before.id if task.before else None for name, task in found.items()}
    groups = {"c2l": ("probe", "c2l_300", "probe_300"), "random": ("random_probe", "random_300", "random_probe_300")}
    groups |= {name: (f"{name}_probe", f"{name}_300", f"{name}_probe_300") for name in ("moco", "proxy")}
    groups |= {name: (f"{name}_probe",) for name in c2l.VARIANTS}
    for name, others in groups.items():
        assert {ids[other] for other in others} == {ids[name]}, name
    assert ids["random"] is None and len({ids[name] for name in groups}) == len(groups) == 11
    other = tasks(OPTIONS | {"labelled": 20}, lr=5e-3, probe_lr=0.5)
    assert {name: ids[name] for name in groups} == {
        n: t.before.id if t.before else None for n, t in other.items() if n in groups
    }


def test_pretraining_sees_all_training_images_no_label_and_no_other_image():
    task = tasks()["c2l"]
    stage = task.before
    assert stage.config.phase == "pretrain" and stage.config.images == 24 and stage.before is None
    assert task.stage[1] == ("encoder.",) and stage.budget.schedule == "steps"
    source = stage.data
    assert len(source.train) == 24 and source.train.tensors["known"].sum() == source.train.tensors["label"].sum() == 0
    names = {split: set(getattr(task.data, split).table["group"]) for split in ("valid", "test")}
    assert not set(source.train.table["group"]) & (names["valid"] | names["test"])
    assert set(task.data.train.table["case"]) < set(source.train.table["case"]) and len(task.data.train) == 12


def test_labels_are_the_same_for_all_arms_and_fewer_are_contained_in_more():
    found = tasks(OPTIONS | {"train": 320})
    few = {str(found[name].data.train.table["case"]) for name in ("c2l", "random", "moco_probe", "proxy")}
    many = {str(found[name].data.train.table["case"]) for name in ("c2l_300", "random_probe_300")}
    assert len(few) == len(many) == 1
    assert set(found["c2l"].data.train.table["case"]) < set(found["c2l_300"].data.train.table["case"])
    assert len(found["c2l_300"].data.train) == 300


def test_moco_has_twice_the_steps_and_as_many_student_passes():
    found = tasks(pre_epochs=3)
    epochs = {name: found[name].before.budget.epochs for name in ("c2l", "moco", "images", "features")}
    assert epochs == {"c2l": 3, "moco": 6, "images": 3, "features": 3}
    assert tasks(pre_epochs=c2l.Config.pre_epochs)["moco_steps"].before.budget.epochs == c2l.Config.pre_epochs
    passes = {}
    for terms in ("all", "moco"):
        model, calls = trainer(terms=terms, groups=1), []
        model.encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        stepped(model, images())
        passes[terms] = len(calls)
    assert passes == {"all": 2, "moco": 1}
    same = ("temperature", "queue", "pre_lr", "inertia", "crop", "groups", "contrast")
    first, second = found["c2l"].before.config, found["moco"].before.config
    assert all(getattr(first, name) == getattr(second, name) for name in same)
    assert found["c2l"].budget == found["moco"].budget == found["random"].budget == found["proxy"].budget


def test_proxy_is_supervised_by_coloured_images_of_the_same_network():
    task = tasks()["proxy"].before
    assert task.data.name == "natural" and task.config.phase == "finetune" and task.config.start == "random"
    assert task.before is None and task.config.base == 2 and len(task.data.train) == 16


def test_encoders_are_trained_once_and_taken_over(tmp_path, monkeypatch):
    """With the probe, whose encoder stays, what is left is what pre-training gave; the file has all of the queue."""
    trained, train = [], fit.fit
    monkeypatch.setattr(fit, "fit", lambda model, *a, **k: trained.append(model.config.phase) or train(model, *a, **k))
    names = ("probe", "c2l_300", "random_probe")
    arms = arms_of("c2l", names, change=SMALL)
    one = Study(arms, options=OPTIONS, budget=QUICK, root=tmp_path).run()
    assert trained.count("pretrain") == 1 and len(trained) == 5
    probe = {task.name: task for task in one.tasks()}["probe"]
    kept = {name: run.weights() if hasattr(run, "weights") else weights(run) for name, run in zip(arms, one.runs)}
    stage = weights(study.train(probe.before)[0])
    assert {"queue", "pointer", "z"} <= set(stage) and stage["pointer"].dtype == torch.int64
    assert all(torch.equal(v, stage[k]) for k, v in kept["probe"].items() if k.startswith("encoder."))
    assert not all(torch.equal(v, stage[k]) for k, v in kept["random_probe"].items() if k.startswith("encoder."))
    assert {"auc", "accuracy", "auc_nodule"} <= set(one.scores) and one.table().shape == (4, 2)


def weights(run) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run.path / "weights.safetensors")


def test_encoder_takes_its_weights_from_a_file(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(5)
    source = C2L(Config(base=4)).encoder
    save_file(source.net.state_dict(), tmp_path / "photographs.safetensors")
    model = small_method("c2l", start="file", weights=str(tmp_path / "photographs.safetensors"))
    assert C2L.before(model.config) is None
    model.begin()
    assert all(torch.equal(v, model.encoder.net.state_dict()[k]) for k, v in source.net.state_dict().items())
    with pytest.raises(InvalidParameter, match="a file"):
        small_method("c2l", start="file").begin()


def test_every_ablation_changes_the_network_its_training_or_its_data():
    arms = arms_of("c2l", ("ablations",))
    seen = [(str(sorted(arm.config.items())), str(arm.budget), str(arm.data)) for arm in arms.values()]
    assert len(set(seen)) == len(seen) == len(ABLATIONS) + 1
    named = {claim.arm for claim in c2l.CLAIMS} | {claim.other for claim in c2l.CLAIMS}
    assert named <= {None, *ABLATIONS, *c2l.FLOORS}
    (must,) = [claim for claim in c2l.CLAIMS if claim.kind == "must"]
    assert (must.other, must.arm, must.metric) == ("random", None, "auc")


def test_paper_scale_is_the_cards():
    chosen, _, options = study.settings("c2l", PAPER)
    model = C2L(Config(**chosen, phase="pretrain"))
    assert model.embedding.weight.shape == (128, 512) and model.queue.shape == (16384, 128)
    c = model.config
    assert (c.temperature, c.inertia, c.pre_lr, c.pre_momentum, c.pre_decay) == (0.07, 0.999, 0.03, 0.9, 1e-4)
    assert (c.contrast, c.enqueue, c.eps, c.pre_epochs, c.pre_batch) == ("nce", "release", 1e-7, 120, 128)
    assert (c.crop, c.holes, c.hole, c.jitter, Options(**options).size) == (0.2, 3, 32, 0.4, 224)
    stage = C2L.before(Config(**chosen))
    assert stage.budget == {"epochs": 120, "batch": 128, "schedule": "steps"} and stage.config["phase"] == "pretrain"


def test_steps_fall_after_60_80_and_100_of_120_epochs():
    weight = nn.Parameter(torch.zeros(1))
    optimizers = {"one": torch.optim.SGD([weight], 0.03)}
    rates = {}
    for epoch in range(1, 121):
        fit.set_rates(optimizers, Budget(schedule="steps"), (epoch - 1) * 7 / (7 * 120))
        rates[epoch] = optimizers["one"].param_groups[0]["lr"]
    for epoch, rate in ((1, 0.03), (60, 0.03), (61, 0.003), (80, 0.003), (81, 3e-4), (100, 3e-4), (101, 3e-5)):
        assert rates[epoch] == pytest.approx(rate), epoch


def test_a_few_images_are_learned_by_heart():
    source = data.open_data("radiograph", size=32, train=16, valid=4, test=4)
    model = small_method("c2l", lr=3e-3, base=8)
    fit.fit(model, source.train, Budget(**vars(FLOAT32) | {"epochs": 60, "batch": 16, "valid_every": 0}))
    found = fit.gathered(model, [score for *_, score in fit.evaluate(model, source.train)])
    assert found["auc"].mean() > 0.95


@pytest.mark.parametrize("contrast", ["nce", "infonce"])
def test_a_small_step_lowers_the_loss_of_the_same_views(contrast):
    model, batch, losses = trainer(contrast=contrast), images(8), []
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-4)
    for _ in range(2):
        model.stream = Stream(4)
        loss, *_ = model.contrasted(model.pairs(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
