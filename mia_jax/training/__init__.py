"""Training: one model to its next checkpoint, and many at once."""

from mia_jax.training.hyper import Hyper as Hyper
from mia_jax.training.hyper import hyper_of as hyper_of
from mia_jax.training.observe import Probe as Probe
from mia_jax.training.segment import TrainState as TrainState
from mia_jax.training.segment import cross_entropy as cross_entropy
from mia_jax.training.shadow import Fitted as Fitted
from mia_jax.training.shadow import Observed as Observed
from mia_jax.training.shadow import Plan as Plan
from mia_jax.training.shadow import Segment as Segment
from mia_jax.training.shadow import plan as plan
from mia_jax.training.shadow import planned as planned
from mia_jax.training.shadow import train_shadow_models as train_shadow_models
