"""Trade-offs: what defences buy and cost, as rows, tables, figures and a page."""

from mia_jax.tradeoff.arms import Arm as Arm
from mia_jax.tradeoff.arms import arms as arms
from mia_jax.tradeoff.arms import defended as defended
from mia_jax.tradeoff.rows import TradeoffRows as TradeoffRows
from mia_jax.tradeoff.runner import tradeoff as tradeoff
