"""The commands of `netjac`, a module each: `HELP`, `arguments(parser)`, and `run(given) -> exit status`."""
