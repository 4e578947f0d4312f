"""Attacks: pure functions on arrays. Larger scores mean "more likely a member", everywhere."""

from mia_jax.attacks.base import Attack as Attack
from mia_jax.attacks.base import Observations as Observations
from mia_jax.attacks.catalogue import catalogue as catalogue
from mia_jax.attacks.catalogue import chosen as chosen
from mia_jax.attacks.likelihood_ratio import lira as lira
from mia_jax.attacks.metric_threshold import class_thresholds as class_thresholds
from mia_jax.attacks.metric_threshold import metric_scores as metric_scores
from mia_jax.attacks.metric_threshold import privacy_risk_score as privacy_risk_score
from mia_jax.attacks.relative import rmia as rmia
