"""Running an exported graph in JAX, every submodule's output marked by the module's path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from netjac.errors import StochasticNetworkError, UnsupportedOperationError
from netjac.networks.aten.arithmetic import PYTHON
from netjac.networks.aten.registry import RULES, DrawsError
from netjac.points import mark

RANDOM = (
    "rand",
    "bernoulli",
    "normal",
    "dropout",
    "multinomial",
    "exponential",
    "uniform",
    "poisson",
    "rrelu_with_noise",
)


def run(graph: Any, inputs: Mapping[str, Any], attribute: Callable[[str], Any]) -> Any:
    """The outputs of an exported `torch.fx.Graph`; `inputs` by placeholder, `attribute` reads a constant by its target."""
    values: dict[Any, Any] = {}
    ends = module_ends(graph)
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = inputs[node.name]
        elif node.op == "get_attr":
            values[node] = attribute(node.target)
        elif node.op == "output":
            return _filled(node.args[0], values)
        else:
            values[node] = _call(node, values)
        for path in ends.get(node, ()):
            values[node] = _marked(values[node], path)
    raise AssertionError("an exported graph ends in its output")


def _filled(structure: Any, values: Mapping[Any, Any]) -> Any:
    """The arguments of a node with nodes replaced by their values."""
    if hasattr(structure, "op") and hasattr(structure, "users"):
        return values[structure]
    if isinstance(structure, list | tuple):
        return (
            type(structure)(_filled(entry, values) for entry in structure)
            if not hasattr(structure, "_fields")
            else (tuple(_filled(entry, values) for entry in structure))
        )
    if isinstance(structure, dict):
        return {name: _filled(entry, values) for name, entry in structure.items()}
    return structure


def _call(node: Any, values: Mapping[Any, Any]) -> Any:
    rule = rule_for(node.target)
    if rule is None:
        raise refusal(node)
    args, kwargs = _filled(node.args, values), _filled(node.kwargs, values)
    try:
        return rule(*args, **{name: value for name, value in kwargs.items() if name not in _PLACES})
    except DrawsError:
        raise refusal(node, draws=True) from None
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, NotImplementedError) as error:
        raise refusal(node, reason=str(error).strip().splitlines()[0][:200]) from error


_PLACES = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking", "implicit", "copy"})


def rule_for(target: Any) -> Callable[..., Any] | None:
    """The JAX function for a node's target; None for an operation without a rule."""
    name = operation(target)
    if name.startswith("aten.sym_size"):
        return lambda x, axis: x.shape[axis]
    if name == "aten.sym_numel.default":
        return lambda x: x.size
    if name.startswith("aten._assert") or name.startswith("aten.sym_constrain"):
        return lambda *_a, **_k: None
    return RULES.get(name) or PYTHON.get(getattr(target, "__name__", ""))


def operation(target: Any) -> str:
    """The name that errors call an operation by: "aten.relu.default"."""
    return str(target) if hasattr(target, "_schema") else getattr(target, "__name__", str(target))


def refusal(node: Any, draws: bool = False, reason: str = "") -> Exception:
    """The error for a node whose operation has no rule, draws random numbers, or is used in a way the rule does not take."""
    name, where = operation(node.target), innermost(node) or "the model itself"
    if draws or any(word in name for word in RANDOM):
        return StochasticNetworkError(
            f"module {where!r} draws random numbers ({name}) even in eval mode, so the network has no single Jacobian. "
            "Pass training=self.training to functional dropout, or take it out"
        )
    return UnsupportedOperationError(
        f"operation {name} in module {where!r} {f'cannot be followed here ({reason})' if reason else 'has no rule'}. Use "
        "engine='framework' for this network (torch's own autodiff), or replace the operation"
    )


def modules_of(node: Any) -> list[str]:
    """The paths of the module calls a node lies in, outermost first, the root left out; a repeated call has an "@"."""
    stack = node.meta.get("nn_module_stack") or {}
    found = []
    for key, (path, _kind) in stack.items():
        path = path.removeprefix("L['self'].").removeprefix("L['self']")
        if path:
            found.append(path + ("@" + key.rpartition("@")[2] if "@" in key else ""))
    return found


def innermost(node: Any) -> str:
    found = modules_of(node)
    return found[-1].partition("@")[0] if found else ""


def module_ends(graph: Any) -> dict[Any, list[str]]:
    """Node → the modules whose output it is: the last node of a call whose value others use, innermost first."""
    calls: dict[str, list[Any]] = {}
    for node in graph.nodes:
        if node.op == "call_function":
            for call in modules_of(node):
                calls.setdefault(call, []).append(node)
    ends: dict[Any, list[str]] = {}
    for call in sorted(calls, key=lambda name: -name.count(".")):
        own = set(calls[call])
        leaving = [n for n in calls[call] if _is_tensor(n) and any(user not in own for user in n.users)]
        path = call.partition("@")[0]
        for node in leaving[-1:]:
            parts = [n for n in leaving if _is_part(n) and _is_part(node) and n.args[0] is node.args[0]]
            for part in parts or [node]:
                place = part.args[1] if parts else 0
                ends.setdefault(part, []).append(f"{path}.{place}" if place else path)
    return ends


def _is_part(node: Any) -> bool:
    """One of the several results of an operation."""
    return getattr(node.target, "__name__", "") == "getitem"


def _is_tensor(node: Any) -> bool:
    value = node.meta.get("val")
    return hasattr(value, "shape") and not isinstance(value, Sequence)


def _marked(value: Any, path: str) -> Any:
    floating = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.inexact)
    return mark(value, path) if floating and isinstance(value, jax.Array) else value
