"""How gradients pass through a network, layer by layer: see `netjac.analysis.flow.gradient_flow`."""
