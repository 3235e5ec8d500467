"""Exported programs: made with a free batch size, decomposed only where a rule is missing, and their places filled."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import torch
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.utils import _pytree

from netjac.errors import ShapeError, UnsupportedOperationError
from netjac.networks.arrays import to_jax
from netjac.networks.aten.interpreter import rule_for
from netjac.networks.triton import without_triton
from netjac.precision import dtype_in

counts = {"exports": 0}
"""How often a module was exported; repeated calls must not add to it."""


def export(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> torch.export.ExportedProgram:
    """The module's program, with any number of samples where torch can prove it, else with the number given."""
    counts["exports"] += 1
    named = inspect.signature(module.forward).bind(*args, **kwargs).arguments

    def of_any_number(t: Any) -> dict[int, Any] | None:
        """Not of one sample: torch would warn that it holds that for a constant."""
        return {0: torch.export.Dim.AUTO} if isinstance(t, torch.Tensor) and t.ndim and t.shape[0] != 1 else None

    free = _pytree.tree_map(of_any_number, dict(named))
    reasons = []
    for shapes in (free, None):
        try:
            with warnings.catch_warnings(), _traceable(), without_triton():
                warnings.simplefilter("ignore")
                return torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
        except UnsupportedOperationError:
            raise
        except Exception as error:  # torch.export raises a dozen kinds, each meaning that it cannot
            reasons.append(error)
    told = str(reasons[-1]).strip().splitlines()
    _refuse_shapes(module, args, kwargs, name)
    raise UnsupportedOperationError(
        f"torch.export cannot export {name!r}: {told[0][:300] if told else type(reasons[-1]).__name__}. Use "
        "engine='framework' for this network, or rewrite the part of forward that depends on data"
    ) from reasons[-1]


