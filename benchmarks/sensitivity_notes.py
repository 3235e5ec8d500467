"""Where the peers' numbers are not what their names say, measured on a small network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.contenders import installed
from benchmarks.in_sensitivity import evaluated, neuralsens_tables
from benchmarks.workloads import Workload, drawn

SMALL = Workload("notes", (3,), (("dense", 20, "tanh"), ("dense", 1, None)), 2000, asks="sensitivity")


def notes() -> list[str]:
    """One line for each peer that is here."""
    return [note() for peer, note in NOTES.items() if installed(peer)]


def ours(workload: Workload, weights, x, **options):
    import netjac as nj
    from benchmarks.parameters_in_jax import Model

    return nj.sensitivity(nj.network(Model(workload, weights), batched=True), x, **options)


def captum_distances() -> tuple[float, float]:
    """How far the mean of Captum's values, left at their default, is from netjac's mean_abs, and from its mean."""
    import torch
    from captum.attr import Saliency

    from benchmarks.in_torch import network

    weights, x = drawn(SMALL)
    values = Saliency(network(SMALL, weights)).attribute(torch.tensor(x, requires_grad=True), target=0).numpy().mean(0)
    s = ours(SMALL, weights, x)
    return _away(values, s.mean_abs[0]), _away(values, s.mean[0])


def neuralsens_distances() -> tuple[float, float]:
    """How far neuralsens's "mean_squared" is from netjac's rms, and from the mean of squares."""
    weights, x = drawn(SMALL)
    found = neuralsens_tables(SMALL, weights, x)[0]["mean_squared"].to_numpy()
    s = ours(SMALL, weights, x)
    return _away(found, s.rms[0]), _away(found, s.dgsm[0])


def salib_distances() -> tuple[float, float, float]:
    """How far the half-width that SALib gives beside its bound is from that of ν, and from that of the bound, by netjac's
    intervals; and how far its ν is from the exact one at its default step."""
    from SALib.analyze import dgsm
    from SALib.sample import finite_diff

    weights, _ = drawn(SMALL)
    problem = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[-3.0, 3.0]] * 3}
    moved = finite_diff.sample(problem, 2000)
    state = np.random.get_state()
    found = dgsm.analyze(problem, moved, evaluated(SMALL, weights, moved), 1000, 0.95, seed=1)
    np.random.set_state(state)
    s = ours(SMALL, weights, moved[::4], ranges=(-3, 3))
    halves = [np.ptp(s.interval(name), 0)[0] / 2 for name in ("dgsm", "dgsm_bound")]
    return _away(found["dgsm_conf"], halves[0]), _away(found["dgsm_conf"], halves[1]), _away(found["vi"], s.dgsm[0])


def _away(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _captum() -> str:
    near, far = captum_distances()
    return (
        f"captum: values are magnitudes unless abs=False is given. Their mean is {near:.0e} from netjac's mean_abs and "
        f"{far:.0%} from its mean."
    )


def _neuralsens() -> str:
    near, far = neuralsens_distances()
    return (
        f"neuralsens: its 'mean_squared' is the rms ({near:.0e} from it), not the mean of squares ({far:.0%} from it); its "
        "arrays are (samples, n, m); with several outputs it fails on any pandas object."
    )


def _salib() -> str:
    near, far, step = salib_distances()
    return (
        f"SALib: the 'dgsm_conf' beside the bound 'dgsm' is that of ν ({near:.0%} from netjac's half-width of ν, {far:.0%} "
        f"from that of the bound); at its default step its ν is {step:.1%} off."
    )


NOTES: dict[str, Callable[[], str]] = {"captum": _captum, "neuralsens": _neuralsens, "SALib": _salib}
