"""Signals that need the model itself: its gradients, its inputs and its inner layers.

Each is a pure function of one model, its parameters and one record, for the caller to map; `chosen`
makes the probes that a config asks for, which `train_shadow_models` evaluates at every checkpoint.
"""

from mia_jax.probes.adversarial import adversarial_distance as adversarial_distance
from mia_jax.probes.choice import chosen as chosen
from mia_jax.probes.choice import of_families as of_families
from mia_jax.probes.choice import query_signals as query_signals
from mia_jax.probes.norms import embedding_norm as embedding_norm
from mia_jax.probes.norms import gradient_norm as gradient_norm