def _refuse_shapes(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> None:
    """Raises `ShapeError` where torch itself refuses inputs like these; what the module raises on its own comes through."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            module(*args, **kwargs)
    except (RuntimeError, IndexError) as error:
        shapes = ", ".join(str(tuple(t.shape)) for t in _pytree.tree_leaves((args, kwargs)) if hasattr(t, "shape"))
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise ShapeError(f"{name!r} does not take inputs of shape {shapes} (samples first): {told[0][:200]}") from error


@contextlib.contextmanager
def _traceable() -> Iterator[None]:
    with _no_custom_functions(), _inference_without_grad(), _unchecked_distributions(), _silent():
        yield


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What torch logs when an export fails is said by the error."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    kept = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(kept)


@contextlib.contextmanager
def _no_custom_functions() -> Iterator[None]:
    """Refuse `torch.autograd.Function`s of the user's: export would drop their backward and follow their forward."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls.__module__.startswith("torch."):
            return original.__func__(cls, *args, **kwargs)
        raise UnsupportedOperationError(
            f"torch.autograd.Function {cls.__name__!r} has a backward of its own, which torch.export drops. Use "
            "engine='framework' for this network, or write it with detach: x + (f(x) - x).detach()"
        )

    type.__setattr__(torch.autograd.Function, "apply", classmethod(apply))
    try:
        yield
    finally:
        type.__setattr__(torch.autograd.Function, "apply", original)


@contextlib.contextmanager
def _inference_without_grad() -> Iterator[None]:
    """`torch.inference_mode` as `torch.no_grad` for a while: export keeps a trace of the latter alone."""
    kept = {name: vars(torch.inference_mode)[name] for name in ("__enter__", "__exit__")}

    def enter(self: Any) -> None:
        self.without = torch.set_grad_enabled(not self.mode)
        self.without.__enter__()

    def leave(self: Any, *error: Any) -> None:
        self.without.__exit__(*error)

    for name, method in (("__enter__", enter), ("__exit__", leave)):
        setattr(torch.inference_mode, name, method)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(torch.inference_mode, name, method)


@contextlib.contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """`torch.distributions` without their checks of numbers, by which an export would have to branch."""
    kept = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(kept)


def _detach_without_grad(program: torch.export.ExportedProgram) -> None:
    """Write `detach` at the results of regions under `torch.no_grad`: decomposing takes the regions away."""
    for node in program.graph.nodes:
        if "wrap_with_set_grad_enabled" not in str(node.target) or node.args[0] is not False:
            continue
        inner = getattr(program.graph_module, node.args[1].target)
        end = next(n for n in inner.graph.nodes if n.op == "output")

        def detached(value: Any, graph: Any = inner.graph, end: Any = end) -> Any:
            with graph.inserting_before(end):
                made = graph.call_function(torch.ops.aten.detach.default, (value,))
            made.meta = dict(value.meta)
            return made

        end.args = torch.fx.map_arg(end.args, detached)
        inner.recompile()


def with_rules_only(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The functional program; operations without a rule are decomposed by torch, all others kept whole."""
    with warnings.catch_warnings(), without_triton():
        warnings.simplefilter("ignore")
        _detach_without_grad(program)
        program = program.run_decompositions({})
        tables = (torch.export.default_decompositions(), torch._decomp.core_aten_decompositions())
        tried: set[Any] = set()
        while chosen := _decompositions(program, tables, tried):  # what one is made of may have no rule either
            program = program.run_decompositions(chosen)
            tried |= set(chosen)
    return program


def _decompositions(
    program: torch.export.ExportedProgram, tables: Sequence[Mapping[Any, Any]], tried: set[Any]
) -> dict[Any, Any]:
    """Of operations without a rule, those that torch can write in simpler ones."""
    used = {node.target for node in program.graph.nodes if node.op == "call_function"} - tried
    missing = [target for target in used if rule_for(target) is None]
    found = {op: next((table[op] for table in tables if op in table), None) for op in missing}
    return {op: way for op, way in found.items() if way is not None}


def placed(
    spec: Any,
    program: torch.export.ExportedProgram,
    parameters: Mapping[str, jax.Array],
    tied: Mapping[str, str],
    inputs: Iterator[jax.Array],
    dtype: Any,
) -> Any:
    """What goes into one placeholder."""
    if spec.kind is InputKind.TOKEN:
        return None
    if spec.kind is InputKind.USER_INPUT:
        return spec.arg.value if isinstance(spec.arg, ConstantArgument) else next(inputs)
    if spec.kind is InputKind.PARAMETER:
        name = tied.get(spec.target, spec.target)
        return parameters[name] if name in parameters else _cast(program.state_dict[spec.target], dtype)
    if spec.target in parameters:
        return parameters[spec.target]
    table = program.constants if spec.target in program.constants else program.state_dict
    return _cast(table[spec.target], dtype)


def constant(program: torch.export.ExportedProgram, target: str, dtype: Any) -> Any:
    """A tensor that the graph itself holds, or a subgraph."""
    found = program.constants.get(target)
    if found is None:
        found = getattr(program.graph_module, target)
    return _cast(found, dtype) if isinstance(found, torch.Tensor) else found


def _cast(tensor: torch.Tensor, dtype: Any) -> jax.Array:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        with jax.ensure_compile_time_eval():  # a mask that is indexed by must be known
            return to_jax(tensor)
    array = to_jax(tensor)
    return array.astype(dtype_in(array.dtype, dtype))


def user_outputs(signature: Any, outputs: Any) -> list[Any]:
    """The tensors that the module returns, without updated buffers."""
    kept = []
    for spec, value in zip(signature.output_specs, outputs, strict=True):
        if spec.kind is OutputKind.USER_OUTPUT and hasattr(value, "shape"):
            kept.append(value)
    return kept


def output_paths(program: torch.export.ExportedProgram, count: int) -> tuple[str, ...]:
    """Names of the outputs, from the tree that the module returns."""
    tree = program.call_spec.out_spec
    assert tree is not None
    leaves = [s for s in program.graph_signature.output_specs if s.kind is OutputKind.USER_OUTPUT]
    result = _pytree.tree_unflatten([_Leaf(s) for s in leaves], tree)
    kept = [not isinstance(s.arg, ConstantArgument) for s in leaves]
    return paths_of(result, count, kept)


class _Leaf:
    def __init__(self, spec: Any) -> None:
        self.spec = spec


def paths_of(result: Any, count: int, kept: list[bool] | None = None) -> tuple[str, ...]:
    """ "output" for a single tensor, keys for a dict, "output.0" and so on for the rest."""
    flat, _ = _pytree.tree_flatten_with_path(result)
    chosen = [path for i, (path, leaf) in enumerate(flat) if (kept[i] if kept else hasattr(leaf, "shape"))]
    names = []
    for path in chosen:
        words = [str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path]
        names.append(".".join(words if isinstance(result, dict) else ["output", *words]))
    return tuple(names) if len(names) == count else tuple(f"output.{i}" for i in range(count))


def refuse_other_shapes(program: torch.export.ExportedProgram, inputs: Sequence[Any], name: str) -> None:
    """Raises `ShapeError` where a program was exported for other sizes than these inputs have."""
    for node, own, shape in other_shapes(program, inputs):
        raise ShapeError(
            f"{name!r} was exported for {node!r} of shape {own}, not {shape}; for any number of "
            "samples export it with dynamic_shapes={0: torch.export.Dim('batch')} for each input"
        )


def _fixed(size: int | torch.SymInt) -> int | None:
    """A size that torch holds for a constant, by a symbol that has one value too."""
    found: int | None = size if isinstance(size, int) else size.node.maybe_as_int()
    return found


def other_shapes(program: torch.export.ExportedProgram, inputs: Sequence[Any]) -> Iterator[tuple[str, Any, Any]]:
    """The inputs that a program was exported for other sizes of: name, its shape, and the shape they have."""
    given = iter(inputs)
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in program.graph_signature.user_inputs:
            continue
        own, spec = getattr(node.meta.get("val"), "shape", None), next(given, None)
        if own is None or spec is None:
            continue
        wrong = any(_fixed(a) not in (None, b) for a, b in zip(own, spec.shape, strict=False))
        if wrong or len(own) != len(spec.shape):
            yield node.name, tuple(own), tuple(spec.shape)
