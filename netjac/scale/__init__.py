"""Jacobians of more samples than memory holds: written to a store as they come, or spread over machines."""
