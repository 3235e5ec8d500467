"""The factored closed form of a network's Jacobian."""
