"""The command line as a user types it: what it prints, what it leaves behind, how it refuses."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from workbench import claims, data, fit, method, progress, runs, study
from workbench.__main__ import main
from workbench.config import comments
from workbench.fit import Budget

DATA = ["-p", "size=32", "-p", "train=8", "-p", "valid=2", "-p", "test=2"]
BUDGET = ["-p", "epochs=1", "-p", "valid_every=0", "-p", "precision=float32", "-p", "device=cpu"]
TINY = [*DATA, *BUDGET, "-p", "base=4"]


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Where runs go, unless a command says otherwise; the working folder is empty."""
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def refused(words: list[str], capsys) -> str:
    """The one line with which a command ends."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    told = capsys.readouterr()
    assert stopped.value.code == 2
    (line,) = told.err.strip().splitlines()
    assert line.startswith("workbench: ") and "Traceback" not in told.err + told.out
    return line


def colored(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        picture = np.zeros((24, 24, 3), np.uint8)
        picture[4:20, 4:20] = [200, 90 + number, 60]
        Image.fromarray(picture).save(folder / f"case_{number:02d}.png")
    return folder


# ---------------------------------------------------------------- list, fit, predict


def test_list_shows_methods_baselines_and_runs(root, capsys):
    main(["list"])
    out = capsys.readouterr().out
    for name in method.names():
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 3, "with a word on what it is"
    assert f"runs in {root}: none yet" in out
    run = runs.create(root, {"method": "gan", "seed": 3}, "rival")
    (root / "gan" / "empty").mkdir()
    main(["list", "--runs", str(root)])
    out = capsys.readouterr().out
    assert f"gan/{run.id}  rival seed 3" in out and "unfinished" in out
    assert "gan/empty" in out and "broken: " in out and ": 2\n" in out


def test_fit_trains_once_and_then_finds_it_again(root, tmp_path, capsys):
    main(["fit", "gan", *TINY])
    first = capsys.readouterr()
    (run,) = runs.find(root)
    assert f"done: {run.path}" in first.out and "psnr" in first.out and run.state == "done"
    assert run.config["config"]["base"] == 4 and run.config["budget"]["epochs"] == 1 and run.seed == 0
    main(["fit", "gan", *reversed([f"-p={word}" for word in TINY if word != "-p"])])
    assert f"reused: {run.path}" in capsys.readouterr().out
    main(["fit", "gan", *TINY, "--seed", "1", "--runs", str(tmp_path / "other")])
    (other,) = runs.find(tmp_path / "other")
    assert other.seed == 1 and len(runs.find(root)) == 1


def test_predict_finds_the_run_by_its_first_digits(root, tmp_path, capsys):
    main(["fit", "colortable", *DATA, *BUDGET])
    (run,) = runs.find(root)
    (tmp_path / "grey").mkdir()
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20).astype(np.uint8)).save(tmp_path / "grey" / "a.png")
    capsys.readouterr()
    main(["predict", run.id[:6], str(tmp_path / "grey"), str(tmp_path / "out")])
    assert "1 files in" in capsys.readouterr().out
    assert Image.open(tmp_path / "out" / "a.png").size == (20, 20)
    assert "--overwrite" in refused(["predict", run.id[:6], str(tmp_path / "grey"), str(tmp_path / "out")], capsys)
    main(["predict", run.id[:6], str(tmp_path / "grey"), str(tmp_path / "out"), "--overwrite"])


def test_a_stop_ends_with_130_and_says_how_to_go_on(root, monkeypatch, capsys):
    def stopped(*_):
        raise fit.Stopped("stopped in epoch 1 of 2; ask for the same run again and it resumes")

    monkeypatch.setattr(study, "train", stopped)
    with pytest.raises(SystemExit) as end:
        main(["fit", "gan", *TINY])
    told = capsys.readouterr().err
    assert end.value.code == 130 and "it resumes" in told and "Traceback" not in told


def test_a_ctrl_c_elsewhere_ends_with_130(root, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "find", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["list"])
    assert end.value.code == 130 and capsys.readouterr().err == "workbench: interrupted\n"


# ---------------------------------------------------------------- data check


def test_data_check_names_what_is_used_and_what_is_set_aside(root, tmp_path, capsys):
    folder = colored(tmp_path / "own", 12)
    (folder / "case_03.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    main(["data", "check", "smcgan", str(folder)])
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "11 colour images can be used, 1 files are set aside"
    assert sum(line.startswith("set aside: case_03.png: expected") for line in lines) == 1
    assert {line.split()[1] for line in lines if not line.startswith("set")} == {"train", "valid", "test"}
    assert "nothing of that name" in refused(["data", "check", "smcgan", str(tmp_path / "nowhere")], capsys)
    assert "did you mean smcgan" in refused(["data", "check", "smcgam", str(folder)], capsys)
    main(["data", "check", "smcgan", str(folder), "-p", "data_seed=1"])
    other = capsys.readouterr().out.splitlines()
    assert other[-1] == last and other != [*lines, last], "another seed splits otherwise"
    assert "did you mean data_seed" in refused(["data", "check", "smcgan", str(folder), "-p", "dataseed=1"], capsys)


# ---------------------------------------------------------------- claims


def test_claims_trains_judges_and_writes_the_record(root, tmp_path, capfd):
    out = tmp_path / "claims"
    main(["claims", "smcgan", *DATA, *BUDGET, "-p", "base=3", "--seeds", "1", "--arms", "floors", "--jobs", "1",
          "--out", str(out)])  # fmt: skip
    out = capfd.readouterr().out
    (record,) = json.loads((tmp_path / "claims" / "smcgan.json").read_text())
    assert (record["method"], record["data"], record["seeds"]) == ("smcgan", "phantom", [0])
    assert set(record["arms"]) == {"smcgan", "grey", "colortable"}
    assert " -p base=3" in record["command"]
    assert {run.name: run.config["config"].get("base") for run in runs.find(root)} == {
        "smcgan": 3, "grey": None, "colortable": None,
    }  # fmt: skip
    told = {verdict["claim"]: verdict["verdict"] for verdict in record["verdicts"]}
    assert {"beats grey replicated", "mask IoU above 0.8"} <= set(told)
    assert all(f"{verdict:<14}" in out and claim in out for claim, verdict in told.items())
    assert "| smcgan | beats grey replicated (fg_psnr) |" in claims.markdown(tmp_path / "claims")


def test_workers_of_claims_save_and_end_with_it_however_it_ends(root):
    words = ["claims", "smcgan", *DATA, *BUDGET, "-p", "epochs=100000", "--seeds", "1", "--arms", "grey", "--jobs", "1"]
    command = subprocess.Popen([sys.executable, "-m", "workbench", *words], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: list(root.glob("smcgan/*/metrics.jsonl")))
        workers = psutil.Process(command.pid).children(recursive=True)
        assert workers
    finally:
        command.kill()
    assert not psutil.wait_procs(workers, timeout=50)[1], "a worker outlives the command"
    (run,) = runs.find(root)[-1:]
    assert run.state == "unfinished" and (run.path / "state.pt").is_file()


def wait_for(there) -> None:
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("fit smcgam", "did you mean smcgan?"),
        ("fit gan -p epoch=3", "did you mean epochs?"),
        ("fit gan -p epochs", "expected key=value, found 'epochs'"),
        ("fit gan -p epochs=three", "epochs: expected a value of type int, found 'three'"),
        ("fit gan -p epochs=1.5", "epochs: expected a value of type int, found 1.5"),
        ("fit gan -p epochs=true", "epochs: expected a value of type int, found True"),
        ("fit gan -p epochs=0", "epochs: expected a value of at least 1, found 0"),
        ("fit gan -p lr=-1", "lr: expected a value above 0, found -1.0"),
        ("fit gan -p lr=1e999", "lr: expected a finite number, found inf"),
        ("fit gan -p size=30", "size: expected a value of 16, 32, 48, ..., found 30"),
        ("fit gan -p schedule=cosin", "did you mean cosine?"),
        ("fit gan -p device=gpu -p size=16 -p train=4", "use device=auto"),
        ("fit gan -p root=/nowhere/at/all", "nothing of that name"),
        ("fit gan --preset papr", "did you mean paper?"),
        ("run smcgam", "did you mean smcgan?"),
        ("run smcgan -p epoch=3", "did you mean epochs?"),
        ("run gan", "notebook: expected one of"),
        ("run compare -p runs=elsewhere", "use --runs FOLDER"),
        ("claims smcgan -p bases=4", "did you mean base?"),
        ("claims gan", "gan: expected a method with claims, found a baseline"),
        ("claims smcgan --seeds 0", "--seeds: expected at least 1"),
        ("claims smcgan --root /nowhere/at/all --jobs 1", "nothing of that name"),
        ("predict abc . out", "abc: expected a run, found none"),
    ],
)
def test_bad_input_ends_with_one_line_that_helps(words, told, root, capsys):
    assert told in refused(words.split(), capsys)
    assert runs.find(root) == []


def test_a_folder_of_runs_that_cannot_be_made_is_told(root, tmp_path, capsys):
    (tmp_path / "plain").write_text("")
    assert "a folder that can be made" in refused(["fit", "gan", *TINY, "--runs", str(tmp_path / "plain")], capsys)


def test_a_damaged_checkpoint_is_told(root, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "bar", lambda label: lambda told: True)
        with pytest.raises(SystemExit):
            main(["fit", "gan", *TINY])
    (run,) = runs.find(root)
    (run.path / "state.pt").write_bytes(b"damaged")
    capsys.readouterr()
    assert "state.pt: expected a checkpoint of this run" in refused(["fit", "gan", *TINY], capsys)


@pytest.mark.parametrize("words", ["", "fitt", "fit", "list extra", "fit gan --seed x", "data chek smcgan ."])
def test_commands_that_do_not_exist_end_with_2(words, root, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    told = capsys.readouterr()
    assert stopped.value.code == 2 and "Traceback" not in told.err
    assert "--help" in told.err


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("command", ["run", "fit", "claims"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_method_explains_every_setting(command, flag, root, capsys):
    main([command, "smcgan", flag])
    lines = capsys.readouterr().out.splitlines()
    cls = method.method_class("smcgan")
    for group in (cls.Config, Budget, data.module(cls.data).Options):
        notes = comments(group)
        for field in dataclasses.fields(group):
            (line,) = [line for line in lines if line.split()[:1] == [field.name]]
            assert notes[field.name] in line and repr(field.default) in line


def test_help_of_a_notebook_has_its_parameters(root, tmp_path, capsys):
    for words in ("run compare", "sweep compare"):
        main([*words.split(), "--help"])
        told = capsys.readouterr().out
        assert '  metric: str = ""  # what to compare' in told and "budget" not in told
    main(["run", "smcgan", "--help"])
    assert "  seeds: int = 1  # trainings of every arm" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sweep", "all", "--help"])
    assert "--dry-run" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_ends_the_output_quietly(root):
    words = f"{sys.executable} -m workbench fit smcgan --help | true"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_help_names_the_commands(root, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert all(name in out for name in ("list", "run", "fit", "claims", "predict", "dashboard", "data", "doctor"))
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert "--preset {tiny,demo,paper}" in capsys.readouterr().out


# ---------------------------------------------------------------- processes


def test_list_and_import_load_nothing_heavy(root):
    code = """
import sys
import workbench
from workbench.__main__ import main
main(["list"])
print([name for name in ("torch", "numpy", "pandas", "panel", "papermill") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stderr.strip(), done.returncode) == ("[]", 0) and "smcgan" in done.stdout


def test_two_processes_train_one_run(root):
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["-m", "workbench", "fit", "smcgan", *TINY, "-p", "critic_base=4", "-p", "blocks=1"]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    (run,) = runs.find(root)
    assert run.state == "done" and run.env["processes"] == 2
    assert done.stdout.count(f"done: {run.path}") == 1, "one of the two tells"
    assert run.metrics()["step"].tolist()[-1] == 2 and len(run.scores()) == 4
