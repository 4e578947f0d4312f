"""Models: pure functions of one record. The only room that imports Flax."""

from mia_jax.models.base import Model as Model
from mia_jax.models.base import count_parameters as count_parameters
from mia_jax.models.cnn import cnn as cnn
from mia_jax.models.families import build as build
from mia_jax.models.families import build_families as build_families
from mia_jax.models.families import match_parameters as match_parameters
from mia_jax.models.families import one_record as one_record
from mia_jax.models.mlp import mlp as mlp
from mia_jax.models.renet import renet as renet
from mia_jax.models.rnn import recurrent as recurrent
