"""The run folder: written whole or not at all, found again by what was asked, and read without ever being trusted."""

import errno
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import runs
from workbench.errors import InvalidRun
from workbench.runs import Run

REQUEST = {"method": "gan", "config": {"lr": 2e-4, "deep": [1, 2]}, "seed": 0, "data": {"name": "phantom"}}


def finished(root: Path, **change) -> Run:
    """A complete run of two cases."""
    run = runs.create(root, REQUEST | change, arm="gan")
    table = pd.DataFrame({"case": ["a", "b"], "group": ["a", "b"], "mae": [0.1, 0.2]})
    runs.save(run.path / "scores.parquet", table.to_parquet)
    index = {"cases": table[["case", "group"]].to_dict("records"), "arrays": ["image"]}
    runs.write_json(run.path / "samples" / "index.json", index)
    runs.save(run.path / "samples" / "image.npy", lambda file: np.save(file, np.zeros((2, 4, 4), np.uint8)))
    runs.save(run.path / "done", lambda file: None)
    return run


def child(code: str, *words: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120)


# ---------------------------------------------------------------- writing


def test_a_finished_run_reads_back(tmp_path):
    run = finished(tmp_path)
    assert (run.state, run.name, run.arm, run.seed) == ("done", "gan", "gan", 0)
    assert run.scores()["mae"].tolist() == [0.1, 0.2]
    assert run.samples.array("image").shape == (2, 4, 4)
    assert not run.samples.array("image").flags.writeable
    assert run.config == REQUEST | {"arm": "gan"}
    assert run.metrics().empty


