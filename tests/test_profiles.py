"""Profiles: their names, and a fingerprint that says which rows are comparable."""

import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from ConfigSpace import ConfigurationSpace, Float, Integer

from ubalkit import profiles
from ubalkit import space as spaces

BASE = profiles.get("digits")
MATTERS = {
    "dataset": "mnist",
    "n_train": 1000,
    "hidden": (50,),
    "epochs": 31,
    "batch_size": 16,
    "learning_rate": 0.2,
    "init_std": 0.4,
    "seed": 1,
    "space": spaces.reduced(spaces.ubal(), freeze={"beta_1": 0.5}),
}
NEUTRAL = {
    "name": "other",
    "n_configurations": 7,
    "chunk": 3,
    "n_constrained": 9,
    "n_studies": 5,
    "n_trials": 6,
    "n_members": 4,
    "live": not BASE.live,
}


def test_the_four_profiles():
    assert profiles.NAMES == ("paper", "compact", "digits", "ci")
    assert [profiles.get(name).name for name in profiles.NAMES] == list(profiles.NAMES)


def test_the_paper_profile_is_the_protocol_of_the_paper():
    paper = profiles.get("paper")
    assert (paper.dataset, paper.hidden, paper.epochs) == ("mnist", (1200,), 30)
    assert (paper.learning_rate, paper.init_std, paper.batch_size) == (0.1, 0.5, 256)
    assert (paper.n_train, paper.n_configurations) == (55_000, 1472)


def test_profiles_that_run_live_need_no_download():
    assert {name for name in profiles.NAMES if profiles.get(name).live} == {"digits", "ci"}
    assert all(profiles.get(name).dataset == "digits" for name in ("digits", "ci"))


def test_an_unknown_profile_is_named_beside_those_there_are():
    with pytest.raises(ValueError, match=r"^Unknown profile 'tiny'; there are paper, compact, digits, ci\.$"):
        profiles.get("tiny")


def test_a_profile_is_found_by_its_name():
    assert profiles.find("digits") == BASE
    with pytest.raises(ValueError, match=r"^Unknown profile 'tiny'; there are paper, compact, digits, ci\.$"):
        profiles.find("tiny")


def test_a_profile_is_found_in_a_file_of_settings(tmp_path):
    other = replace(BASE, epochs=31, hidden=(50, 20), space=reduced(freeze={"beta_1": 1 / 3}))
    path = tmp_path / "other.json"
    # As it stands beside a table, with more than the settings.
    path.write_text(json.dumps({**other.settings(), "rows": 3, "sha256": "0"}))
    found = profiles.find(str(path))
    assert found == other and found.space == other.space
    assert found.fingerprint == other.fingerprint != BASE.fingerprint


def settings_without(name):
    settings = BASE.settings()
    del settings[name]
    return settings


BROKEN = {
    "no JSON": "{",
    "empty": "",
    "null": "null",
    "a number": "3",
    "a list": "[]",
    "other things": '{"rows": 3}',
    "without a name": json.dumps(settings_without("name")),
    "without a space": json.dumps(settings_without("space")),
    "layers that are no list": json.dumps({**BASE.settings(), "hidden": 100}),
    "a space of no kind": json.dumps({**BASE.settings(), "space": 7}),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=list(BROKEN))
def test_a_file_that_holds_no_settings_is_one_sentence(content, tmp_path):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"broken\.json holds no settings of a profile: ") as caught:
        profiles.find(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", sorted(set(MATTERS) - {"hidden", "space"}))
def test_a_file_that_lacks_what_rows_depend_on_is_refused(setting, tmp_path):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(settings_without(setting)))
    with pytest.raises(ValueError, match=rf"holds no settings of a profile: .* lack {setting}\."):
        profiles.find(str(path))


def test_a_file_that_is_not_text_holds_no_settings(tmp_path):
    path = tmp_path / "broken.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"broken\.json holds no settings of a profile"):
        profiles.find(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.json"):
        profiles.find(str(tmp_path / "missing.json"))


def test_a_profile_is_frozen():
    with pytest.raises(FrozenInstanceError):
        BASE.epochs = 1


def test_every_setting_is_known_to_matter_or_not():
    assert {f.name for f in fields(BASE)} == set(MATTERS) | set(NEUTRAL)


@pytest.mark.parametrize("setting", MATTERS)
def test_the_fingerprint_changes_with_what_rows_depend_on(setting):
    assert replace(BASE, **{setting: MATTERS[setting]}).fingerprint != BASE.fingerprint


@pytest.mark.parametrize("setting", NEUTRAL)
def test_the_fingerprint_does_not_change_with_anything_else(setting):
    assert replace(BASE, **{setting: NEUTRAL[setting]}).fingerprint == BASE.fingerprint


def test_fingerprints_are_those_of_equal_settings():
    assert len({profiles.get(name).fingerprint for name in profiles.NAMES}) == 4
    assert replace(BASE, space=spaces.ubal()).fingerprint == BASE.fingerprint


def reduced(**change):
    return spaces.reduced(spaces.ubal(), **change)


def of(*hyperparameters):
    space = ConfigurationSpace(name="some")
    space.add(*hyperparameters)
    return space


# Pairs of spaces that draw different configurations for the same index, however alike they look.
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (reduced(ranges={"beta_1": (0, 0.5001)}), reduced(ranges={"beta_1": (0, 0.5004)})),
        (reduced(freeze={"beta_1": 0.50011}), reduced(freeze={"beta_1": 0.50014})),
        (of(Float("a", (1, 9))), of(Integer("a", (1, 9)))),
        (
            of(Float("a", (0, 1), meta={"position": 0}), Float("b", (0, 1), meta={"position": 1})),
            of(Float("a", (0, 1), meta={"position": 1}), Float("b", (0, 1), meta={"position": 0})),
        ),
    ],
    ids=["range", "constant", "kind", "order"],
)
def test_the_fingerprint_tells_similar_spaces_apart(one, other):
    assert not spaces.sample(one, 0, range(3)).equals(spaces.sample(other, 0, range(3)))
    assert replace(BASE, space=one).fingerprint != replace(BASE, space=other).fingerprint


@pytest.mark.parametrize("name", profiles.NAMES)
def test_a_profile_survives_as_the_settings_of_a_file(name):
    profile = replace(profiles.get(name), space=reduced(freeze={"beta_1": 1 / 3}))
    settings = json.loads(json.dumps(profile.settings()))
    assert set(settings) == {f.name for f in fields(profile)} | {"fingerprint"}
    again = profiles.from_settings({**settings, "device": "some"})
    assert again == profile and again.space == profile.space
    assert again.fingerprint == settings["fingerprint"] == profile.fingerprint


@pytest.mark.parametrize(
    ("recorded", "default"),
    [
        ({}, "digits"),
        ({"compact": 1000}, "compact"),
        ({"compact": 1000, "paper": 999}, "compact"),
        ({"compact": 1000, "paper": 3000}, "paper"),
    ],
)
def test_the_default_profile_is_the_best_that_is_recorded(tmp_path, monkeypatch, recorded, default):
    monkeypatch.setenv("UBALKIT_HOME", str(tmp_path))
    for name, rows in recorded.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "observations.json").write_text(json.dumps({"rows": rows}))
    assert profiles.default() == default
