"""A run directory: what is written, who writes it, and from when on it is there."""
