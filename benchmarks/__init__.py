"""netjac beside the frameworks' own Jacobians, in one run: `python -m benchmarks`."""
