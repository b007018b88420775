"""UBAL as a classifier of scikit-learn: its conventions, its accuracy, its parameters in searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import uniform
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from ubalkit import UBAL, explanation, readers
from ubalkit import space as spaces
from ubalkit.paper import datasets
from ubalkit.ubal import hyperparameters
from ubalkit.ubal.classifier import UBALClassifier

DIGITS = datasets.load("digits")
X, Y = DIGITS.x_train.numpy(), DIGITS.y_train.numpy()
SMALL = UBALClassifier((15,), epochs=6, random_state=0)


@parametrize_with_checks(
    [UBALClassifier(), UBALClassifier((), beta=(1, 0), gamma_f=[1], gamma_b=[1], epochs=30)]
)
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


def test_the_defaults_reach_the_accuracy_that_the_documentation_states():
    classifier = UBALClassifier(random_state=0).fit(X, Y)
    assert classifier.score(DIGITS.x_test.numpy(), DIGITS.y_test.numpy()) > 0.93
    assert (classifier.predict(classifier.generate()) == classifier.classes_).all()
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(classifier.predict_proba(X), again.predict_proba(X))


def test_it_is_the_network_that_ubal_trains_on_the_same_data():
    classifier = clone(SMALL).fit(X[:200], Y[:200])
    width = np.ptp(X[:200], axis=0)
    scaled = (X[:200] - X[:200].min(0)) / np.where(width > 0, width, 1)
    layers, seed = (64, 15, 10), np.random.RandomState(0).randint(2**31)
    net = UBAL(layers, SMALL.beta, SMALL.gamma_f, SMALL.gamma_b, seed=int(seed))
    net.associate(scaled, torch.eye(10)[DIGITS.y_train[:200]], epochs=6, batch_size=8)
    assert torch.allclose(net.W[0], classifier.net_.W[0], atol=1e-5)
    outputs = net.predict_forward(scaled)[0].numpy()
    shares = outputs / outputs.sum(1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(X[:200]), shares, atol=1e-5)


def test_units_of_the_features_make_no_difference_and_generate_has_them():
    # The first pixel is constant.
    scale = 2.0 ** np.linspace(-20, 20, 64).round()
    shift = scale * np.arange(-32, 32)
    plain, moved = (clone(SMALL).fit(x, Y[:200]) for x in (X[:200].astype(float), X[:200] * scale + shift))
    assert (plain.predict(X) == moved.predict(X * scale + shift)).all()
    np.testing.assert_allclose(plain.generate(), (moved.generate() - shift) / scale, atol=1e-6)


def test_generate_makes_a_row_for_each_label_within_the_range_of_the_training_data():
    names = np.array([f"digit {k}" for k in range(10)])
    classifier = clone(SMALL).fit(X[:300] * 16, names[Y[:300]])
    rows = classifier.generate(["digit 3", "digit 0", "digit 3"])
    assert rows.shape == (3, 64)
    np.testing.assert_array_equal(rows, classifier.generate()[[3, 0, 3]])
    assert (rows >= X[:300].min(0) * 16).all() and (rows <= X[:300].max(0) * 16).all()
    with pytest.raises(ValueError, match="labels holds digit 11; the classes are"):
        classifier.generate(["digit 3", "digit 11"])


def test_probabilities_are_even_where_every_output_is_rounded_to_zero():
    classifier = clone(SMALL).fit(X[:100], Y[:100])
    classifier.net_.W = [torch.full_like(w, -1e30) for w in classifier.net_.W]
    np.testing.assert_allclose(classifier.predict_proba(X[:3]), 0.1)


def test_one_thread_works_and_the_number_of_threads_is_left_as_it_was(monkeypatch):
    # Whether threads change a bit depends on the machine and the size; so the threads themselves are counted.
    before, counted, whole = torch.get_num_threads(), [], UBAL._input

    def counting(*args):
        counted.append(torch.get_num_threads())
        return whole(*args)

    # Whatever computes takes its inputs there.
    monkeypatch.setattr(UBAL, "_input", counting)
    try:
        torch.set_num_threads(3)
        clone(SMALL).fit(X[:50], Y[:50]).predict_proba(X[:50])
        clone(SMALL).fit(X[:50], Y[:50]).generate()
        assert torch.get_num_threads() == 3 and set(counted) == {1}
    finally:
        torch.set_num_threads(before)


def test_every_value_is_a_parameter_under_its_name_in_the_paper():
    classifier = UBALClassifier(beta=(0.1, 0.2, 0.3), gamma_f=(0.4, 0.5), gamma_b=(0.6, 0.7))
    names = spaces.names(hyperparameters.space())
    assert [classifier.get_params()[name] for name in names] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert not set(names) & set(classifier.get_params(deep=False))
    classifier.set_params(beta_2=0.9, gammaB_1=0.8)
    assert classifier.beta == (0.1, 0.9, 0.3) and classifier.gamma_b == (0.8, 0.7)
    assert clone(classifier).get_params() == classifier.get_params()
    classifier.set_params(beta_1=0.5, beta=(0, 0, 0))
    assert classifier.beta == (0.5, 0, 0)
    for name in ("beta_4", "beta_0", "gammaF_3", "gamma"):
        with pytest.raises(ValueError, match=f"Invalid parameter '{name}'"):
            classifier.set_params(**{name: 0.5})


def test_any_depth_is_allowed():
    three = UBALClassifier((9, 8), beta=(1, 0.9, 0.9, 0), gamma_f=(1, 1, 1), gamma_b=(1, 1, 1), epochs=1)
    assert three.fit(X[:50], Y[:50]).net_.layers == (64, 9, 8, 10)
    assert UBALClassifier(7, epochs=1).fit(X[:50], Y[:50]).net_.layers == (64, 7, 10)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"epochs": 0}, "epochs == 0, must be >= 1"),
        ({"beta_2": 1.5}, "beta holds 1.5"),
        ({"hidden_layer_sizes": 0}, r"layers = \(64, 0, 10\)"),
        ({"hidden_layer_sizes": (9, 8)}, r"beta has the shape \(3,\); \(4,\)"),
        ({"learning_rate": 1e38}, "The weights diverged"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused_by_fit(given, reason):
    with pytest.raises(ValueError, match=reason):
        clone(SMALL).set_params(**given).fit(X[:100], Y[:100])


def test_a_search_over_the_seven_hyperparameters_can_be_explained():
    space = hyperparameters.space()
    drawn = {name: uniform(0, 1) for name in spaces.names(space)}
    search = RandomizedSearchCV(SMALL, drawn, n_iter=80, cv=2, random_state=0, refit=False)
    search.fit(X[:200], Y[:200])
    trials = readers.from_sklearn(search.cv_results_, space=space)
    assert len(trials.table) == 80 and list(trials.table)[:7] == spaces.names(space)
    explained = explanation.explain(trials, n_members=4, n_folds=3, steps=300)
    assert explained.trust.verdict == "good" and list(explained.table.index[:1]) == ["beta_3"]


def test_it_works_in_a_pipeline_on_a_table_with_names():
    frame = pd.DataFrame(X[:150], columns=[f"pixel {k}" for k in range(64)])
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), SMALL)
    search = GridSearchCV(pipeline, {"ubalclassifier__beta_3": [0.1, 1.0]}, cv=2).fit(frame, Y[:150])
    assert search.best_params_ == {"ubalclassifier__beta_3": 0.1}
    best = search.best_estimator_[-1]
    assert best.beta[2] == 0.1 and list(best.feature_names_in_) == list(frame)
    assert best.generate([4]).shape == (1, 64)
