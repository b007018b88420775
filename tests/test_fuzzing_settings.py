"""Settings, spaces and objectives of any kind: they work as they say, or a sentence of ours."""

import copy
import json

import ConfigSpace as cs
import numpy as np
import pandas as pd
from ConfigSpace import Configuration, ConfigurationSpace
from fuzzing import as_file, changed, fuzz, json_values, odd, refusals, words
from hypothesis import strategies as st

from ubalkit import paths, profiles, search
from ubalkit import space as spaces
from ubalkit.experiment import Experiment
from ubalkit.profiles import Profile

# Profiles ----------------------------------------------------------------------------------------

PROFILE = profiles.get("ci")
SETTINGS = PROFILE.settings()


def assert_works(profile):
    drawn = search.configurations(profile, [0, 7])
    assert list(drawn.index) == [0, 7] and list(drawn) == spaces.names(profile.space)
    assert profiles.from_settings(json.loads(json.dumps(profile.settings()))) == profile
    with refusals():
        assert paths.runs(profile.name).is_relative_to(paths.runs())


@fuzz(quick=40, slow=2000, content=as_file(SETTINGS))
def test_a_file_of_settings_is_a_profile_or_refused(folder, content):
    (folder / "profile.json").write_bytes(content)
    with refusals():
        assert_works(profiles.find(str(folder / "profile.json")))


@fuzz(
    quick=40,
    slow=1500,
    given=st.dictionaries(st.sampled_from(list(SETTINGS)[:-1]), odd, min_size=1, max_size=1),
)
def test_a_profile_takes_settings_that_work_and_no_others(given):
    with refusals():
        assert_works(Profile(**{"name": "x", **given}))


@fuzz(
    quick=20,
    slow=100,
    name=st.sampled_from(["ci", "paper", "../../x.json", "\0.json", "x" * 300 + ".json"]) | words,
)
def test_a_name_is_that_of_a_profile_or_refused(name):
    with refusals(FileNotFoundError):
        assert profiles.find(name).name == name


# Spaces ------------------------------------------------------------------------------------------

bounds = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)).map(lambda two: (two[0], two[0] + two[1]))
# NumPy, and with it ConfigSpace, cuts off a NUL at the end.
kinds = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
    | st.integers(-9, 9)
    | st.booleans()
)
choices = st.lists(kinds, min_size=1, max_size=5, unique_by=lambda v: (isinstance(v, str), v))


@st.composite
def any_space(draw):
    """Hyperparameters of every kind, with conditions and forbidden clauses."""
    space, made = ConfigurationSpace(), []
    for k in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["float", "log", "integer", "ordinal", "choice", "weights", "constant"]))
        name, meta = f"h{k}", {"position": draw(st.integers(0, 9))}
        low, high = draw(bounds)
        several = draw(choices)
        if kind == "float":
            hp = cs.Float(name, (low, high), meta=meta)
        elif kind == "log":
            hp = cs.Float(name, (abs(low) + 1e-9, abs(low) + 1e-9 + high - low), log=True, meta=meta)
        elif kind == "integer":
            low, log = draw(st.integers(-50, 50)), draw(st.booleans())
            low = max(low, 1) if log else low
            hp = cs.Integer(name, (low, low + draw(st.integers(1, 100))), log=log, meta=meta)
        elif kind == "ordinal":
            hp = cs.OrdinalHyperparameter(
                name, sorted(draw(st.sets(st.integers(0, 50), min_size=2))), meta=meta
            )
        elif kind == "constant" or len(several) < 2:
            hp = cs.Constant(name, several[0], meta=meta)
        else:
            n = len(several)
            weights = (
                draw(st.lists(st.floats(0.05, 1), min_size=n, max_size=n)) if kind == "weights" else None
            )
            hp = cs.Categorical(name, several, weights=weights, meta=meta)
        made.append(hp)
    space.add(made)
    parents = [hp for hp in made if isinstance(hp, (cs.CategoricalHyperparameter, cs.OrdinalHyperparameter))]
    if parents and draw(st.booleans()):
        parent, value = parents[0], draw(st.sampled_from(list(spaces.choices(parents[0]))))
        for child in [hp for hp in made if hp is not parent][: draw(st.integers(0, 2))]:
            space.add(cs.EqualsCondition(child, parent, value))
    if parents and draw(st.booleans()):
        whole, clause = (
            copy.deepcopy(space),
            cs.ForbiddenEqualsClause(parents[-1], draw(st.sampled_from(list(spaces.choices(parents[-1]))))),
        )
        if len(parents) > 1:
            other = cs.ForbiddenEqualsClause(parents[0], spaces.choices(parents[0])[0])
            clause = cs.ForbiddenAndConjunction(clause, other)
        try:
            space.add(clause)
        except cs.exceptions.ForbiddenValueError:
            space = whole  # the default is not to be forbidden
    return space


