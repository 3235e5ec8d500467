"""Training with the Jacobian: damped Gauss–Newton steps."""
