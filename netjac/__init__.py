"""netjac: the Jacobian of a neural network, exact, batched, structured, fast and readable."""

from typing import Any

from netjac import attacks
from netjac.analysis.flow.gradient_flow import gradient_flow
from netjac.analysis.flow.monitor import FlowMonitor
from netjac.analysis.flow.result import Flow
from netjac.analysis.flow.spectrum import FlowThresholds
from netjac.analysis.selection import Selection, select_features
from netjac.analysis.sensitivity import sensitivity
from netjac.analysis.sensitivity_result import Sensitivity
from netjac.calibration import calibrate
from netjac.certified.bounds import bounds, monotone
from netjac.certified.lipschitz import Lipschitz, lipschitz
from netjac.check import Check, check
from netjac.drop_in import jacobian_function
from netjac.errors import (
    ChangedError,
    MissingExtraError,
    ModelLoadError,
    NetjacError,
    NonFiniteError,
    NotDifferentiableError,
    RangeError,
    ShapeError,
    StochasticNetworkError,
    StoreError,
    TooLargeError,
    UnknownNameError,
    UnsupportedOperationError,
)
from netjac.formula.build import formula
from netjac.formula.formula import Formula
from netjac.jacobian import explain, jacobian, value_and_jacobian
from netjac.networks import Network
from netjac.networks.keras_flow import flow_callback
from netjac.operator import Jacobian
from netjac.parameters.matrix import ParameterJacobian, ntk, parameter_matrix
from netjac.plan.plan import Plan
from netjac.points import mark
from netjac.report.drawing.draw import Drawing, draw
from netjac.report.page.report import Report, report
from netjac.scale.distribute import distribute
from netjac.scale.stream import stream
from netjac.torch_drop_in import torch_jacobian_function
from netjac.tracing import network
from netjac.training.fit import fit
from netjac.training.result import Fit

__version__ = "0.1.0"

__all__ = [
    "ChangedError",
    "Check",
    "Drawing",
    "Fit",
    "Flow",
    "FlowMonitor",
    "FlowThresholds",
    "Formula",
    "Jacobian",
    "Lipschitz",
    "MissingExtraError",
    "ModelLoadError",
    "NetjacError",
    "NetjacSelector",
    "Network",
    "NonFiniteError",
    "NotDifferentiableError",
    "ParameterJacobian",
    "Plan",
    "RangeError",
    "Report",
    "Selection",
    "Sensitivity",
    "ShapeError",
    "StochasticNetworkError",
    "StoreError",
    "TooLargeError",
    "UnknownNameError",
    "UnsupportedOperationError",
    "attacks",
    "bounds",
    "calibrate",
    "check",
    "distribute",
    "draw",
    "explain",
    "fit",
    "flow_callback",
    "formula",
    "gradient_flow",
    "jacobian",
    "jacobian_function",
    "lipschitz",
    "mark",
    "monotone",
    "network",
    "ntk",
    "parameter_matrix",
    "report",
    "select_features",
    "sensitivity",
    "stream",
    "torch_jacobian_function",
    "value_and_jacobian",
]


def __getattr__(name: str) -> Any:
    """`NetjacSelector` when it is asked for: scikit-learn takes as long to import as half of netjac."""
    if name != "NetjacSelector":
        raise AttributeError(f"module 'netjac' has no attribute {name!r}")
    from netjac.analysis.selector import NetjacSelector

    return NetjacSelector
