"""`parameter_matrix`: the Jacobian of all samples by all parameters, N·m × M, answered from its factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse.linalg

from netjac.errors import ShapeError, TooLargeError, UnknownNameError
from netjac.memory import budget
from netjac.networks.arrays import like, to_numpy
from netjac.parameters import questions
from netjac.parameters.factored import Factors, Question
from netjac.parameters.kernel import gram
from netjac.parameters.kronecker import added, kronecker
from netjac.parameters.products import pulled, pushed
from netjac.parameters.spectrum import Svd, leading
from netjac.pieces import Options
from netjac.plan.table import memory as in_words
from netjac.progress import Progress


class ParameterJacobian:
    """∂output/∂parameters of all samples: row n·m + i is output i of sample n, columns are the parameters one after another.

    `names` maps each trainable parameter to its slice of the columns, in the order of the network's `parameters`, each laid out
    as the parameter itself (C order); one that the output does not depend on has zeros. Nothing of size N·m × M is made unless
    its entries are asked for: a dense layer is kept as (N, m, outputs) and (N, inputs), a convolution with its patches.

    Factors are made when the first question needs them, with the weights as they are then; a product with few vectors goes
    through the network as it is. So after a step of training, ask `parameter_matrix` again.
    """

    __array_priority__ = 100.0

    def __init__(self, question: Question, options: Options) -> None:
        self._question, self._options = question, options
        self._reference = question.point.given[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(N·m, M)."""
        sizes = self._question.sizes
        return self._question.samples * sizes.rows, sum(sizes.each)

    @property
    def dtype(self) -> np.dtype:
        return self._question.dtype

    @property
    def of(self) -> str:
        """The name of the output whose rows these are."""
        return self._question.of

    @property
    def names(self) -> dict[str, slice]:
        """Parameter → its columns."""
        return self._question.sizes.columns

    @property
    def T(self) -> TransposedParameterJacobian:  # noqa: N802  the name that arrays have it under
        """Jᵀ as an operator: `J.T @ u`."""
        return TransposedParameterJacobian(self)

    def unflatten(self, vector: Any) -> dict[str, Any]:
        """A vector (…, M) as arrays (…, *parameter) by name, of the vector's framework."""
        array, shapes = to_numpy(vector), self._question.sizes.shapes
        if array.shape[-1:] != self.shape[1:]:
            raise ShapeError(f"J has {self.shape[1]} columns; unflatten takes (…, {self.shape[1]}), not {array.shape}")
        return {
            name: like(array[..., self.names[name]].reshape((*array.shape[:-1], *shape)), vector)
            for name, shape in shapes.items()
        }

    # Products --------------------------------------------------------------------------------------------------

    def __matmul__(self, v: Any) -> Any:
        """J v: (N·m,) from a vector (M,) or arrays by parameter name; (N·m, k) from (M, k)."""
        if isinstance(v, TransposedParameterJacobian):
            return self.gram() if v.T is self else NotImplemented
        return self._pushed(v)

    def _pushed(self, v: Any, often: bool = False) -> Any:
        vectors, single = self._tangents(v)
        found = np.zeros((self.shape[0], vectors.shape[1]), self.dtype)
        with self._question.asking():
            for first, rows in pushed(self._question, vectors, often):
                found[first : first + len(rows)] = rows
        return self._back(found[:, 0] if single else found)

    def _tangents(self, v: Any) -> tuple[np.ndarray, bool]:
        """(M, k), and whether one was given."""
        if isinstance(v, Mapping):
            v = self._flattened(v)
        array = to_numpy(v)
        if array.ndim not in (1, 2) or array.shape[0] != self.shape[1]:
            raise ShapeError(
                f"J is {self.shape[0]} × {self.shape[1]}; multiply it with ({self.shape[1]},), ({self.shape[1]}, k) or a dict "
                f"of arrays by parameter, not with {array.shape}"
            )
        return (array[:, None] if array.ndim == 1 else array), array.ndim == 1

    def _flattened(self, tree: Mapping[str, Any]) -> np.ndarray:
        unknown = sorted(set(tree) - set(self.names))
        if unknown:
            raise UnknownNameError.of("parameter", unknown[0], list(self.names))
        found = np.zeros(self.shape[1], self.dtype)
        for name, array in tree.items():
            if to_numpy(array).shape != self._question.sizes.shapes[name]:
                raise ShapeError(f"{name!r} has shape {self._question.sizes.shapes[name]}, not {to_numpy(array).shape}")
            found[self.names[name]] = to_numpy(array).reshape(-1)
        return found

    def _pulled(self, u: Any, often: bool = False) -> Any:
        """Jᵀ u: (M,) from (N·m,) or (N, *out); (M, k) from (N·m, k), which (N, 1) is where m = 1."""
        array = to_numpy(u)
        rows, single = self.shape[0], array.ndim == 1 or array.shape[0] != self.shape[0]
        if array.size % max(rows, 1) or (single and array.size != rows) or array.ndim == 0:
            raise ShapeError(
                f"Jᵀ is {self.shape[1]} × {rows}; multiply it with ({rows},), ({rows}, k) or an array like the output"
            )
        block = array.reshape((rows, -1))
        wide = np.float64 if self.dtype == np.float64 else np.float32
        found: np.ndarray | None = None
        with self._question.asking():
            for parts in pulled(self._question, block, often):
                run = np.concatenate(parts, 1, dtype=wide)
                found = run if found is None else np.add(found, run, out=found)
        assert found is not None
        found = found.astype(self.dtype, copy=False)
        return self._back(found[0] if single else found.T)

    # Answers from the factors -----------------------------------------------------------------------------------

    def gram(self, other: ParameterJacobian | None = None) -> Any:
        """J Jᵀ, or J J′ᵀ with that of other samples of the same network, (N·m, N′·m): the empirical neural tangent kernel.

        Σ over the layers of (δδᵀ) ∘ (hhᵀ), or of the rows themselves where that takes less (see `netjac.parameters.kernel`).
        """
        beside = other or self
        if beside.names != self.names:
            raise ShapeError("a kernel is between samples of one network, and these have other parameters")
        self._afford(self.shape[0] * beside.shape[0], "the Gram matrix", "fewer samples, or J.row_norms()")
        return self._back(self._kernel(beside))

    def _kernel(self, beside: ParameterJacobian) -> np.ndarray:
        found: np.ndarray | None = None
        with self._question.asking():
            for one in self._question.blocks():
                for two in beside._question.blocks(told=False):
                    part = np.array(gram(one.uses, one.arrays, two.uses, two.arrays, one.rows, two.rows), self.dtype)
                    if part.shape == (self.shape[0], beside.shape[0]):
                        return part
                    found = np.zeros((self.shape[0], beside.shape[0]), self.dtype) if found is None else found
                    found[one.first : one.first + one.rows, two.first : two.first + two.rows] = part
        assert found is not None
        return found

    def row_norms(self) -> Any:
        """‖row‖₂ of each row, (N·m,): for one output the norms of the per-sample gradients, which are not formed."""
        found = np.zeros(self.shape[0], self.dtype)
        with self._question.asking():
            for block in self._question.blocks():
                squares = np.asarray(questions.row_squares(block.uses, block.arrays, block.rows))
                found[block.first : block.first + block.rows] = np.sqrt(np.maximum(squares, 0))
        return self._back(found)

    def normal_diagonal(self) -> Any:
        """diag(JᵀJ), (M,): of a least-squares loss the diagonal of Gauss–Newton."""
        found = np.zeros(self.shape[1], np.float64)
        with self._question.asking():
            for block in self._question.blocks():
                parts = questions.column_squares(block.uses, block.arrays, self._question.sizes.each)
                for place, part in zip(self.names.values(), parts, strict=True):
                    found[place] += np.asarray(part)
        return self._back(found.astype(self.dtype))

    def normal(self) -> Any:
        """JᵀJ, (M, M), accumulated in float64. Raises `TooLargeError`."""
        self._afford(2 * self.shape[1] ** 2, "JᵀJ", "J.normal_diagonal(), J.gram(), or products with J and J.T")
        found = np.zeros((self.shape[1], self.shape[1]))
        for start in range(0, self._question.samples, self._a_few(self.shape[1])):
            rows = self._entries(start, min(start + self._a_few(self.shape[1]), self._question.samples)).astype(
                np.float64
            )
            found += rows.T @ rows
        return self._back(found.astype(self.dtype))

    def normal_factors(self) -> dict[str, tuple[Any, ...]]:
        """Each parameter's own block of JᵀJ as matrices whose Kronecker product (`numpy.kron`, in this order) is the block.

        Two or more where the block is such a product exactly (see `netjac.parameters.kronecker`): a last layer's, a single
        sample's; elsewhere one, the block itself. Accumulated in float64. Raises `TooLargeError` for a block that does not fit.
        """
        found: dict[str, list[np.ndarray] | None] = {}
        with self._question.asking():
            for block in self._question.blocks():
                for place, name in enumerate(self.names):
                    factors = kronecker([use for use in block.uses if use.parameter == place], block.arrays)
                    wide = None if factors is None else [factor.astype(np.float64) for factor in factors]
                    found[name] = added(found[name], wide) if name in found else wide
        return {
            name: tuple(self._back(f.astype(self.dtype)) for f in (factors or [self._block(name)]))
            for name, factors in found.items()
        }

    def _block(self, name: str) -> np.ndarray:
        size = self.names[name].stop - self.names[name].start
        self._afford(2 * size**2, f"the block of {name!r}", "J.normal_diagonal(), or products with J and J.T")
        found = np.zeros((size, size))
        for start in range(0, self._question.samples, self._a_few(size)):
            columns = self._entries(start, min(start + self._a_few(size), self._question.samples), name)
            found += columns.T.astype(np.float64) @ columns
        return found

    def svd(self, k: int) -> Svd:
        """U (N·m, k), s (k,), Vᵀ (k, M): the k largest singular triplets, and `errors` (k,), how far off each s may be.

        From the Gram matrix's eigenvectors, in float64, for up to 4096 rows (singular values below √ε of the largest are lost
        in its rounding), else by ARPACK on products alone (`scipy.sparse.linalg.svds`).
        """
        if not 0 < k <= min(self.shape):
            raise ShapeError(
                f"svd({k}): J is {self.shape[0]} × {self.shape[1]}; ask for 1 to {min(self.shape)} triplets"
            )
        return Svd(*map(self._back, leading(self, k)))

    def to_linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """As a SciPy operator of shape (N·m, M), by products from the factors."""
        working = np.dtype(np.float64 if self.dtype == np.float64 else np.float32)
        return scipy.sparse.linalg.LinearOperator(
            self.shape,
            matvec=lambda v: to_numpy(self._pushed(np.reshape(v, -1), True)).astype(working),
            rmatvec=lambda u: to_numpy(self._pulled(np.reshape(u, -1), True)).astype(working),
            matmat=lambda v: to_numpy(self._pushed(v, True)).astype(working),
            rmatmat=lambda u: to_numpy(self._pulled(u, True)).astype(working),
            dtype=working,
        )

    # Entries ---------------------------------------------------------------------------------------------------

    def to_numpy(self) -> np.ndarray:
        """J itself, (N·m, M). Raises `TooLargeError` when it does not fit the memory budget."""
        self._afford(
            self.shape[0] * self.shape[1], "the matrix", "J.rows(…), J.columns(name), or products with J and J.T"
        )
        return self._entries(0, self._question.samples)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.to_numpy()
        return array.astype(dtype) if dtype is not None else array

    def rows(self, index: Any) -> Any:
        """Some rows, (k, M) for a slice or a list of them, (M,) for one."""
        chosen = np.arange(self.shape[0])[index]
        flat = np.atleast_1d(chosen)
        if not len(flat):
            return self._back(np.zeros((0, self.shape[1]), self.dtype))
        per = self._question.sizes.rows
        first, last = int(flat.min()) // per, int(flat.max()) // per + 1
        self._afford((last - first) * per * self.shape[1], "these rows", "fewer of them")
        found = self._entries(first, last)[flat - first * per]
        return self._back(found[0] if np.ndim(chosen) == 0 else found)

    def columns(self, name: str) -> Any:
        """The columns of one parameter, (N·m, size)."""
        if name not in self.names:
            raise UnknownNameError.of("parameter", name, list(self.names))
        size = self.names[name].stop - self.names[name].start
        self._afford(self.shape[0] * size, "these columns", "J.rows(…) or products with J and J.T")
        found = np.zeros((self.shape[0], size), self.dtype)
        with self._question.asking():
            for block in self._question.blocks():
                found[block.first : block.first + block.rows] = self._columns(block, name)
        return self._back(found)

    def _columns(self, block: Factors, name: str) -> np.ndarray:
        place = list(self.names).index(name)
        uses = tuple(replace(use, parameter=0) for use in block.uses if use.parameter == place)
        return np.asarray(questions.entries(uses, block.arrays, block.rows, (self._question.sizes.each[place],)))

    def _entries(self, first: int, last: int, name: str | None = None) -> np.ndarray:
        """The rows of some samples, or of them the columns of one parameter."""
        per = self._question.sizes.rows
        with self._question.asking():
            block = self._question.of_samples(first, last)
            if name is None:
                each = self._question.sizes.each
                found = np.asarray(questions.entries(block.uses, block.arrays, block.rows, each), self.dtype)
            else:
                found = self._columns(block, name)
        return found[first * per - block.first : last * per - block.first]

    def _a_few(self, columns: int) -> int:
        """How many samples' rows of so many columns are made at a time."""
        row = columns * self._question.sizes.rows * 8
        return max(1, min(self._question.samples, int(0.1 * budget(self._options.memory) / max(row, 1))))

    def _afford(self, numbers: int, what: str, instead: str) -> None:
        needed, limit = numbers * max(self.dtype.itemsize, 4), budget(self._options.memory)
        if needed > limit:
            raise TooLargeError(
                f"{what} takes {in_words(needed)}, over the memory budget of {in_words(limit)}; ask for {instead}, or give a "
                "larger memory="
            )

    def _back(self, array: np.ndarray) -> Any:
        return like(np.asarray(array), self._reference)

    def __repr__(self) -> str:
        rows, columns = self.shape
        name = self._question.point.network.name
        return f"ParameterJacobian of {name!r}: {rows} × {columns} ({self._question.samples} samples), {self.dtype}, as factors"

    def _repr_html_(self) -> str:
        from netjac.report.html import paragraph

        return paragraph([repr(self)])


