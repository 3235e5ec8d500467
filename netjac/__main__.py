"""`python -m netjac` is the command `netjac`."""

import sys

from netjac.cli import main

sys.exit(main())
