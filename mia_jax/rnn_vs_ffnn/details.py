"""The study's second page: every set, family, size, order and strength as tables."""

from __future__ import annotations

from mia_jax.report.formatting import listed
from mia_jax.rnn_vs_ffnn import figures, markdown, tables
from mia_jax.rnn_vs_ffnn.claims import ATTACK
from mia_jax.rnn_vs_ffnn.markdown import Shown
from mia_jax.rnn_vs_ffnn.tables import Results

MAIN = "../rnn_vs_ffnn.md"
"""The study's first page, as seen from this one."""


def text(results: Results, shown: Shown) -> str:
    """The whole page. shown: the figures on it."""
    draws = sorted({one["config"]["tradeoff"]["sensitivity_draws"] for _, one in tables.defended(results)})
    return markdown.page(
        [
            "# Recurrent and feed-forward networks: all tables",
            f"What [the study]({MAIN}) found, in numbers; intervals are of 95 % and not adjusted. The `.json` files "
            "in `docs/rnn_vs_ffnn/results` hold more: every epoch and level, every pool, intervals of "
            "accuracies; kinds of ε, relation, δ and γ are in the `privacy` rows of the trade-offs.",
            "## Every set, after the last epoch and at equal levels",
            "AUC less that of the reference (MLP; CNN for ReNet). Where a sign changes from column to column, the way "
            "of matching decides the answer. An empty cell: the families have no such level in common.",
            markdown.table(tables.differences(results)),
            "## Every family after the last epoch",
            f"Means over pools. Classifier: the paper's attack, `{ATTACK}`; LiRA: `{tables.STRONG}`. Equal epochs are "
            "not equal performance: see the table above for that.",
            markdown.table(tables.families(results)),
            "## Size of the training set",
            "The mean of the recurrent families less the MLP, after the last epoch. "
            + tables.counted([row for *_, row in tables.of_sizes(results)]),
            *markdown.drawn(shown, [figures.SIZES]),
            markdown.table(tables.sizes(results)),
            "## Are early records forgotten?",
            "With one fixed order of records: AUC of members of the first third of an epoch less that of the last "
            "third. Forgetting shows as a negative number. "
            + tables.counted([row for _, row in tables.of_orders(results)]),
            markdown.table(tables.orders(results)),
            "## Defences at equal strength",
            "Against each family's own baseline: accuracy on others that is lost, and AUC that is taken from "
            f"`{ATTACK}`. `mean` is over the strengths.",
            markdown.table(tables.at_equal_strength(results, ("l2", "parameter_noise"))),
            "## Defences at equal ε",
            "DP-SGD was run at these ε (add or remove one record, δ in the files), so equal strength is equal ε.",
            markdown.table(tables.at_equal_strength(results, ("dp_sgd",))),
            f"Noise after training: its ε follows from {listed(draws)} measured distances of models trained with and "
            "without one record, so it is [random differential privacy](../dp_pitfalls.md), no worst case, and "
            "comes without an interval. Between measured points accuracy and AUC are read off straight "
            "lines in log ε.",
            markdown.table(tables.at_equal_epsilon(results)),
            "## Defences at equal success of the attack",
            f"Accuracy on others that is kept where the AUC of `{ATTACK}` is held to a level, in straight lines "
            "between the strengths; levels that both families come to.",
            markdown.table(tables.at_equal_attack(results)),
        ]
    )
