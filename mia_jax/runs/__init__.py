"""A run directory: what is written, who writes it, and when it counts as there."""
