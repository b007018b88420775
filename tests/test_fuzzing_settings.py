"""Settings and spaces of any kind: they work as they say, or a sentence of ours."""

import copy
import json

import ConfigSpace as cs
import numpy as np
import pandas as pd
from ConfigSpace import Configuration, ConfigurationSpace
from ConfigSpace.hyperparameters import IntegerHyperparameter
from fuzzing import as_file, changed, fuzz, json_values, refusals
from hypothesis import strategies as st

from ubalkit import files
from ubalkit import space as spaces
from ubalkit.paper import protocols


@fuzz(quick=40, slow=2500, content=as_file(protocols.find("ci").settings()))
def test_a_file_of_settings_is_a_protocol_that_works_or_refused(folder, content):
    (folder / "own.json").write_bytes(content)
    with refusals():
        found = protocols.find(str(folder / "own.json"))
        drawn = found.configurations([0, 7])
        assert list(drawn.index) == [0, 7] and list(drawn) == spaces.names(found.space)
        (folder / "own.json").write_text(json.dumps(found.settings()))
        assert protocols.find(str(folder / "own.json")).fingerprint == found.fingerprint
        assert files.runs(found.name).is_relative_to(files.runs())


# NumPy, and with it ConfigSpace, cuts off a NUL at the end.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
kinds = texts | st.integers(-9, 9) | st.booleans()
choices = st.lists(kinds, min_size=2, max_size=5, unique_by=lambda v: (isinstance(v, str), v))


@st.composite
def hyperparameters(draw, name):
    """One of any kind."""
    low, width, whole, log = draw(
        st.tuples(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 50), st.booleans())
    )
    low, several, meta = abs(low) + 1e-9 if log else low, draw(choices), {"position": draw(st.integers(0, 9))}
    weights = draw(st.lists(st.floats(0.05, 1), min_size=len(several), max_size=len(several)))
    made = [
        cs.Float(name, (low, low + width), log=log, meta=meta),
        cs.Integer(name, (whole, whole + draw(st.integers(1, 100))), log=log, meta=meta),
        cs.OrdinalHyperparameter(name, sorted(draw(st.sets(st.integers(0, 50), min_size=2))), meta=meta),
        cs.Categorical(name, several, weights=weights if log else None, meta=meta),
        cs.Constant(name, several[0], meta=meta),
    ]
    return draw(st.sampled_from(made))


@st.composite
def any_space(draw):
    """Hyperparameters of every kind, with conditions and forbidden clauses."""
    space, made = (
        ConfigurationSpace(),
        [draw(hyperparameters(f"h{k}")) for k in range(draw(st.integers(1, 5)))],
    )
    space.add(made)
    parents = [hp for hp in made if isinstance(hp, (cs.CategoricalHyperparameter, cs.OrdinalHyperparameter))]
    if parents and draw(st.booleans()):
        value = draw(st.sampled_from(spaces.choices(parents[0])))
        for child in [hp for hp in made if hp is not parents[0]][: draw(st.integers(0, 2))]:
            space.add(cs.EqualsCondition(child, parents[0], value))
    if parents and draw(st.booleans()):
        whole, clause = copy.deepcopy(space), None
        for parent in {parents[0].name: parents[0], parents[-1].name: parents[-1]}.values():
            one = cs.ForbiddenEqualsClause(parent, draw(st.sampled_from(spaces.choices(parent))))
            clause = cs.ForbiddenAndConjunction(clause, one) if clause else one
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
            whole = {k: int(v) for k, v in values.items() if isinstance(space[k], IntegerHyperparameter)}
            Configuration(space, values=values | whole).check_valid_configuration()
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
