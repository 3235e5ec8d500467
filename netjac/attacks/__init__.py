"""Adversarial examples: how little a classifier's input must change for its answer to change. See docs/attacks.md."""

from netjac.attacks.deepfool import deepfool
from netjac.attacks.fgsm import fgsm
from netjac.attacks.jsma import jsma
from netjac.attacks.pgd import pgd
from netjac.attacks.result import Attack

__all__ = ["Attack", "deepfool", "fgsm", "jsma", "pgd"]
