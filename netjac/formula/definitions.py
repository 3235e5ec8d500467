"""What each factor of a formula is, in closed form: the "where" that a formula is read with."""

from __future__ import annotations

from netjac.formula.elementwise import elementwise
from netjac.formula.expression import Atom
from netjac.formula.graph import Graph
from netjac.formula.normalisation import normalisation
from netjac.graph.program import Equation

Both = tuple[str, str]
"""As text and as LaTeX."""

DERIVATIVES: dict[str, Both] = {
    "tanh": ("1 − tanh²(z)", r"1 - \tanh^{2}(z)"),
    "logistic": ("σ(z) (1 − σ(z))", r"\sigma(z) \, (1 - \sigma(z))"),
    "sigmoid": ("σ(z) (1 − σ(z))", r"\sigma(z) \, (1 - \sigma(z))"),
    "relu": ("1 where z > 0, else 0", r"1 \text{ where } z > 0, \text{ else } 0"),
    "relu6": ("1 where 0 < z < 6, else 0", r"1 \text{ where } 0 < z < 6, \text{ else } 0"),
    "exp": ("exp(z)", r"\exp(z)"),
    "sin": ("cos(z)", r"\cos(z)"),
    "cos": ("−sin(z)", r"-\sin(z)"),
    "square": ("2z", "2 z"),
    "log": ("1/z", "1/z"),
    "sqrt": ("1/(2√z)", r"1 / (2 \sqrt{z})"),
    "silu": ("σ(z) (1 + z (1 − σ(z)))", r"\sigma(z) \, (1 + z \, (1 - \sigma(z)))"),
    "gelu": ("Φ(z) + z Φ′(z)", r"\Phi(z) + z \, \Phi'(z)"),
    "softplus": ("σ(z)", r"\sigma(z)"),
}
PLAIN = frozenset({"exp", "sin", "cos", "square", "log", "sqrt"})
"""Functions that nobody needs the name of to know the derivative's."""
NORMS: dict[str, tuple[Both, Both]] = {
    "layer": (
        ("diag(γ) (I − 11ᵀ/n − x̂x̂ᵀ/n)/σ", r"\mathrm{diag}(\gamma) \, \frac{1}{\sigma} \left(I - \frac{1}{n} \mathbf{1} "
         r"\mathbf{1}^{\top} - \frac{1}{n} \hat{x} \hat{x}^{\top}\right)"),
        ("x̂ = (x − mean x)/σ, σ² = var x + ε", r"\hat{x} = \frac{x - \mu}{\sigma}"),
    ),
    "rms": (
        ("diag(γ) (I − x̂x̂ᵀ/n)/σ", r"\mathrm{diag}(\gamma) \, \frac{1}{\sigma} \left(I - \frac{1}{n} \hat{x} "
         r"\hat{x}^{\top}\right)"),
        ("x̂ = x/σ, σ² = mean x² + ε", r"\hat{x} = \frac{x}{\sigma}"),
    ),
    "unit": (
        ("diag(γ) (I − x̂x̂ᵀ)/σ", r"\mathrm{diag}(\gamma) \, \frac{1}{\sigma} \left(I - \hat{x} \hat{x}^{\top}\right)"),
        ("x̂ = x/σ, σ² = Σx² + ε", r"\hat{x} = \frac{x}{\sigma}"),
    ),
}  # fmt: skip
MOVED = {
    "transpose": "in another order", "rev": "in reverse", "slice": "taken out", "dynamic_slice": "taken out",
    "split": "taken out", "pad": "between zeros", "concatenate": "beside others", "gather": "looked up",
    "broadcast_in_dim": "repeated",
}  # fmt: skip


def definition(graph: Graph, atom: Atom, kind: str, number: str, latex: str) -> Both:
    """What a factor of a kind is, as text and as LaTeX. `number` is that of its symbol, `latex` the same for LaTeX."""
    if kind == "activation":
        return _activation(graph, atom, number, latex)
    if kind == "norm":
        return _norm(graph, atom)
    if kind == "softmax":
        return f"p{number} = softmax, for each row of scores", rf"p_{{{latex}}} = \mathrm{{softmax}}(z)"
    if kind == "scaling" and graph.kinds.get(graph.owners.get(atom.head, ""), "").startswith("BatchNorm"):
        return "diag(γ/√(v + ε)), v the variance learned", (
            r"\mathrm{diag}(\gamma / \sqrt{v + \varepsilon}), \; v \text{ the variance learned}"
        )
    if kind == "partial" and graph.equation(atom.head).name in ("scan", "while"):
        return "a loop over time: sums of products of ∂hₜ/∂hₜ₋₁", (
            r"\text{a loop over time: sums of products of } \partial h_{t} / \partial h_{t-1}"
        )
    return _worded({
        "weight": _weight, "convolution": _convolution, "scaling": _scaling, "pooling": _pooling, "outer": _outer,
        "rearrangement": _rearrangement, "negation": _negation, "partial": _partial,
    }[kind](graph, atom))  # fmt: skip


