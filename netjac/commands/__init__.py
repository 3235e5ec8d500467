"""The commands of `netjac`, a module each: `run(given) -> exit status`."""
