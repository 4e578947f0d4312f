"""The configuration of a study: frozen, typed, checked when it is made.

Flags and config files speak `ml_collections.ConfigDict`; `from_config_dict` and `to_config_dict`
translate. Whatever is wrong becomes one `ConfigError` sentence that names the field, the value and
what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import Field

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

AtLeast1 = Annotated[int, Field(ge=1)]
AtLeast0 = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # JAX's keys would take a larger one for another
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]

FamilyKind = Literal["mlp", "rnn", "lstm", "gru"]
AttackName = Literal[
    "all",
    "correctness",
    "confidence",
    "loss",
    "entropy",
    "modified_entropy",
    "correctness_by_class",
    "confidence_by_class",
    "loss_by_class",
    "entropy_by_class",
    "modified_entropy_by_class",
    "privacy_risk_score",
    "shadow_classifier",
    "shadow_classifier_by_class",
    "shadow_classifier_steps",
    "enhanced_shadow",
    "enhanced_population",
    "enhanced_reference",
    "lira_online",
    "lira_online_global",
    "lira_online_auto",
    "lira_online_queries",
    "lira_offline",
    "lira_offline_global",
    "lira_offline_auto",
    "lira_offline_queries",
    "rmia_online",
    "rmia_online_queries",
    "rmia_offline",
    "rmia_offline_queries",
    "difficulty_calibration",
    "loss_trajectory",
    "quantile_regression",
    "gradient_norm",
    "adversarial_distance",
    "embedding_norm",
]
"""The attacks, and "all": every one whose arrays are there."""

MANY_NAMES = 10
"""Above which a refusal names the closest choices, not all."""

ModelSignal = Literal["gradient_norm", "adversarial_distance", "embedding_norm", "step_logits"]
Query = Literal["flip", "shift", "noise"]


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one sentence for the person at the keyboard."""


Section = TypeVar("Section")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def _section(cls: type[Section]) -> type[Section]:
    """A frozen dataclass that checks its fields when it is made, with a `ConfigError` where one is wrong."""
    checked = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=_STRICT)(cls)
    check = checked.__init__

    def init(self: Any, **fields: Any) -> None:
        try:
            check(self, **fields)
        except pydantic.ValidationError as error:
            raise ConfigError(_sentence(error, cls)) from None

    checked.__init__ = init
    return cast(type[Section], checked)


@_section
class DataConfig:
    """Where records come from and how they are parted.

    source: "digits", "npz:PATH", "tfds:NAME" or "synthetic:NAME". kind: whether integers are
    features or token ids ("auto" decides from the arrays). test_size 0 takes what is left.
    seed chooses which records fall into which part, apart from the seed of the study.
    """

    source: str = "digits"
    kind: Literal["auto", "features", "tokens"] = "auto"
    pool_size: Annotated[int, Field(ge=4)] = 400
    population_size: AtLeast1 = 400
    test_size: AtLeast0 = 0
    standardize: bool = True
    directory: str = ""
    seed: Seed = 0


@_section
class MembershipConfig:
    """How many models there are and which records each is trained on.

    fixed_size: every model draws its own train_size of pool_size records. paired: models 2i and
    2i+1 hold complementary halves. bernoulli: every record with probability train_size/pool_size.
    """

    num_models: Annotated[int, Field(ge=4)] = 32
    train_size: AtLeast1 = 200
    design: Literal["fixed_size", "paired", "bernoulli"] = "fixed_size"


@_section
class FamilyConfig:
    """One model family of the study.

    hidden: width of every hidden layer (MLP) or of the recurrent state. layers: hidden layers.
    embedding: width of token embeddings (tokens only). steps: cut a record into this many steps for
    a recurrent model; 0 takes the record's own first axis. match: name of the family whose
    parameter count this one takes; `hidden` is then found and its own value ignored.
    """

    kind: FamilyKind = "mlp"
    hidden: AtLeast1 = 32
    layers: AtLeast1 = 1
    embedding: AtLeast1 = 16
    steps: AtLeast0 = 0
    dropout: Fraction = 0.0
    match: str = ""


