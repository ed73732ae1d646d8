"""Settings: checked when they are made, read from words, and explained by the comments beside them."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import pytest
from conftest import small_data
from hypothesis import given
from hypothesis import strategies as st

from workbench import config, data, method
from workbench.config import Bound, Config, Count, Fraction, Natural, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.fit import Budget


@dataclass(frozen=True)
class Some(Config):
    count: Count = 1  # how many
    natural: Natural = 0  # how many, or none
    rate: Positive = 0.5  # a rate; unit: none # twice
    weight: Weight = 0.0  # a weight
    part: Fraction = 0.5  # a part
    plain: float = 0.0  # any number
    on: bool = False  # a switch
    text: str = ""  # words
    kind: Literal["black", "white"] = "black"  # a choice
    maybe: int | None = None  # a number or none


@dataclass(frozen=True)
class Child(Some):
    count: Count = 2  # how many, of the child
    more: int = 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 0), ("count", -1), ("natural", -1), ("rate", 0), ("rate", -1e-9), ("weight", -0.1), ("part", -0.01),
        ("part", 1.01), ("rate", math.inf), ("rate", math.nan), ("plain", math.nan), ("plain", -math.inf),
        ("rate", 10**400), ("weight", "1"), ("count", 1.0), ("count", "1"), ("count", True), ("natural", False),
        ("rate", True), ("plain", False), ("plain", None), ("on", 1), ("on", 0.0), ("on", "true"), ("text", 3),
        ("text", None), ("kind", "grey"), ("kind", None), ("kind", ["black"]), ("maybe", "1"), ("maybe", True),
    ],
    ids=lambda part: str(part)[:12],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(name, value):
    with pytest.raises(InvalidParameter, match=f"^{name}: expected .+, found .+; .+") as caught:
        Some(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 1),
        ("natural", 0),
        ("rate", 5e-324),
        ("weight", 0),
        ("part", 0),
        ("part", 1),
        ("maybe", 3),
        ("on", True),
    ],
)
def test_edges_are_allowed(name, value):
    assert getattr(Some(**{name: value}), name) == value


def test_a_whole_number_becomes_a_float_where_one_is_asked_for():
    some = Some(rate=2, weight=0, part=1, plain=-3)
    assert [type(v) for v in (some.rate, some.weight, some.part, some.plain)] == [float] * 4
    assert type(Some(count=3).count) is int and Some(count=10**30).count == 10**30


def test_a_choice_names_the_nearest():
    with pytest.raises(InvalidParameter, match="kind: expected one of black, white, found 'whit'; did you mean white"):
        Some(kind="whit")


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Some().count = 0


@given(
    st.floats(), st.floats(allow_nan=False, allow_infinity=False), st.floats(min_value=0, max_value=1e9), st.booleans()
)
def test_bounds_by_their_definition(value, low, width, is_open):
    bound = Bound(low, low + width, is_open)
    assert (value in bound) == (low <= value <= low + width and not (is_open and value == low))


def test_bounds_as_words():
    assert [str(Bound(0, 1)), str(Bound(0, 1, open=True)), str(Bound(1)), str(Bound(0, open=True))] == [
        "in [0, 1]", "in (0, 1]", "of at least 1", "above 0",
    ]  # fmt: skip


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-3", -3), ("2e-4", 2e-4), ("0.5", 0.5), ("true", True), ("False", False), ("phantom", "phantom"),
        ("/data/images", "/data/images"), ("", ""), ("a=b", "a=b"), ("1e400", math.inf), ("007", "007"), ("[1", "[1"),
        ("{[]: 1}", "{[]: 1}"), ("'3'", "3"), ("C:\\new", "C:\\new"), ("__import__('os')", "__import__('os')"),
        ("a\0b", "a\0b"),
    ],
)  # fmt: skip
def test_words_become_typed_values(text, value):
    assert config.parse([f"key={text}"]) == {"key": value}
    assert type(config.literal(text)) is type(value)


def test_nested_brackets_stay_words():
    text = "(" * 100_000
    assert config.literal(text) == text


@given(st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_being_written(value):
    parsed = config.parse([f"key={value}"])["key"]
    assert parsed == value and type(parsed) is type(value)


@given(st.text())
def test_any_text_is_read_or_stays_as_it_is(text):
    value = config.parse([f"key={text}"])["key"]
    assert value == text or not isinstance(value, str) or text.strip()[:1] in tuple("'\"urbfURBF(")


@pytest.mark.parametrize("word", ["", "key", "=3", "1key=3", "two words=3", "-p", "lr:3", " lr=3"])
def test_words_that_are_no_pair_are_refused(word):
    with pytest.raises(InvalidParameter, match=r"-p: expected key=value.*epochs=3"):
        config.parse([word])


def test_the_last_of_a_name_counts():
    assert config.parse(["lr=1", "lr=2"]) == {"lr": 2}


def test_settings_are_dealt_to_the_groups_that_have_them():
    values = {"count": 1, "more": 2, "epochs": 3}
    assert config.split(values, Child, Budget) == [{"count": 1, "more": 2}, {"epochs": 3}]
    assert config.split({"count": 1}, Some, Child) == [{"count": 1}, {"count": 1}]


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InvalidParameter, match=r"found 'epoch'; did you mean epochs\?"):
        config.split({"epoch": 3}, Some, Budget)
    with pytest.raises(InvalidParameter, match=r"found 'zzzzz'; choose one of them"):
        config.split({"zzzzz": 3}, Some, Budget)


# ---------------------------------------------------------------- comments

GROUPS = [Budget, *(data.module(kind).Options for kind in data.kinds())]
GROUPS += [method.method_class(name).Config for name in sorted(method.names())]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group.__module__}.{group.__name__}")
def test_every_setting_has_a_comment_and_a_default_that_passes(group):
    notes = config.comments(group)
    assert list(notes) == [field.name for field in dataclasses.fields(group)]
    assert all(len(note) > 3 for note in notes.values()), [name for name, note in notes.items() if len(note) <= 3]
    group()
    lines = config.describe(group)
    assert len(lines) == len(notes)
    for line, (name, note) in zip(lines, notes.items(), strict=True):
        assert line.split()[0] == name and line.endswith(note)


def test_comments_are_inherited_and_replaced():
    notes = config.comments(Child)
    assert notes["rate"] == "a rate; unit: none # twice" and notes["count"] == "how many, of the child"
    assert notes["more"] == ""


def test_no_setting_of_a_method_means_another_thing_in_the_budget_or_the_data():
    shared = set()
    for name in method.names():
        cls = method.method_class(name)
        groups = (cls.Config, Budget, data.module(cls.data).Options)
        fields = [field.name for group in groups for field in dataclasses.fields(group)]
        decided = set(small_data(cls.data).spec)  # what the data decides means the same to the method
        shared |= {(name, field) for field in fields if fields.count(field) > 1 and field not in decided}
    assert shared == set()
