"""Trees of inputs, and arrays laid out along them."""

import numpy as np
import pytest

from netjac.errors import ShapeError
from netjac.networks.network import Spec
from netjac.networks.trees import (
    Positional,
    arguments,
    call_structure,
    flatten,
    leaves,
    named_leaves,
    pack,
    structure_of,
    unique,
)

A, B = Spec("a", (None, 2), "float32"), Spec("b", (None, 3), "float32")
TWO, THREE = np.ones((4, 2)), np.ones((4, 3))


def test_a_tree_is_flattened_in_order_and_packed_again():
    structure = {"x": [A, B], "y": Spec("c", (None,), "int32")}
    tree = {"y": np.arange(4), "x": (TWO, THREE)}
    flat = flatten(structure, tree, "model")
    assert [spec.name for spec in leaves(structure)] == ["a", "b", "c"]
    assert [id(array) for array in flat] == [id(TWO), id(THREE), id(tree["y"])]
    packed = pack(structure, flat)
    assert packed["x"][1] is THREE
    assert packed["y"] is tree["y"]


def test_flat_names_lead_to_inputs_in_lists():
    assert [id(array) for array in flatten([A, B], {"b": THREE, "a": TWO}, "model")] == [id(TWO), id(THREE)]


def test_a_single_array_may_come_in_a_list_or_be_one():
    assert flatten(A, [TWO], "model")[0] is TWO
    assert flatten([A], TWO, "model")[0] is TWO
    nested = [[1.0, 2.0], [3.0, 4.0]]
    assert flatten(A, nested, "model")[0] is nested


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (TWO, "got one array"),
        ((TWO, THREE, TWO), "got 3 arrays"),
        ({"a": TWO, "c": THREE}, "keys"),
        ((THREE, TWO), "the array given for 'a' has shape \\(4, 3\\)"),
    ],
)
def test_another_structure_is_refused_with_the_right_one(x, message):
    with pytest.raises(ShapeError, match=rf"model takes 'a' \(batch, 2\), 'b' \(batch, 3\); .*{message}"):
        flatten([A, B], x, "model")


def test_the_structure_of_an_example_leaves_the_batch_open():
    assert structure_of(TWO) == Spec("input", (None, 2), "float64")
    assert structure_of([[1.0, 2.0], [3.0, 4.0]]) == Spec("input", (None, 2), "float64")
    assert [spec.name for spec in leaves(structure_of({"left": TWO, "right": (TWO, THREE)}))] == [
        *("left", "right_0", "right_1")
    ]


def test_several_arrays_are_several_arguments_only_where_the_call_needs_them():
    def needs_two(a, b, c=None):
        return a, b, c

    def needs_one(x, flag=False):
        return x, flag

    assert isinstance(call_structure(needs_two, (TWO, THREE)), Positional)
    assert [spec.name for spec in leaves(call_structure(needs_two, {"b": THREE, "a": TWO}))] == ["a", "b"]
    single = call_structure(needs_one, (TWO, THREE))
    assert not isinstance(single, Positional)
    assert arguments(single, (TWO, THREE)) == ((TWO, THREE),)
    assert isinstance(call_structure(lambda *many: many, (TWO, THREE)), Positional)


def test_outputs_are_named_by_keys_then_by_declaration_then_by_number():
    assert list(named_leaves(TWO)) == ["output"]
    assert list(named_leaves((TWO,))) == ["output"]
    assert list(named_leaves({"p": TWO, "q": {"r": TWO}})) == ["p", "q.r"]
    assert list(named_leaves([TWO, THREE], ["left", "right"])) == ["left", "right"]
    assert list(named_leaves([TWO, (THREE, TWO)])) == ["output_0", "output_1_0", "output_1_1"]


def test_repeated_names_are_numbered():
    taken = set()
    assert [unique("w", taken) for _ in range(3)] == ["w", "w~2", "w~3"]
