"""PyTorch modules and exported programs as networks.

`torch.export` gives a functional ATen graph, which is run in JAX by our own table of rules. The user's module is put
in eval mode for the export and back after it. Parameters and floating buffers keep their dotted names and are read at
every call; other buffers are constants, and a change of one makes a new trace.
"""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils import _pytree

from netjac.errors import ModelLoadError, ShapeError, UnsupportedOperationError
from netjac.networks import exported, pt2_archive
from netjac.networks.arrays import to_jax, to_numpy
from netjac.networks.aten.interpreter import run
from netjac.networks.network import Network, Parameters, PureFunction
from netjac.networks.settings import Same, settings
from netjac.networks.shared import shared
from netjac.networks.torch_modes import evaluating, plain
from netjac.networks.triton import without_triton

MOST_OPEN_INPUTS = 16
_BOOKKEEPING = frozenset(vars(torch.nn.Module()))


class TorchNetwork(Network):
    """A `torch.nn.Module` in eval mode. Inputs are named as in `forward`; axis 0 counts samples."""

    framework = "torch"
    batched = True
    takes_any_number = True

    def __init__(self, module: torch.nn.Module) -> None:
        self.module: torch.nn.Module = getattr(module, "_orig_mod", module)
        self._paths: Any = None
        self._out_paths: tuple[str, ...] = ("output",)

    @classmethod
    def of(cls, model: Any) -> TorchNetwork:
        """The network of a module or an `ExportedProgram`."""
        if isinstance(model, torch.export.ExportedProgram):
            return ExportedNetwork(model)
        if isinstance(model, torch.jit.ScriptModule):
            raise ModelLoadError(
                f"{type(model).__name__} is TorchScript, which torch.export does not read; give the torch.nn.Module that "
                "it was made from, or an ExportedProgram"
            )
        if isinstance(model, torch.nn.Module):
            return cls(model)
        raise ModelLoadError(
            f"{type(model).__name__} is no torch.nn.Module and no ExportedProgram; wrap it in a module"
        )

    @property
    def name(self) -> str:
        return type(self.module).__name__

    def named_parameters(self) -> dict[str, torch.Tensor]:
        """torch's parameters by dotted name; a tied one has one entry. Raises `ShapeError` for those without a shape yet."""
        found: dict[str, torch.Tensor] = dict(self.module.named_parameters())
        for name, tensor in found.items():
            if torch.nn.parameter.is_lazy(tensor):
                raise ShapeError(
                    f"parameter {name!r} of {self.name!r} has no shape yet; call the module once, so that its lazy layers "
                    "see an input"
                )
        return found

    @property
    def parameters(self) -> dict[str, jax.Array]:
        """The parameters and, after them, the buffers, which follow the module's training as well."""
        named = {name: shared(tensor) for name, tensor in self.named_parameters().items()}
        # Copied: batch norm writes its statistics without counting that.
        return {**named, **{name: to_jax(tensor.clone()) for name, tensor in self.buffers().items()}}

    def shared(self) -> dict[str, torch.Tensor]:
        return self.named_parameters()

    def assigned(self, values: Mapping[str, np.ndarray]) -> Any:
        known = {**self.named_parameters(), **self.buffers()}
        with torch.no_grad():
            for name, value in values.items():
                known[name].copy_(_tensor(value))
        return self.module

    def buffers(self) -> dict[str, torch.Tensor]:
        """The floating buffers that `state_dict` has: running statistics and the like."""
        kept = self.module.state_dict(keep_vars=True)
        return {n: b for n, b in self.module.named_buffers() if n in kept and b.is_floating_point()}

    @property
    def trainable(self) -> frozenset[str]:
        return frozenset(name for name, tensor in self.named_parameters().items() if tensor.requires_grad)

    def signature(self) -> Hashable:
        shapes = tuple((name, tuple(t.shape), str(t.dtype)) for name, t in self.named_parameters().items())
        kept = self.buffers()
        buffers = tuple(
            (
                name,
                tuple(t.shape),
                None if name in kept or name.endswith("num_batches_tracked") else (id(t), t._version),
            )
            for name, t in self.module.named_buffers()
        )
        tree = None if self._paths is None else str(self._paths)
        return self._settings(), shapes, buffers, tree

    def _settings(self) -> Hashable:
        """What each submodule computes, beside its weights."""
        weights = {id(t) for named in (self.module.parameters(), self.module.buffers()) for t in named}
        for name, m in self.module.named_modules():
            if isinstance(m, torch.jit.ScriptModule):
                raise UnsupportedOperationError(
                    f"module {name!r} is TorchScript, which torch.export does not read; put the torch.nn.Module that it was "
                    "made from in its place, or use engine='framework'"
                )
        return tuple(
            (
                name,
                Same(type(m).forward),
                tuple(m._forward_pre_hooks),
                tuple(m._forward_hooks),
                settings(m, _BOOKKEEPING, weights),
            )
            for name, m in self.module.named_modules()
        )

    def flatten(self, x: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        given = self._given(x, self.input_names())
        leaves: list[Any] = []
        paths: list[str] = []
        self._paths = []
        for name, value in given.items():
            found, tree = _pytree.tree_flatten(value)
            self._paths.append((name, tree, len(found)))
            leaves += found
            paths += [name] if len(found) == 1 and found[0] is value else [f"{name}.{i}" for i in range(len(found))]
        return tuple(paths), tuple(leaves)

    def input_names(self) -> list[str]:
        """The names of forward's arguments that may be given by place."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = list(inspect.signature(self.module.forward).parameters.values())
        names = [p.name for p in found if p.kind in kinds]
        open_ended = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in found)
        return [*names, *(f"input_{i}" for i in range(MOST_OPEN_INPUTS))] if open_ended else names

    def _given(self, x: Any, names: list[str]) -> dict[str, Any]:
        arguments = inspect.signature(self.module.forward).parameters
        by_keyword = [n for n, p in arguments.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
        given = self._by_name(x, names, by_keyword)
        missing = [
            n
            for n in (*names, *by_keyword)
            if n in arguments and arguments[n].default is inspect.Parameter.empty and n not in given
        ]
        if missing:
            way = "a dict by name" if by_keyword else "a tuple of arrays in that order, or a dict by name"
            raise ShapeError(
                f"{self.name!r} was given no {', '.join(map(repr, missing))}; forward takes "
                f"{', '.join((*names, *by_keyword))}: give {way}"
            )
        return given

    def _by_name(self, x: Any, names: list[str], by_keyword: list[str]) -> dict[str, Any]:
        if isinstance(x, Mapping):
            known = [*names, *by_keyword]
            unknown = [name for name in x if name not in known]
            if unknown:
                raise ShapeError(f"{self.name!r} has no input {unknown[0]!r}; forward takes {', '.join(known)}")
            return dict(x)
        if isinstance(x, tuple) or (isinstance(x, list) and x and hasattr(x[0], "shape")):
            if len(x) > len(names):
                raise ShapeError(f"{len(x)} inputs were given to {self.name!r}, whose forward takes {', '.join(names)}")
            return dict(zip(names, x, strict=False))
        return {names[0]: to_numpy(x) if isinstance(x, list | int | float) else x}

    def _arguments(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """forward's arguments from the flat inputs: by place as far as they come in order, by name after that."""
        rest = list(leaves)
        arguments = {}
        for name, tree, count in self._paths:
            arguments[name] = _pytree.tree_unflatten(rest[:count], tree)
            rest = rest[count:]
        names = self.input_names()
        if list(arguments) == names[: len(arguments)]:
            return tuple(arguments.values()), {}
        return (), arguments

    def prepare(self, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        own = self._own_dtype([spec.dtype for spec in inputs])
        with plain(), evaluating(self.module):
            # Of one sample torch takes the number of samples for a constant; where `forward` makes it one, by len(x) say,
            # the program is of that number alone.
            args, kwargs = self._arguments([_example(spec, own, 2) for spec in inputs])
            program = exported.export(self.module, args, kwargs, self.name)
            if any(True for _ in exported.other_shapes(program, inputs)):
                args, kwargs = self._arguments([_example(spec, own, 1) for spec in inputs])
                program = exported.export(self.module, args, kwargs, self.name)
            return self._interpreted(program)

    def _own_dtype(self, given: Sequence[Any]) -> torch.dtype:
        """The real dtype of the module's numbers; where it has none, that of the inputs."""
        held = (t.dtype for named in (self.module.parameters(), self.module.buffers()) for t in named)
        own = next((dtype.to_real() for dtype in held if dtype.is_floating_point or dtype.is_complex), None)
        wide = any(str(dtype) == "float64" for dtype in given)
        return own or (torch.float64 if wide else torch.float32)

    def _interpreted(self, program: torch.export.ExportedProgram) -> PureFunction:
        program = exported.with_rules_only(program)
        signature = program.graph_signature
        tied = self._tied()

        def apply(parameters: Parameters, values: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            dtype = next((v.dtype for v in values if jnp.issubdtype(v.dtype, jnp.floating)), None)
            dtype = dtype or next((p.dtype for p in parameters.values() if jnp.issubdtype(p.dtype, jnp.floating)), None)
            rest = iter(values)
            placed: dict[str, Any] = {}
            for spec in signature.input_specs:
                placed[spec.arg.name] = exported.placed(spec, program, parameters, tied, rest, dtype)
            outputs = run(program.graph, placed, lambda target: exported.constant(program, target, dtype))
            kept = exported.user_outputs(signature, outputs)
            self._out_paths = exported.output_paths(program, len(kept))
            return tuple(jnp.asarray(value) for value in kept)

        return apply

    def _tied(self) -> dict[str, str]:
        """Every name of a parameter → the name it is listed under."""
        first = {id(tensor): name for name, tensor in self.named_parameters().items()}
        return {name: first[id(tensor)] for name, tensor in self.module.named_parameters(remove_duplicate=False)}

    def output_names(self, count: int) -> tuple[str, ...]:
        return self._out_paths

    def layer_kinds(self) -> dict[str, str]:
        return {path: type(module).__name__ for path, module in self.module.named_modules() if path}

    def pull_back(
        self, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        with plain():
            tensors = [_tensor(value) for value in inputs]
            moving = [t.requires_grad_(True) for t in tensors if t.is_floating_point()]
            weights = {n: p.detach().clone().requires_grad_(True) for n, p in self._cast_parameters(tensors).items()}
            wanted = {n: w for n, w in weights.items() if n in self.trainable}
            outputs = self._called(tensors, weights)
            pairs = [(y, _tensor(u).to(y.dtype)) for y, u in zip(outputs, cotangents, strict=True) if u is not None]
            pairs = [(y, u) for y, u in pairs if y.requires_grad]
            sources = [*moving, *wanted.values()]
            grads: Sequence[Any] = [None] * len(sources)
            if pairs and sources:
                grads = torch.autograd.grad([y for y, _ in pairs], sources, [u for _, u in pairs], allow_unused=True)
        found = [torch.zeros_like(s) if g is None else g for s, g in zip(sources, grads, strict=True)]
        by_input = iter(found)
        results = tuple(
            to_numpy(next(by_input)) if t.is_floating_point() else np.zeros(tuple(t.shape)) for t in tensors
        )
        return results, {name: to_numpy(next(by_input)) for name in wanted}

    def evaluate(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        tensors = [_tensor(value) for value in inputs]
        with plain(), torch.no_grad():
            outputs = self._called(tensors, self._cast_parameters(tensors))
        return tuple(to_numpy(y) for y in outputs)

    def _cast_parameters(self, tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        dtype = next((t.dtype for t in tensors if t.is_floating_point()), None)
        parameters = self.named_parameters()
        return {n: _in(p, dtype) for n, p in parameters.items()}

    def _called(self, tensors: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """The flat outputs on other weights, the module's own left alone; torch's slow paths, which all differentiate."""
        dtype = next((t.dtype for t in tensors if t.is_floating_point()), self._own_dtype(()))
        buffers = {n: _in(b, dtype) for n, b in self.module.named_buffers()}
        args, kwargs = self._arguments(tensors)
        with evaluating(self.module), torch.random.fork_rng(devices=[]):
            if buffers or any(weights[n] is not p for n, p in self.module.named_parameters()):
                result = torch.func.functional_call(self.module, {**weights, **buffers}, args, kwargs)
            else:  # to put in the place of its weights what they are costs as much as a small network itself
                result = self.module(*args, **kwargs)
        outputs = [y for y in _pytree.tree_leaves(result) if isinstance(y, torch.Tensor)]
        self._out_paths = exported.paths_of(result, len(outputs))
        return outputs


class ExportedNetwork(TorchNetwork):
    """A `torch.export.ExportedProgram`, or a `.pt2` file read as one."""

    takes_any_number = False

    def __init__(self, program: torch.export.ExportedProgram, name: str = "exported program") -> None:
        super().__init__(program.module())
        self._program = program
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def input_names(self) -> list[str]:
        signature = self._program.call_spec.in_spec
        arguments = signature.child(0).num_children if signature is not None else 1
        names = list(self._program.graph_signature.user_inputs)
        return [str(name) for name in names][: max(arguments, len(names))]

    def _settings(self) -> Hashable:
        return None

    def prepare(self, inputs: Sequence[jax.ShapeDtypeStruct]) -> PureFunction:
        exported.refuse_other_shapes(self._program, inputs, self._name)
        with plain():
            return self._interpreted(self._program)

    def layer_kinds(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for node in self._program.graph.nodes:
            for path, kind in (node.meta.get("nn_module_stack") or {}).values():
                path = path.removeprefix("L['self'].").removeprefix("L['self']")
                if path:
                    found[path] = str(kind).rpartition(".")[2].rstrip("'>")
        return found

    def _called(self, tensors: Sequence[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        result = torch.func.functional_call(self.module, dict(weights), *self._arguments(tensors))
        outputs = [y for y in _pytree.tree_leaves(result) if isinstance(y, torch.Tensor)]
        self._out_paths = exported.paths_of(result, len(outputs))
        return outputs


def load_pt2(path: Path) -> ExportedNetwork:
    """The network in a `.pt2` file. Raises `ModelLoadError` for a file that is missing, corrupt or holds a pickle."""
    if not path.exists():
        raise ModelLoadError(f"there is no file {str(path)!r}")
    if not zipfile.is_zipfile(path):
        raise ModelLoadError(
            f"{str(path)!r} is no .pt2 archive (a pickle or a damaged file?) and is not opened; save the module with "
            "torch.export.save(torch.export.export(model, args), path)"
        )
    try:
        pt2_archive.inspect(path)
        with without_triton():
            program = torch.export.load(path)
    except ModelLoadError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelLoadError(
            f"{str(path)!r} cannot be read as an exported program ({reason}); save it again with torch.export.save"
        ) from error
    return ExportedNetwork(program, path.stem)


def _example(spec: jax.ShapeDtypeStruct, own: torch.dtype, least: int) -> torch.Tensor:
    """A tensor to export with: of the module's own floating dtype, and of so many samples at least."""
    shape = (max(spec.shape[0], least), *spec.shape[1:]) if spec.shape else spec.shape
    if jnp.issubdtype(spec.dtype, jnp.floating):
        return torch.ones(shape, dtype=own)
    kind = torch.bool if spec.dtype == jnp.bool_ else torch.int64
    return torch.zeros(shape, dtype=kind)


def _in(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """The tensor in a computation in `dtype`; complex numbers are as fine as the real ones."""
    if dtype is None or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    return tensor.to(dtype.to_complex() if tensor.is_complex() else dtype)


def _tensor(value: np.ndarray) -> torch.Tensor:
    if str(value.dtype) == "bfloat16":
        return torch.from_numpy(value.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(value))
