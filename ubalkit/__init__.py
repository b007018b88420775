"""Hyperparameter space analysis via interpretable meta-modeling: the method, and UBAL, its case study."""

__version__ = "0.3.0"

from ubalkit.ubal import UBAL

__all__ = ["UBAL", "__version__"]
