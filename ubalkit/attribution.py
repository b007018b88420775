"""Attribution: how much each hyperparameter moves a meta-model's prediction.

Deep SHAP (Lundberg and Lee, 2017), as in the paper's Section 3, on every
member of an ensemble; SHAP values are linear in the output, so that the mean
of the members' values is the attribution of the ensemble, and their spread
says how far the members agree.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ubalkit import observations
from ubalkit import space as spaces
from ubalkit.metamodel import Ensemble

__all__ = ["Attribution", "deep_shap", "load"]


@dataclass(frozen=True)
class Attribution:
    """SHAP values of an ensemble at configurations, in units of the metric.

    Attributes
    ----------
    ensemble : Ensemble
        What is explained; its `quality` says how far to believe it.
    table : DataFrame
        The configurations explained, n rows.
    names : list of str
        The d hyperparameters.
    unit : ndarray, shape (n, d)
        Unit-cube coordinates of the configurations.
    member_values : ndarray, shape (n_members, n, d)
    base_values : ndarray, shape (n_members,)
        Each member's mean prediction over the background.
    """

    ensemble: Ensemble
    table: pd.DataFrame
    names: list[str]
    unit: np.ndarray
    member_values: np.ndarray
    base_values: np.ndarray

    @property
    def metric(self) -> str:
        """What the ensemble predicts."""
        return self.ensemble.metric

    @property
    def values(self) -> np.ndarray:
        """SHAP values of the ensemble, (n, d)."""
        return self.member_values.mean(0)

    def importance(self) -> pd.DataFrame:
        """Mean absolute SHAP value of each hyperparameter, most important first.

        Returns
        -------
        DataFrame
            ``importance`` of the ensemble; ``low`` and ``high``, the 5 % and
            95 % quantiles of the members'; ``rank``.
        """
        members = np.abs(self.member_values).mean(1)
        frame = pd.DataFrame(
            {
                "importance": np.abs(self.values).mean(0),
                "low": np.quantile(members, 0.05, axis=0),
                "high": np.quantile(members, 0.95, axis=0),
            },
            index=pd.Index(self.names, name="hyperparameter"),
        ).sort_values("importance", ascending=False)
        frame["rank"] = range(1, len(frame) + 1)
        return frame

    def curves(self, n_grid: int = 41, bandwidth: float = 0.05) -> pd.DataFrame:
        """Running means of the SHAP values along each hyperparameter's range.

        Parameters
        ----------
        n_grid : int
            Points along the range.
        bandwidth : float
            Standard deviation of the Gaussian window, as a share of the range.

        Returns
        -------
        DataFrame
            A row a point: ``hyperparameter``, ``unit``, ``value``; ``mean`` of
            the ensemble; ``low`` and ``high``, the 5 % and 95 % quantiles of
            the members' running means; ``size``, the running mean of the
            absolute SHAP values.
        """
        grid = np.linspace(0, 1, n_grid)
        frames = []
        for j, name in enumerate(self.names):
            window = np.exp(-0.5 * ((grid[:, None] - self.unit[:, j]) / bandwidth) ** 2)
            window /= window.sum(1, keepdims=True)
            members = self.member_values[:, :, j] @ window.T
            low, high = np.quantile(members, [0.05, 0.95], axis=0)
            unit = np.full((n_grid, len(self.names)), 0.5)
            # The last bin of a category ends below 1.
            unit[:, j] = np.minimum(grid, np.nextafter(1, 0))
            frames.append(
                pd.DataFrame(
                    {
                        "hyperparameter": name,
                        "unit": grid,
                        "value": spaces.from_unit(self.ensemble.space, unit)[name],
                        "mean": members.mean(0),
                        "low": low,
                        "high": high,
                        "size": window @ np.abs(self.values[:, j]),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def save(self, path: Path) -> None:
        """Write the values as a NumPy archive, without pickle."""
        with path.open("wb") as file:
            arrays = {"member_values": self.member_values, "base_values": self.base_values}
            np.savez_compressed(file, index=self.table.index, unit=self.unit, **arrays)


def load(path: Path, ensemble: Ensemble, table: pd.DataFrame) -> Attribution:
    """Read an attribution again, with the ensemble and the observations that it was made from.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the observations are others than those explained.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no attribution at {path}; notebook 03_shap makes it.")
    rows = observations.usable(table)
    unit = spaces.to_unit(ensemble.space, rows)
    with np.load(path, allow_pickle=False) as archive:
        same = np.array_equal(archive["unit"], unit) and np.array_equal(archive["index"], rows.index)
        if not same:
            raise ValueError(f"{path} explains other configurations than the table holds.")
        values, base = archive["member_values"], archive["base_values"]
    return Attribution(ensemble, rows, spaces.varied(ensemble.space), unit, values, base)


def deep_shap(
    ensemble: Ensemble, table: pd.DataFrame, *, n_background: int = 32, seed: int = 0, tolerance: float = 1e-6
) -> Attribution:
    """Deep SHAP of every member, for every usable configuration of a table.

    Parameters
    ----------
    ensemble : Ensemble
    table : DataFrame
        Observations, or any configurations with ``status``.
    n_background : int
        Scrambled Sobol' points of the sampling distribution, the reference
        that predictions are compared with; not training rows.
    seed : int
        Of the background.
    tolerance : float
        Largest error of additivity allowed, as a share of the standard
        deviation of the predictions.

    Returns
    -------
    Attribution

    Raises
    ------
    ArithmeticError
        If base value and SHAP values do not add up to a prediction.
    """
    import shap  # takes seconds to import, and only this needs it

    if n_background < 1:
        raise ValueError(f"n_background = {n_background}; at least 1 is needed.")
    rows = observations.usable(table)
    unit = spaces.to_unit(ensemble.space, rows)
    background = torch.as_tensor(spaces.sobol(unit.shape[1], n_background, seed))
    x = torch.as_tensor(unit)
    values, base = [], []
    for member in ensemble.members:
        member.requires_grad_(False)
        with warnings.catch_warnings():
            # shap's hooks meet tensors that need no gradient, as they should.
            warnings.simplefilter("ignore", UserWarning)
            explainer = shap.DeepExplainer(member, background)
            values.append(explainer.shap_values(x, check_additivity=False)[:, :, 0])
        base.append(member(background).mean().item())
    values, base = np.array(values), np.array(base)
    # shap's own check is absolute (0.01): blind for accuracies.
    predicted = ensemble.predict_unit(unit)
    error = np.abs(base[:, None] + values.sum(2) - predicted).max() / max(predicted.std(), 1e-12)
    if not error <= tolerance:
        raise ArithmeticError(
            f"Deep SHAP is not additive: base and SHAP values miss a prediction by {error:.1e} of the "
            f"predictions' standard deviation; {tolerance:.1e} is allowed."
        )
    return Attribution(ensemble, rows, spaces.varied(ensemble.space), unit, values, base)
