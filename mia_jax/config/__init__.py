"""The configuration of a study: frozen, typed, checked when it is made.

Flags and config files speak `ml_collections.ConfigDict`; `from_config_dict` and `to_config_dict`
translate. Whatever is wrong becomes one `ConfigError` sentence that names the field, the value and
what is allowed.
"""

from mia_jax.config.base import ConfigError as ConfigError
from mia_jax.config.comparison import ComparisonConfig as ComparisonConfig
from mia_jax.config.defences import AdversarialConfig as AdversarialConfig
from mia_jax.config.defences import DpSgdConfig as DpSgdConfig
from mia_jax.config.defences import LabelPrivacyConfig as LabelPrivacyConfig
from mia_jax.config.defences import ParameterNoiseConfig as ParameterNoiseConfig
from mia_jax.config.defences import RegularizationConfig as RegularizationConfig
from mia_jax.config.dynamics import DynamicsConfig as DynamicsConfig
from mia_jax.config.sections import AttackName as AttackName
from mia_jax.config.sections import AttacksConfig as AttacksConfig
from mia_jax.config.sections import AuditConfig as AuditConfig
from mia_jax.config.sections import CanariesConfig as CanariesConfig
from mia_jax.config.sections import DataConfig as DataConfig
from mia_jax.config.sections import FamilyConfig as FamilyConfig
from mia_jax.config.sections import FamilyKind as FamilyKind
from mia_jax.config.sections import HeadKind as HeadKind
from mia_jax.config.sections import MembershipConfig as MembershipConfig
from mia_jax.config.sections import ModelSignal as ModelSignal
from mia_jax.config.sections import Query as Query
from mia_jax.config.sections import RecordingConfig as RecordingConfig
from mia_jax.config.sections import ReportConfig as ReportConfig
from mia_jax.config.sections import TrainingConfig as TrainingConfig
from mia_jax.config.study import Config as Config
from mia_jax.config.study import checkpoint_epochs as checkpoint_epochs
from mia_jax.config.study import logit_epochs as logit_epochs
from mia_jax.config.tradeoff import DefenceName as DefenceName
from mia_jax.config.tradeoff import TradeoffConfig as TradeoffConfig
from mia_jax.config.translation import digest as digest
from mia_jax.config.translation import from_config_dict as from_config_dict
from mia_jax.config.translation import from_json as from_json
from mia_jax.config.translation import from_mapping as from_mapping
from mia_jax.config.translation import to_config_dict as to_config_dict
from mia_jax.config.translation import to_json as to_json
from mia_jax.config.translation import to_mapping as to_mapping
from mia_jax.config.translation import with_changes as with_changes
