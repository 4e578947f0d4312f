"""Dynamics: where every record lies on the FPR-TPR plane at every checkpoint, and how it moves.

After Chen et al. 2025 (arXiv 2507.23291): of them are the plane and the names of the metrics; where
a docstring says "our definition", the formula is ours.
"""

from mia_jax.dynamics.bits import Bits as Bits
from mia_jax.dynamics.bits import as_bits as as_bits
from mia_jax.dynamics.bootstrap import Resampled as Resampled
from mia_jax.dynamics.bootstrap import record_bootstrap as record_bootstrap
from mia_jax.dynamics.calls import calls_at_fpr as calls_at_fpr
from mia_jax.dynamics.calls import calls_at_zero as calls_at_zero
from mia_jax.dynamics.calls import thresholds as thresholds
from mia_jax.dynamics.cloud import clustering_index as clustering_index
from mia_jax.dynamics.cloud import spatial_entropy as spatial_entropy
from mia_jax.dynamics.depth import mean_depth as mean_depth
from mia_jax.dynamics.depth import prediction_depth as prediction_depth
from mia_jax.dynamics.determination import Agreement as Agreement
from mia_jax.dynamics.determination import HalvesAgreement as HalvesAgreement
from mia_jax.dynamics.determination import combined_halves as combined_halves
from mia_jax.dynamics.determination import determination_between_halves as determination_between_halves
from mia_jax.dynamics.determination import determination_of_halves as determination_of_halves
from mia_jax.dynamics.determination import early_determination as early_determination
from mia_jax.dynamics.difficulty import Learned as Learned
from mia_jax.dynamics.difficulty import RankCorrelation as RankCorrelation
from mia_jax.dynamics.difficulty import epoch_learned as epoch_learned
from mia_jax.dynamics.difficulty import out_accuracy as out_accuracy
from mia_jax.dynamics.difficulty import rank_correlation as rank_correlation
from mia_jax.dynamics.early_warning import Foretelling as Foretelling
from mia_jax.dynamics.early_warning import Foretold as Foretold
from mia_jax.dynamics.early_warning import combined_foretelling as combined_foretelling
from mia_jax.dynamics.early_warning import foretell as foretell
from mia_jax.dynamics.early_warning import foretelling as foretelling
from mia_jax.dynamics.early_warning import foretelling_of_halves as foretelling_of_halves
from mia_jax.dynamics.halves import apart as apart
from mia_jax.dynamics.halves import model_halves as model_halves
from mia_jax.dynamics.movement import Speed as Speed
from mia_jax.dynamics.movement import center_displacement as center_displacement
from mia_jax.dynamics.movement import center_of_mass as center_of_mass
from mia_jax.dynamics.movement import center_path_length as center_path_length
from mia_jax.dynamics.movement import encoding_speed as encoding_speed
from mia_jax.dynamics.movement import model_orders as model_orders
from mia_jax.dynamics.movement import refitted_speed_noise_floor as refitted_speed_noise_floor
from mia_jax.dynamics.movement import signed_speed as signed_speed
from mia_jax.dynamics.movement import speed_curve as speed_curve
from mia_jax.dynamics.movement import speed_noise_floor as speed_noise_floor
from mia_jax.dynamics.movement import speed_summary as speed_summary
from mia_jax.dynamics.rates import plane as plane
from mia_jax.dynamics.rates import plane_errors as plane_errors
from mia_jax.dynamics.rates import vulnerability as vulnerability
from mia_jax.dynamics.transitions import Entry as Entry
from mia_jax.dynamics.transitions import entry_into_highest as entry_into_highest
from mia_jax.dynamics.transitions import states as states
from mia_jax.dynamics.transitions import transition_matrix as transition_matrix
from mia_jax.dynamics.uncertainty import CenterDifference as CenterDifference
from mia_jax.dynamics.uncertainty import CenterInterval as CenterInterval
from mia_jax.dynamics.uncertainty import Ends as Ends
from mia_jax.dynamics.uncertainty import Estimate as Estimate
from mia_jax.dynamics.uncertainty import center_interval as center_interval
from mia_jax.dynamics.uncertainty import paired_difference as paired_difference
from mia_jax.dynamics.uncertainty import same_records_difference as same_records_difference
from mia_jax.dynamics.uncertainty import unpaired_difference as unpaired_difference
