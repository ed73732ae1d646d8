"""A study from its arms to its verdicts: run folders found again, equal data, stages, failures, records, no names."""

import contextlib
import dataclasses
import json
import math
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL
from PIL import Image
from safetensors.torch import load_file

from workbench import claims, compare, device, fit, method, runs, study
from workbench.errors import InvalidImage, InvalidParameter, InvalidRun
from workbench.study import Arm, Study

OPTIONS = {"size": 32, "train": 8, "valid": 2, "test": 2}
BUDGET = {"epochs": 2, "batch": 4, "precision": "float32", "valid_every": 0, "channels_last": False, "device": "cpu"}
STEPS = 4  # two epochs of two batches
WGAN = {key: SMALL[key] for key in ("base", "blocks", "critic_base", "critic_depth")}


def arms() -> dict[str, Arm]:
    return {"gan": Arm("gan", {"base": 4}), "colortable": Arm("colortable")}


def small(root: Path, chosen: dict[str, Arm] | None = None, **change) -> Study:
    return Study(chosen or arms(), **{"options": OPTIONS, "budget": BUDGET, "seeds": (0,), "root": root} | change)


def task(**change) -> study.Task:
    """One training; `config`, `budget` and `data` are the arm's."""
    own = {key: change.pop(key) for key in ("config", "budget", "data") if key in change}
    arm = Arm("gan", **{"config": {"base": 4}, "budget": BUDGET} | own)
    return study.Task(
        **{"name": "gan", "arm": arm, "kind": "anatomy", "options": OPTIONS, "seed": 0, "root": Path()} | change
    )


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """The methods whose training is begun, in order."""
    begun, train = [], fit.fit

    def watched(model, *rest, **named):
        begun.append(type(model).__module__.rpartition(".")[2])
        return train(model, *rest, **named)

    monkeypatch.setattr(fit, "fit", watched)
    return begun


def scores(one: Study) -> pd.DataFrame:
    return one.scores.sort_values(["arm", "seed", "case"], ignore_index=True)


# ---------------------------------------------------------------- run folders


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Study:
    return small(tmp_path_factory.mktemp("done"), seeds=(0, 1)).run()


def test_every_folder_is_complete(done):
    found = runs.find(done.root)
    assert {run.path for run in found} == {run.path for run in done.runs} and len(found) == 4
    for run in found:
        assert run.state == "done"
        table = run.scores()
        assert len(table) == 4 and set(table["background"]) == {"black", "white"}
        assert run.samples.cases == table[["case", "group", "background"]].to_dict("records")
        for key in ("image", "target", "color", "foreground"):
            array = run.samples.array(key)
            assert array.dtype == np.uint8 and array.shape[:3] == (4, 32, 32)
        assert run.env.keys() >= {"git", "versions", "device", "threads", "processes", "seed", "started"}
        assert run.env["precision"] == "float32" and run.env["seed"] == run.seed
        assert (run.path / "weights.safetensors").is_file() and (run.path / "state.pt").is_file()
        assert [path for path in run.path.rglob(".*") if path.name != ".lock"] == [], "no temporary file is left"
    assert [run.arm for run in done.runs] == ["gan", "colortable"] * 2
    assert done.runs[0].metrics()["step"].tolist()[-1] == STEPS


def test_the_kept_pictures_are_those_that_were_scored(done):
    run = done.runs[0]
    color, target = (run.samples.array(key).astype(float) / 255 for key in ("color", "target"))
    np.testing.assert_allclose(np.abs(color - target).mean((1, 2, 3)), run.scores()["mae"], atol=1 / 255)


def test_all_arms_see_the_same_data(done):
    first = done.tasks()[0].data
    assert {run.env["fingerprint"] for run in done.runs} == {first.fingerprint}
    assert {run.config["data"]["fingerprint"] for run in done.runs} == {first.fingerprint}
    for key in ("image", "target", "foreground"):
        arrays = [run.samples.array(key) for run in done.runs]
        assert all(np.array_equal(arrays[0], array) for array in arrays)


