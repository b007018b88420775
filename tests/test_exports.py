"""Exports: tables of finished searches as people keep them, each read without a word more than it needs.

Most were written by the tools themselves (scikit-learn, Optuna, Ray Tune, hyperopt), the others by hand in
the form of their exports.
"""

from pathlib import Path

import pytest

from ubalkit import readers
from ubalkit import space as spaces

FOLDER = Path(__file__).parent / "exports"


@pytest.mark.parametrize(
    ("file", "metric", "metrics", "usable", "space"),
    [
        (
            "sklearn_semicolon.csv",  # decimal commas; None, and counts beside shares
            "accuracy",
            {"accuracy": "maximize"},
            40,
            {
                "ccp_alpha": "[0.00011, 0.0969] log",
                "max_depth": "{None, 2, 4, 8}",
                "max_features": "{0.5, 0.8, 1, 2}",
                "min_samples_leaf": "[1, 19]",
            },
        ),
        (
            "sklearn_halving.csv",
            "",
            {"mean_test_score": "maximize"},
            10,
            {"C": "[1, 100] log", "gamma": "[0.001, 1] log"},
        ),
        (
            "optuna.csv",  # pruned, failed, attributes of the user's, a condition
            "value",
            {"value": "maximize"},
            49,
            {
                "lr": "[2.42e-05, 0.0716] log",
                "momentum": "[0.0183, 0.921], if optimizer == 'sgd'",
                "optimizer": "{adam, sgd}",
                "units": "[20, 254]",
            },
        ),
        (
            "optuna_multi.csv",
            "",
            {"values_0": "maximize", "values_1": "maximize"},
            40,
            {"a": "[0.0202, 0.982]", "b": "[1, 9]"},
        ),
        (
            "ray.csv",  # lr is reported, too
            "",
            {"loss": "minimize"},
            25,
            {"lr": "[0.000101, 0.0796] log", "model.width": "[8, 15]", "model.act": "{gelu, relu}"},
        ),
        (
            "wandb.csv",
            "val_accuracy",
            {"val_accuracy": "maximize"},
            40,
            {
                "batch_size": "[16, 128] log",
                "learning_rate": "[0.000121, 0.0876] log",
                "model.activation": "{gelu, relu}",
                "model.dropout": "[0.00349, 0.598]",
            },
        ),
        (
            "mlflow.csv",
            "",
            {"rmse": "minimize"},
            42,
            {
                "alpha": "[0.000121, 0.0876] log",
                "l1_ratio": "[0.00349, 0.598]",
                "solver": "{gelu, relu}",
                "max_iter": "= 1000",
            },
        ),
        (
            "hyperopt.csv",  # whole numbers written as floats
            "loss",
            {"loss": "minimize"},
            54,
            {
                "booster": "{0, 1}",
                "depth": "[2, 12]",
                "lr": "[8.91e-06, 0.331] log",
                "subsample": "[0.408, 1]",
            },
        ),
        (
            "hand_made.csv",  # comments on top; numbers, dates, notes, paths and other metrics
            "ACCURACY",
            {"accuracy": "maximize"},
            45,
            {
                "layers": "[1, 5]",
                "hidden": "[64, 512] log",
                "lr": "[0.00012, 0.0876] log",
                "loss": "{hinge, log}",
                "warmup_steps": "[0, 500]",
                "test_size": "[0.1, 0.3]",
            },
        ),
        (
            "keras_tuner.csv",
            "",
            {"score": "maximize"},
            45,
            {
                "units": "[32, 512]",
                "dropout": "[0, 0.6]",
                "learning_rate": "[0.0001, 0.01] log",
                "use_bn": "{False, True}",
                "tuner/epochs": "[3, 30] log",
            },
        ),
        (
            "german.csv",  # semicolons, decimal commas, Latin-1
            "",
            {"Genauigkeit": "maximize"},
            45,
            {
                "Lernrate": "[0.00012, 0.0876] log",
                "Tiefe": "[2, 8]",
                "Verfahren": "{größter Abstand, linear}",
            },
        ),
        (
            "packed.csv.gz",  # tabs, with pandas' index
            "",
            {"error_rate": "minimize"},
            45,
            {"C": "[0.0106, 408] log", "gamma": "[0.00011, 0.99] log", "kernel": "{poly, rbf}"},
        ),
        (
            "curves.csv",  # a row an epoch
            "",
            {"val_loss": "minimize"},
            20,
            {"lr": "[0.000121, 0.0711] log", "width": "[16, 128] log"},
        ),
        (
            "smac.csv",
            "",
            {"cost": "minimize"},
            40,
            {"alpha": "[0.000121, 0.0876] log", "hidden": "[13, 198]", "solver": "{gelu, relu}"},
        ),
    ],
)
def test_an_export_is_read_as_it_is(file, metric, metrics, usable, space):
    found = readers.read(FOLDER / file, metric)
    assert (dict(found.metrics), len(found.usable)) == (metrics, usable)
    assert spaces.describe(found.space).to_dict() == space
    spaces.to_unit(found.space, found.usable)


@pytest.mark.parametrize("file", ["wandb.csv", "hand_made.csv", "sklearn_semicolon.csv"])
def test_of_several_metrics_one_is_asked_for(file):
    with pytest.raises(ValueError, match=r"^No metric is named; say metric= one of \w+, [\w-]+\.$"):
        readers.read(FOLDER / file)
