"""SWC files: read right or refused by line, resampled, and written back with alerts."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.io import swc
from workbench.errors import InvalidImage

FOLDER = Path(os.environ.get("WORKBENCH_DATA", "missing")) / "odd_files" / "swc"
ODD = sorted(FOLDER.glob("*.swc")) if FOLDER.is_dir() else []
REFUSED = {"Neuron_missing_parents.swc": "line 40: parent 5 is no node", "repeated_id.swc": "line 6: id 4 again"}
PLAIN = "1 1 0 0 0 2 -1\n2 3 1 0 0 1 1\n3 3 2 0 0 1 2\n4 3 2 1 0 1 2\n"


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "some.swc"
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return path


def read(tmp_path, text):
    return swc.read_swc(written(tmp_path, text))


def refused(tmp_path, text, *words):
    with pytest.raises(InvalidImage) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith("some.swc: expected ") and "\n" not in message and str(tmp_path) not in message
    assert all(word in message for word in words), message


def same(one, other):
    for key in ("points", "parent", "radius", "kind", "ids"):
        np.testing.assert_array_equal(getattr(one, key), getattr(other, key))
    assert one.extra == other.extra


# ---------------------------------------------------------------- the odd files


@pytest.mark.skipif(not ODD, reason="WORKBENCH_DATA is not set, or has no odd_files/swc")
def test_all_odd_files_are_read_right_or_refused():
    for path in ODD:
        if path.name in REFUSED:
            with pytest.raises(InvalidImage, match=REFUSED[path.name]) as caught:
                swc.read_swc(path)
            assert str(caught.value).startswith(f"{path.name}: expected ") and "\n" not in str(caught.value)
            continue
        tree = swc.read_swc(path)
        rows = [line.partition("#")[0].split() for line in path.read_text().splitlines()]
        rows = {int(row[0]): row for row in rows if row}
        assert len(tree) == len(rows)
        for node, own in enumerate(tree.ids.tolist()):
            _, kind, *numbers, parent = rows[own]
            assert tree.kind[node] == int(kind)
            assert [*tree.points[node], tree.radius[node]] == [float(value) for value in numbers]
            above = tree.parent[node]
            assert int(parent) == (tree.ids[above] if above >= 0 else -1) and above < node


@pytest.mark.skipif(not ODD, reason="WORKBENCH_DATA is not set, or has no odd_files/swc")
def test_what_is_odd_in_the_odd_files_is_told():
    told = {path.name: " / ".join(swc.check_swc(path)) for path in ODD}
    assert "5 roots" in told["Neuron_disconnected_components.swc"] and "2 roots" in told["multiple_somata.swc"]
    assert "on the place of its parent" in told["Neuron_zero_length_segments.swc"]
    assert "radius 0" in told["custom_type.swc"] and told["point_soma.swc"] == ""


# ---------------------------------------------------------------- how rows may look


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(" ", "\t"),
        PLAIN.replace(" ", ","),
        PLAIN.replace(" ", ", "),
        PLAIN.replace(" ", ";"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN,
        "# by hand\n\n" + PLAIN.replace("\n", "  # a remark\n"),
        "id type x y z radius parent\n" + PLAIN,
        "n,T,X,Y,Z,R,P\n" + PLAIN.replace(" ", ","),
        PLAIN.replace("2 0 0 1 2", "2.0 0. 0e0 1.00 2.0"),
        "   " + PLAIN.rstrip("\n"),
    ],
    ids=["blanks", "tabs", "commas", "comma-blank", "semicolons", "crlf", "cr", "bom", "comments", "header",
         "comma-header", "floats", "no-end"],
)  # fmt: skip
def test_separators_comments_and_headers(tmp_path, text):
    tree = read(tmp_path, text)
    assert tree.points.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [2, 1, 0]]
    assert tree.parent.tolist() == [-1, 0, 1, 1] and tree.kind.tolist() == [1, 3, 3, 3]
    assert tree.radius.tolist() == [2, 1, 1, 1] and tree.ids.tolist() == [1, 2, 3, 4]


def test_comments_of_any_encoding(tmp_path):
    assert len(read(tmp_path, "# µm\n".encode("latin-1") + PLAIN.encode())) == 4


def test_further_columns_are_kept(tmp_path):
    tree = read(tmp_path, PLAIN.replace("\n", " 0.5 left\n"))
    assert tree.extra == (("0.5", "left"),) * 4


def test_parents_that_come_later_move_ahead(tmp_path):
    tree = read(tmp_path, "4 3 3 0 0 1 2\n3 3 2 0 0 1 2\n1 1 0 0 0 1 -1\n2 3 1 0 0 1 1\n")
    assert tree.ids.tolist() == [1, 2, 4, 3] and tree.parent.tolist() == [-1, 0, 1, 1]
    assert tree.lines.tolist() == [3, 4, 1, 2]


def test_a_long_backward_path_is_no_trouble(tmp_path):
    rows = [f"{k} 3 {k} 0 0 1 {k + 1}" for k in range(1, 5000)] + ["5000 1 5000 0 0 1 -1"]
    tree = read(tmp_path, "\n".join(rows))
    assert tree.ids.tolist() == list(range(5000, 0, -1)) and tree.parent.tolist() == list(range(-1, 4999))


# ---------------------------------------------------------------- what is refused, by line


def test_cycles(tmp_path):
    refused(
        tmp_path,
        PLAIN + "5 3 0 0 0 1 7\n6 3 0 0 0 1 5\n7 3 0 0 0 1 6\n8 3 0 0 0 1 7\n",
        "line 5: a cycle 5 -> 7 -> 6 -> 5",
    )
    refused(tmp_path, PLAIN + "9 3 0 0 0 1 9\n", "line 5: a cycle 9 -> 9")
    refused(tmp_path, PLAIN + "8 3 0 0 0 1 8\n9 3 0 0 0 1 9\n", "line 5: a cycle", "line 6: a cycle")


def test_orphans_duplicates_and_no_root(tmp_path):
    refused(tmp_path, PLAIN + "5 3 0 0 0 1 77\n", "line 5: parent 77 is no node")
    refused(tmp_path, "# x\n" + PLAIN + "3 3 0 0 0 1 1\n", "line 6: id 3 again, first in line 4")
    refused(tmp_path, PLAIN.replace("-1", "4"), "no root")
    refused(tmp_path, PLAIN.replace("-1", "0"), "line 1: parent 0 is no node", "no root")
    refused(tmp_path, PLAIN + "-1 3 0 0 0 1 1\n", "line 5: id -1")


def test_many_faults_are_one_line(tmp_path):
    rows = "".join(f"{k} 3 0 0 0 1 99\n" for k in range(5, 15))
    refused(tmp_path, PLAIN + rows, "line 5", "line 6", "line 7", "and 7 more")


def test_radius(tmp_path):
    refused(tmp_path, PLAIN.replace("2 0 0 1 2", "2 0 0 -1 2"), "line 3: radius -1")
    tree = read(tmp_path, PLAIN.replace("2 0 0 1 2", "2 0 0 0 2"))
    assert tree.radius[2] == 0 and tree.remarks == ("line 3: radius 0",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["with nodes", "none"]),
        ("# only a comment\n\n", ["with nodes", "none"]),
        ("id type x y z radius parent\n", ["one forest", "no root"]),
        (PLAIN + "5 3 0 0 1\n", ["line 5: 5 cells"]),
        (PLAIN + "5 3 0 nan 0 1 1\n", ["line 5", "finite"]),
        (PLAIN + "5 3 0 inf 0 1 1\n", ["line 5", "finite"]),
        (PLAIN + "5 3 0 1e999 0 1 1\n", ["line 5", "finite"]),
        (PLAIN + "5.5 3 0 0 0 1 1\n", ["line 5", "whole"]),
        (PLAIN + "5 axon 0 0 0 1 1\n", ["line 5", "whole"]),
        (PLAIN + "5 3 0,5 1,5 0 1 1\n", ["line 5: decimal commas"]),
        (PLAIN + "5;3;0,5;1,5;0;1;1\n", ["line 5: decimal commas"]),
        ("x y z id type radius parent\n" + PLAIN, ["the columns id type x y z radius parent", "line 1"]),
        ("Neuron of the left side\n" + PLAIN, ["line 1"]),
        (PLAIN.encode("utf-16"), ["plain text"]),
        (b"\0\1\2\3" * 40, ["plain text"]),
    ],
    ids=lambda part: None if isinstance(part, list) else repr(part)[-20:],
)
def test_what_is_no_row_is_refused(tmp_path, text, words):
    refused(tmp_path, text, *words)


def test_missing_files_and_folders(tmp_path):
    for path, word in ((tmp_path / "none.swc", "nothing of that name"), (tmp_path, "a folder")):
        with pytest.raises(InvalidImage, match=word):
            swc.read_swc(path)


def test_nodes_outside_the_volume(tmp_path):
    path = written(tmp_path, PLAIN + "5 3 9.4 0 0 1 1\n6 3 9.6 0 0 1 1\n7 3 0 -0.6 0 1 1\n")
    tree = swc.read_swc(path)
    with pytest.raises(InvalidImage, match=r"some.swc: .*4 x 5 x 10 voxels.*lines 6, 7 outside"):
        swc.check_inside(path, tree, tree.points[:, ::-1], (4, 5, 10))
    swc.check_inside(path, tree, tree.points[:, ::-1] + [0, 1, 0], (4, 6, 11))


def test_check_names_everything(tmp_path):
    assert swc.check_swc(written(tmp_path, PLAIN)) == []
    assert len(swc.check_swc(written(tmp_path, PLAIN + "".join(f"{k} 3 0 0 0 1 99\n" for k in range(5, 15))))) == 10
    text = PLAIN + "5 3 1 0 0 0 2\n6 1 5 5 5 1 -1\n"
    assert swc.check_swc(written(tmp_path, text)) == [
        "lines 1, 6: 2 roots", "line 5: radius 0", "line 5: on the place of its parent",
    ]  # fmt: skip


# ---------------------------------------------------------------- resampling


def length(tree):
    inner = tree.parent >= 0
    return np.linalg.norm(tree.points[inner] - tree.points[tree.parent[inner]], axis=1).sum()


def test_steps_are_even_and_ends_stay(tmp_path):
    tree = read(tmp_path, "1 1 0 0 0 3 -1\n2 3 1 0 0 1 1\n3 3 9.5 0 0 2 2\n4 3 9.5 4 0 1 3\n5 3 9.5 -3.9 0 1 3\n")
    made, origin = swc.resampled(tree, 2.0)
    np.testing.assert_allclose(made.points[:, 0], [0, 1.9, 3.8, 5.7, 7.6, *[9.5] * 5])
    np.testing.assert_allclose(made.points[6:, 1], [2, 4, -1.95, -3.9])
    assert made.parent.tolist() == [-1, 0, 1, 2, 3, 4, 5, 6, 5, 8]
    assert origin.tolist() == [0, 1, 1, 2, 2, 2, 2, 3, 2, 4] and made.kind.tolist() == [1] + [3] * 9
    np.testing.assert_allclose(length(made), length(tree))
    np.testing.assert_allclose(made.radius[:2], [3, 1 + 0.9 / 8.5])


@given(st.integers(0, 10_000), st.floats(0.3, 5))
@settings(max_examples=40, deadline=None)
def test_resampling_keeps_ends_and_branches(seed, step):
    tree = random_tree(np.random.default_rng(seed))
    made, origin = swc.resampled(tree, step)
    ends = (tree.parent < 0) | (swc.child_counts(tree.parent) != 1)
    kept = (made.parent < 0) | (swc.child_counts(made.parent) != 1)
    sort = lambda points: sorted(points.tolist())  # noqa: E731
    np.testing.assert_allclose(sort(made.points[kept]), sort(tree.points[ends]), atol=1e-9)
    assert (made.parent < np.arange(len(made))).all() and origin.max() < len(tree)
    assert length(made) <= length(tree) + 1e-6
    inner = made.parent >= 0
    assert (np.linalg.norm(made.points[inner] - made.points[made.parent[inner]], axis=1) <= 2 * step + 1e-6).all()


def random_tree(rng):
    count = int(rng.integers(1, 40))
    parent = np.array([-1 if k == 0 or rng.random() < 0.05 else rng.integers(max(0, k - 3), k) for k in range(count)])
    points = rng.normal(0, 20, (count, 3))
    ids = rng.permutation(1000)[:count]
    extra = tuple((str(rng.integers(9)), "a") for _ in range(count))
    return swc.Tree(points, parent, rng.random(count), rng.integers(0, 8, count), ids, np.arange(count), extra)


def test_a_single_node_and_one_place_stay(tmp_path):
    made, origin = swc.resampled(read(tmp_path, "7 1 1 2 3 1 -1\n"), 2.0)
    assert made.points.tolist() == [[1, 2, 3]] and origin.tolist() == [0]
    made, _ = swc.resampled(read(tmp_path, "1 1 1 2 3 1 -1\n2 1 1 2 3 1 1\n"), 2.0)
    assert made.parent.tolist() == [-1, 0] and np.isfinite(made.points).all()


# ---------------------------------------------------------------- writing


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_written_and_read_again_is_the_same(tmp_path_factory, seed, by_type):
    rng = np.random.default_rng(seed)
    tree, path = random_tree(rng), tmp_path_factory.mktemp("swc") / "one.swc"
    swc.write_swc(path, tree)
    same(swc.read_swc(path), tree)
    alert = rng.random(len(tree)) < 0.3
    swc.write_swc(path, tree, alert, by_type=by_type)
    again, found = swc.read_alerts(path)
    np.testing.assert_array_equal(found, alert)
    if by_type:
        assert (again.kind[alert] == swc.ALERT_TYPE).all() and (again.kind[~alert] == tree.kind[~alert]).all()
        again = swc.replace(again, kind=tree.kind)
    same(again, tree)


def test_a_damaged_alert_column_is_named(tmp_path):
    path = written(tmp_path, f"{swc.ALERT_NOTE}\n" + PLAIN.replace("\n", " 1\n").replace("1 2 1\n", "1 2 x\n"))
    with pytest.raises(InvalidImage, match="alerts of 0 or 1, found lines 4, 5"):
        swc.read_alerts(path)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_table_of_alerts_round_trips(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    tree, path = random_tree(rng), tmp_path_factory.mktemp("csv") / "one.csv"
    run = rng.integers(0, 3, len(tree))
    score = rng.random(len(tree))
    swc.write_alert_table(path, tree, score, run)
    found, runs = swc.read_alert_table(path, tree)
    np.testing.assert_array_equal(runs, run)
    np.testing.assert_array_equal(found, np.where(run > 0, score, np.nan))


def test_a_table_of_another_trace_is_refused(tmp_path):
    tree = read(tmp_path, PLAIN)
    swc.write_alert_table(tmp_path / "a.csv", tree, np.ones(4), np.ones(4, int))
    other = swc.replace(tree, ids=tree.ids + 10)
    with pytest.raises(InvalidImage, match="ids of the trace"):
        swc.read_alert_table(tmp_path / "a.csv", other)