def test_seeds_change_what_is_trained_and_nothing_else(done):
    first, table, second, same = (run.scores()["mae"].to_numpy() for run in done.runs)
    assert not np.array_equal(first, second) and np.array_equal(table, same)


def test_the_same_study_is_found_again(done, trained, capsys):
    again = small(done.root, seeds=(0, 1)).run(watch=lambda *_: pytest.fail("trained"))
    assert trained == [] and capsys.readouterr().out.count("reused") == 4
    pd.testing.assert_frame_equal(scores(again), scores(done))


def test_more_seeds_train_only_the_new_ones(done, trained):
    small(done.root, seeds=(0, 1, 2)).run()
    assert trained == ["gan", "colortable"]


def test_arms_of_other_names_share_a_run(done, trained):
    both = small(done.root, {"first": Arm("gan", {"base": 4}), "second": Arm("gan", {"base": 4})}).run()
    assert trained == [] and both.runs[0].path == both.runs[1].path == done.runs[0].path
    assert both.runs[0].arm == "gan", "the folder keeps its first name"
    assert sorted(set(both.scores["arm"])) == ["first", "second"]
    assert both.differences("mae").loc["second", "mean"] == 0


def test_without_done_it_is_only_evaluated_again(tmp_path):
    first = small(tmp_path).run()
    before = scores(first)
    for run in first.runs:
        (run.path / "done").unlink()
        (run.path / "scores.parquet").unlink()
    again = small(tmp_path).run(watch=lambda *_: pytest.fail("trained"))
    assert [run.state for run in again.runs] == ["done", "done"]
    pd.testing.assert_frame_equal(scores(again), before)


def test_what_is_half_done_is_resumed_and_ends_the_same(tmp_path, done):
    with pytest.raises(fit.Stopped):
        small(tmp_path).run(watch=lambda one, told: told.total == 1)
    assert [run.state for run in runs.find(tmp_path)] == ["unfinished"]
    steps = []
    resumed = small(tmp_path).run(watch=lambda one, told: steps.append((one.name, told.total)))
    assert steps[:3] == [("gan", 2), ("gan", 3), ("gan", 4)]
    whole = scores(done)
    pd.testing.assert_frame_equal(scores(resumed), whole[whole["seed"] == 0].reset_index(drop=True))


def test_results_before_they_are_there_say_what_to_do(tmp_path):
    with pytest.raises(InvalidRun, match=r"expected 2 finished runs, found 0; call run\(\) first"):
        _ = small(tmp_path).scores


# ---------------------------------------------------------------- what an id is made of


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1}, {"config": {"base": 8}}, {"options": OPTIONS | {"test": 3}}, {"data": {"data_seed": 1}},
        {"options": OPTIONS | {"background": "black"}}, {"budget": BUDGET | {"precision": "bf16"}},
        {"budget": BUDGET | {"epochs": 3}}, {"budget": BUDGET | {"ema": 0.5}}, {"budget": BUDGET | {"batch": 2}},
    ],
    ids=str,
)  # fmt: skip
def test_what_changes_a_result_changes_the_id(change):
    assert task(**change).id != task().id


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"}, {"root": Path("elsewhere")}, {"budget": BUDGET | {"device": "auto"}},
        {"budget": BUDGET | {"workers": 2}}, {"budget": BUDGET | {"save_every": 1}},
        {"options": OPTIONS | {"root": ""}},
    ],
    ids=str,
)  # fmt: skip
def test_what_changes_no_result_keeps_the_id(change):
    assert task(**change).id == task().id


def test_the_request_holds_the_precision_that_was_found_and_no_path():
    request = task(budget=BUDGET | {"precision": "auto"}).request()
    assert request["budget"]["precision"] == device.find_precision("auto", torch.device("cpu"))
    assert not {"device", "workers", "save_every"} & set(request["budget"]) and "root" not in request["data"]
    json.dumps(request, allow_nan=False)


