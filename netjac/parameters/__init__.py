"""∂output/∂parameters of many samples, from factors that are never multiplied out."""
