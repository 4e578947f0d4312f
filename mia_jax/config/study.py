"""A study's whole config, and what its sections must be to each other."""

from __future__ import annotations

import itertools
import re

from pydantic import Field

from mia_jax.config.base import ConfigError, Seed, section
from mia_jax.config.comparison import ComparisonConfig
from mia_jax.config.defences import (
    AdversarialConfig,
    DpSgdConfig,
    LabelPrivacyConfig,
    ParameterNoiseConfig,
    RegularizationConfig,
)
from mia_jax.config.dynamics import DynamicsConfig, Overrides
from mia_jax.config.sections import (
    AttacksConfig,
    AuditConfig,
    CanariesConfig,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    ReportConfig,
    TrainingConfig,
)
from mia_jax.config.tradeoff import TradeoffConfig


def _default_families() -> dict[str, FamilyConfig]:
    return {
        "lstm": FamilyConfig(kind="lstm", hidden=32),
        "mlp": FamilyConfig(kind="mlp", layers=2, match="lstm"),
    }


@section
class Config:
    """A study: one pool, one membership design, several families, their attacks and the report.

    name: of the study, in its report. seed: of membership, initial values, order and noise. scale: "default",
    or the name of one of `scales`. scales: other sizes of the same study by name, each with the fields it changes.
    """

    name: str = "digits"
    seed: Seed = 0
    data: DataConfig = DataConfig()
    membership: MembershipConfig = MembershipConfig()
    families: dict[str, FamilyConfig] = Field(default_factory=_default_families)
    training: TrainingConfig = TrainingConfig()
    recording: RecordingConfig = RecordingConfig()
    attacks: AttacksConfig = AttacksConfig()
    report: ReportConfig = ReportConfig()
    canaries: CanariesConfig = CanariesConfig()
    audit: AuditConfig = AuditConfig()
    regularization: RegularizationConfig = RegularizationConfig()
    dp_sgd: DpSgdConfig = DpSgdConfig()
    label_privacy: LabelPrivacyConfig = LabelPrivacyConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    parameter_noise: ParameterNoiseConfig = ParameterNoiseConfig()
    tradeoff: TradeoffConfig = TradeoffConfig()
    dynamics: DynamicsConfig = DynamicsConfig()
    comparison: ComparisonConfig = ComparisonConfig()
    scale: str = "default"
    scales: dict[str, Overrides] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_families(self)
        _check_checkpoints(self)
        _check_lists(self)
        _check_dp_sgd(self)
        _check_patterns(self)
        _check_tradeoff(self)
        _check_dynamics(self)


def _check_sizes(config: Config) -> None:
    n, pool = config.membership.train_size, config.data.pool_size
    if n >= pool:
        raise ConfigError(
            f"config.membership.train_size is {n}: it must be below config.data.pool_size, {pool}, "
            "or no record is ever a non-member."
        )
    if config.training.batch_size > n:
        raise ConfigError(
            f"config.training.batch_size is {config.training.batch_size}: it must not exceed "
            f"config.membership.train_size, {n}."
        )
    if config.membership.design == "paired":
        if config.membership.num_models % 2:
            raise ConfigError(
                f"config.membership.num_models is {config.membership.num_models}: "
                'the "paired" design needs an even number.'
            )
        if 2 * n != pool and not config.membership.without:
            raise ConfigError(
                f'config.membership.train_size is {n}: the "paired" design needs exactly half of '
                f"config.data.pool_size, {pool}."
            )
    if config.training.warmup_epochs >= config.training.epochs:
        raise ConfigError(
            f"config.training.warmup_epochs is {config.training.warmup_epochs}: it must be below "
            f"config.training.epochs, {config.training.epochs}."
        )


def _check_families(config: Config) -> None:
    if not config.families:
        raise ConfigError("config.families is empty: name at least one family.")
    for name, family in config.families.items():
        if not name.isidentifier():
            raise ConfigError(
                f"config.families has the name {name!r}: a family's name is made of letters, digits "
                "and underscores."
            )
        if not family.match:
            continue
        other = config.families.get(family.match)
        if other is None or other.match:
            fit = [key for key, value in config.families.items() if not value.match]
            allowed = f"one of {fit}" if fit else "and there is none; set one family's match to ''"
            raise ConfigError(
                f"config.families.{name}.match is {family.match!r}: it must name a family of its own "
                f"size, {allowed}."
            )


def _check_checkpoints(config: Config) -> None:
    epochs, last = config.recording.epochs, config.training.epochs
    if epochs and (any(b <= a for a, b in itertools.pairwise(epochs)) or epochs[-1] != last):
        raise ConfigError(
            f"config.recording.epochs is {epochs}: it must rise strictly and end with config.training.epochs, {last}; "
            "or be (), which leaves the choice to config.recording.num_checkpoints."
        )


def _check_lists(config: Config) -> None:
    for field, values in (("attacks.names", config.attacks.names), ("report.fpr", config.report.fpr)):
        if not values or len(set(values)) != len(values):
            raise ConfigError(f"config.{field} is {values}: give at least one value, each once.")
    for field in ("signals", "queries"):
        values = getattr(config.recording, field)
        if len(set(values)) != len(values):
            raise ConfigError(f"config.recording.{field} is {values}: give each value once.")


