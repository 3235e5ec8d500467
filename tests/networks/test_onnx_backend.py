"""ONNX's own test cases of its operators: whatever has a rule gives what the case expects, or is refused by name."""

from __future__ import annotations

import re
import warnings

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


def families():
    """The cases of each operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [case for case in collect_testcases(None) if not LEFT_OUT.search(case.name)]
    by_operator = {}
    for case in found:
        if case.name not in BY_RUNTIME:
            by_operator.setdefault(case.model.graph.node[-1].op_type, []).append(case)
    return [family[:: -(-len(family) // MOST)] for family in by_operator.values()]


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


def _ways(case):
    """What `_ready` makes of a case with its whole numbers given, and with them known; None where either is refused."""
    try:
        return _ready(case, False), _ready(case, True)
    except NetjacError:
        return None


def _outputs(ways, given):
    """What a network gives, with its whole numbers known where a rule asks for that; None where it is refused."""
    (network, *_), (knowing, *_) = ways
    try:
        try:
            return network.prepare([])(*given[0])
        except UnsupportedOperationError as error:
            if "depends on" not in str(error):
                raise
            return knowing.prepare([])(*given[1])
    except NetjacError:
        return None


def _held(cases):
    """Of an operator's cases those that are right, if the others are refused. Compiled as one program, which takes less."""
    read = [(case, ways) for case in cases if (ways := _ways(case)) is not None]
    with precise(True):
        given = [
            [(network.parameters, tuple(map(jnp.asarray, moving.values()))) for network, moving, _ in ways]
            for _, ways in read
        ]
        found = jax.jit(lambda given: [_outputs(ways, one) for (_, ways), one in zip(read, given, strict=True)])(given)
    right = [(case, ways[0], outputs) for (case, ways), outputs in zip(read, found, strict=True) if outputs is not None]
    for case, (_, moving, expected), outputs in right:
        half = any(value.dtype.itemsize == 2 for value in moving.values())
        rtol, atol = (2e-2, 1e-2) if half else (1e-3, 1e-5)
        for y, own in zip(outputs, expected, strict=False):
            np.testing.assert_allclose(
                np.asarray(y, np.float64), np.asarray(own).astype(np.float64), rtol, atol, err_msg=case.name
            )
    return right


def test_onnx_own_cases_are_right_or_refused():
    assert sum(len(_held(cases)) for cases in families()) > 400
