"""Defences: what protects records in training and release, as slots that are pure functions."""

from mia_jax.defences.adversarial import fast_gradient_sign as fast_gradient_sign
from mia_jax.defences.base import PLAIN as PLAIN
from mia_jax.defences.base import Batch as Batch
from mia_jax.defences.base import Batches as Batches
from mia_jax.defences.base import Defence as Defence
from mia_jax.defences.base import DefenceError as DefenceError
from mia_jax.defences.base import Event as Event
from mia_jax.defences.base import Happened as Happened
from mia_jax.defences.base import PrivateGradient as PrivateGradient
from mia_jax.defences.base import chain as chain
from mia_jax.defences.choice import Defended as Defended
from mia_jax.defences.choice import check_parameters as check_parameters
from mia_jax.defences.choice import chosen as chosen
from mia_jax.defences.dp_sgd import batches_of as batches_of
from mia_jax.defences.dp_sgd import dp_sgd as dp_sgd
from mia_jax.defences.label_privacy import randomised_labels as randomised_labels
from mia_jax.defences.parameter_noise import parameter_noise as parameter_noise
from mia_jax.defences.regularization import l1 as l1
from mia_jax.defences.regularization import l2 as l2
from mia_jax.defences.regularization import l2_norm as l2_norm
from mia_jax.defences.regularization import label_smoothing as label_smoothing
