"""UBAL's own hyperparameters: the space they span, the signs they go by, networks made from them."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace, Float

from ubalkit import space as spaces
from ubalkit.ubal.network import UBAL

#: What the name of a complement begins with, and the least complement that is drawn.
COMPLEMENT, NEAREST = "one_minus_", 1e-4


def space(n_layers: int = 3, *, near_one: Sequence[str] = ()) -> ConfigurationSpace:
    """The space of UBAL's hyperparameters, each uniform in [0, 1] (paper, Section 4).

    Parameters
    ----------
    n_layers : int
        Number of layers, input included; three give the paper's seven.
    near_one : sequence of str
        Hyperparameters whose values near 1 are to be searched: in place of
        ``beta_2``, say, the space has ``one_minus_beta_2``, drawn from its
        logarithm, from `NEAREST` to 1. See `without_complements`.

    Returns
    -------
    ConfigurationSpace
        ``beta_1 …`` (β^F of each layer), ``gammaF_1 …`` and ``gammaB_1 …``
        (γ^F and γ^B of each weight matrix W and M).

    Examples
    --------
    >>> spaces.names(space())
    ['beta_1', 'beta_2', 'beta_3', 'gammaF_1', 'gammaF_2', 'gammaB_1', 'gammaB_2']
    """
    order = [f"beta_{k}" for k in range(1, n_layers + 1)]
    order += [f"{g}_{k}" for g in ("gammaF", "gammaB") for k in range(1, n_layers)]
    assert set(near_one) <= set(order), f"near_one takes some of {order}"
    made = ConfigurationSpace(name="ubal")
    for position, name in enumerate(order):
        # ConfigSpace sorts by name; the paper's order is kept beside each name.
        meta = {"position": position}
        if name in near_one:
            made.add(Float(COMPLEMENT + name, (NEAREST, 1.0), log=True, meta=meta))
        else:
            made.add(Float(name, (0.0, 1.0), meta=meta))
    return made


def without_complements(table: pd.DataFrame) -> pd.DataFrame:
    """A table in which ``one_minus_beta_2``, say, has become ``beta_2``, and so on.

    Raises
    ------
    ValueError
        If a complement lies outside [0, 1], or stands beside what it is the complement of.

    Examples
    --------
    >>> without_complements(pd.DataFrame({"one_minus_beta_2": [0.25]}))
       beta_2
    0    0.75
    """
    plain_of = {name: name.removeprefix(COMPLEMENT) for name in table if str(name).startswith(COMPLEMENT)}
    for name, plain in plain_of.items():
        if plain in table or not table[name].between(0, 1).all():
            raise ValueError(f"{name} must lie in [0, 1], and the table must not have {plain} beside it.")
    return table.assign(**{name: 1 - table[name] for name in plain_of}).rename(columns=plain_of)


def networks(layers: Sequence[int], table: pd.DataFrame, **how) -> UBAL:
    """Untrained networks side by side, one for each row of hyperparameters.

    Parameters
    ----------
    layers : sequence of int
        Sizes n_0 … n_L.
    table : DataFrame
        Hyperparameters by name; a complement such as ``one_minus_beta_2``
        stands for its hyperparameter.
    **how
        ``seed``, ``learning_rate``, ``device`` and so on, as for `UBAL`.

    Returns
    -------
    UBAL

    Examples
    --------
    >>> networks([4, 3, 2], spaces.sample(space(), seed=0, indices=range(5))).n_networks
    5
    """
    values = without_complements(table)[spaces.names(space(len(layers)))].to_numpy(float)
    return UBAL(layers, *np.split(values, [len(layers), 2 * len(layers) - 1], axis=1), **how)


def symbol(name: str) -> str:
    r"""The paper's symbol of a hyperparameter, set as mathematics.

    >>> symbol("beta_2"), symbol("one_minus_gammaF_1")
    ('$\\beta_2^F$', '$1 - \\gamma_1^F$')
    """
    match = re.fullmatch(r"(one_minus_)?(beta|gamma)(F|B)?_(\d+)", name)
    if not match:
        return name
    complement, letter, direction, layer = match.groups()
    return rf"${'1 - ' if complement else ''}\{letter}_{layer}^{direction or 'F'}$"
