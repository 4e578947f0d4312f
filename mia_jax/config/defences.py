"""The sections of a config that say what protects the records. At their defaults nothing does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mia_jax.config.base import (
    AtLeast0,
    Fraction,
    NonNegative,
    Positive,
    Rate,
    section,
)


@section
class RegularizationConfig:
    """Penalties added to the loss, and softer labels.

    l2: of the squared L2 norm of the parameters. l2_norm: of the norm itself, not squared. l1: of the sum of
    absolute values. parameters: a regular expression found in the paths of the penalised parameters, such
    as "recurrent"; empty: all. label_smoothing: the share of a label that is spread over all classes.
    """

    l2: NonNegative = 0.0
    l2_norm: NonNegative = 0.0
    l1: NonNegative = 0.0
    parameters: str = ""
    label_smoothing: Fraction = 0.0


@section
class DpSgdConfig:
    """DP-SGD: every record's gradient is clipped, and noise is added to their sum.

    epsilon: the target, solved for the noise; or noise_multiplier: of the clip norm. One above 0 turns
    DP-SGD on. delta, accountant, relation: of the target. sampling: "poisson" draws every record with
    probability batch_size/n at each step, n the places of a model's list, canaries included;
    "truncated_poisson" keeps at most max_batch of them and accounts for that; "shuffle" shows each record
    once an epoch. microbatch: records whose gradients are clipped side by side; 0: chosen from
    batch_size. method: "bookkeeping" clips in one pass, "vmap" works for any model, "auto" takes the first
    where it can.
    """

    epsilon: NonNegative = 0.0
    noise_multiplier: NonNegative = 0.0
    clip_norm: Positive = 1.0
    delta: Rate = 1e-5
    accountant: Literal["pld", "rdp"] = "pld"
    relation: Literal["add_or_remove", "replace"] = "add_or_remove"
    sampling: Literal["poisson", "truncated_poisson", "shuffle"] = "poisson"
    max_batch: AtLeast0 = 0
    microbatch: AtLeast0 = 0
    method: Literal["auto", "vmap", "bookkeeping"] = "auto"


@section
class LabelPrivacyConfig:
    """Labels that are randomised before training, once for each model and record.

    epsilon: of label differential privacy, at most 10 (rarer draws float32 cannot make); 0: off.
    mechanism: "randomized_response" over all classes, or "rr_with_prior" over the likely ones, the prior
    being the population's share of classes.
    """

    epsilon: Annotated[float, Field(ge=0, le=10)] = 0.0
    mechanism: Literal["randomized_response", "rr_with_prior"] = "randomized_response"


@section
class AdversarialConfig:
    """Training on inputs moved against the model: by radius times the sign of the loss's gradient. 0: off."""

    radius: NonNegative = 0.0


@section
class ParameterNoiseConfig:
    """Gaussian noise on trained parameters before anybody sees what they say. sigma: its deviation; 0: off.

    parameters: a regular expression found in the paths of the parameters that get noise; empty: all.
    """

    sigma: NonNegative = 0.0
    parameters: str = ""
