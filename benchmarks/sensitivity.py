"""`python -m benchmarks.sensitivity [WORKLOAD …]`: derivatives over samples, beside Captum, neuralsens and SALib."""

from __future__ import annotations

import sys

from benchmarks.contenders import PEERS_OF_SENSITIVITY
from benchmarks.parameters import asked
from benchmarks.sensitivity_notes import notes
from benchmarks.workloads import SENSITIVITIES


def main(argv: list[str] | None = None) -> int:
    """0 when all agree, 1 when some peer's answer is not netjac's."""
    status = asked(argv, "benchmarks.sensitivity", __doc__, SENSITIVITIES, PEERS_OF_SENSITIVITY)
    print("\n".join(["\nWhere numbers differ by meaning:\n", *(f"- {note}" for note in notes())]))
    return status


if __name__ == "__main__":
    sys.exit(main())
