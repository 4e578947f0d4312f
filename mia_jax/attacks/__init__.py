"""Attacks: pure functions on arrays. Larger scores mean "more likely a member", everywhere."""

from mia_jax.attacks.base import Attack as Attack
from mia_jax.attacks.base import Observations as Observations
from mia_jax.attacks.catalogue import Selection as Selection
from mia_jax.attacks.catalogue import catalogue as catalogue
from mia_jax.attacks.catalogue import chosen as chosen
from mia_jax.attacks.catalogue import select as select
from mia_jax.attacks.class_calibration import metric_by_class as metric_by_class
from mia_jax.attacks.class_calibration import risk_by_class as risk_by_class
from mia_jax.attacks.classifier import shadow_classifier as shadow_classifier
from mia_jax.attacks.classifier import step_classifier as step_classifier
from mia_jax.attacks.difficulty import difficulty_calibration as difficulty_calibration
from mia_jax.attacks.embedding_norm import embedding_norm_likelihood as embedding_norm_likelihood
from mia_jax.attacks.embedding_norm import embedding_norms as embedding_norms
from mia_jax.attacks.enhanced import enhanced_population as enhanced_population
from mia_jax.attacks.enhanced import enhanced_reference as enhanced_reference
from mia_jax.attacks.enhanced import enhanced_shadow as enhanced_shadow
from mia_jax.attacks.likelihood_ratio import lira as lira
from mia_jax.attacks.metric_threshold import class_thresholds as class_thresholds
from mia_jax.attacks.metric_threshold import metric_scores as metric_scores
from mia_jax.attacks.metric_threshold import privacy_risk_score as privacy_risk_score
from mia_jax.attacks.quantile import quantile_regression as quantile_regression
from mia_jax.attacks.relative import rmia as rmia
from mia_jax.attacks.trajectory import loss_trajectory as loss_trajectory