@fuzz(
    quick=40,
    slow=2500,
    space=any_space(),
    seed=st.integers(0, 2**70),
    indices=st.sets(st.integers(0, 2**40), max_size=4),
)
def test_any_space_is_written_sampled_and_coordinated(space, seed, indices):
    again = spaces.from_plain(json.loads(json.dumps(spaces.plain(space))))
    assert again == space and spaces.names(again) == spaces.names(space)
    indices = [*indices, 3 * 10**9]
    with refusals():
        drawn = spaces.sample(space, seed, indices)
        alone = pd.concat([spaces.sample(again, seed, [i]) for i in reversed(indices)])
        for index in indices:
            one, other = (table.loc[index].to_dict() for table in (drawn, alone))
            assert str(one) == str(other)
            values = {k: v for k, v in one.items() if not pd.isna(v)}
            values = {
                k: int(v) if isinstance(space[k], cs.UniformIntegerHyperparameter) else v
                for k, v in values.items()
            }
            Configuration(space, values=values).check_valid_configuration()
        unit = spaces.to_unit(space, drawn)
        assert unit.shape == (len(indices), len(spaces.varied(space))) and ((unit >= 0) & (unit <= 1)).all()
        back = spaces.from_unit(space, np.minimum(unit, np.nextafter(1, 0)))
        np.testing.assert_allclose(spaces.to_unit(space, back), unit, atol=1e-9)
        for k, name in enumerate(spaces.varied(space)):
            np.testing.assert_allclose(spaces.snapped(space, name, unit[:, k]), unit[:, k], atol=1e-9)


PLAIN = spaces.plain(ConfigurationSpace({"a": (0.0, 1.0), "b": [1, 2, 3], "c": (1, 5)}))
PLAIN["conditions"] = [{"type": "EQ", "child": "a", "parent": "b", "value": 2}]


@fuzz(quick=40, slow=2000, document=changed(PLAIN) | json_values)
def test_what_describes_no_space_is_refused(document):
    with refusals():
        space = spaces.from_plain(document)
        again = spaces.plain(spaces.from_plain(spaces.plain(space)))
        assert json.dumps(again) == json.dumps(spaces.plain(space))
        drawn = spaces.sample(space, 0, range(3))
        assert ((spaces.to_unit(space, drawn) >= 0) & (spaces.to_unit(space, drawn) <= 1)).all()
        assert len(spaces.describe(space)) == len(space)


# Objectives --------------------------------------------------------------------------------------


class Odd(BaseException):
    """What no objective should raise."""


errors = st.sampled_from(
    [ValueError, KeyError, OSError, MemoryError, RecursionError, StopIteration, AssertionError]
)


@fuzz(
    quick=30,
    slow=1500,
    returned=odd | st.fixed_dictionaries({"m": odd}) | st.floats(),
    error=st.none() | errors,
    why=words,
)
def test_an_objective_may_return_and_raise_anything(returned, error, why):
    def objective(configuration, seed):
        if error:
            raise error(why)
        return returned

    experiment = Experiment("x", objective, ConfigurationSpace({"a": (0.0, 1.0)}), {"m": "maximize"})
    with refusals():
        table = experiment.evaluate([0, 5])
        value = returned.get("m") if isinstance(returned, dict) else returned
        for _, row in table.iterrows():
            if row["status"] == "ok":
                assert not error and np.isfinite(row["m"]) and float(value) == row["m"] and row["why"] == ""
            else:
                assert row["status"] == "failed" and np.isnan(row["m"]) and 0 < len(row["why"]) <= 500