@_section
class TrainingConfig:
    """How every model is trained.

    schedule: shape of the learning rate over the whole training, after a linear warm-up over
    warmup_epochs. order: "shuffle" draws a new order each epoch, "fixed" one order for all.
    models_per_chunk: models trained and written as one unit; models_together: models mapped side by
    side within a unit on one device (both 0: chosen for the device). matmul_precision: JAX's name.
    """

    epochs: AtLeast1 = 60
    batch_size: AtLeast1 = 32
    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    learning_rate: Positive = 3e-3
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_epochs: AtLeast0 = 0
    order: Literal["shuffle", "fixed"] = "shuffle"
    models_per_chunk: AtLeast0 = 0
    models_together: AtLeast0 = 0
    matmul_precision: Literal["default", "high", "highest"] = "default"


@_section
class RecordingConfig:
    """What is written down, and when.

    spacing and num_checkpoints place T checkpoints over the epochs, the last epoch always among
    them; `epochs` lists them instead, the last included (0: before training). logits: which
    checkpoints keep full logits. signals: what else is recorded that needs the model itself
    (step_logits where logits are kept). queries: changed versions of every record that the models are
    asked about too: mirrored along its second axis, shifted by one along its first, or with Gaussian
    noise of standard deviation query_noise. embedding_p: the p of the embedding's norm.
    distance_steps: steps of the search for the smallest perturbation that changes a prediction.
    parameters: which checkpoints keep parameters.
    """

    spacing: Literal["linear", "log"] = "linear"
    num_checkpoints: AtLeast1 = 6
    epochs: tuple[AtLeast0, ...] = ()
    logits: Literal["none", "final", "all"] = "final"
    signals: tuple[ModelSignal, ...] = ()
    queries: tuple[Query, ...] = ()
    query_noise: Positive = 0.1
    embedding_p: Annotated[float, Field(ge=1)] = 2.0
    distance_steps: AtLeast1 = 20
    parameters: Literal["none", "final", "all"] = "final"


@_section
class AttacksConfig:
    """Which attacks are run and with which constants.

    names: attacks, or "all" for every one whose arrays are there. rmia_gamma: RMIA's gamma.
    rmia_offline_scale: RMIA's a (offline only). lira_fewest: references on every needed side below
    which the "auto" variants of LiRA take one variance for all records. lira_centre: where LiRA centres
    its Gaussians. folds: groups of targets that share what is fitted on all other models.
    classifier_rows, classifier_epochs: size of the training of an attack classifier. quantile: the
    distribution that quantile regression fits. embedding_density: what is fitted to embedding norms.
    """

    names: tuple[AttackName, ...] = (
        "loss",
        "lira_online",
        "lira_online_global",
        "lira_offline",
        "lira_offline_global",
        "rmia_online",
        "rmia_offline",
    )
    rmia_gamma: Positive = 1.0
    rmia_offline_scale: Annotated[float, Field(ge=0, le=1)] = 0.3
    lira_fewest: Annotated[int, Field(ge=2)] = 32
    lira_centre: Literal["mean", "median"] = "mean"
    folds: Annotated[int, Field(ge=2)] = 4
    classifier_rows: Annotated[int, Field(ge=64)] = 20_000
    classifier_epochs: AtLeast1 = 20
    quantile: Literal["gaussian", "pinball"] = "gaussian"
    embedding_density: Literal["gaussian", "kde"] = "gaussian"


@_section
class CanariesConfig:
    """Records planted so that an audit has teeth, each in every model with probability one half.

    They are added to the pool and counted apart from its records. mislabelled: records of the source
    that are in no other part, with a wrong label. out_of_distribution: noise over the range of the
    features, or random tokens, with a random label.
    """

    count: AtLeast0 = 0
    kind: Literal["mislabelled", "out_of_distribution"] = "mislabelled"


@_section
class AuditConfig:
    """How canaries are turned into lower bounds on epsilon. delta: of (epsilon, delta)-DP.

    guesses: share of the canaries that the one-run audit guesses on, the surest of both sides.
    """

    delta: Annotated[float, Field(ge=0, lt=1)] = 1e-5
    guesses: Annotated[float, Field(gt=0, le=1)] = 0.5