def function(graph: Graph, atom: Atom) -> str:
    """The functions of a factor's equations, the last one first: tanh ∘ mul."""
    names = [_function(graph.equation(v)) for v in (*sorted(atom.inner, key=graph.order), atom.head)]
    return " ∘ ".join(dict.fromkeys(n for n in reversed(names) if n != "name"))


def _function(eqn: Equation) -> str:
    """What an equation computes: the primitive, or the function that has a derivative of its own, by the name it was given."""
    if eqn.name != "custom_jvp_call":
        return eqn.name
    told = getattr(eqn.parameters["call_jaxpr"].jaxpr.debug_info, "func_src_info", "").split()
    return told[0] if told else eqn.name


def _worded(text: str) -> Both:
    """Words, which LaTeX has in its text mode, composed functions and products in signs of its own."""
    signs = {"_": r"\_", "∘": r"$\circ$", "×": r"$\times$", "−": "$-$", "ᵀ": r"$^{\top}$"}
    return text, rf"\text{{{''.join(signs.get(c, c) for c in text)}}}"


def _activation(graph: Graph, atom: Atom, number: str, latex: str) -> Both:
    told = function(graph, atom)
    told = told if told in DERIVATIVES else elementwise(graph, atom) or told
    if told in DERIVATIVES:
        text, formula = DERIVATIVES[told]
        text = text.replace("z", f"z{number}")
        named = "" if told in PLAIN else f", φ = {told}"
        named_latex = "" if told in PLAIN else rf", \; \varphi = \text{{{told}}}"
        return f"diag({text}){named}", rf"\mathrm{{diag}}({formula.replace('z', f'z_{{{latex}}}')}){named_latex}"
    return _worded(f"entry by entry, of {told}")


def _norm(graph: Graph, atom: Atom) -> Both:
    found = normalisation(graph, atom)
    if found is None:
        return _worded(f"of {function(graph, atom)}")
    (text, formula), (where, where_formula) = NORMS[found.kind]
    many = graph.program.size(atom.head) // found.count
    each = f" for each of {many} groups of n = {found.count} entries" if many > 1 else f", n = {found.count}"
    each_formula = rf"\text{{for each of {many} groups of }} n = {found.count}" if many > 1 else f"n = {found.count}"
    return f"{text}{each}; {where}", rf"{formula}, \quad {where_formula}, \; {each_formula}"


def _weight(graph: Graph, atom: Atom) -> str:
    weight = next(n for n in graph.equation(atom.head).operands if n != atom.tail)
    repeated = graph.program.size(atom.tail) * graph.program.size(atom.head) != graph.program.size(weight)
    return "the layer's weights" + (", at each position" if repeated else "")


def _convolution(_graph: Graph, _atom: Atom) -> str:
    return "the kernel, shifted to each position: a row for each output"


def _scaling(graph: Graph, atom: Atom) -> str:
    path = {atom.tail, *atom.inner}
    others = {n for v in (*atom.inner, atom.head) for n in graph.equation(v).operands} - path
    if others & graph.moving:
        return "each entry times another value of the network"
    return "each entry times a fixed number"


def _pooling(graph: Graph, atom: Atom) -> str:
    names = {graph.equation(v).name for v in (*atom.inner, atom.head)}
    over = (
        "each window" if any("window" in name or "select_and" in name for name in names) else "the entries summed over"
    )
    if names & {"reduce_window_sum", "reduce_sum"}:
        return f"1/n over {over}" if names & {"div", "mul"} else f"1 over {over}"
    over = "each window" if over == "each window" else "those compared"
    return f"1 at the largest entry of {over}" if "min" not in "".join(names) else f"1 at the smallest entry of {over}"


def _outer(graph: Graph, atom: Atom) -> str:
    if graph.equation(atom.head).name == "conv_general_dilated":
        return "the windows of the layer's input, a row for each position"
    return "h is the layer's input"


def _rearrangement(graph: Graph, atom: Atom) -> str:
    names = [graph.equation(v).name for v in (*sorted(atom.inner, key=graph.order), atom.head)]
    told = list(dict.fromkeys(MOVED[name] for name in names if name in MOVED))
    return "entries " + ", ".join(told) if told else "entries moved"


def _negation(_graph: Graph, _atom: Atom) -> str:
    return "each entry times −1"


def _partial(graph: Graph, atom: Atom) -> str:
    eqn = graph.equation(atom.head)
    if eqn.name == "dot_general":
        return "of a product of two values (as q kᵀ), the other one held"
    if eqn.name in ("mul", "div") and graph.program.size(atom.head) > graph.program.size(atom.tail):
        return "entries repeated, each times another value of the network"
    return f"of {function(graph, atom)}"
