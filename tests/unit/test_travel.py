"""Values cross from one Python to another unchanged, or are refused by name."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pi_v_jupyter.remote._kernel import travel

EVERYTHING = ["numpy", "pandas", "polars", "pyarrow"]
plain = some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text()
values = some.recursive(
    plain | some.binary(),
    lambda inner: some.lists(inner) | some.tuples(inner, inner) | some.dictionaries(some.text(), inner),
    max_leaves=30,
)


def crossed(value: Any, there: list[str] = EVERYTHING, **how: Any) -> Any:
    return travel.load(travel.dump({"x": value}, there, **how), how.pop("names", {}), **how)["x"]


@given(values)
@settings(max_examples=500)
def test_what_is_made_of_plain_values_is_equal_and_of_the_same_types(value: Any) -> None:
    found = crossed(value)
    assert found == value and repr(found) == repr(value)


def test_odd_numbers_and_texts() -> None:
    assert crossed([math.inf, -math.inf, 10**400, "\udc80", "\0", ""]) == [
        math.inf,
        -math.inf,
        10**400,
        "\udc80",
        "\0",
        "",
    ]
    assert math.isnan(crossed(math.nan))
    assert crossed(bytearray(b"x")) == bytearray(b"x")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4),
        np.asfortranarray(np.ones((2, 3))),
        np.zeros((0, 3), dtype="f4"),
        np.array(5),
        np.array(["a", "雪"]),
        np.array([1 + 2j]),
        np.array(["2026-01-01"], dtype="M8[D]"),
        np.array([(1, 2.5)], dtype=[("n", "i4"), ("x", "f8")]),
        np.float32(1.5),
        np.int64(7),
    ],
    ids=repr,
)
def test_arrays(array: Any) -> None:
    found = crossed(array)
    assert type(found) is type(array) and found.dtype == array.dtype and found.shape == array.shape
    assert (found == array).all()


FRAMES = [
    pd.DataFrame({"n": [1, 2], "word": ["a", "雪"], "x": [1.5, None]}),
    pd.DataFrame({"n": [1, 2]}, index=pd.Index(["one", "two"], name="names")),
    pd.DataFrame({"t": pd.to_datetime(["2026-01-01", None])}),
    pd.DataFrame({"a": []}),
    pd.DataFrame(),
]


@pytest.mark.parametrize("there", [EVERYTHING, ["numpy", "pandas"]], ids=["arrow", "columns"])
@pytest.mark.parametrize("frame", FRAMES, ids=["mixed", "named index", "times", "empty", "nothing"])
def test_tables_of_pandas(frame: pd.DataFrame, there: list[str]) -> None:
    pd.testing.assert_frame_equal(
        crossed(frame, there),
        frame,
        check_dtype="pyarrow" in there,
        check_index_type=False,
        check_column_type=False,
    )


@pytest.mark.parametrize("there", [EVERYTHING, ["numpy", "pandas"]], ids=["arrow", "columns"])
@pytest.mark.parametrize("name", [None, "word"])
def test_series_of_pandas(name: str | None, there: list[str]) -> None:
    series = pd.Series([1, 2, 3], index=[10, 20, 30], name=name)
    pd.testing.assert_series_equal(crossed(series, there), series)


def test_categories_and_several_indexes_by_arrow() -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["a", "b", "a"]), "n": [1, 2, 3]}).set_index(
        ["c", "n"], drop=False
    )
    pd.testing.assert_frame_equal(crossed(frame), frame)


several = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["up", None])


@pytest.mark.parametrize("there", [EVERYTHING, ["numpy", "pandas"]], ids=["arrow", "columns"])
@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical(["a", None], categories=["b", "a"], ordered=True),
        pd.Categorical([3, 1]),
        pd.array([1, None], dtype="Int64"),
        pd.array([1.5, None], dtype="Float32"),
        pd.array([True, None], dtype="boolean"),
        pd.array(["a", None], dtype="string"),
        pd.to_datetime(["2026-01-01 12:00", None]).tz_localize("Europe/Berlin"),
        pd.to_datetime(["2026-01-01", None]).tz_localize("UTC"),
        pd.to_timedelta(["1h", None]),
    ],
    ids=lambda column: str(column.dtype),
)
def test_columns_keep_their_kind_and_their_gaps(column: Any, there: list[str]) -> None:
    frame = pd.DataFrame({"x": column, "n": [1, 2]})
    pd.testing.assert_frame_equal(crossed(frame, there), frame)
    pd.testing.assert_series_equal(crossed(frame["x"], there), frame["x"])


def test_several_indexes_and_names_that_repeat_without_arrow() -> None:
    there = ["numpy", "pandas"]
    for frame in (
        pd.DataFrame([[1, 2], [3, 4]], index=several, columns=several),
        pd.DataFrame([[1, 2], [3, 4]], columns=["same", "same"]),
        pd.DataFrame([[1, 2]], columns=pd.Index([10, 20], name="tens")),
        pd.DataFrame({"n": [1, 2]}, index=pd.CategoricalIndex(["b", "a"])),
    ):
        pd.testing.assert_frame_equal(crossed(frame, there), frame)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.ma.array([1, 2], mask=[0, 1]), "x is a numpy.ma"),
        (np.rec.array([(1, 2)]), "x is a numpy.rec"),
        (pd.Series(pd.period_range("2026-01", periods=2)), "period.* needs pyarrow at both ends"),
    ],
    ids=["masked", "records", "period"],
)
def test_what_would_arrive_as_something_else_is_refused(value: Any, said: str) -> None:
    with pytest.raises(travel.Unfit, match=said):
        crossed(value, ["numpy", "pandas"])


def test_tables_of_arrow_and_polars() -> None:
    pyarrow, polars = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    table = pyarrow.table({"n": [1, 2], "deep": [[1], [2, 3]]})
    assert crossed(table).equals(table)
    frame = polars.DataFrame({"n": [1, 2], "word": ["a", None]})
    assert crossed(frame).equals(frame)
    series = polars.Series("n", [1, 2])
    assert crossed(series).equals(series)


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    rest: list[Any] = dataclasses.field(default_factory=list)


def test_dataclasses_that_both_ends_know() -> None:
    assert crossed([Point(1, [Point(2)])]) == [Point(1, [Point(2)])]
    data = travel.dump({"x": Point(1)}, EVERYTHING).replace(b"test_travel", b"no_such_mod")
    with pytest.raises(travel.Unfit, match="Point, a dataclass that is not defined where it comes to"):
        travel.load(data, {})


class Odd:
    def __init__(self) -> None:
        self.value = 1


@pytest.mark.parametrize(
    ("value", "there", "why"),
    [
        (Odd(), EVERYTHING, "x is a test_travel.Odd"),
        ([1, {"deep": Odd()}], EVERYTHING, r"x\[1\]\['deep'\] is a test_travel.Odd"),
        ({1: 2}, EVERYTHING, "x is a dict"),
        ({1, 2}, EVERYTHING, "x is a set"),
        (len, EVERYTHING, "x is a builtin_function_or_method"),
        (np.array([Odd()]), EVERYTHING, "x is an array of Python objects"),
        (np.ones(2), [], "x needs numpy, which is not installed at the other end"),
        (pd.DataFrame({"a": [1]}), ["numpy"], "x needs pandas"),
        (pd.DataFrame({"a": [Odd()]}), EVERYTHING, "x has what Arrow cannot hold"),
        (pd.DataFrame({"a": [Odd()]}), ["numpy", "pandas"], r"x\['a'\]\[0\] is a test_travel.Odd"),
    ],
)
def test_the_rest_is_refused_with_what_and_why(value: Any, there: list[str], why: str) -> None:
    with pytest.raises(travel.Unfit, match=why):
        travel.dump({"x": value}, there)


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(travel.Unfit, match="contains itself"):
        travel.dump({"x": loop}, EVERYTHING)


def test_pickle_is_for_those_who_ask_at_both_ends() -> None:
    data = travel.dump({"x": Odd()}, EVERYTHING, allow_pickle=True)
    assert travel.load(data, {}, allow_pickle=True)["x"].value == 1
    with pytest.raises(travel.Unfit, match="came as 'pickle', which was not asked for"):
        travel.load(data, {})
    with pytest.raises(travel.Unfit, match="cannot be pickled"):
        travel.dump({"x": lambda: 1}, EVERYTHING, allow_pickle=True)


def framed(tree: Any, *blobs: bytes) -> bytes:
    head = json.dumps(tree).encode()
    parts = [travel.MAGIC, struct.pack("!Q", len(head)), head]
    return b"".join([*parts, *(struct.pack("!Q", len(blob)) + blob for blob in blobs)])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk" * 10,
        travel.MAGIC,
        travel.MAGIC + b"\xff" * 8,
        framed([]),
        framed({"x": 1}),
        framed({"x": {"is": "array", "blob": 0}}),
        framed({"x": {"is": "array", "blob": 0, "scalar": False}}, b"no array"),
        framed({"x": {"is": "arrow", "blob": 0}}, b"no table"),
        framed({"x": {"is": "polars", "blob": 0, "series": False}}, b"no table"),
        framed({"x": {"is": "dataclass", "module": "os", "name": "system", "fields": {}}}),
        framed({"x": {"is": "dataclass", "module": "builtins", "name": "list.append", "fields": {}}}),
        framed({"x": {"is": "wish"}}, b""),
    ],
)
def test_nonsense_is_refused_and_runs_nothing(data: bytes) -> None:
    with pytest.raises(travel.Unfit):
        travel.load(data, {})
