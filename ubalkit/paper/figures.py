"""How UBAL's hyperparameters and metrics are called in every figure; `figures.use` takes `UBAL`.

What is drawn for the paper's study alone lies beside its notebooks, in ``drawings``.
"""

from ubalkit import figures
from ubalkit.ubal import hyperparameters

#: What the paper's two metrics are called, and their colours.
LABELS = {"test_accuracy": "testing accuracy", "backprojection_accuracy": "back-projection accuracy"}
COLORS = dict(zip(LABELS, figures.PALETTE))

_ENSEMBLES = dict(zip(LABELS, (r"$\mathcal{E}_{test}$", r"$\mathcal{E}_{backproj}$")))

#: Symbols as in the paper.
UBAL = figures.Labels(hyperparameters.symbol, LABELS, _ENSEMBLES, COLORS, "trained network")
