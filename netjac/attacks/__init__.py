"""Adversarial examples: how little a classifier's input must change for its answer to change. See docs/attacks.md."""

from netjac.attacks.curve import Curve, curve
from netjac.attacks.deepfool import deepfool
from netjac.attacks.fgsm import fgsm
from netjac.attacks.jsma import jsma
from netjac.attacks.pgd import pgd
from netjac.attacks.result import Attack
from netjac.report.curves import plot_curves

__all__ = ["Attack", "Curve", "curve", "deepfool", "fgsm", "jsma", "pgd", "plot_curves"]
