"""Classifiers of handwritten digits, and attacks on them by netjac, Foolbox and torchattacks: the same ε, steps and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

SAMPLES = 256
EPSILON = {"linf": 0.1, "l2": 0.6}
# The peers' steps, of one size: the walk of 2.5 ε that Madry et al. advise. netjac takes as many of that size where a row says
# so ("_40", "_all"), and else its own, which are fewer and fall.
STEPS, SHARE = 40, 2.5 / 40
OURS = "netjac"
PEERS = ("foolbox", "torchattacks")
# Foolbox 3 has no JSMA, torchattacks DeepFool in L2 alone.
LEFT_OUT = {("jsma", "foolbox"), ("deepfool_linf", "torchattacks"), ("fgsm_l2", "torchattacks")}
ATTACKS = (
    "fgsm_linf", "fgsm_l2", "pgd_linf", "pgd_l2", "pgd_linf_40", "pgd_linf_all", "deepfool_l2", "deepfool_linf", "jsma",
)  # fmt: skip
MODELS = {"mlp": "dense", "cnn": "convolutional"}


@dataclass(frozen=True)
class Digits:
    images: torch.Tensor
    labels: torch.Tensor


def digits() -> tuple[Digits, Digits]:
    """Those to train on, and `SAMPLES` others: (N, 1, 8, 8) from 0 to 1."""
    loaded = load_digits()
    images = torch.tensor(loaded.images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(loaded.target)
    return Digits(images[SAMPLES:], labels[SAMPLES:]), Digits(images[:SAMPLES], labels[:SAMPLES])


def model(name: str) -> torch.nn.Module:
    nn = torch.nn
    torch.manual_seed(0)
    if name == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(288, 10),
    )  # fmt: skip


def trained(name: str, path: Path) -> float:
    """Train a model, save its weights to `path`, and give its accuracy on the images that are attacked."""
    made, (seen, held_out) = model(name), digits()
    optimizer = torch.optim.Adam(made.parameters(), 3e-3, weight_decay=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(made(seen.images), seen.labels).backward()
        optimizer.step()
    np.savez(path, **{name: value.numpy() for name, value in made.state_dict().items()})
    return float((made(held_out.images).argmax(1) == held_out.labels).float().mean())


def restored(name: str, path: Path) -> torch.nn.Module:
    made = model(name)
    made.load_state_dict({name: torch.tensor(value) for name, value in np.load(path).items()})
    return made.eval()


def ways(attack: str, network: torch.nn.Module, given: Digits) -> dict[str, Callable[[], torch.Tensor]]:
    """The call that is timed, by who makes it: adversarial images, clipped to [0, 1]."""
    kind, _, norm = attack.partition("_")
    norm, _, steps = norm.partition("_")
    epsilon = EPSILON.get(norm, 0.0)
    return {
        OURS: _ours(kind, norm, epsilon, steps, network, given),
        "foolbox": _foolbox(kind, norm, epsilon, network, given),
        "torchattacks": _torchattacks(kind, norm, epsilon, network, given),
    }


def _ours(kind, norm, epsilon, steps, network, given):
    seeds = count()

    def call() -> torch.Tensor:
        import netjac as nj

        alike = {"steps": STEPS, "step_size": epsilon * SHARE, "all_steps": steps == "all"} if steps else {}
        order, pinned = ("inf" if norm == "linf" else 2), {"bounds": (0, 1)}
        x, y = given.images, given.labels
        if kind == "fgsm":
            return nj.attacks.fgsm(network, x, y, epsilon=epsilon, norm=order, **pinned).adversarial
        if kind == "pgd":
            return nj.attacks.pgd(
                network, x, y, epsilon=epsilon, norm=order, seed=next(seeds), **alike, **pinned
            ).adversarial
        if kind == "deepfool":
            return nj.attacks.deepfool(network, x, y, norm=order, **pinned).adversarial
        return nj.attacks.jsma(network, x, targets=target(y), gamma=0.125, **pinned).adversarial

    return call


def _foolbox(kind, norm, epsilon, network, given):
    def call() -> torch.Tensor:
        import foolbox.attacks as fa
        from foolbox import PyTorchModel

        attacks = {
            ("fgsm", "linf"): lambda: fa.LinfFastGradientAttack(),
            ("fgsm", "l2"): lambda: fa.L2FastGradientAttack(),
            ("pgd", "linf"): lambda: fa.LinfPGD(steps=STEPS, rel_stepsize=SHARE),
            ("pgd", "l2"): lambda: fa.L2PGD(steps=STEPS, rel_stepsize=SHARE),
            ("deepfool", "l2"): lambda: fa.L2DeepFoolAttack(),
            ("deepfool", "linf"): lambda: fa.LinfDeepFoolAttack(),
        }
        seen = PyTorchModel(network, bounds=(0, 1), device="cpu")
        limit = None if kind == "deepfool" else epsilon
        return attacks[kind, norm]()(seen, given.images, given.labels, epsilons=limit)[1]

    return call


def _torchattacks(kind, norm, epsilon, network, given):
    def call() -> torch.Tensor:
        import torchattacks

        size = epsilon * SHARE
        attacks = {
            ("fgsm", "linf"): lambda: torchattacks.FGSM(network, eps=epsilon),
            ("pgd", "linf"): lambda: torchattacks.PGD(network, eps=epsilon, alpha=size, steps=STEPS),
            ("pgd", "l2"): lambda: torchattacks.PGDL2(network, eps=epsilon, alpha=size, steps=STEPS),
            ("deepfool", "l2"): lambda: torchattacks.DeepFool(network),
            ("jsma", ""): lambda: torchattacks.JSMA(network, theta=1.0, gamma=0.125),
        }
        return attacks[kind, norm]()(given.images, given.labels)

    return call


BARE = ("torch forward", "torch gradient", "netjac gradient")


def bare(network: torch.nn.Module, given: Digits) -> dict[str, Callable[[], torch.Tensor]]:
    """What no attack can do without, by itself: a forward pass, and a gradient of the loss by the images, forward and back.

    netjac's is its compiled program alone, weights and images at hand.
    """
    import jax

    from netjac.attacks.classifier import classifier

    images, labels = given.images, given.labels
    met = classifier(network, images.numpy(), None, "highest")
    run = jax.jit(met.scores.rows)
    x, combined = jax.numpy.asarray(images.numpy()), jax.nn.one_hot(labels.numpy(), met.scores.classes)[:, None]

    def forward() -> torch.Tensor:
        with torch.no_grad():
            network(images)
        return images

    def gradient() -> torch.Tensor:
        moving = images.clone().requires_grad_(True)
        torch.autograd.grad(torch.nn.functional.cross_entropy(network(moving), labels), moving)
        return images

    def ours() -> torch.Tensor:
        run(met.weights, x, combined).block_until_ready()
        return images

    return dict(zip(BARE, (forward, gradient, ours), strict=True))


def target(labels: torch.Tensor) -> torch.Tensor:
    """The class that torchattacks takes as JSMA's target."""
    return (labels + 1) % 10


def judged(attack: str, network: torch.nn.Module, given: Digits, found: torch.Tensor) -> dict[str, float]:
    """How many successes there are by the model itself, and the mean of ‖r‖₂ / ‖x‖₂ over all samples."""
    with torch.no_grad():
        classes = network(found.float()).argmax(1)
    reached = classes == target(given.labels) if attack == "jsma" else classes != given.labels
    change = (found - given.images).flatten(1).norm(dim=1) / given.images.flatten(1).norm(dim=1)
    return {"successes": int(reached.sum()), "distance": float(change.mean())}


def entries_that_differ(name: str, weights: Path) -> tuple[int, int]:
    """In how many entries FGSM's images differ from Foolbox's, both in float64, and of how many."""
    import foolbox

    import netjac as nj

    network, (_, given) = restored(name, weights).double(), digits()
    x, y, epsilon = given.images.double(), given.labels, EPSILON["linf"]
    ours = nj.attacks.fgsm(network, x, y, epsilon=epsilon, bounds=(0, 1)).adversarial
    seen = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    theirs = foolbox.attacks.LinfFastGradientAttack()(seen, x, y, epsilons=epsilon)[1]
    return int((ours != theirs).sum()), ours.numel()
