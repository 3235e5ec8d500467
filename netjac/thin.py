"""Jacobians that pass a value narrower than both their sides: J = U V with U (m, r) and V (r, n), never multiplied out.

What an autoencoder's code, or any narrow layer, makes of a network; the plan is cut there, and the two factors are what
its last product would multiply. Norms and singular values follow from two QR factorisations and an r × r matrix
(Golub and Van Loan, *Matrix Computations*, 5.4 and 8.6): O((m + n) r²) where the dense matrix takes O(m n min(m, n)).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from netjac.compiled import Compiled, ready, samples_tied
from netjac.factors.product import Product
from netjac.pieces import Options, Request, planned, run_answers
from netjac.plan.plan import Answer, Plan
from netjac.source import Halves
from netjac.tracing import Point

NARROW = 2
"""How many times narrower than both sides a value must be."""


def halves(point: Point, request: Request, options: Options) -> Halves | None:
    """(batch, m, r) and (batch, r, n) where the plan ends in their product, without the batch where there is none; or None."""
    whole = planned(point, request, options)
    cut = _cut(whole, point.samples)
    if cut is None:
        return None
    question = request.at(point)
    key = (point.traced.identity, question, point.samples, options.engine, point.wide)
    made = ready(key, cut, point.traced.program, question, whole.tied, point.precision)
    left, right = (np.asarray(array) for array in run_answers(point, made)[1])
    lead = (point.samples,) if whole.tied and point.samples is not None else ()
    m = prod(cut.answers[0].pattern.out_shape[len(lead) :])
    n = prod(cut.answers[1].pattern.in_shape[len(lead) :])
    return left.reshape((*lead, m, -1)), right.reshape((*lead, -1, n))


def _cut(whole: Compiled, samples: int | None) -> Plan | None:
    """The plan without its last product, both of whose factors are its answers."""
    plan = whole.plan
    if len(plan.answers) != 1 or not plan.steps or not isinstance(plan.steps[-1].action, Product):
        return None
    answer, last = plan.answers[0], plan.steps[-1]
    if last.form != "product" or last.writes != (answer.register,):
        return None
    patterns = {register: step.pattern for step in plan.steps[:-1] for register in step.writes[:1]}
    if not all(register in patterns for register in last.reads):
        return None
    left, right = (patterns[register] for register in last.reads)
    lead = 1 if whole.tied else 0
    if left.windows or right.windows or (lead and not (samples_tied(left, samples) and samples_tied(right, samples))):
        return None
    width = prod(left.in_shape[lead:])
    if NARROW * width > min(prod(left.out_shape[lead:]), prod(right.in_shape[lead:])):
        return None
    answers = tuple(
        Answer(0, 0, register, pattern) for register, pattern in zip(last.reads, (left, right), strict=True)
    )
    return replace(plan, steps=plan.steps[:-1], answers=answers)


def svd(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The r largest singular triplets of left · right: U (…, m, r), values (…, r) in falling order, Vᵀ (…, r, n)."""
    q, a = np.linalg.qr(left)
    p, b = np.linalg.qr(np.swapaxes(right, -1, -2))
    u, s, vt = np.linalg.svd(a @ np.swapaxes(b, -1, -2))
    return q @ u, s, vt @ np.swapaxes(p, -1, -2)
