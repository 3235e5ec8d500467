"""What a formula is made of: atoms (named matrices), products, sums, the identity, and references to named Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Atom:
    """One factor: the local Jacobian ∂head/∂tail through the values `inner`.

    `kind` says what it is: weight, convolution, activation, softmax, norm, pooling, rearrangement, negation, partial.
    """

    tail: int
    head: int
    inner: frozenset[int]
    kind: str


@dataclass(frozen=True)
class Product:
    """Factors, leftmost first; none is the identity."""

    factors: tuple[Expression, ...]


@dataclass(frozen=True)
class Sum:
    """Terms of parallel paths."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Named:
    """A Jacobian with an equation of its own, by the value it is of."""

    value: int


Expression = Atom | Product | Sum | Named
IDENTITY = Product(())


def product(factors: list[Expression]) -> Expression:
    """Factors, leftmost first, nested products opened."""
    flat: list[Expression] = []
    for factor in factors:
        flat.extend(factor.factors if isinstance(factor, Product) else [factor])
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def total(terms: list[Expression]) -> Expression:
    flat: list[Expression] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, Sum) else [term])
    return flat[0] if len(flat) == 1 else Sum(tuple(flat))


def atoms(expression: Expression) -> Iterator[Atom]:
    """The atoms from right to left: in the order in which the network applies them."""
    if isinstance(expression, Atom):
        yield expression
    elif isinstance(expression, Product):
        for factor in reversed(expression.factors):
            yield from atoms(factor)
    elif isinstance(expression, Sum):
        for term in expression.terms:
            yield from atoms(term)


def written(expression: Expression, name: Callable[[Atom | Named], str], identity: str, space: str) -> str:
    """The expression in words of `name`; sums inside products are in brackets."""
    if isinstance(expression, Atom | Named):
        return name(expression)
    if isinstance(expression, Sum):
        return " + ".join(written(term, name, identity, space) for term in expression.terms)
    if not expression.factors:
        return identity
    parts = (
        f"({written(f, name, identity, space)})" if isinstance(f, Sum) else written(f, name, identity, space)
        for f in expression.factors
    )
    return space.join(parts)
