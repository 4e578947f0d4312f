"""Which attacks are shown where they are many."""

import dataclasses

from mia_jax.report import figures, selection, writing
from mia_jax.report.inputs import last_rows


def _aucs(inputs, family):
    return {row["attack"]: row["auc"] for row in last_rows(inputs.results) if row["family"] == family}


def test_few_attacks_are_all_shown_and_nothing_is_said(inputs):
    assert selection.strongest(inputs) == inputs.attack_names
    assert selection.rule(inputs) == ""


def test_many_attacks_leave_the_strongest_of_all_families_together(many):
    shown = selection.strongest(many)
    assert len(shown) == selection.SHOWN
    assert shown == [name for name in many.attack_names if name in shown]
    highest = {name: max(_aucs(many, family)[name] for family in many.families) for name in many.attack_names}
    firsts = {max(_aucs(many, family), key=_aucs(many, family).get) for family in many.families}
    assert firsts <= set(shown)
    left = [auc for name, auc in highest.items() if name not in shown]
    assert max(left) <= min(highest[name] for name in set(shown) - firsts)
    assert "Of the 35 attacks, the 9 with the highest AUC at the last checkpoint are shown" in selection.rule(
        many
    )


def test_the_strongest_attack_of_a_hardly_exposed_family_is_shown_too(many):
    weak = dict.fromkeys(("auc", "auc_low", "auc_high"), 0.5)
    results = [row | weak if row["family"] == "mlp" else row for row in many.results]
    lowest = min(_aucs(many, "lstm"), key=_aucs(many, "lstm").get)
    results = [
        row | {"auc": 0.501} if (row["family"], row["attack"]) == ("mlp", lowest) else row for row in results
    ]
    assert lowest in selection.strongest(dataclasses.replace(many, results=results))


def test_attacks_without_an_auc_are_shown_last(many):
    results = [row | {"auc": None} for row in many.results]
    assert selection.strongest(dataclasses.replace(many, results=results)) == many.attack_names[:9]


def test_figures_of_many_attacks_keep_their_panels_and_grow_where_all_are_drawn(many, inputs):
    drawn = writing.draw(many)
    assert tuple(drawn) == writing.FIGURES
    assert len(drawn["roc"].axes) == selection.SHOWN
    assert len(drawn["exposure_over_training"].axes) == selection.SHOWN + 1
    assert len(drawn["score_distributions"].axes) == 2 * selection.SHOWN
    axes = drawn["exposure_by_attack"].axes[0]
    assert len(axes.get_yticks()) == 35
    apart = drawn["exposure_by_attack"].get_figheight() * axes.get_position().height / 35
    assert apart > 0.25  # inches: two lines of 7 points
    few = writing.draw(inputs)["exposure_by_attack"]
    assert drawn["exposure_by_attack"].get_figheight() > 2 * few.get_figheight()


def test_attacks_of_one_checkpoint_have_no_panel_over_training(inputs):
    results = [row for row in inputs.results if row["attack"] != "loss" or row["checkpoint"] == 5]
    drawn = writing.draw(dataclasses.replace(inputs, results=results))
    titles = [axes.get_title() for axes in drawn["exposure_over_training"].axes]
    assert "AUC: Loss threshold" not in titles
    assert len(titles) == 7


def test_groups_are_drawn_by_kind_numbers_in_their_order_and_not_too_many(slices_of, many):
    rows = [row for row in slices_of(many, 100) if row["attack"] == "loss"]
    figure = figures.exposure_by_group(rows, families=many.families, whole={"lstm": 0.6, "mlp": None})
    labels = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert [len(names) for names in labels] == [selection.SHOWN_GROUPS, 2]
    assert labels[0] == sorted(labels[0], key=int)
    assert labels[0][-1] == "99"  # the most exposed
    assert labels[1] == ["no", "yes"]
