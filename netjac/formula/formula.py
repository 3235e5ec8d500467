"""`Formula`: the Jacobian of a network as the product of factors that its graph makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np

from netjac.errors import MissingExtraError, ShapeError, TooLargeError, UnknownNameError
from netjac.formula import numbers
from netjac.formula.derivation import Step, steps_of
from netjac.formula.expression import Atom, Expression, Named, Product, Sum, written
from netjac.formula.numbers import Memory
from netjac.formula.symbols import Symbol, escaped, sub
from netjac.networks.network import Network
from netjac.tracing import Point, meet, narrowed
from netjac.vectors import Sides

MOST_ENTRIES = 4096
ROW = 72
"""Characters of a formula, as text, that a row of a page has room for."""


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
        """Without dollar signs; one `aligned` environment where there are several equations, or one that is too long."""
        lines = [["J = ", *self._latex_rows(self._expression)]]
        lines += [[f"J_{{{self._numbers[v]}}} = ", *self._latex_rows(e)] for v, e in reversed(self._equations.items())]
        if len(lines) == 1 and len(lines[0]) == 2:
            return "".join(lines[0])
        body = r" \\ ".join(
            r" \\ &\quad ".join([(head + first).replace("=", "&=", 1), *rest]) for head, first, *rest in lines
        )
        return rf"\begin{{aligned}} {body} \end{{aligned}}"

    @cached_property
    def definitions(self) -> str:
        """What each factor is, in LaTeX without dollar signs: an `aligned` environment, a line a factor; "" without factors."""
        body = r" \\ ".join(
            rf"{s.latex} &: {s.definition_latex} && {s.shape[0]} \times {s.shape[1]} && \text{{{escaped(s.layer)}}}"
            for s in self.symbols
        )
        return rf"\begin{{aligned}} {body} \end{{aligned}}" if body else ""

    @cached_property
    def mathml(self) -> str:
        """The LaTeX as MathML, which browsers show without the net."""
        return in_mathml(self.latex)

    @cached_property
    def derivation(self) -> tuple[Step, ...]:
        """Backpropagation's recursion, δ = (∂output/∂z)ᵀ step by step from the output to the input."""
        return steps_of(self._expression, self._equations, self._named, self._numbers, self.wrt)

    def backpropagation(self, x: Any, memory: Memory = None) -> dict[str, np.ndarray]:
        """δ of each step at x: name → (batch, entries of z, entries of the output). The last one is Jᵀ.

        Raises `TooLargeError` where they take more than `memory` (bytes or "4GiB"; by default 60 % of what is free).
        """
        pieces = self._pieces(x)
        if self._expression is None or not pieces:
            return {}
        made = numbers.derivation(pieces[0], self._subject, [step.expression for step in self.derivation])
        names = [step.name for step in self.derivation]
        told = "the steps of the derivation", names, "`F.derivation`, which has no numbers"
        deltas = numbers.written_out(*told, made, pieces, memory)
        return {name: delta.swapaxes(1, 2) for name, delta in zip(names, deltas, strict=True)}

    def factors(self, x: Any, names: Iterable[str] | None = None, memory: Memory = None) -> dict[str, np.ndarray]:
        """Name → (batch, rows, columns); batch is 1 where the samples are not independent, and the factors are of all.

        With `names`, only those. Raises `UnknownNameError`, and `TooLargeError` where the factors, written out, take more
        than `memory` (bytes or "4GiB"; by default 60 % of what is free).
        """
        atoms = {symbol.text: atom for atom, symbol in self._named.items()}
        chosen = list(atoms if names is None else dict.fromkeys(names))
        for name in chosen:
            if name not in atoms:
                raise UnknownNameError.of("factor", name, atoms)
        pieces = self._pieces(x)
        symbols = [self._named[atoms[name]] for name in chosen]
        if self._expression is None or not pieces:
            return {symbol.text: np.zeros((0, *symbol.shape), self._sides.dtype) for symbol in symbols}
        made = numbers.factors(pieces[0], self._subject, [atoms[name] for name in chosen])
        told = "the factors", [*map(numbers.described, symbols)], "some of them by names="
        return dict(zip(chosen, numbers.written_out(*told, made, pieces, memory), strict=True))

    def evaluate(self, x: Any, memory: Memory = None) -> np.ndarray:
        """The Jacobian at x, the factors multiplied as the formula says, laid out as `nj.jacobian` does: (batch, *out, *in).

        They are multiplied from the left or from the right, whichever takes less, and none is written out. Raises
        `ShapeError` where x is not of the shape of the example (but for the number of samples), and `TooLargeError` where
        the result takes more than `memory` (bytes or "4GiB"; by default 60 % of what is free).
        """
        pieces = self._pieces(x)
        shape = (*self._sides.out, *self._sides.inn)
        found = self._multiplied(pieces, memory)
        return found.reshape(shape if self._sides.batch is None else (len(found), *shape))

    def _multiplied(self, pieces: list[Point], memory: Memory) -> np.ndarray:
        """(pieces, rows, columns)"""
        result = len(pieces) * self._size[0] * self._size[1] * self._sides.dtype.itemsize
        limit = numbers.room(result, memory)
        numbers.refuse_result(result, limit)
        found = np.zeros((len(pieces), *self._size), self._sides.dtype)
        if self._expression is None or not pieces:
            return found
        ways = numbers.evaluations(pieces[0], self._subject)
        limit = numbers.room(result + max(way.plan.peak for way in ways), memory)
        way = next((way for way in ways if result + way.plan.peak <= limit), ways[0])
        numbers.refuse_working(self._subject, way, limit - result)
        for place, piece in enumerate(pieces):
            found[place] = way.run(piece)[0]
        return found

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

    @property
    def _subject(self) -> numbers.Subject:
        assert self._expression is not None
        traced = self._point.traced
        ends = traced.value(self.wrt), traced.value(self.of)
        return numbers.Subject(*ends, self._expression, self._equations, self._named)

    def _written(self, expression: Expression | None) -> str:
        return "0" if expression is None else written(expression, self._text_of, "I", " ")

    def _latex_rows(self, expression: Expression | None) -> list[str]:
        """The factors of a product in as many rows as a page needs."""
        if expression is None:
            return ["0"]
        factors = expression.factors if isinstance(expression, Product) and expression.factors else (expression,)
        rows: list[list[str]] = [[]]
        width = 0
        for factor in factors:
            text = written(Product((factor,)), self._text_of, "I", " ")
            if rows[-1] and width + len(text) > ROW:
                rows.append([])
                width = 0
            whole = expression if len(factors) == 1 else Product((factor,))
            rows[-1].append(written(whole, self._latex_of, "I", r" \, "))
            width += len(text)
        return [r" \, ".join(row) for row in rows]

    def _text_of(self, name: Atom | Named) -> str:
        return self._named[name].text if isinstance(name, Atom) else f"J{sub(self._numbers[name.value])}"

    def _latex_of(self, name: Atom | Named) -> str:
        return self._named[name].latex if isinstance(name, Atom) else f"J_{{{self._numbers[name.value]}}}"

    def __repr__(self) -> str:
        cells = [
            (s.text, f"{s.shape[0]} × {s.shape[1]}", s.structure + (f"  [{s.layer}]" if s.layer else ""), s.definition)
            for s in self.symbols
        ]
        widths = [max((len(row[place]) for row in cells), default=0) for place in range(3)]
        rows = [
            "  ".join(("", *(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3])) for row in cells
        ]
        return "\n".join([self.text, *rows])

    def _repr_html_(self) -> str:
        from netjac.report.html import rows

        cells = ((s.text, f"{s.shape[0]} × {s.shape[1]}", s.structure, s.layer, s.definition) for s in self.symbols)
        return f"<div>{self.mathml}</div>{rows(('factor', 'shape', 'structure', 'layer', 'what it is'), cells)}"


def in_mathml(latex: str) -> str:
    """LaTeX as MathML. Raises `MissingExtraError`."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise MissingExtraError.of("latex2mathml", "formula", "Formula.mathml") from None
    found: str = convert(latex)
    return found