# ---------------------------------------------------------------- executors and failures

BAD = Arm("gan", {"base": 4}, budget={"batch": 3, "accumulate": 2})  # is refused when its training begins


def test_a_failed_arm_does_not_stop_the_others(tmp_path, capsys):
    chosen = {"bad": BAD, **arms()}
    for executor in (None, ThreadPoolExecutor(1)):
        root = tmp_path / type(executor).__name__
        with executor or contextlib.nullcontext(), pytest.raises(InvalidParameter, match="batch: expected a multiple"):
            small(root, chosen).run(executor=executor)
        assert sorted((run.arm, run.state) for run in runs.find(root)) == [
            ("bad", "unfinished"), ("colortable", "done"), ("gan", "done"),
        ]  # fmt: skip
        assert capsys.readouterr().out.count("bad seed 0: failed: batch") == 1


class Interrupted(ThreadPoolExecutor):
    """Its first task is stopped by Ctrl-C; the others have not begun."""

    def submit(self, *_):
        self.futures = [*getattr(self, "futures", []), Future()]
        if len(self.futures) == 1:
            self.futures[0].set_exception(fit.Stopped("stopped"))
        return self.futures[-1]


def test_ctrl_c_begins_nothing_new(tmp_path):
    executor = Interrupted()
    with pytest.raises(fit.Stopped):
        small(tmp_path, seeds=(0, 1)).run(executor=executor)
    assert [future.cancelled() for future in executor.futures] == [False, True, True, True]


def test_an_executor_trains_what_arms_share_once(tmp_path, trained):
    chosen = {"first": Arm("gan", {"base": 4}), "table": Arm("colortable"), "second": Arm("gan", {"base": 4})}
    with ThreadPoolExecutor(3) as executor:
        one = small(tmp_path, chosen).run(executor=executor)
    assert sorted(trained) == ["colortable", "gan"]
    assert one.runs[0].path == one.runs[2].path and one.runs[0].arm == "first"


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"options": {"root": "/nowhere/at/all"}}, InvalidImage, "nothing of that name"),
        ({"options": OPTIONS | {"sizes": 3}}, InvalidParameter, "did you mean size"),
        ({"budget": {"epoch": 3}}, InvalidParameter, "did you mean epochs"),
        ({"budget": {"device": "cuda:99"}}, InvalidParameter, "a device of this machine"),
        ({"chosen": {**arms(), "last": Arm("gan", {"bass": 4})}}, InvalidParameter, "did you mean base"),
        ({"chosen": {**arms(), "last": Arm("gan", {"base": 0})}}, InvalidParameter, "of at least 1"),
        ({"chosen": {**arms(), "last": Arm("gan", data={"train": 0})}}, InvalidParameter, "of at least 1"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_bad_data_and_settings_are_told_before_anything_is_trained(change, error, match, tmp_path, trained):
    with pytest.raises(error, match=match):
        small(tmp_path, **change).run()
    assert trained == [] and list(tmp_path.iterdir()) == []


def test_unknown_methods_and_kinds_that_do_not_go_together_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InvalidParameter, match="did you mean gan"):
        small(tmp_path, {"x": Arm("gann")})
    with pytest.raises(InvalidParameter, match="found no arms"):
        Study({}, root=tmp_path)
    monkeypatch.setattr(method.method_class("grey"), "data", "fundus")
    with pytest.raises(InvalidParameter, match="one kind of data, found anatomy, fundus"):
        small(tmp_path, {"gan": Arm("gan"), "grey": Arm("grey")})