@pytest.mark.parametrize("failure", [RuntimeError("stop"), KeyboardInterrupt()], ids=repr)
def test_a_failure_while_writing_leaves_the_old_file_and_no_other(failure, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(failure)), runs.replacing(path) as file:
        file.write(b"new")
        raise failure
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_is_told(call, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(InvalidRun, match=r"file: .*No space left on device; free some space"):
        runs.save(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


KILLED = """
import os, signal, sys
from pathlib import Path
from workbench import runs
with runs.replacing(Path(sys.argv[1])) as file:
    file.write(b"new" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    assert child(KILLED, path).returncode == -9
    assert path.read_bytes() == b"old"
    runs.save(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_files_can_be_read_by_those_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        runs.save(tmp_path / "file", lambda file: file.write(b""))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_text_is_written_as_utf_8_in_any_locale(tmp_path):
    code = "import sys; from pathlib import Path; from workbench import runs\n"
    code += "with runs.replacing(Path(sys.argv[1]), 'w') as file: file.write('\\u00b1')"
    words = [sys.executable, "-X", "utf8=0", "-c", code, str(tmp_path / "file")]
    subprocess.run(words, env=os.environ | {"LC_ALL": "en_US.ISO-8859-1", "PYTHONCOERCECLOCALE": "0"}, check=True)
    assert (tmp_path / "file").read_bytes() == "±".encode()


def test_json_of_no_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        runs.write_json(tmp_path / "file", {"value": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_or_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "plain").write_text("")
    with pytest.raises(InvalidRun, match=r"expected a folder that can be made, found Not a directory"):
        runs.create(tmp_path / "plain", REQUEST, "gan")
    with pytest.raises(InvalidRun, match=r"expected a folder that can be written"):
        runs.save(tmp_path / "plain" / "file", lambda file: None)

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    run = runs.create(tmp_path, REQUEST, "gan")
    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(InvalidRun, match=r"Permission denied; choose another with root"):
        runs.create(tmp_path, REQUEST | {"seed": 1}, "gan")
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InvalidRun, match=r"written and locked, found Permission denied"), run.lock():
        pytest.fail("entered a folder that cannot be locked")


def test_a_log_on_a_full_disk_is_told(tmp_path):
    log = runs.Log(tmp_path / "metrics.jsonl", 0)
    log.close()
    log.file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115 - closed by close()
    with pytest.raises(InvalidRun, match=r"metrics\.jsonl: .*No space left on device"):
        log.write(step=1)
    log.close()


HELD = """
import sys
from pathlib import Path
from workbench.runs import Run
with Run(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_while_the_first_trains(tmp_path):
    run = runs.create(tmp_path, REQUEST, "gan")
    words = [sys.executable, "-c", HELD, str(run.path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InvalidRun, match=r"another process training in it"), run.lock():
            pytest.fail("two processes in one folder")
        holder.kill()
    with run.lock():  # a killed process holds nothing
        assert run.state == "unfinished"


def test_an_error_under_the_lock_comes_through_and_frees_it(tmp_path):
    run = runs.create(tmp_path, REQUEST, "gan")
    with pytest.raises(FileNotFoundError), run.lock():
        raise FileNotFoundError
    with run.lock():
        pass


# ---------------------------------------------------------------- names and identity

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def turned(value):
    """The same JSON value with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(list(value))}
    return [turned(part) for part in value] if isinstance(value, list) else value


@given(JSON, JSON)
def test_identity_is_that_of_the_content(one, two):
    assert runs.identity(one) == runs.identity(turned(one))
    assert runs.NAME.fullmatch(runs.identity(one)) and len(runs.identity(one)) == 12
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (runs.identity(one) == runs.identity(two)) == same


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"config": {"lr": 2.1e-4, "deep": [1, 2]}}, {"config": {"lr": 2e-4, "deep": [2, 1]}}, {"new": None}],
    ids=str,
)
def test_every_value_changes_the_folder(change, tmp_path):
    assert runs.create(tmp_path, REQUEST | change, "gan").id != runs.create(tmp_path, REQUEST, "gan").id


def test_the_same_request_finds_the_same_folder_whatever_its_arm_is_called(tmp_path):
    first = runs.create(tmp_path, REQUEST, "gan")
    again = runs.create(tmp_path, dict(reversed(REQUEST.items())), "other")
    assert first.path == again.path and again.arm == "gan"


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        ".hidden",
        "_studies",
        "-x",
        "a/../b",
        "a/b",
        "/etc",
        "a\\b",
        "Gan",
        "gän",
        "a b",
        "a\n",
        "a\0",
        "a" * 65,
    ],
)
def test_unsafe_names_are_refused(name, tmp_path):
    with pytest.raises(InvalidRun, match="plain name"):
        runs.folder(tmp_path, name, "0")
    with pytest.raises(InvalidRun, match="plain name"):
        runs.folder(tmp_path, "gan", name)
    assert list(tmp_path.iterdir()) == []


def test_a_link_out_of_the_root_is_refused(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir(), root.mkdir()
    (root / "gan").symlink_to(outside)
    with pytest.raises(InvalidRun, match="a link that leads elsewhere"):
        runs.create(root, REQUEST, "gan")
    assert list(outside.iterdir()) == []
    (tmp_path / "alias").symlink_to(root)  # the root itself may be one
    assert runs.folder(tmp_path / "alias", "wgan", "0") == root / "wgan" / "0"


def test_a_key_of_samples_cannot_lead_out_of_the_folder(tmp_path):
    run = finished(tmp_path)
    np.save(tmp_path / "secret.npy", np.zeros(2))
    index = {"cases": run.samples.cases, "arrays": ["../../../secret"]}
    runs.write_json(run.path / "samples" / "index.json", index)
    with pytest.raises(InvalidRun, match=r"index\.json"):
        _ = Run(run.path).samples.array("../../../secret")


def test_the_root_is_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKBENCH_RUNS", raising=False)
    assert runs.root_folder() == tmp_path / "runs"
    monkeypatch.setenv("WORKBENCH_RUNS", "elsewhere")
    assert runs.root_folder() == tmp_path / "elsewhere"


# ---------------------------------------------------------------- finding

BROKEN = {
    "empty": None,
    "cut": b'{"method": "ga',
    "list": b"[]",
    "foreign": b'{"model": "resnet"}',
    "number": b'{"method": 3}',
    "bytes": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "digits": b"1" * 10_000,
}


def test_find_shows_what_is_broken_and_never_raises(tmp_path):
    good = finished(tmp_path)
    runs.create(tmp_path, REQUEST | {"seed": 1}, "gan")
    for name, content in BROKEN.items():
        (tmp_path / "gan" / name).mkdir()
        if content is not None:
            (tmp_path / "gan" / name / "config.json").write_bytes(content)
    (tmp_path / "gan" / "folder" / "config.json").mkdir(parents=True)
    (tmp_path / "gan" / "dangling").symlink_to(tmp_path / "nowhere")
    for other in ("_studies/x", "gan/.hidden", "Gan/x", "gan/__pycache__"):
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / "gan" / "file").write_text("")
    states = {run.id: run.state for run in runs.find(tmp_path)}
    assert states.pop(good.id) == "done"
    assert {id for id, state in states.items() if state.startswith("broken: ")} == {*BROKEN, "folder"}
    assert all("config.json" in state for state in states.values() if state.startswith("broken"))
    assert [state for state in states.values() if not state.startswith("broken")] == ["unfinished"]
    assert runs.find(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", ["scores.parquet", "samples/index.json"])
def test_done_without_its_files_is_broken(name, tmp_path):
    run = finished(tmp_path)
    (run.path / name).unlink()
    assert Run(run.path).state == f"broken: {name} missing"


def test_a_run_deleted_while_it_is_listed_is_no_error(tmp_path):
    assert runs.changed(tmp_path / "gone") == 0


def test_get_by_path_name_and_first_digits(tmp_path):
    first, second = finished(tmp_path), finished(tmp_path, method="wgan")
    assert runs.get(first.path) == runs.get(str(first.path), tmp_path / "nowhere") == first
    assert runs.get(f"wgan/{second.id}", tmp_path) == second
    shared = next(n for n, (a, b) in enumerate(zip(first.id, second.id, strict=True)) if a != b)
    assert runs.get(first.id[: shared + 1], tmp_path) == first
    with pytest.raises(InvalidRun, match=r"found 2 runs.*more digits"):
        runs.get(first.id[:shared], tmp_path)
    for missing in ("zzz", "gan/zzz", "../gan", str(tmp_path), "a\0b"):
        with pytest.raises(InvalidRun, match="found none"):
            runs.get(missing, tmp_path)


# ---------------------------------------------------------------- reading what is damaged


def damaged_npy(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "archive":
        np.savez(file, a=np.zeros(2), b=np.zeros(2))  # two entries, as many as there are cases
        return file.getvalue()
    arrays = {
        "short": np.zeros((1, 4)),
        "long": np.zeros((3, 4)),
        "scalar": np.zeros(()),
        "pickled": np.array([{}, {}]),
        "cut": np.zeros((2, 4)),
    }
    np.save(file, arrays[kind], allow_pickle=True)
    return file.getvalue()[:-1] if kind == "cut" else file.getvalue()


@pytest.mark.parametrize("kind", ["short", "long", "scalar", "pickled", "cut", "archive"])
def test_arrays_that_are_not_those_of_the_cases_are_refused(kind, tmp_path):
    run = finished(tmp_path)
    (run.path / "samples" / "image.npy").write_bytes(damaged_npy(kind))
    with pytest.raises(InvalidRun, match=r"image\.npy: expected"):
        run.samples.array("image")


def test_a_missing_array_and_an_unknown_one_are_told(tmp_path):
    run = finished(tmp_path)
    (run.path / "samples" / "image.npy").unlink()
    with pytest.raises(InvalidRun, match=r"image\.npy: expected an array"):
        run.samples.array("image")
    with pytest.raises(InvalidRun, match=r"expected one of image, found 'mask'"):
        run.samples.array("mask")


@pytest.mark.parametrize("keep", [0, 1, 4, 100, -1, -8, -100])
def test_a_cut_table_of_scores_is_told(keep, tmp_path):
    run = finished(tmp_path)
    content = (run.path / "scores.parquet").read_bytes()
    (run.path / "scores.parquet").write_bytes(content[:keep])
    with pytest.raises(InvalidRun, match=r"scores\.parquet: expected a table of scores, found something unreadable"):
        run.scores()


def test_a_missing_table_of_scores_is_told(tmp_path):
    run = finished(tmp_path)
    (run.path / "scores.parquet").unlink()
    with pytest.raises(InvalidRun, match=r"scores\.parquet: expected a table of scores, found none"):
        run.scores()


def test_a_table_of_scores_with_changed_bytes_is_read_or_refused(tmp_path):
    run = finished(tmp_path)
    content, rng = (run.path / "scores.parquet").read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(content), 60):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(0, 8)
        (run.path / "scores.parquet").write_bytes(changed)
        try:
            run.scores()
        except InvalidRun as error:
            assert "scores.parquet" in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"cases": [], "arrays": 3}', b'{"cases": 2, "arrays": []}', b"\xff"]
)
def test_a_bad_index_of_samples_is_told(content, tmp_path):
    run = finished(tmp_path)
    (run.path / "samples" / "index.json").write_bytes(content)
    with pytest.raises(InvalidRun, match=r"index\.json"):
        _ = run.samples.index


def test_env_that_is_missing_or_cut_is_told(tmp_path):
    run = finished(tmp_path)
    with pytest.raises(InvalidRun, match=r"env\.json: expected a file of a run folder, found none"):
        _ = run.env
    (run.path / "env.json").write_text('{"git": ')
    with pytest.raises(InvalidRun, match=r"env\.json: expected valid JSON"):
        _ = run.env


def test_curves_with_a_cut_line_and_nonsense_keep_the_rest(tmp_path):
    run = finished(tmp_path)
    rows = [
        b'{"step": 1, "color": 0.5}',
        b"[1, 2]",
        b"nonsense \xff",
        b"[" * 100_000,
        b'{"step": 2}',
        b'{"step": 3, "col',
    ]
    (run.path / "metrics.jsonl").write_bytes(b"\n".join(rows))
    curves = run.metrics()
    assert curves["step"].tolist() == [1, 2] and curves["color"].isna().tolist() == [False, True]


# ---------------------------------------------------------------- what it needs


def test_importing_runs_loads_nothing_heavy():
    code = "import sys, workbench.runs; print([m for m in ('torch', 'numpy', 'pandas', 'pyarrow') if m in sys.modules])"
    assert child(code).stdout.strip() == "[]"


def test_what_a_kill_left_behind_is_removed_by_the_next_training(tmp_path):
    run = runs.create(tmp_path, {"method": "gan", "config": {}}, "gan")
    for name in (".state.pt.0123abcd", "samples/.color.npy.89abcdef", "state.pt", ".hidden"):
        (run.path / name).write_bytes(b"x")
    with run.lock():
        pass
    assert {p.name for p in run.path.rglob("*") if p.is_file()} == {".hidden", ".lock", "config.json", "state.pt"}
