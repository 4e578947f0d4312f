"""A person's own signals, `--signals=FILE.npz`: read, checked and completed before any work.

===========================================  ========================================================
member [K, N]                                required: bool, True where model k was trained on record n
logits [K, N, C] with labels [N]             all five signals are derived from them
log_prob, scaled_logit [K, N]                either is derived from the other
entropy, modified_entropy, correct [K, N]    where there are no logits
population_logits [K, Z, C] with             records that no model was trained on; or
population_labels [Z]                        population_log_prob, population_scaled_logit [K, Z]
query_logits [K, N, Q, C]                    changed versions of a record, itself first; or
                                             query_log_prob, query_scaled_logit [K, N, Q]
step_logits [K, N, L, C]                     after every step of a sequence
trajectory [K, T, N]                         log_prob at T checkpoints, in the order of time
gradient_norm, adversarial_distance,         [K, N]; embedding [K, N, E] is reduced to its norm
embedding_norm
features [N, ...], population_features       the records themselves
labels [N]                                   alone too, for attacks by class
valid [K], twin [K], exclude [K, K]          False for models that diverged; who is nobody's reference
slice_NAME [N] or [K, N]                     groups to report apart
===========================================  ========================================================

Any other array is refused: one that is misspelt must not be ignored. Python objects (pickles) are
never loaded. Whatever is wrong is a `ConfigError`, one sentence for the person who made the file.
"""

from mia_jax.signals_file.contents import SignalsFile as SignalsFile
from mia_jax.signals_file.reading import load as load
from mia_jax.signals_file.reading import observations_of as observations_of