def test_arms_of_a_method_are_those_of_its_file():
    module = method.module("smcgan")
    assert list(study.arms_of("smcgan", ())) == ["smcgan"]
    everything = study.arms_of("smcgan", ("rivals", "floors", "ablations", "variants"))
    assert set(everything) >= {"smcgan", *module.RIVALS, *module.FLOORS, *module.ABLATIONS, "wgan-no_color"}
    single = study.arms_of("smcgan", ("no_gan2", "floors", "wgan"))
    assert set(single) == {"smcgan", "grey", "colortable", "wgan", "no_gan2"} and next(iter(single)) == "smcgan"
    assert all(everything[key] == arm for key, arm in single.items())
    with pytest.raises(InvalidParameter, match="did you mean wgan"):
        study.arms_of("smcgan", ("wgam",))
    with pytest.raises(InvalidParameter, match="did you mean ablations"):
        study.arms_of("smcgan", ("ablation",))
    changed = study.arms_of("smcgan", ("rivals", "ablations"), change={"base": 4})
    assert changed["no_gan2"].config == changed["smcgan"].config | module.ABLATIONS["no_gan2"]
    assert changed["smcgan"].config["base"] == 4 and "base" not in changed["gan"].config
    with pytest.raises(InvalidParameter, match="gan: expected a method with claims, found a baseline"):
        study.arms_of("gan")


# ---------------------------------------------------------------- stages


def staged(take: tuple[str, ...] = ("generator.encoder",), **change) -> dict[str, Arm]:
    before = Arm("wgan", WGAN | change)
    return {
        name: Arm("wgan_gp", WGAN | {"penalty": weight}, before=before, take=take)
        for name, weight in (("a", 1.0), ("b", 2.0))
    }


def test_a_stage_is_trained_once_and_hands_over_exactly_the_named_weights(tmp_path, monkeypatch):
    start, train = {}, fit.fit

    def watched(model, *rest, **named):
        start.setdefault(type(model).__name__, []).append({k: v.clone() for k, v in model.state_dict().items()})
        return train(model, *rest, **named)

    monkeypatch.setattr(fit, "fit", watched)
    one = small(tmp_path, staged()).run()
    assert {name: len(models) for name, models in start.items()} == {"WGAN": 1, "WGANGP": 2}
    (stage,) = [run for run in runs.find(tmp_path) if run.name == "wgan"]
    given = load_file(stage.path / "weights.safetensors")
    torch.manual_seed(method.seed_of(0))
    fresh = method.method_class("wgan_gp")(one.tasks()[0].config).state_dict()
    taken = [key for key in fresh if key.startswith("generator.encoder")]
    assert 0 < len(taken) < len(fresh)
    for begun in start["WGANGP"]:
        for key, value in begun.items():
            assert torch.equal(value, given[key] if key in taken else fresh[key]), key
    assert any(not torch.equal(given[key], fresh[key]) for key in taken)
    assert {run.config["before"] for run in one.runs} == {stage.id}
    assert stage.config["budget"]["epochs"] == 2, "the study's budget holds for stages too"


def test_stages_go_first_on_an_executor_and_are_not_made_again_for_finished_arms(tmp_path, trained):
    with ThreadPoolExecutor(2) as executor:
        one = small(tmp_path, staged()).run(executor=executor)
        assert trained == ["wgan", "wgan_gp", "wgan_gp"]
        (stage,) = [run for run in runs.find(tmp_path) if run.name == "wgan"]
        (stage.path / "done").unlink()
        again = small(tmp_path, staged()).run(executor=executor)
    assert len(trained) == 3 and [run.path for run in one.runs] == [run.path for run in again.runs]


def test_a_stage_changes_the_id():
    plain, with_stage = Arm("wgan_gp", WGAN), staged()["a"]
    ids = {task(arm=arm).id for arm in (plain, with_stage, staged(lr=1e-5)["a"], staged(("generator",))["a"])}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("take", "change", "found"),
    [
        (("decoder",), {}, "found decoder; name others"),
        (("generator", "decoder"), {}, "found decoder; name others"),
        ((), {}, "found none; name others"),
        (("generator",), {"base": 8}, "found generator"),
        (("critic",), {"critic_depth": 3}, "found critic"),
    ],
)
def test_parts_that_match_nothing_are_refused(take, change, found, tmp_path):
    with pytest.raises(
        InvalidParameter, match=f"take: expected parts of both stages, such as critic, generator, {found}"
    ):
        small(tmp_path, {"a": staged(take, **change)["a"]}, budget=BUDGET | {"epochs": 1}).run()


