"""Operators that are refused, and why."""

from __future__ import annotations

from netjac.networks.onnx_operators.registry import ML

RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)

_ROUNDS = "it rounds, so that its derivative is 0 wherever there is one; give the network as it was before quantisation"
_STEPS = "it is constant in pieces, so that its derivative is 0 wherever there is one"
_DATA = "the shape of its result depends on the data"

REFUSED: dict[tuple[str, str], str] = {
    **{("", name): _ROUNDS for name in (
        "QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
    )},
    **{("", name): _DATA for name in ("NonMaxSuppression", "NonZero", "Unique", "Compress")},
    **{(ML, name): _STEPS for name in (
        "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "Binarizer", "OneHotEncoder", "LabelEncoder",
    )},
    **{("", name): "it draws random numbers" for name in RANDOM},
}  # fmt: skip
