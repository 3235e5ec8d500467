"""Uses of Jacobians over many samples: how sensitive a network is, and to what."""
