"""ONNX's own test cases of its operators: whatever has a rule gives what the case expects, or is refused by name."""

from __future__ import annotations

import re
import warnings
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from netjac.errors import NetjacError, UnsupportedOperationError
from netjac.networks.onnx import OnnxNetwork
from netjac.networks.onnx_operators.registry import RULES
from netjac.precision import precise

# Of one operator so many that they would take most of the time, in dtypes that are refused, or of the same things again.
LEFT_OUT = re.compile(
    r"_expanded|_random$|_negative_axes|^test_(cast|castlike|softmax_cross|sce_|nllloss|flex|linear_attention|bitcast|image_|shape_"
    r"|dft|stft|string|bitshift|tfidf|nonmaxsuppression|attention_(3d|local|23|24)|attention.*(16|softcap|qk_matmul|gqa))"
)
# ONNX Runtime and torch count places by whole sizes where ONNX's reference does by broken ones.
BY_RUNTIME = {f"test_resize_downsample_scales_{mode}_align_corners" for mode in ("linear", "cubic")}
WHOLE = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
NUMBERS = ("bool", "float16", "bfloat16", "float32", "float64", *WHOLE)


MOST = 10
"""So many cases of an operator at most, evenly spread."""


def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [case for case in collect_testcases(None) if not LEFT_OUT.search(case.name)]
    by_operator = {}
    for case in found:
        if case.name not in BY_RUNTIME:
            by_operator.setdefault(case.model.graph.node[-1].op_type, []).append(case)
    return [case for family in by_operator.values() for case in family[:: -(-len(family) // MOST)]]


def _array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _ready(case, integers_known):
    """The network, what it is given and what it should give; settings are arrays of the model."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    settings = set()
    for node in proto.graph.node:
        rule = RULES.get((node.domain, node.op_type))
        settings |= {name for i, name in enumerate(node.input) if rule and rule.is_fixed(i)}
    given, expected = case.data_sets[0]
    moving = {}
    for declared, value in zip(list(proto.graph.input), map(_array, given), strict=True):
        if isinstance(value, list) or value is None or str(np.asarray(value).dtype) not in NUMBERS:
            raise UnsupportedOperationError("no array of numbers")
        value = np.asarray(value)
        if declared.name in settings or (integers_known and value.dtype.kind in "biu"):
            proto.graph.initializer.append(numpy_helper.from_array(value, declared.name))
            proto.graph.input.remove(declared)
        else:
            moving[declared.name] = value
    return OnnxNetwork(proto), moving, [_array(value) for value in expected]


def _held(case, integers_known):
    network, moving, expected = _ready(case, integers_known)
    with precise(True):
        values = [jnp.asarray(value) for value in moving.values()]
        found = jax.jit(network.prepare([]))(network.parameters, tuple(values))
    half = any(value.dtype.itemsize == 2 for value in moving.values())
    for y, own in zip(found, expected, strict=False):
        rtol, atol = (2e-2, 1e-2) if half else (1e-3, 1e-5)
        np.testing.assert_allclose(
            np.asarray(y, np.float64), np.asarray(own).astype(np.float64), rtol, atol, err_msg=case.name
        )


def test_onnx_own_cases_are_right_or_refused():
    outcome = Counter()
    for case in cases():
        try:
            try:
                _held(case, False)
            except UnsupportedOperationError as error:
                if "depends on" not in str(error):
                    raise
                _held(case, True)
            outcome["right"] += 1
        except NetjacError:
            outcome["refused"] += 1
    assert outcome["right"] > 400, outcome
