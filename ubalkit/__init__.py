"""Hyperparameter space analysis via interpretable meta-modeling: the method, and UBAL, its case study."""

import importlib

__version__ = "0.4.0"

# Loaded when first asked for: most of them need torch, which takes seconds.
_HOME = {
    "UBAL": "ubalkit.ubal.network",
    "Experiment": "ubalkit.experiment",
    "Trials": "ubalkit.observations",
    "explain": "ubalkit.explanation",
    "run": "ubalkit.experiment",
}

__all__ = ["UBAL", "Experiment", "Trials", "__version__", "explain", "run"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
