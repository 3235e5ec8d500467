"""`Formula`: the Jacobian of a network as the product of factors that its graph makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np

from netjac.errors import MissingExtraError, ShapeError, TooLargeError
from netjac.formula.derivation import Step, steps_of
from netjac.formula.expression import Atom, Expression, Named, Sum, computed, written
from netjac.formula.numbers import matrices
from netjac.formula.symbols import Symbol, sub
from netjac.networks.network import Network
from netjac.tracing import Point, meet, narrowed
from netjac.vectors import Sides

MOST_ENTRIES = 4096


@dataclass(frozen=True, eq=False)
class Formula:
    """∂of/∂wrt, factored and never expanded.

    `text` and `latex` are a line an equation: first the Jacobian, then those that it names. `symbols` lists the factors
    with their shapes for one sample. Factors are matrices (rows: output entries, columns: input entries).
    """

    of: str
    wrt: str
    _network: Network
    _point: Point
    _sides: Sides
    _expression: Expression | None
    _equations: dict[int, Expression]
    _named: dict[Atom, Symbol]
    _numbers: dict[int, int]

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The factors, in the order in which the network applies them; a name that occurs twice is listed once."""
        return tuple({symbol.text: symbol for symbol in self._named.values()}.values())

    @cached_property
    def text(self) -> str:
        lines = [f"J = ∂{self.of}/∂{self.wrt} = {self._written(self._expression)}"]
        lines += [f"J{sub(self._numbers[v])} = {self._written(e)}" for v, e in reversed(self._equations.items())]
        return "\n".join(lines)

    @cached_property
    def latex(self) -> str:
        """One `aligned` environment where there are several equations, without dollar signs."""
        lines = [f"J = {self._latex(self._expression)}"]
        lines += [f"J_{{{self._numbers[v]}}} = {self._latex(e)}" for v, e in reversed(self._equations.items())]
        if len(lines) == 1:
            return lines[0]
        body = r" \\ ".join(line.replace("=", "&=", 1) for line in lines)
        return rf"\begin{{aligned}} {body} \end{{aligned}}"

    @cached_property
    def mathml(self) -> str:
        """The LaTeX as MathML, which browsers show without the net."""
        try:
            from latex2mathml.converter import convert
        except ImportError:
            raise MissingExtraError.of("latex2mathml", "formula", "Formula.mathml") from None
        found: str = convert(self.latex)
        return found

    @cached_property
    def derivation(self) -> tuple[Step, ...]:
        """Backpropagation's recursion, δ = (∂output/∂z)ᵀ step by step from the output to the input."""
        return steps_of(self._expression, self._equations, self._named, self._numbers, self.wrt)

    def backpropagation(self, x: Any) -> dict[str, np.ndarray]:
        """δ of each step at x: name → (batch, entries of z, entries of the output). The last one is Jᵀ."""
        runs = [self._values(point) for point in self._pieces(x)]
        found: dict[str, list[np.ndarray]] = {}
        for value in runs:
            delta = np.eye(self._size[0], dtype=self._sides.dtype)
            for step in self.derivation:
                factor = self._computed(step.expression, value) if step.expression is not None else np.eye(len(delta))
                delta = factor.T @ delta
                found.setdefault(step.name, []).append(delta)
        return {name: np.stack(deltas) for name, deltas in found.items()}

    def factors(self, x: Any) -> dict[str, np.ndarray]:
        """Name → (batch, rows, columns); batch is 1 where the samples are not independent, and the factors are of all."""
        runs = [matrices(point, self._named) for point in self._pieces(x)]
        return {symbol.text: np.stack([run[atom] for run in runs]) for atom, symbol in self._named.items()}

    def evaluate(self, x: Any) -> np.ndarray:
        """The Jacobian at x, the factors multiplied as the formula says, laid out as `nj.jacobian` does: (batch, *out, *in).

        Raises `ShapeError` where x is not of the shape of the example (but for the number of samples).
        """
        found = []
        for point in self._pieces(x):
            if self._expression is None:
                found.append(np.zeros(self._size, self._sides.dtype))
            else:
                found.append(self._computed(self._expression, self._values(point)))
        shape = (*self._sides.out, *self._sides.inn)
        if self._sides.batch is None:
            return found[0].reshape(shape)
        return np.stack(found).reshape(len(found), *shape) if found else np.zeros((0, *shape), self._sides.dtype)

    def sympy(self, entries: bool = False) -> Any:
        """The formula in SymPy: matrix symbols of the factors' shapes, or with `entries` an explicit matrix of their entries.

        Raises `TooLargeError` where the factors have too many entries to be written out, `MissingExtraError`.
        """
        try:
            import sympy
        except ImportError:
            raise MissingExtraError.of("sympy", "formula", "Formula.sympy") from None
        size = sum(s.shape[0] * s.shape[1] for s in self._named.values())
        if entries and size > MOST_ENTRIES:
            raise TooLargeError(
                f"the factors have {size} entries, more than the {MOST_ENTRIES} that are written out; leave entries out, "
                "or ask for evaluate(x)"
            )
        if self._expression is None:
            return sympy.zeros(*self._size) if entries else sympy.ZeroMatrix(*self._size)

        def symbol(atom: Atom) -> Any:
            known = self._named[atom]
            matrix = sympy.MatrixSymbol(known.text, *known.shape)
            if not entries:
                return matrix
            if known.kind in ("activation", "scaling"):
                return sympy.diag(*(matrix[i, i] for i in range(known.shape[0])))
            return sympy.Matrix(matrix)

        identity = sympy.eye if entries else sympy.Identity
        found = self._symbolic(self._expression, symbol, identity)
        return found * identity(self._size[0]) if isinstance(found, int) else found

    def _symbolic(self, expression: Expression, symbol: Callable[[Atom], Any], identity: Callable[[int], Any]) -> Any:
        """The expression in matrices; a whole number stands for that many times the identity, of whatever size."""
        if isinstance(expression, Named):
            return self._symbolic(self._equations[expression.value], symbol, identity)
        if isinstance(expression, Atom):
            return symbol(expression)
        inside = expression.terms if isinstance(expression, Sum) else expression.factors
        parts = [self._symbolic(part, symbol, identity) for part in inside]
        if isinstance(expression, Sum):
            size = next((part.shape[0] for part in parts if not isinstance(part, int)), None)
            if size is not None:
                parts = [part * identity(size) if isinstance(part, int) else part for part in parts]
            return reduce(lambda a, b: a + b, parts)
        return reduce(lambda a, b: a * b, parts, 1)

    @property
    def _size(self) -> tuple[int, int]:
        return self._sides.m, self._sides.n

    def _pieces(self, x: Any) -> list[Point]:
        """The network at x: one point a sample where they are independent, else one of all."""
        point = meet(self._network, x, self._point.precision)
        pieces = [point]
        if self._sides.batch is not None and point.samples is not None:
            pieces = [narrowed(point, i, 1) for i in range(point.samples)]
        if pieces and pieces[0].traced.identity != self._point.traced.identity:
            raise ShapeError(
                "x has another shape or dtype than the example that the formula was made for; make the formula with this x"
            )
        return pieces

    def _values(self, point: Point) -> dict[Atom, np.ndarray]:
        return matrices(point, self._named)

    def _computed(self, expression: Expression, values: dict[Atom, np.ndarray]) -> np.ndarray:
        known: dict[int, Any] = {}

        def value(name: Atom | Named) -> Any:
            if isinstance(name, Atom):
                return values[name]
            if name.value not in known:
                known[name.value] = computed(self._equations[name.value], value, Eye(), times)
            return known[name.value]

        found = computed(expression, value, Eye(), times)
        return found.to(self._size[0], self._sides.dtype) if isinstance(found, Eye) else found

    def _written(self, expression: Expression | None) -> str:
        return "0" if expression is None else written(expression, self._text_of, "I", " ")

    def _latex(self, expression: Expression | None) -> str:
        return "0" if expression is None else written(expression, self._latex_of, "I", r" \, ")

    def _text_of(self, name: Atom | Named) -> str:
        return self._named[name].text if isinstance(name, Atom) else f"J{sub(self._numbers[name.value])}"

    def _latex_of(self, name: Atom | Named) -> str:
        return self._named[name].latex if isinstance(name, Atom) else f"J_{{{self._numbers[name.value]}}}"

    def __repr__(self) -> str:
        width = max((len(s.text) for s in self.symbols), default=0)
        rows = [
            f"  {s.text:<{width}}  {s.shape[0]} × {s.shape[1]}  {s.structure}" + (f"  [{s.layer}]" if s.layer else "")
            for s in self.symbols
        ]
        return "\n".join([self.text, *rows])

    def _repr_html_(self) -> str:
        from netjac.report.html import rows

        cells = ((s.text, f"{s.shape[0]} × {s.shape[1]}", s.structure, s.layer) for s in self.symbols)
        return f"<div>{self.mathml}</div>{rows(('factor', 'shape', 'structure', 'layer'), cells)}"


@dataclass(frozen=True)
class Eye:
    """The identity of whatever size its neighbour has; `times` what it is scaled by, where several are added."""

    count: int = 1

    def to(self, size: int, dtype: Any) -> np.ndarray:
        return self.count * np.eye(size, dtype=dtype)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Eye):
            return Eye(self.count + other.count)
        return other + (self.count * np.eye(len(other), dtype=other.dtype))

    __array_ufunc__ = None
    __radd__ = __add__


def times(a: Any, b: Any) -> Any:
    """The product of two matrices, either of which may be a multiple of the identity."""
    if isinstance(a, Eye):
        return Eye(a.count * b.count) if isinstance(b, Eye) else a.count * b
    return a * b.count if isinstance(b, Eye) else a @ b
