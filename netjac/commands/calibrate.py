"""`netjac calibrate`: this device's rates, measured and kept, beside the usual ones."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace

import jax

from netjac.calibration import calibrate
from netjac.commands.given import as_json, tell
from netjac.plan.cost import RATES

HELP = "measure this device's rates once, for plans to be chosen by"


def arguments(_command: ArgumentParser) -> None:
    """Nothing beside what all commands are told."""


def run(given: Namespace) -> int:
    tell(given, "measuring")
    found = dataclasses.asdict(calibrate())
    usual = dataclasses.asdict(RATES.get(jax.devices()[0].platform, RATES["cpu"]))
    if given.json:
        print(as_json(found))
    elif not given.quiet:
        print(f"{'a second':<14}{'measured':>12}{'usual':>12}")
        for name, rate in found.items():
            print(f"{name if name != 'launch' else 'launch (s)':<14}{rate:>12.2g}{usual[name]:>12.2g}")
    return 0
