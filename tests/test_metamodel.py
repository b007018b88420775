import json

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace, Constant, Float

from ubalkit import metamodel
from ubalkit import space as spaces

#: One small size, so that a fit takes a second.
QUICK = {"architectures": [(1, 32)], "weight_decays": [1e-3], "n_folds": 3, "steps": 300}


def observed(n, function, space=None, seed=0):
    """A table as the search makes it, whose testing accuracy is a function of the unit coordinates."""
    space = space or spaces.ubal()
    table = spaces.sample(space, seed, range(n))
    table["test_accuracy"] = function(spaces.to_unit(space, table))
    table["backprojection_accuracy"] = 0.5
    table["status"] = "ok"
    return table


def additive_with_pair(u):
    return 0.5 + 0.3 * (0.5 - u[:, 1]) + 0.2 * np.sin(3 * u[:, 2]) + 0.4 * (u[:, 3] - 0.5) * (u[:, 4] - 0.5)


def noise(u):
    return np.random.default_rng(7).uniform(0, 1, len(u))


def r2(y, predicted):
    return 1 - np.mean((y - predicted) ** 2) / np.var(y)


@pytest.fixture(scope="module")
def table():
    return observed(300, additive_with_pair)


@pytest.fixture(scope="module")
def ensemble(table):
    return metamodel.fit(table, "test_accuracy", **QUICK)


def test_a_known_function_is_learnt(ensemble):
    assert ensemble.r2 > 0.9
    # The figure that fit reports is that of rows nobody has seen.
    new = observed(200, additive_with_pair, seed=1)
    assert r2(new["test_accuracy"], ensemble.predict(new)) == pytest.approx(ensemble.r2, abs=0.05)


def test_noise_cannot_be_learnt():
    ensemble = metamodel.fit(observed(200, noise), "test_accuracy", **QUICK)
    assert ensemble.r2 < 0.1
    assert ensemble.selection["r2"].max() < 0.1


def test_quality_is_measured_on_rows_that_a_member_has_not_seen():
    # A large network without decay learns sixty numbers drawn by lot by heart, and nothing else.
    table = observed(60, noise)
    by_heart = QUICK | {"architectures": [(2, 64)], "weight_decays": [0.0], "steps": 600}
    ensemble = metamodel.fit(table, "test_accuracy", **by_heart)
    assert r2(table["test_accuracy"], ensemble.predict(table)) > 0.6
    assert ensemble.r2 < 0.2
    members = ensemble.quality.drop("ensemble")
    assert (members["r2"] < 0.2).all()
    # A fifth of the rows each, so that each row is left out by two of ten.
    assert set(members["n"]) == {12}


def test_held_out_predictions_are_a_row_each(ensemble, table):
    assert ensemble.held_out.shape == (len(table),)
    known = ~np.isnan(ensemble.held_out)
    assert known.sum() == ensemble.quality.loc["ensemble", "n"] == len(table)
    assert r2(table["test_accuracy"][known], ensemble.held_out[known]) == pytest.approx(ensemble.r2)


def test_table_and_unit_coordinates_give_the_same_predictions(ensemble, table):
    unit = ensemble.predict_unit(spaces.to_unit(ensemble.space, table))
    assert unit.shape == (len(ensemble.members), len(table))
    np.testing.assert_allclose(ensemble.predict(table), unit.mean(0), rtol=0, atol=1e-12)
    shuffled = table.sample(frac=1, random_state=0)[list(reversed(table.columns))]
    np.testing.assert_allclose(
        ensemble.predict(shuffled), unit.mean(0)[shuffled.index.to_numpy()], rtol=0, atol=1e-12
    )


def test_ten_members_that_differ(ensemble, table):
    assert len(ensemble.members) >= 10
    predicted = ensemble.predict_unit(spaces.to_unit(ensemble.space, table))
    different = ~np.isclose(predicted[:, None], predicted[None], atol=1e-6).all(2)
    assert different.sum() == len(predicted) * (len(predicted) - 1)


def test_saved_and_loaded_it_is_the_same(ensemble, table, tmp_path):
    ensemble.save(tmp_path / "ensemble.json")
    again = metamodel.load(tmp_path / "ensemble.json")
    np.testing.assert_array_equal(again.predict(table), ensemble.predict(table))
    np.testing.assert_array_equal(again.held_out, ensemble.held_out)
    assert again.space == ensemble.space
    assert spaces.names(again.space) == spaces.names(ensemble.space)
    assert (again.metric, again.chosen, again.r2) == (ensemble.metric, ensemble.chosen, ensemble.r2)
    assert (again.n_observations, again.n_failed) == (300, 0)
    assert list(again.quality.index) == list(ensemble.quality.index)