# ---------------------------------------------------------------- names

NAME, FOLDER = "Doe_Jane_1970", "Ward7_Hospital"


@pytest.fixture
def own(tmp_path) -> Path:
    """A folder of one's own: 20 colour images with a patient's name, two of them damaged."""
    root = tmp_path / FOLDER
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        picture = np.zeros((24, 30, 3), np.uint8)
        picture[4:20, 5:25] = rng.integers(40, 255, 3) // [1, 2, 3]
        picture[8:12, 8:14] = rng.integers(40, 255, 3) // [3, 1, 2]
        Image.fromarray(picture).save(root / f"{NAME}_{number:02d}.png")
    for number in (5, 11):
        path = root / f"{NAME}_{number:02d}.png"
        path.write_bytes(path.read_bytes()[:60])
    return root


def told(root: Path) -> str:
    """Everything that the files below a folder say, of tables and names of files too."""
    words = []
    for path in root.rglob("*"):
        words.append(str(path.relative_to(root)))
        if path.is_file():
            words.append(path.read_bytes().decode("latin-1"))
            words += [pd.read_parquet(path).to_csv()] if path.suffix == ".parquet" else []
            words += [repr(torch.load(path, weights_only=True))] if path.suffix == ".pt" else []
    return "\n".join(words)


def test_no_name_of_a_file_enters_a_run_and_a_pool_gives_equal_results(own, tmp_path, capfd):
    options = {"root": str(own), "size": 32, "train": 14, "valid": 3, "test": 3}
    study.opened.cache_clear()
    one = small(tmp_path / "one", options=options).run()
    small(tmp_path / "one", options=options).run()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        two = small(tmp_path / "two", options=options).run(executor=pool)
    pd.testing.assert_frame_equal(scores(one), scores(two))
    for first, second in zip(one.runs, two.runs, strict=True):
        assert first.id == second.id
        weights = [load_file(run.path / "weights.safetensors") for run in (first, second)]
        assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())

    said = capfd.readouterr()
    for number in (5, 11):
        name = f"{NAME}_{number:02d}.png"
        assert said.err.count(f"set aside: {name}: expected ") == 1, "once, and not in workers"
    assert NAME not in said.out
    report = json.loads((one.runs[0].path / "report.json").read_text())
    assert len(report["aside"]) == 2 and all(len(id) == 10 and "found" in reason for id, reason in report["aside"])
    for root in (tmp_path / "one", tmp_path / "two"):
        text = told(root)
        assert '"aside"' in text and "damaged" in text
        assert not [word for word in (NAME, "Doe", "Jane", str(own), str(tmp_path)) if word in text]


# ---------------------------------------------------------------- tables, claims and their records