def _check_dp_sgd(config: Config) -> None:
    dp, training = config.dp_sgd, config.training
    if dp.epsilon and dp.noise_multiplier:
        raise ConfigError(
            f"config.dp_sgd.epsilon is {dp.epsilon} and config.dp_sgd.noise_multiplier is {dp.noise_multiplier}: "
            "give one of them, the other follows."
        )
    if dp.sampling == "truncated_poisson" and dp.max_batch < training.batch_size:
        raise ConfigError(
            f"config.dp_sgd.max_batch is {dp.max_batch}: truncated_poisson needs at least "
            f"config.training.batch_size, {training.batch_size}."
        )
    if dp.sampling != "truncated_poisson" and dp.max_batch:
        raise ConfigError(
            f'config.dp_sgd.max_batch is {dp.max_batch}: only sampling "truncated_poisson" cuts batches and accounts '
            f"for it; it is {dp.sampling!r}, so leave max_batch at 0."
        )
    if (dp.epsilon or dp.noise_multiplier) and training.sam_radius:
        raise ConfigError(
            f"config.training.sam_radius is {training.sam_radius}: DP-SGD is accounted for one gradient a step, and "
            "SAM takes two; leave it at 0, or turn DP-SGD off."
        )
    if (dp.epsilon or dp.noise_multiplier) and dp.sampling != "shuffle" and training.order == "fixed":
        raise ConfigError(
            f'config.training.order is "fixed": with config.dp_sgd.sampling {dp.sampling!r} every step draws its own '
            'records; set the order to "shuffle", or the sampling to "shuffle".'
        )


def _check_patterns(config: Config) -> None:
    for name in ("regularization", "parameter_noise"):
        pattern = getattr(config, name).parameters
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"config.{name}.parameters is {pattern!r}: it must be a regular expression ({error})."
            ) from None


def _check_tradeoff(config: Config) -> None:
    for name, strengths in config.tradeoff.grid.items():
        if not strengths or len(set(strengths)) != len(strengths) or 0 in strengths:
            raise ConfigError(
                f"config.tradeoff.grid.{name} is {strengths}: give at least one strength above 0, each once; the "
                "study without the defence is always among them."
            )
    late = [
        epoch
        for epoch in config.tradeoff.grid.get("early_stopping", ())
        if epoch % 1 or epoch >= config.training.epochs
    ]
    if late:
        raise ConfigError(
            f"config.tradeoff.grid.early_stopping holds {late[0]}: it must be a whole epoch before the last, "
            f"{config.training.epochs}."
        )
    if len(set(config.tradeoff.seeds)) != len(config.tradeoff.seeds):
        raise ConfigError(f"config.tradeoff.seeds is {config.tradeoff.seeds}: give each once.")


def _check_dynamics(config: Config) -> None:
    dynamics = config.dynamics
    rising = all(a < b for a, b in itertools.pairwise(dynamics.cuts))
    if not dynamics.cuts or not rising or not all(-1 < cut <= 1 for cut in dynamics.cuts):
        raise ConfigError(
            f"config.dynamics.cuts is {dynamics.cuts}: give at least one vulnerability in (-1, 1], rising."
        )
    if not dynamics.bins or len(set(dynamics.bins)) != len(dynamics.bins):
        raise ConfigError(f"config.dynamics.bins is {dynamics.bins}: give at least one number, each once.")
    if "all" in (dynamics.attack, *dynamics.also_attacks):
        raise ConfigError('config.dynamics.attack and also_attacks must name attacks; "all" is none.')
    if not dynamics.fpr and not dynamics.attack.startswith("lira_online"):
        raise ConfigError(
            f"config.dynamics.attack is {dynamics.attack!r} and config.dynamics.fpr is 0: only lira_online and its "
            "variants give log-likelihood ratios, which 0 parts; set fpr to the share of non-members called members."
        )
    for factor, levels in dynamics.factors.items():
        for name in (factor, *levels):
            if not re.fullmatch(r"\w+", name):
                raise ConfigError(
                    f"config.dynamics.factors has the name {name!r}: factors and levels are named by letters, digits "
                    "and underscores."
                )
        if not levels:
            raise ConfigError(f"config.dynamics.factors.{factor} is empty: give it at least one level.")


def checkpoint_epochs(config: Config) -> tuple[int, ...]:
    """The epochs after which signals are recorded, rising, the last epoch among them."""
    last, count = config.training.epochs, config.recording.num_checkpoints
    if config.recording.epochs:
        return config.recording.epochs
    if count == 1:
        return (last,)
    if config.recording.spacing == "linear":
        places = [round(last * (i + 1) / count) for i in range(count)]
    else:
        places = [round(last ** (i / (count - 1))) for i in range(count)]
    return tuple(sorted({max(1, place) for place in places}))


def logit_epochs(config: Config) -> tuple[int, ...]:
    """The epochs at which full logits are kept."""
    epochs = checkpoint_epochs(config)
    return {"none": (), "final": epochs[-1:], "all": epochs}[config.recording.logits]
