"""What scores say and how surely: points, intervals and tests, NumPy in float64, a block at a time.

`mia_jax.metrics` has the names to call.
"""
