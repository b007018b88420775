"""Hyperparameter space analysis via interpretable meta-modeling: the method, and UBAL, its case study."""

import importlib

__version__ = "0.5.0"

# Loaded when first asked for: most of them need torch, which takes seconds.
_HOME = {
    "UBAL": "ubalkit.ubal.network",
    "Experiment": "ubalkit.experiment",
    "Trials": "ubalkit.observations",
    "explain": "ubalkit.explanation",
    "run": "ubalkit.experiment",
}

#: What brings each package that the core of this one does without.
_EXTRAS = {"distributed": "cluster", "optuna": "optuna", "shap": "shap"}
_EXTRAS |= dict.fromkeys(("nbformat", "papermill", "torchvision"), "notebooks")

__all__ = ["UBAL", "Experiment", "Trials", "__version__", "explain", "extra", "run"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def extra(name: str):
    """The module of a package that an extra brings.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed; says how to install it.

    Examples
    --------
    >>> extra("optuna").__name__
    'optuna'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in _EXTRAS:
            error.msg = f'{error.name} is missing: pip install "ubalkit[{_EXTRAS[error.name]}]" brings it'
        raise
