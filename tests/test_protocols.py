"""Protocols: their names, and a fingerprint that says which rows are comparable."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, Float, Integer

from ubalkit import space as spaces
from ubalkit.paper import protocols
from ubalkit.ubal import hyperparameters

BASE = protocols.get("digits").protocol


def reduced(**change):
    return spaces.reduced(hyperparameters.space(), **change)


MATTERS = {
    "dataset": "mnist",
    "n_train": 1000,
    "hidden": (50,),
    "epochs": 31,
    "batch_size": 16,
    "learning_rate": 0.2,
    "init_std": 0.4,
    "seed": 1,
    "space": reduced(freeze={"beta_1": 0.5}),
}
NEUTRAL = {"name": "other", "n_configurations": 7, "chunk": 3, "version": "2"}
# What networks of UBAL do not have otherwise: an objective of one's own, its metrics and its clock.
FIXED = {"objective", "directions"}


def test_the_four_profiles_and_the_paper_s_protocol():
    assert protocols.NAMES == ("paper", "compact", "digits", "ci")
    named = {name: protocols.get(name) for name in protocols.NAMES}
    assert [profile.name for profile in named.values()] == list(named)
    # Those that run live need no download.
    assert {name for name, profile in named.items() if profile.live} == {"digits", "ci"}
    assert all(named[name].protocol.dataset == "digits" for name in ("digits", "ci"))
    assert protocols.default() == "paper"
    paper = named["paper"].protocol
    assert (paper.dataset, paper.hidden, paper.epochs) == ("mnist", (1200,), 30)
    assert (paper.learning_rate, paper.init_std, paper.batch_size) == (0.1, 0.5, 256)
    assert (paper.n_train, paper.n_configurations) == (55_000, 1472)


def test_a_protocol_is_found_by_name_and_in_a_file_of_settings(tmp_path):
    assert protocols.find("digits") == BASE
    other = replace(BASE, epochs=31, hidden=(50, 20), space=reduced(freeze={"beta_1": 1 / 3}))
    # As it stands beside a table, with more than the settings.
    beside = {**other.settings(), "n_configurations": 1000, "chunk": 50, "rows": 3, "sha256": "0"}
    path = tmp_path / "other.json"
    path.write_text(json.dumps(beside))
    found = protocols.find(str(path))
    assert found == other and found.space == other.space
    assert found.fingerprint == beside["fingerprint"] == other.fingerprint != BASE.fingerprint


@pytest.mark.parametrize("wrong", [{"hidden": [0]}, {"epochs": 1.5}], ids=str)
def test_a_file_of_impossible_settings_is_one_sentence(wrong, tmp_path):
    (tmp_path / "broken.json").write_text(json.dumps(BASE.settings() | wrong))
    with pytest.raises(ValueError, match=r"broken\.json holds no settings of a protocol: ") as caught:
        protocols.find(str(tmp_path / "broken.json"))
    assert "\n" not in str(caught.value)


def test_the_fingerprint_changes_with_what_rows_depend_on_and_with_nothing_else():
    assert {f.name for f in fields(BASE)} == {*MATTERS, *NEUTRAL, *FIXED}
    changed = {name: replace(BASE, **{name: value}).fingerprint for name, value in MATTERS.items()}
    assert len({*changed.values(), BASE.fingerprint}) == len(MATTERS) + 1
    for name, value in {**NEUTRAL, "space": hyperparameters.space()}.items():
        assert replace(BASE, **{name: value}).fingerprint == BASE.fingerprint, name
    assert len({protocols.get(name).protocol.fingerprint for name in protocols.NAMES}) == 4


def of(*hyperparameters):
    space = ConfigurationSpace(name="some")
    space.add(*hyperparameters)
    return space


def placed(**positions):
    return of(*(Float(name, (0, 1), meta={"position": k}) for name, k in positions.items()))


# Pairs of spaces that draw different configurations for the same index, however alike they look.
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (reduced(ranges={"beta_1": (0, 0.5001)}), reduced(ranges={"beta_1": (0, 0.5004)})),
        (reduced(freeze={"beta_1": 0.50011}), reduced(freeze={"beta_1": 0.50014})),
        (of(Float("a", (1, 9))), of(Integer("a", (1, 9)))),
        (placed(a=0, b=1), placed(a=1, b=0)),
    ],
    ids=["range", "constant", "kind", "order"],
)
def test_the_fingerprint_tells_similar_spaces_apart(one, other):
    assert not spaces.sample(one, 0, range(3)).equals(spaces.sample(other, 0, range(3)))
    assert replace(BASE, space=one).fingerprint != replace(BASE, space=other).fingerprint


def test_a_file_says_what_differs_from_a_profile_and_is_known_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path / "runs"))
    x, y = np.random.default_rng(0).random((40, 3, 3)), np.arange(40) % 4
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"base": "ci", "hidden": [6, 5], "data": "mine.npz", "epochs": 1}))
    mine = protocols.get(str(file))
    assert (mine.name, mine.live, mine.protocol.layers) == ("mine", True, [9, 6, 5, 4])
    assert (mine.protocol.epochs, mine.protocol.batch_size, len(mine.protocol.space)) == (1, 8, 10)
    assert mine.protocol.evaluate([0])["status"].tolist() == ["ok"]
    before = mine.protocol.fingerprint
    assert protocols.get("mine") == mine and protocols.find("mine").fingerprint == before
    # Of other images the rows are others, and these are what is trained on.
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y[::-1])
    other = protocols.find("mine")
    assert other.fingerprint != before and other.data().y_test.tolist() == y[::-1].tolist()


def test_a_misspelt_setting_is_named(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"base": "digits", "hiden": [50]}')
    with pytest.raises(ValueError, match="hiden is none of batch_size"):
        protocols.find(str(file))


def test_the_curves_of_networks_end_at_their_observations():
    small = replace(protocols.get("ci").protocol, epochs=3)
    curves, observed = small.curves([4, 2], [1, 3]), small.evaluate([4, 2])
    assert list(curves.index) == [4, 2] and list(curves["test_accuracy"].columns) == [1, 3]
    for metric in small.metrics:
        assert curves[metric][3].tolist() == observed[metric].tolist()
    assert (curves["test_accuracy"][1] != curves["test_accuracy"][3]).all()
