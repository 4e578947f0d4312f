"""Privacy: clipping and noise of a training step, what happened, and what it costs."""

from mia_jax.privacy.accounting import epsilon as epsilon
from mia_jax.privacy.accounting import noise_multiplier as noise_multiplier
from mia_jax.privacy.clipping import clipped_gradient_sum as clipped_gradient_sum
from mia_jax.privacy.events import describe as describe
from mia_jax.privacy.events import dp_sgd_event as dp_sgd_event
from mia_jax.privacy.events import neighbouring_relation as neighbouring_relation
from mia_jax.privacy.gaussian import analytic_gaussian_epsilon as analytic_gaussian_epsilon
from mia_jax.privacy.gaussian import analytic_gaussian_sigma as analytic_gaussian_sigma
from mia_jax.privacy.gaussian import nominal_gaussian_epsilon as nominal_gaussian_epsilon
from mia_jax.privacy.gaussian import random_dp_gamma as random_dp_gamma
from mia_jax.privacy.label_privacy import label_event as label_event
from mia_jax.privacy.label_privacy import (
    randomized_response_probabilities as randomized_response_probabilities,
)
from mia_jax.privacy.label_privacy import rr_with_prior_probabilities as rr_with_prior_probabilities
from mia_jax.privacy.noise import gaussian_noise as gaussian_noise
