import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.codegen.literals import KEYWORDS, check_prefix, comment, float_literal, float_rows, identifiers
from app.errors import UserError

HOSTILE = st.text(st.sampled_from("*/?\\\n\"'<>%{}#a \u202e\0é"), max_size=40) | st.text(max_size=40)


@given(HOSTILE)
def test_no_text_ends_its_comment_or_hides_in_it(text):
    shown = comment(text)
    assert not re.search(r"\*/|/\*|\?\?|[^ -~]|\\", shown)


@given(st.lists(HOSTILE, max_size=6))
def test_identifiers_are_distinct_c_names(names):
    found = identifiers(names, taken=("a", "n"))
    assert len(set(found)) == len(names)
    for word in found:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", word)
        assert word not in KEYWORDS | {"a", "n"}


def test_identifiers_stay_readable():
    assert identifiers(["data", "fire2/relu:0", "1st", "data", "int"]) == (
        "data",
        "fire2_relu_0",
        "t_1st",
        "data_2",
        "int_2",
    )


def test_identifiers_leave_the_names_of_functions_and_macros_alone():
    names = ["net_run", "NET_OK", "ts_pool", "network", "1"]
    assert identifiers(names, reserved=("ts_", "net_")) == ("t_net_run", "t_NET_OK", "t_ts_pool", "network", "t_1")
    assert identifiers(["t_run", "1"], reserved=("ts_", "t_")) == ("tensor_t_run", "tensor_1")


def read_back(literal: str) -> np.float32:
    return np.float32("inf") * (-1 if "-" in literal else 1) if "INF" in literal else np.float32(literal.strip("f "))


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_printed_floats_are_the_same_floats(values):
    array = np.array(values, np.float32)
    rows = [read_back(word) for word in float_rows(array).split(",")[:-1]]
    assert np.array(rows, np.float32).tobytes() == array.tobytes()
    assert np.array([read_back(float_literal(v)) for v in values], np.float32).tobytes() == array.tobytes()


def test_a_constant_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        float_literal(float("nan"))


@pytest.mark.parametrize("prefix", ["", "1net", "net-1", "int", "class", "a" * 33, "net_", "../x", "né", "main"])
def test_a_prefix_that_cannot_begin_c_names_is_refused(prefix):
    with pytest.raises(UserError) as caught:
        check_prefix(prefix)
    assert caught.value.code == "bad-prefix"


@pytest.mark.parametrize("prefix", ["net", "N2", "my_net_3"])
def test_usual_prefixes_are_accepted(prefix):
    check_prefix(prefix)
