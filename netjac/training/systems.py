"""Which form the linear system (JᵀHJ + λ D) δ = −g of a point has; one factorisation or one matrix serves every λ.

- "spectral" and "normal" make JᵀHJ (`netjac.training.matrices`), "kernel" and "cg" do not (`netjac.training.unformed`).
- "projected" has the parameters of a linear last layer at their optimum, and makes a matrix of the others alone
  (`netjac.training.projected`).

D is the largest squared column norm so far of each column of J (Moré, The Levenberg–Marquardt algorithm, 1978) when
`scaled`, else one number for all, so that λ has no unit.
"""

from __future__ import annotations

from typing import Any

from netjac.errors import ShapeError, TooLargeError, UnknownNameError
from netjac.memory import budget
from netjac.plan.table import memory as in_words
from netjac.training.matrices import Normal, Spectral
from netjac.training.problem import Problem
from netjac.training.projected import Projected
from netjac.training.step import System
from netjac.training.unformed import Kernel, Products

FEW = 64
"""Parameters up to which the eigenvectors cost no more than the rest of a step."""
MANY = 6000
"""Parameters beyond which a Cholesky factorisation takes longer than the products that conjugate gradients need."""

FORMS: dict[str, type[System]] = {one.form: one for one in (Spectral, Normal, Projected, Kernel, Products)}


def form_of(problem: Problem, samples: int, asked: str | None, memory: Any, against: str | None) -> type[System]:
    """The form for so many samples at a time; `against`, what speaks against "projected" whatever the network.

    Raises `UnknownNameError`, `ShapeError`, `TooLargeError`.
    """
    if asked is not None and asked not in FORMS:
        raise UnknownNameError.of("form", str(asked), FORMS)
    M, rows, room, whole = problem.parameters, samples * problem.outputs, budget(memory), samples <= problem.size
    needed = {"spectral": 4 * M * M * 8, "normal": 3 * M * M * 8, "kernel": 3 * rows * rows * 8, "cg": 0}
    if asked == Projected.form or (asked is None and against is None):
        separate = None if against else problem.separated(min(samples, problem.size))
        needed["projected"] = 0 if separate is None else separate.bytes
        if separate is None and asked is not None:
            raise ShapeError(
                f"form='projected' is for networks that end in a linear layer with trainable weights of its own, and "
                f"{against or f'{problem.network.name!r} does not'}; leave form out"
            )
        pays = separate is not None and rows >= M and separate.pays
        if asked is None and pays and needed["projected"] <= room:
            return Projected
    if asked is not None:
        if needed[asked] > room:
            matrix = "H J Jᵀ" if asked == "kernel" else "JᵀHJ"
            raise TooLargeError(
                f"{matrix} in form={asked!r} takes {in_words(needed[asked])}, over the memory budget of {in_words(room)}; "
                "give form='cg', which forms no matrix, a batch=, or a larger memory="
            )
        if asked == "kernel" and not whole:
            raise ShapeError("form='kernel' takes its samples together, and they do not fit; give a smaller batch=")
        return FORMS[asked]
    if min(M, FEW) == M:
        return Spectral
    if rows < M and whole and rows <= MANY and needed["kernel"] <= room:
        return Kernel
    return Normal if M <= MANY and needed["normal"] <= room else Products