def test_a_space_with_a_constant_survives_saving(tmp_path):
    space = ConfigurationSpace()
    space.add([Float("rate", (1e-4, 1.0), log=True), Constant("frozen", 0.3), Float("a", (-1.0, 1.0))])
    table = observed(60, lambda u: u[:, 0], space)
    ensemble = metamodel.fit(table, "test_accuracy", space, **QUICK)
    ensemble.save(tmp_path / "ensemble.json")
    again = metamodel.load(tmp_path / "ensemble.json")
    assert spaces.varied(again.space) == spaces.varied(space)
    np.testing.assert_array_equal(again.predict(table), ensemble.predict(table))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.json.*02_metamodel"):
        metamodel.load(tmp_path / "nothing.json")


def test_failed_rows_are_left_out_and_counted():
    table = observed(80, additive_with_pair)
    kept = metamodel.fit(table.iloc[10:], "test_accuracy", **QUICK)
    # What a diverged network recorded must not matter.
    table.loc[:9, ["test_accuracy", "status"]] = [np.nan, "failed"]
    with pytest.warns(UserWarning, match="10 of 80 configurations failed"):
        ensemble = metamodel.fit(table, "test_accuracy", **QUICK)
    assert (ensemble.n_observations, ensemble.n_failed) == (70, 10)
    np.testing.assert_array_equal(ensemble.predict(table), kept.predict(table))


def test_a_seed_decides_everything(table):
    quick = QUICK | {"n_members": 3, "steps": 50}
    first, torch_state = metamodel.fit(table, "test_accuracy", seed=3, **quick), torch.get_rng_state()
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002 - the global state must not matter
    again = metamodel.fit(table, "test_accuracy", seed=3, **quick)
    other = metamodel.fit(table, "test_accuracy", seed=4, **quick)
    torch.set_rng_state(torch_state)
    np.testing.assert_array_equal(first.predict(table), again.predict(table))
    assert first.r2 == again.r2
    assert np.abs(first.predict(table) - other.predict(table)).max() > 1e-4


def test_cross_validation_chooses_the_best_of_those_given(table):
    ensemble = metamodel.fit(
        table,
        "test_accuracy",
        architectures=[(1, 8), (2, 16)],
        weight_decays=[1e-3, 10.0],
        n_folds=3,
        steps=200,
    )
    assert len(ensemble.selection) == 4
    assert ensemble.chosen["weight_decay"] == 1e-3  # ten times the error lets nothing be learnt
    assert ensemble.r2 > 0.5  # and the members are of the choice
    assert ensemble.selection["r2"].xs(10.0, level="weight_decay").max() < 0.5
    hidden = [m for m in ensemble.members[0] if isinstance(m, torch.nn.Linear)][:-1]
    assert [m.out_features for m in hidden] == [ensemble.chosen["d_h"]] * ensemble.chosen["n_h"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(test_accuracy=0.1), "test_accuracy is constant at 0.1"),
        (
            lambda t: t.drop(columns="test_accuracy"),
            "Unknown metric 'test_accuracy'.*backprojection_accuracy",
        ),
        (lambda t: t.iloc[:16], "16 usable observations.*at least 17"),
        (lambda t: t.assign(test_accuracy=t["test_accuracy"].where(t.index != 3)), "1 values.* not finite"),
        (lambda t: t.assign(test_accuracy=t["test_accuracy"].where(t.index != 3, np.inf)), "not finite"),
        (lambda t: t.assign(beta_2=1.5), r"beta_2 = 1\.5 lies outside"),
        (lambda t: t.drop(columns="beta_3"), "no column 'beta_3'"),
    ],
    ids=["constant", "unknown", "too few", "nan", "infinite", "outside the space", "no column"],
)
def test_what_cannot_be_fitted_is_refused(table, change, message):
    with pytest.raises(ValueError, match=message):
        metamodel.fit(change(table), "test_accuracy", **QUICK)


def test_the_file_is_plain_json(ensemble, tmp_path):
    ensemble.save(tmp_path / "ensemble.json")
    plain = json.loads((tmp_path / "ensemble.json").read_text())
    assert plain["metric"] == "test_accuracy"
    assert len(plain["members"]) == len(ensemble.members)
