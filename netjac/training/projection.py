"""What is asked of samples where a network ends in y = h W + b, and W and b stay at their optimum (variable projection).

With Φ = (h, 1), a row a sample, and F the Jacobian of the features h by the other parameters, a sample's rows of J are Wᵀ F for
these and Φ's row for each output's own column of W and b. Eliminated from JᵀJ, W and b leave

    K = Σ Fᵀ W Wᵀ F − Σ_o C_o S⁻¹ C_oᵀ,    S = ΦᵀΦ,    C_o = Σ Fᵀ w_o Φ

(Golub & Pereyra, SIAM J. Numer. Anal. 10, 1973; without the term of second order: Kaufman, BIT 15, 1975). Where there are more
outputs than features, F is made, and Σ F Φ, rather than the larger WᵀF; else the rows of J themselves, 1 in the place of W.

S is shifted by `RIDGE` of its mean eigenvalue. Not a penalty: W moves by (S + ε)⁻¹ times the gradient left in it, so that the
shift slows it down along combinations of features that hardly differ, and moves no optimum.

What K leaves out, Kaufman's term and the features' own second derivatives, is learned from the gradients of the points
(`netjac.training.secant`), and added to it where that foretells the falls of the loss better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netjac.compiled import Compiled
from netjac.parameters import questions
from netjac.parameters.factored import Question, compiled_factors
from netjac.parameters.normal import divided_alike
from netjac.parameters.normal import normal as paired
from netjac.parameters.uses import Contraction
from netjac.pieces import FIRST
from netjac.plan.eliminate import Question as Asked
from netjac.training.algebra import by_cholesky, move, scale, told
from netjac.training.functions import Sized, value
from netjac.training.readout import readout
from netjac.training.secant import learned

RIDGE = {False: 1e-6, True: 1e-10}
"""Shift of S over its mean eigenvalue, by whether the network computes in float64."""


@dataclass(frozen=True, eq=False)
class Separated:
    """The last layer of a network apart from the rest, for runs of one size; all methods are traceable.

    `layer` is where W and (below it, if there is one) b lie in the vector of parameters, (q + 1, m) or (q, m); `kept`, where
    the others do, `each` of so many. `plan` makes the factors of F, or where `by_outputs` of the outputs' own Jacobian.
    """

    sized: Sized
    features: int
    layer: np.ndarray
    kept: np.ndarray
    each: tuple[int, ...]
    plan: tuple[Compiled, questions.Uses]
    rows: int
    by_outputs: bool
    ridge: float

    @classmethod
    def at(cls, question: Question, sized: Sized) -> Separated | None:
        """The one for this network, output and number of samples; None where no last layer can be told apart, nothing but it
        is trained, or samples share what they make of parameters."""
        place = ("separated", question.values(question.point), type(sized.loss))
        return sized.kind.once(place, lambda: cls._made(question, sized))

    @classmethod
    def _made(cls, question: Question, sized: Sized) -> Separated | None:
        point, columns = question.point, [*question.sizes.columns.values()]
        wrt, of = question.values(point)
        found = readout(sized.program, of, wrt)
        if found is None or len(wrt) == len(found.parameters):
            return None
        place = dict(zip(wrt, columns, strict=True))
        tables = zip(found.parameters, (found.weights, found.bias), strict=False)
        layer = np.concatenate([places + place[parameter].start for parameter, places in tables])
        others = [n for n in wrt if n not in found.parameters]
        q, m = found.weights.shape
        by_outputs = m <= q or q == 1
        rows = m if by_outputs else q
        asked = Asked(tuple(others), (of if by_outputs else found.features,), None, local=True)
        plan = compiled_factors(point, asked)
        if not divided_alike(plan[1], (question.samples, rows) if rows > 1 else (question.samples,)):
            return None
        kept = np.concatenate([np.arange(place[n].start, place[n].stop) for n in others])
        each = tuple(place[n].stop - place[n].start for n in others)
        return cls(sized, found.features, layer, kept, each, plan, rows, by_outputs, RIDGE[point.wide])

    @property
    def bytes(self) -> int:
        """Of the matrices of a point."""
        P = len(self.kept)
        return 8 * (6 * P * P + 3 * P * self.rows * len(self.layer))

    @property
    def pays(self) -> bool:
        """Whether a sample takes no more operations than JᵀJ of all parameters does."""
        P = len(self.kept)
        return P * P + P * self.rows * len(self.layer) <= (P + self.layer.size) ** 2

    def before(self, theta: jax.Array) -> tuple[np.ndarray, ...]:
        """What the first point's matrix starts from."""
        P = len(self.kept)
        return np.zeros(P), np.zeros((P, P)), np.asarray(theta)[self.kept].astype(np.float64), np.zeros(P)

    # Of one run ---------------------------------------------------------------------------------------------------

    def gathered(
        self, sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any
    ) -> tuple[jax.Array, ...]:
        """The loss; S; the gradient by W and b; Σ FᵀWWᵀF, Σ FΦ and the gradient by the other parameters."""
        phi, y = self._seen(sized, theta, rest, run, constants)
        with sized.computing():
            found = self.plan[0].run(sized.inputs(theta, rest, run), constants, FIRST)[1]
        arrays = [array.astype(jnp.float64) for array in found]
        u = (y - targets).reshape((len(phi), -1))
        W = self._weights(theta)
        A = paired(self.plan[1], arrays, self.each, None if W is None else W @ W.T)
        pushing = (u if W is None else u @ W.T).reshape((1, -1))
        g = jnp.concatenate(questions.pulled(self.plan[1], arrays, pushing, self.each), 1)[0]
        return sized.loss.value(y, targets), phi.T @ phi, phi.T @ u, A, self._crossed(arrays, phi), g

    def moments(
        self, sized: Sized, theta: Any, rest: Any, run: Any, targets: Any, constants: Any
    ) -> tuple[jax.Array, jax.Array]:
        """S, and the gradient by W and b."""
        phi, y = self._seen(sized, theta, rest, run, constants)
        return phi.T @ phi, phi.T @ (y - targets).reshape((len(phi), -1))

    def _seen(self, sized: Sized, theta: Any, rest: Any, run: Any, constants: Any) -> tuple[jax.Array, jax.Array]:
        """Φ and y, in float64."""
        program = sized.program
        with sized.computing():
            values = program.evaluate(sized.inputs(theta, rest, run), constants, program.needed([sized.of]))
        h = values[self.features].astype(jnp.float64)
        phi = jnp.concatenate([h, jnp.ones((len(h), len(self.layer) - h.shape[1]))], 1)
        return phi, values[sized.of].astype(jnp.float64)

    def _weights(self, theta: jax.Array) -> jax.Array | None:
        """W, where rows of F stand for it."""
        return None if self.by_outputs else theta[self.layer[: self.rows]].astype(jnp.float64)

    def _crossed(self, arrays: list[jax.Array], phi: jax.Array) -> jax.Array:
        """Σ over samples of F and Φ: (parameters, rows, q + 1)."""
        width = phi.shape[1]
        found = [jnp.zeros((size, self.rows, width)) for size in self.each]
        for one in self.plan[1]:
            sum_ = Contraction()
            out, inn = sum_.use(one, arrays)
            last = sum_.label(width)
            sum_.array([out[0], last], phi)
            part = sum_.sum([*inn, *out[1:], last]).reshape(found[one.parameter].shape)
            found[one.parameter] = found[one.parameter] + part
        return jnp.concatenate(found)

    # Of what was added up over all runs ---------------------------------------------------------------------------

    @partial(jax.jit, static_argnums=0)
    def reduced(
        self, theta: Any, total: Any, S: Any, B: Any, A: Any, T: Any, g: Any, before: Any, scaled: Any
    ) -> tuple[Any, ...]:
        """Loss and largest entry of the gradient; the gradient that goes with K, by which W and b follow; what the next
        point starts from: D, Q, and where and what that gradient was; K; and by how much W and b alone would lower the loss."""
        root = jnp.linalg.cholesky(self._shifted(S))
        moves = jax.scipy.linalg.cho_solve((root, True), B)
        U = jnp.moveaxis(T, 2, 0).reshape((len(S), -1))
        U = jax.scipy.linalg.solve_triangular(root, U, lower=True).reshape((len(S), *T.shape[:2]))
        W, back = self._weights(theta), moves
        if W is not None:
            U, back = U @ jnp.linalg.qr(W.T, mode="r").T, moves @ W.T
        columns = jnp.moveaxis(U, 1, 0).reshape((len(A), -1))
        K = A - columns @ columns.T
        following = g - jnp.einsum("pqa,aq->p", T, back)
        both = jnp.concatenate([g, jnp.ravel(B)])
        D, Q, there, slope = before
        here = theta[self.kept].astype(jnp.float64)
        handed = scale(jnp.diag(A), D, scaled), learned(Q, K, here - there, following - slope), here, following
        return told(total, both), following, handed, K, 0.5 * jnp.sum(B * moves)

    @partial(jax.jit, static_argnums=0)
    def refitted(self, theta: jax.Array, S: Any, B: Any) -> tuple[jax.Array, jax.Array]:
        """The parameters with W and b at their optimum, and how far these went, relative to themselves."""
        change = jnp.linalg.solve(self._shifted(S), B)
        before = theta[self.layer].astype(jnp.float64)
        far = jnp.linalg.norm(change) / jnp.linalg.norm(before)
        return theta.at[self.layer].set((before - change).astype(theta.dtype)), far

    @partial(jax.jit, static_argnums=0)
    def moved(
        self, theta: jax.Array, g: Any, handed: Any, K: Any, least: Any, damping: Any, length: Any, share: Any
    ) -> tuple[jax.Array, jax.Array]:
        """The parameters with all but W and b moved by K + share · Q; what `netjac.training.algebra.move` tells, and by how
        much less the loss falls by all of Q than without."""
        D, Q, *_ = handed
        v = -by_cholesky((K + share * Q,), D, g, damping)
        there, numbers = move(theta[self.kept], g, v, 0.0, D, damping, length)
        return theta.at[self.kept].set(there), jnp.append(numbers.at[0].add(least), 0.5 * length**2 * (v @ Q @ v))

    def _shifted(self, S: jax.Array) -> jax.Array:
        return S + self.ridge * jnp.trace(S) / len(S) * jnp.eye(len(S))

    # All of it, where there is one run ----------------------------------------------------------------------------

    def point(self, sized: Sized, theta: Any, *run_and_more: Any) -> tuple[Any, ...]:
        *run, before, scaled = run_and_more
        return self.reduced(theta, *self.gathered(sized, theta, *run), before, scaled)

    def try_(self, sized: Sized, theta: Any, *run_and_more: Any) -> tuple[Any, ...]:
        *run, g, handed, K, least, damping, length, share = run_and_more
        theta, numbers = self.moved(theta, g, handed, K, least, damping, length, share)
        theta, far = self.refitted(theta, *self.moments(sized, theta, *run))
        numbers = numbers.at[1].max(far)
        return theta, jnp.append(numbers, value(sized, theta, *run))
