"""The sections of a config: data, membership, families, training, recording, attacks, report and audits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mia_jax.config.base import (
    AtLeast0,
    AtLeast1,
    Fraction,
    NonNegative,
    Positive,
    Rate,
    Seed,
    section,
)

FamilyKind = Literal["mlp", "rnn", "lstm", "gru", "cnn", "renet"]
HeadKind = Literal["flat", "pooled", "dense"]
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

ModelSignal = Literal["gradient_norm", "adversarial_distance", "embedding_norm", "step_logits"]
Query = Literal["flip", "shift", "noise"]


@section
class DataConfig:
    """Where records come from and how they are parted.

    source: "digits", "npz:PATH", "tfds:NAME" or "synthetic:NAME". kind: whether integers are
    features or token ids ("auto" decides from the arrays). pool_size: records that may be members.
    pool_number: which of the pools of that size, 0 for the first; no two of one seed share a record.
    population_size: records that no model is trained on, for the attacker. test_size: records for accuracy
    alone; 0: what is left. standardize: features, by the pool's mean and deviation. image_size: images are
    resized to so many pixels a side; 0 leaves them. directory: where relative paths of "npz:" start, and where
    sets of "tfds:" lie. seed chooses which records fall into which part, apart from the seed of the study.
    """

    source: str = "digits"
    kind: Literal["auto", "features", "tokens"] = "auto"
    pool_size: Annotated[int, Field(ge=4)] = 400
    pool_number: AtLeast0 = 0
    population_size: AtLeast1 = 400
    test_size: AtLeast0 = 0
    standardize: bool = True
    image_size: AtLeast0 = 0
    directory: str = ""
    seed: Seed = 0


@section
class MembershipConfig:
    """How many models there are and which records each is trained on.

    fixed_size: every model draws its own train_size of pool_size records. paired: models 2i and
    2i+1 hold complementary halves. bernoulli: every record with probability train_size/pool_size.
    without: a file of records that no model is trained on, as scripts/dynamics.py --predict writes it;
    models draw from the others alone.
    """

    num_models: Annotated[int, Field(ge=4)] = 32
    train_size: AtLeast1 = 200
    design: Literal["fixed_size", "paired", "bernoulli"] = "fixed_size"
    without: str = ""


@section
class FamilyConfig:
    """One model family of the study.

    hidden: width of every hidden layer (MLP) or of the recurrent state; channels of the first half of a
    CNN's convolutions, the second has twice as many. layers: hidden layers, 3x3 convolutions, or a ReNet's
    layers, each a sweep of 2x2 patches along the rows and one along the columns. embedding: width of token
    embeddings (tokens only). steps: cut a record into this many steps for a recurrent model; 0 takes the
    record's own first axis. head: what a CNN or a ReNet reads its classes from: its last map, "flat"; the
    mean over the map's places, "pooled"; or, "dense", a ReLU layer of head_width over the flat map. dropout:
    the share of units left out. match: name of the family whose parameter count this one takes; `hidden`
    is then found and its own value ignored.
    """

    kind: FamilyKind = "mlp"
    hidden: AtLeast1 = 32
    layers: AtLeast1 = 1
    embedding: AtLeast1 = 16
    steps: AtLeast0 = 0
    head: HeadKind = "flat"
    head_width: AtLeast0 = 0
    dropout: Fraction = 0.0
    match: str = ""


@section
class TrainingConfig:
    """How every model is trained.

    schedule: shape of the learning rate over the whole training, after a linear warm-up over
    warmup_epochs. momentum: of "momentum". weight_decay: decoupled, of any optimizer. sam_radius: above 0, every
    step of the optimizer takes its gradient where the loss is sharpest within this distance (SAM). order: "shuffle"
    draws a new order each epoch, "fixed" one order for all. models_per_chunk: models trained and written as
    one unit; models_together: models mapped side by side within a unit on one device (both 0: chosen
    for the device). memory_gib: of each device, what a training may take; as many models as fit are then
    mapped side by side (0: what the device says is free; a CPU says nothing and trains one at a time). feed:
    "resident" puts all records on every device, "blocks" only those of the next steps; "auto" the former,
    unless they take more than half of that memory. matmul_precision: of the factors of products, as the table
    in mia_jax/training/precision.py has it for every device.
    """

    epochs: AtLeast1 = 60
    batch_size: AtLeast1 = 32
    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    learning_rate: Positive = 3e-3
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0
    sam_radius: NonNegative = 0.0
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_epochs: AtLeast0 = 0
    order: Literal["shuffle", "fixed"] = "shuffle"
    models_per_chunk: AtLeast0 = 0
    models_together: AtLeast0 = 0
    memory_gib: NonNegative = 0.0
    feed: Literal["auto", "resident", "blocks"] = "auto"
    matmul_precision: Literal["default", "high", "highest", "bfloat16", "tensorfloat32"] = "default"


@section
class RecordingConfig:
    """What is written down, and when.

    spacing and num_checkpoints place T checkpoints over the epochs, the last epoch always among
    them; `epochs` lists them instead, the last included (0: before training). logits: which
    checkpoints keep full logits. signals: what else is recorded that needs the model itself
    (step_logits where logits are kept). queries: changed versions of every record that the models are
    asked about too: "flip" mirrors it along its second axis, "shift" moves it by one along its first, "noise"
    adds Gaussian noise of standard deviation query_noise. embedding_p: the p of the embedding's norm.
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


@section
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


@section
class CanariesConfig:
    """Records planted so that an audit has teeth, each in every model with probability one half.

    They are added to the pool and counted apart from its records. mislabelled: records of the source
    that are in no other part, with a wrong label. out_of_distribution: noise over the range of the
    features, or random tokens, with a random label.
    """

    count: AtLeast0 = 0
    kind: Literal["mislabelled", "out_of_distribution"] = "mislabelled"


@section
class AuditConfig:
    """How canaries are turned into lower bounds on epsilon. delta: of (epsilon, delta)-DP.

    guesses: share of the canaries that the one-run audit guesses on, the surest of both sides.
    """

    delta: Annotated[float, Field(ge=0, lt=1)] = 1e-5
    guesses: Annotated[float, Field(gt=0, le=1)] = 0.5


@section
class ReportConfig:
    """How results are summarised.

    confidence: of every interval. fpr: where TPR is read. prior: the share of members among those
    the attacker asks about, for the positive predictive value.
    """

    confidence: Rate = 0.95
    fpr: tuple[Rate, ...] = (0.1, 0.01, 0.001)
    prior: Rate = 0.5
