"""In which order, and in which form, the factors are multiplied."""