CARD = {
    "smcgan": Arm("smcgan", WGAN),
    "grey": Arm("grey"),
    "colortable": Arm("colortable"),
    "no_gan2": Arm("smcgan", WGAN | {"gan2_weight": 0.0}),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Study:
    return small(tmp_path_factory.mktemp("judged"), CARD, seeds=(0, 1), budget=BUDGET | {"epochs": 1}).run()


def test_the_table_has_the_arms_and_the_columns_of_the_card(judged):
    table = judged.table()
    assert table.index.tolist() == list(CARD) and table.columns.tolist() == list(method.module("smcgan").TABLE)
    by_seed = judged.scores[judged.scores["arm"] == "smcgan"].groupby("seed")["psnr"].mean()
    assert table.loc["smcgan", ("average", "psnr")] == f"{by_seed.mean():.2f} ± {by_seed.std():.2f}"
    assert table.loc["grey", ("average", "iou")] == "-"


def test_differences_are_those_of_the_first_arm(judged):
    found = judged.differences("fg_psnr")
    assert found.index.tolist() == list(CARD)[1:]
    means = judged.scores.groupby("arm")["fg_psnr"].mean()
    assert found.loc["grey", "mean"] == pytest.approx(means["smcgan"] - means["grey"], abs=1e-4)
    assert (found["groups"] == 2).all() and (found["seeds"] == 2).all()


def test_only_claims_about_arms_of_the_study_are_judged(judged):
    told = {one["claim"]: one for one in judged.claims()}
    expected = {one.text for one in method.module("smcgan").CLAIMS if one.other in (None, *CARD)}
    assert set(told) == expected and len(expected) >= 4
    assert all(one["verdict"] in ("holds", "does not hold", "undecided") for one in told.values())


def test_a_baseline_alone_has_no_card(done):
    for ask in (done.table, done.claims):
        with pytest.raises(InvalidParameter, match="gan: expected a method with claims"):
            ask()


def test_a_record_has_the_form_of_the_file(judged):
    options = {**OPTIONS, "root": "/data/Doe"}
    record = claims.record(judged, "smcgan", options, BUDGET)
    text = json.dumps(record, allow_nan=False)
    assert list(record) == ["method", "data", "seeds", "arms", "verdicts", "command", "env"]
    assert (record["method"], record["data"], record["seeds"]) == ("smcgan", "phantom", [0, 1])
    assert list(record["arms"]) == list(CARD)
    for arm, metrics in record["arms"].items():
        assert set(metrics) == {*compare.metrics(judged.scores)} - ({"iou"} if "gan" not in arm else set())
        for metric, values in metrics.items():
            means = judged.scores[judged.scores["arm"] == arm].groupby("seed")[metric].mean()
            assert values == pytest.approx(means.tolist(), rel=1e-5)
    for verdict in record["verdicts"]:
        assert set(verdict) >= {"claim", "kind", "verdict", "difference", "interval", "p"}
        assert len(verdict["interval"]) == 2 and verdict["kind"] in ("must", "reported")
    assert record["command"].startswith("workbench claims smcgan --seeds 2 ") and "--root FOLDER" in record["command"]
    assert "-p size=32" in record["command"] and "Doe" not in text
    few = claims.record(judged, "smcgan", options | {"labelled": 8}, BUDGET)
    assert few["data"] == "phantom, 8 labels", "a record for each number of labels"
    assert set(record["env"]) == {"versions", "python", "device", "precision", "git", "fingerprint"}


def test_what_is_no_number_is_null():
    value = {
        "a": [math.nan, (math.inf, -math.inf)],
        "b": 0.12345678,
        "c": "x",
        "d": None,
        "e": True,
        "f": np.float64(2),
    }
    assert claims.finite(value) == {"a": [None, [None, None]], "b": 0.123457, "c": "x", "d": None, "e": True, "f": 2.0}
    assert claims.finite(value)["e"] is True


def entry(data: str, verdict: str = "holds", **change) -> dict:
    one = {"claim": "beats grey", "kind": "must", "metric": "fg_psnr", "margin": 0.0, "verdict": verdict}
    one |= {"difference": 1.234, "interval": [1.0, 1.5], "p": 0.01234} | change
    shown = {"claim": "beats wgan", "kind": "reported", "verdict": "undecided"}
    return {"method": "smcgan", "data": data, "seeds": [0, 1], "arms": {}, "verdicts": [one, shown]}


def test_a_record_takes_the_place_of_that_of_the_same_data(tmp_path):
    path = tmp_path / "claims" / "smcgan.json"
    for one in (entry("samples"), entry("phantom"), entry("samples", "does not hold")):
        claims.keep(path, one)
    assert claims.read(path) == [entry("phantom"), entry("samples", "does not hold")]
    assert [p.name for p in path.parent.iterdir()] == ["smcgan.json"]


def test_a_file_of_records_that_is_none_is_refused_and_left(tmp_path):
    path = tmp_path / "smcgan.json"
    for content in ("{}", "[", ""):
        path.write_text(content)
        with pytest.raises(InvalidRun, match=r"smcgan\.json"):
            claims.keep(path, entry("phantom"))
        assert path.read_text() == content
    (tmp_path / "plain").write_text("")
    with pytest.raises(InvalidRun, match="a folder that can be made"):
        claims.keep(tmp_path / "plain" / "claims" / "smcgan.json", entry("phantom"))


def test_the_table_of_the_readme(tmp_path):
    claims.keep(tmp_path / "smcgan.json", entry("phantom"))
    claims.keep(tmp_path / "smcgan.json", entry("samples", "undecided", interval=[None, None], difference=None, p=None))
    head, rule, row = claims.markdown(tmp_path).splitlines()
    assert {line.count("|") for line in (head, rule, row)} == {6}
    cells = "phantom: 1.23 [1.00, 1.50] | samples: n/a [n/a, n/a]"
    assert row == f"| smcgan | beats grey (fg_psnr) | {cells} |  |"
    claims.keep(tmp_path / "smcgan.json", entry("samples"))
    both = "phantom: 1.23 [1.00, 1.50]<br>samples: 1.23 [1.00, 1.50]"
    assert claims.markdown(tmp_path).splitlines()[2] == f"| smcgan | beats grey (fg_psnr) | {both} |  |  |"


def test_the_readme_s_table_of_a_record_made_here(judged, tmp_path):
    claims.keep(tmp_path / "smcgan.json", claims.record(judged, "smcgan", OPTIONS, BUDGET))
    must = [one for one in judged.claims() if one["kind"] == "must"]
    assert len(claims.markdown(tmp_path).splitlines()) == 2 + len(must)


@pytest.mark.parametrize("change", [{"seeds": 0}, {"jobs": 0}, {"seeds": -1}])
def test_no_seeds_or_workers_are_refused(change, tmp_path):
    values = {"seeds": 1, "jobs": 1} | change
    with pytest.raises(InvalidParameter, match="expected at least 1"):
        claims.judge("smcgan", options={}, budget={}, which=(), root=tmp_path, **values)


# ---------------------------------------------------------------- what needs all items, folds


def test_a_method_settles_on_validation_and_pools_the_test(tmp_path, monkeypatch):
    cls, seen = method.method_class("colortable"), []

    def settle(model, judged):
        seen.extend(batch["image"].shape[0] for batch, prediction in judged if "color" in prediction)

    monkeypatch.setattr(cls, "settle", settle)
    monkeypatch.setattr(cls, "pooled", lambda model, found: {"rank": found["mae"].argsort().argsort().float()})
    table = small(tmp_path, {"colortable": Arm("colortable")}).run().runs[0].scores()
    assert sum(seen) == len(study.opened("anatomy", json.dumps(OPTIONS, sort_keys=True)).valid)
    assert sorted(table["rank"]) == list(range(len(table)))


def test_every_seed_tests_another_fold_where_none_is_chosen(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Options:
        folds: int = 5
        fold: int = 0

    monkeypatch.setattr(study.data, "module", lambda kind: type("source", (), {"Options": Options}))
    assert [study.folded("any", {}, seed)["fold"] for seed in range(7)] == [0, 1, 2, 3, 4, 0, 1]
    assert [study.folded("any", {"folds": 2}, seed)["fold"] for seed in range(3)] == [0, 1, 0]
    assert study.folded("any", {"fold": 3}, 1) == {"fold": 3}


def test_data_without_folds_are_the_same_for_all_seeds(tmp_path):
    assert [one.options for one in small(tmp_path, seeds=(0, 3)).tasks()] == [OPTIONS] * 4
