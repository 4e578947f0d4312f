"""From results already computed to tables, figures and one page; nothing is drawn at import."""

from mia_jax.report.inputs import AttackCard as AttackCard
from mia_jax.report.inputs import Curve as Curve
from mia_jax.report.inputs import Histogram as Histogram
from mia_jax.report.inputs import ReportInputs as ReportInputs
from mia_jax.report.writing import write_report as write_report
