"""Backpropagation's recursion, read off the formula: δ_l = φ′_l W_{l+1} δ_{l+1} (Rumelhart, Hinton and Williams, 1986)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netjac.formula.expression import Atom, Expression, Named, Product, Sum, atoms, written
from netjac.formula.symbols import Symbol, sub

ENDS = frozenset({"activation", "softmax", "norm", "pooling"})


@dataclass(frozen=True)
class Step:
    """`name` = (what `expression` is, transposed) · the step before; None at the start, where δ is the identity."""

    name: str
    text: str
    latex: str
    explanation: str
    expression: Expression | None


def steps_of(
    expression: Expression | None,
    equations: Mapping[int, Expression],
    named: Mapping[Atom, Symbol],
    numbers: Mapping[int, int],
    wrt: str,
) -> tuple[Step, ...]:
    """From the output to `wrt`, a step for each activation, the rest together."""
    if expression is None:
        return ()

    def text(name: Atom | Named) -> str:
        return named[name].transposed_text if isinstance(name, Atom) else f"J{sub(numbers[name.value])}ᵀ"

    def latex(name: Atom | Named) -> str:
        return named[name].transposed_latex if isinstance(name, Atom) else f"J_{{{numbers[name.value]}}}^{{\\top}}"

    groups = _groups(expression)
    first = len(groups)
    steps = [Step(f"δ{sub(first)}", f"δ{sub(first)} = I", rf"\delta_{{{first}}} = I",
                  "start at the output: its derivative by itself", None)]  # fmt: skip
    for place, group in enumerate(groups):
        n = first - 1 - place
        turned = transposed(group)
        one, one_latex = written(turned, text, "I", " "), written(turned, latex, "I", r" \, ")
        if isinstance(turned, Sum):
            one, one_latex = f"({one})", f"({one_latex})"
        steps.append(
            Step(
                f"δ{sub(n)}",
                f"δ{sub(n)} = {one} δ{sub(n + 1)}",
                rf"\delta_{{{n}}} = {one_latex} \, \delta_{{{n + 1}}}",
                _explained(group, named) + (f": this is Jᵀ, the derivative by {wrt}" if n == 0 else ""),
                group,
            )
        )
    return tuple(steps)


def _explained(group: Expression, named: Mapping[Atom, Symbol]) -> str:
    """Which layers a step goes back through, the later one first."""
    layers = list(dict.fromkeys(named[atom].layer for atom in atoms(group) if named[atom].layer))[::-1]
    return f"pull δ back through {' and '.join(map(repr, layers))}" if 0 < len(layers) < 4 else "pull δ back"


def transposed(expression: Expression) -> Expression:
    """Products turned round; that each factor is transposed is for its name to say."""
    if isinstance(expression, Product):
        return Product(tuple(transposed(factor) for factor in reversed(expression.factors)))
    if isinstance(expression, Sum):
        return Sum(tuple(transposed(term) for term in expression.terms))
    return expression


def _groups(expression: Expression) -> list[Expression]:
    factors = expression.factors if isinstance(expression, Product) else (expression,)
    groups: list[list[Expression]] = [[]]
    for factor in factors:
        groups[-1].append(factor)
        if isinstance(factor, Sum) or (isinstance(factor, Atom) and factor.kind in ENDS):
            groups.append([])
    return [Product(tuple(group)) for group in groups if group]
