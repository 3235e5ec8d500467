"""Structured local Jacobians and their algebra."""
