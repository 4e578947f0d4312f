"""How well scores tell members from non-members: the names to call, NumPy in float64, ties exact.

Point estimates (`roc`) take scores and membership of any shape. Intervals (`intervals`) and their
standard errors (`clustering`) take them as [K, N], target by record, and cover what other targets
and other records of the same kind would give.
"""

from mia_jax.statistics.clustering import auc_influence as auc_influence
from mia_jax.statistics.clustering import clustered_error as clustered_error
from mia_jax.statistics.cross_fitting import cross_fit_decisions as cross_fit_decisions
from mia_jax.statistics.intervals import Difference as Difference
from mia_jax.statistics.intervals import Interval as Interval
from mia_jax.statistics.intervals import advantage_interval as advantage_interval
from mia_jax.statistics.intervals import auc_difference as auc_difference
from mia_jax.statistics.intervals import auc_interval as auc_interval
from mia_jax.statistics.intervals import auc_p_value as auc_p_value
from mia_jax.statistics.intervals import balanced_accuracy_interval as balanced_accuracy_interval
from mia_jax.statistics.intervals import mean_interval as mean_interval
from mia_jax.statistics.intervals import ppv_interval as ppv_interval
from mia_jax.statistics.intervals import tpr_difference as tpr_difference
from mia_jax.statistics.intervals import tpr_interval as tpr_interval
from mia_jax.statistics.roc import auc as auc
from mia_jax.statistics.roc import balanced_accuracy as balanced_accuracy
from mia_jax.statistics.roc import best_threshold as best_threshold
from mia_jax.statistics.roc import central_threshold as central_threshold
from mia_jax.statistics.roc import estimable as estimable
from mia_jax.statistics.roc import ppv as ppv
from mia_jax.statistics.roc import roc_curve as roc_curve
from mia_jax.statistics.roc import tpr_at_fpr as tpr_at_fpr