@_section
class ReportConfig:
    """How results are summarised.

    confidence: of every interval. fpr: where TPR is read. prior: the share of members among those
    the attacker asks about, for the positive predictive value.
    """

    confidence: Rate = 0.95
    fpr: tuple[Rate, ...] = (0.1, 0.01, 0.001)
    prior: Rate = 0.5


def _default_families() -> dict[str, FamilyConfig]:
    return {
        "lstm": FamilyConfig(kind="lstm", hidden=32),
        "mlp": FamilyConfig(kind="mlp", layers=2, match="lstm"),
    }


@_section
class Config:
    """A study: one pool, one membership design, several families, their attacks and the report."""

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

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_families(self)
        _check_checkpoints(self)
        _check_lists(self)


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
        if 2 * n != pool:
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
            raise ConfigError(
                f"config.families.{name}.match is {family.match!r}: it must name a family of its own "
                f"size, one of {fit}."
            )


def _check_checkpoints(config: Config) -> None:
    epochs, last = config.recording.epochs, config.training.epochs
    if epochs and (any(b <= a for a, b in itertools.pairwise(epochs)) or epochs[-1] != last):
        raise ConfigError(
            f"config.recording.epochs is {epochs}: it must rise strictly and end with "
            f"config.training.epochs, {last}."
        )


def _check_lists(config: Config) -> None:
    for field, values in (("attacks.names", config.attacks.names), ("report.fpr", config.report.fpr)):
        if not values or len(set(values)) != len(values):
            raise ConfigError(f"config.{field} is {values}: give at least one value, each once.")
    for field in ("signals", "queries"):
        values = getattr(config.recording, field)
        if len(set(values)) != len(values):
            raise ConfigError(f"config.recording.{field} is {values}: give each value once.")


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


def from_mapping(values: Mapping[str, Any]) -> Config:
    """A checked `Config` from nested plain values. Raises `ConfigError`, one sentence."""
    return from_json(json.dumps(dict(values), default=repr))


def from_json(text: str) -> Config:
    """A checked `Config` from what `to_json` wrote. Raises `ConfigError`, one sentence."""
    try:
        return pydantic.TypeAdapter(Config).validate_json(text)
    except pydantic.ValidationError as error:
        raise ConfigError(_sentence(error, Config)) from None


def to_mapping(config: Any) -> dict[str, Any]:
    """Nested plain values of a config or of one of its sections."""
    return dataclasses.asdict(config)


def to_json(config: Config) -> str:
    """The config as JSON text, keys in their order."""
    return json.dumps(to_mapping(config), indent=2)


def from_config_dict(values: ConfigDict) -> Config:
    """A checked `Config` from an `ml_collections.ConfigDict`. Raises `ConfigError`."""
    return from_mapping(values.to_dict())


def to_config_dict(config: Config) -> ConfigDict:
    """A locked `ConfigDict` of the same fields, for config files and flags."""
    from ml_collections import ConfigDict

    return ConfigDict(to_mapping(config)).lock()


def digest(value: Any) -> str:
    """A short hash of JSON-able values or config sections, the same on every machine."""
    plain = to_mapping(value) if dataclasses.is_dataclass(value) else value
    text = json.dumps(plain, sort_keys=True, default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sentence(error: pydantic.ValidationError, root: type) -> str:
    """The first of pydantic's findings as one sentence naming field, value and what is allowed."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return str(cause)
    place = ["config" if root is Config else root.__name__, *(str(part) for part in first["loc"])]
    field = ".".join(place)
    if first["type"] == "unexpected_keyword_argument":
        section: Any = root
        if len(place) > 2:
            section = FamilyConfig if place[1] == "families" else type(getattr(Config(), place[1]))
        names = ", ".join(known.name for known in dataclasses.fields(section))
        return f"{field} does not exist: {'.'.join(place[:-1])} has {names}."
    allowed = first["msg"].replace("Input should be", "it must be", 1)
    names = re.findall(r"'(\w+)'", first["ctx"]["expected"]) if first["type"] == "literal_error" else []
    if len(names) > MANY_NAMES:
        close = difflib.get_close_matches(str(first["input"]), names, 3, 0.3) or names[:3]
        allowed = (
            f"there is no such name; the closest are {', '.join(map(repr, close))}, and --help lists all"
        )
    return f"{field} is {first['input']!r}: {allowed[0].lower()}{allowed[1:]}."