class TransposedParameterJacobian:
    """Jᵀ: products with cotangents."""

    __array_priority__ = 100.0

    def __init__(self, jacobian: ParameterJacobian) -> None:
        self._jacobian = jacobian

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N·m)."""
        return self._jacobian.shape[::-1]

    @property
    def T(self) -> ParameterJacobian:  # noqa: N802
        return self._jacobian

    def __matmul__(self, u: Any) -> Any:
        """Jᵀ u; `J.T @ J` is `J.normal()`."""
        if isinstance(u, ParameterJacobian):
            return self._jacobian.normal() if u is self._jacobian else NotImplemented
        return self._jacobian._pulled(u)


def parameter_matrix(
    model: Any,
    X: Any,
    *,
    of: str = "output",
    precision: str = "highest",
    memory: int | float | str | None = None,
    progress: Progress = None,
) -> ParameterJacobian:
    """The N·m × M Jacobian of one output by all trainable parameters, for all N samples of X, kept as factors.

    Raises `ShapeError`, `UnknownNameError` and what `netjac.jacobian` raises.
    """
    options = Options(precision=precision, memory=memory, progress=progress)
    return ParameterJacobian(Question(model, X, of, options), options)


def ntk(
    model: Any,
    X1: Any,
    X2: Any = None,
    *,
    contract: str | None = None,
    of: str = "output",
    precision: str = "highest",
    memory: int | float | str | None = None,
) -> Any:
    """The empirical neural tangent kernel Σ_θ ∂f_i(x)/∂θ ∂f_j(x′)/∂θ, (N1, N2, m, m).

    `X2`: other samples, those of X1 by default. `contract`: "trace" gives Σ_i K[·, ·, i, i], (N1, N2). Jacot et al., arXiv
    1806.07572. Raises `ShapeError`, `TooLargeError` and what `netjac.jacobian` raises.
    """
    if contract not in (None, "trace"):
        raise UnknownNameError.of("contract", str(contract), ("trace",))
    one = parameter_matrix(model, X1, of=of, precision=precision, memory=memory)
    two = one if X2 is None else parameter_matrix(model, X2, of=of, precision=precision, memory=memory)
    m = one._question.sizes.rows
    kernel = to_numpy(one.gram(two)).reshape((-1, m, two._question.samples, m)).transpose(0, 2, 1, 3)
    return like(np.trace(kernel, axis1=2, axis2=3) if contract else kernel, X1)
