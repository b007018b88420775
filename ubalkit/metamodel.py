"""Meta-models: ensembles that predict a metric from the hyperparameters.

As in Section 3 and Fig. 2 of the paper, a member is an MLP regressor with n_h
hidden layers of d_h units, trained on observations, and there is an ensemble
of members for each metric. Here every member leaves out a fifth of the
observations and weights the others at random. How well it predicts what it has
not seen tells how far it can be believed.

Where asked for, an ensemble of Gaussian processes is tried beside the MLPs,
and the one is kept that predicts what it has not seen better.
"""

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ConfigSpace import ConfigurationSpace
from scipy.optimize import minimize
from scipy.stats import spearmanr
from torch import Tensor, nn

from ubalkit import files, uncertainty, workers
from ubalkit import space as spaces
from ubalkit.observations import Trials

#: Kinds of members among which the error on unseen rows decides.
KINDS = ("MLP", "GP")

#: (n_h, d_h) and weight decays among which cross-validation chooses.
ARCHITECTURES = ((1, 32), (2, 32))
WEIGHT_DECAYS = (1e-3, 3e-3, 5e-3, 1e-2, 3e-2)
_SIZE = ["n_h", "d_h", "weight_decay"]

# Each member leaves out one of so many parts of the rows in turn.
_PARTS = 5
# Shape of the gamma distribution of the other rows' weights: with it a row's
# weight varies as its count in a bootstrap resample does, variance over squared
# mean one, while no row but those of the part is lost.
_SHAPE = 1 / (1 - 2 / _PARTS)

# More rows than this a Gaussian process is not fitted to, whose time grows with their cube; its lengths are
# learnt from so many, its draws bend at so many points besides the rows, and their kernel has so much noise.
_MOST, _LEARN_FROM, _N_CENTRES, _JITTER = 1000, 300, 256, 1e-4

#: Below this share of the explainable variance an explanation is called poor.
LEAST_R2 = 0.5


class UntrustworthyError(ValueError):
    """There is nothing to explain: the ensemble predicts no better than the mean does.

    Examples
    --------
    >>> Trust("loss", r2=0.1, low=-0.2, high=0.3).check()
    Traceback (most recent call last):
        ...
    ubalkit.metamodel.UntrustworthyError: loss: held-out R² 0.10 (-0.20 to 0.30), none: the ensemble ...
    """


@dataclass(frozen=True)
class Trust:
    """How far an ensemble can be believed.

    Attributes
    ----------
    metric : str
        What the ensemble predicts.
    r2 : float
        R² of its predictions of held-out rows.
    low, high : float
        Bounds of the 90 % interval of R², by bootstrap over these rows.
    ceiling : float
        The noise ceiling: the R² that knowing every configuration's true mean
        would give. It is 1 less the share of the variance that comes from
        seeds alone, and NaN where no configuration was repeated.

    Examples
    --------
    >>> print(Trust("accuracy", r2=0.72, low=0.66, high=0.77, ceiling=0.9))
    accuracy: held-out R² 0.72 (0.66 to 0.77) of at most 0.90, good
    >>> Trust("accuracy", r2=0.45, low=0.38, high=0.5, ceiling=0.9).explained
    0.5
    """

    metric: str
    r2: float
    low: float
    high: float
    ceiling: float = float("nan")

    @property
    def explained(self) -> float:
        """Share of the explainable variance that the ensemble predicts: R² over its ceiling if known."""
        return self._of_ceiling(self.r2)

    def _of_ceiling(self, r2: float) -> float:
        known = np.isfinite(self.ceiling) and self.ceiling > 0
        return min(r2 / self.ceiling, 1.0) if known else r2

    @property
    def verdict(self) -> str:
        """``none`` if the interval of R² reaches 0; ``poor`` below `LEAST_R2`, or if it may be half that."""
        if not self.low > 0:
            return "none"
        surely = self._of_ceiling(self.low) >= LEAST_R2 / 2
        return "good" if surely and self.explained >= LEAST_R2 else "poor"

    def __str__(self):
        r2 = f"{self.r2:.2f} ({self.low:.2f} to {self.high:.2f})"
        ceiling = f" of at most {self.ceiling:.2f}" if np.isfinite(self.ceiling) else ""
        return f"{self.metric}: held-out R² {r2}{ceiling}, {self.verdict}"

    def check(self, hint: str = "") -> None:
        """Refuse an ensemble that explains nothing, and warn of one that explains little.

        Parameters
        ----------
        hint : str
            A further sentence for who is refused.

        Raises
        ------
        UntrustworthyError
            If the verdict is ``none``. It is a ValueError.

        Warns
        -----
        UserWarning
            If the verdict is ``poor``.
        """
        if self.verdict == "none":
            why = (
                "this may be chance, for so few trials do not show more; further ones would tell."
                if self.r2 > 0.1
                else "the ensemble predicts held-out configurations no better than their mean does, so "
                "there is nothing to explain. More observations may help, or the metric is noise."
            )
            raise UntrustworthyError(f"{self}: {why} {hint}".strip())
        if self.verdict == "poor":
            warnings.warn(
                f"{self}: less than {LEAST_R2:.0%} of what could be explained is, or may be; "
                "read the explanation as a hint.",
                stacklevel=3,
            )


@dataclass(frozen=True)
class Ensemble:
    """MLPs, or draws of a Gaussian process, fitted to parts of the same observations; `fit` makes them.

    Attributes
    ----------
    metric : str
        What is predicted.
    space : ConfigurationSpace
        Where the configurations lie.
    members : list of nn.Sequential or of Process
        Each maps what `space.encoded` makes of the coordinates,
        of shape (n, n_inputs), to the metric, of shape (n, 1), in float64.
    quality : DataFrame
        How well held-out rows are predicted: ``r2`` with its 90 % interval
        (``low``, ``high``), ``spearman``, and the number ``n`` of these rows.
        The first row is the ensemble, each of whose predictions comes from the
        members that have not seen the row; then comes each member, on the rows
        that it left out.
    held_out : ndarray, shape (n_observations,)
        For each row fitted, the mean prediction of the members that have not
        seen it; NaN where all have.
    selection : DataFrame
        Cross-validated quality of each architecture and weight decay of MLPs.
    unit : ndarray, shape (n_observations, d)
        Unit-cube coordinates of the rows fitted.
    n_failed : int
        Number of rows left out because their status is not ok.
    ceiling : float
        Highest R² that the noise between seeds allows; NaN where unknown.
    maximize : bool
        Whether large values of the metric are the good ones.
    unseen : ndarray of bool, shape (n_members, n_observations)
        Which rows each member has not seen.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> ensemble = fit(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3])
    >>> print(ensemble.trust)
    score: held-out R² 1.00 (1.00 to 1.00), good
    >>> ensemble.predict(pd.DataFrame({"x": [0.5, 0.9], "y": [0.1, 0.9]})).round(1).tolist()
    [1.1, 2.7]
    """

    metric: str
    space: ConfigurationSpace
    members: list[nn.Module]
    quality: pd.DataFrame
    held_out: np.ndarray
    selection: pd.DataFrame
    unit: np.ndarray
    n_failed: int
    ceiling: float = float("nan")
    maximize: bool = True
    unseen: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))

    @property
    def trust(self) -> Trust:
        """Whether to believe an explanation of this ensemble."""
        return Trust(self.metric, *self.quality.loc["ensemble", ["r2", "low", "high"]], self.ceiling)

    @property
    def n_observations(self) -> int:
        """Number of rows fitted."""
        return len(self.unit)

    @property
    def r2(self) -> float:
        """Held-out R² of the ensemble."""
        return float(self.quality.loc["ensemble", "r2"])

    @property
    def sign(self) -> int:
        """1 where large values of the metric are the good ones, else -1."""
        return 1 if self.maximize else -1

    @property
    def kind(self) -> str:
        """``GP`` if the members are draws of Gaussian processes, else ``MLP``."""
        return "GP" if any(isinstance(member, Process) for member in self.members) else "MLP"

    @property
    def chosen(self) -> dict:
        """The ``n_h``, ``d_h`` and ``weight_decay`` of MLPs that cross-validation chose."""
        n_h, d_h, decay = self.selection["r2"].idxmax()
        return {"n_h": int(n_h), "d_h": int(d_h), "weight_decay": float(decay)}

    def predict_unit(self, unit: np.ndarray) -> np.ndarray:
        """Predictions of each member, (n_members, n), at unit-cube coordinates of shape (n, d)."""
        return _predict(self.members, spaces.encoded(self.space, unit))

    def predict(self, table: pd.DataFrame) -> np.ndarray:
        """Mean prediction of the members for each configuration of a table."""
        return self.predict_unit(spaces.to_unit(self.space, table)).mean(0)

    def save(self, path: Path) -> None:
        """Write the ensemble as JSON, which `load` reads."""
        plain = vars(self) | {
            "kind": self.kind,
            "space": spaces.plain(self.space),
            "members": [[p.tolist() for p in member.parameters()] for member in self.members],
            "quality": self.quality.astype(object).where(self.quality.notna(), None).to_dict("index"),
            "held_out": [None if np.isnan(v) else v for v in self.held_out.tolist()],
            "selection": self.selection.reset_index().to_dict("list"),
            "unit": self.unit.tolist(),
            "unseen": self.unseen.tolist(),
            "ceiling": None if np.isnan(self.ceiling) else self.ceiling,
        }
        files.write_sealed(path, plain)


def load(path: Path) -> Ensemble:
    """Read an ensemble that `Ensemble.save` wrote.

    Parameters
    ----------
    path : Path
        The JSON file.

    Returns
    -------
    Ensemble
        It predicts what the one that was saved does, to the last bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was changed since it was written.

    Examples
    --------
    >>> import tempfile
    >>> from ubalkit import readers
    >>> table = pd.DataFrame({"x": np.linspace(0, 1, 20), "score": np.linspace(0, 1, 20)})
    >>> ensemble = fit(readers.from_frame(table, "score"), n_members=2, steps=50)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ensemble.save(Path(folder, "ensemble.json"))
    ...     again = load(Path(folder, "ensemble.json"))
    >>> bool((again.predict(table) == ensemble.predict(table)).all())
    True
    """
    plain = files.read_sealed(path)
    module = {"GP": Process, "MLP": _module}[plain.pop("kind")]
    tensors = [[torch.tensor(a, dtype=torch.float64) for a in member] for member in plain["members"]]
    restored = {
        "space": spaces.from_plain(plain["space"]),
        "members": [module(*parameters) for parameters in tensors],
        "quality": pd.DataFrame.from_dict(plain["quality"], orient="index", dtype=float).astype({"n": int}),
        "held_out": np.array(plain["held_out"], dtype=float),
        "selection": pd.DataFrame(plain["selection"]).set_index(_SIZE),
        "unit": np.array(plain["unit"]),
        "unseen": np.array(plain["unseen"], dtype=bool),
        "ceiling": float("nan") if plain["ceiling"] is None else plain["ceiling"],
    }
    return Ensemble(**plain | restored)


def fit(
    trials: Trials,
    metric: str | None = None,
    *,
    n_members: int = 10,
    n_folds: int = 5,
    architectures: Sequence[tuple[int, int]] = ARCHITECTURES,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    steps: int = 600,
    kinds: Sequence[str] = KINDS[:1],
    noise: float = float("nan"),
    seed: int = 0,
    advance: Callable[[int], None] = workers.nothing,
) -> Ensemble:
    """Fit an ensemble to observations.

    The architecture and the weight decay are those with the best R² in k-fold
    cross-validation on the same observations. Each member is then trained
    without one fifth of the rows in turn, the errors of the others weighted at
    random (as in Rubin's Bayesian bootstrap, 1981). These weights vary as the
    counts of a bootstrap do, without its loss of a third of the rows.

    A Gaussian process has a squared-exponential kernel with a length for each
    hyperparameter. Lengths and noise are the most probable ones given four
    fifths of the rows, with the prior of Hvarfner, Hellsten and Nardi (2024),
    which expects longer lengths of more hyperparameters. A member is a draw
    from what is then known of the function; two that have seen the same rows
    err in opposite directions, so that their mean is the expected function.

    Parameters
    ----------
    trials : Trials
        The observations; failed ones are left out.
    metric : str, optional
        What to predict; the trials' first metric by default.
    n_members : int
        Number of networks in the ensemble.
    n_folds : int
        Number of parts into which cross-validation divides the rows.
    architectures : sequence of (n_h, d_h)
        Numbers of hidden layers, and of GELU units in each, to choose from.
    weight_decays : sequence of float
        L2 penalties on the weights to choose from, relative to the mean
        squared error of the standardised metric.
    steps : int
        Number of steps of full-batch Adam, whose rate falls to zero along half
        a cosine.
    kinds : sequence of str
        Which of `KINDS` to fit; of both, the one is given whose held-out R² is
        higher. Gaussian processes are not for conditions between
        hyperparameters, nor for more than 1000 rows: MLPs take their place.
    noise : float
        Variance of the metric between seeds of one configuration (see
        `noise_variance`), which sets the ceiling of R²: by default that of
        the trials' own repetitions, if they have some.
    seed : int
        Seed of the folds, the weights of the rows and the initial weights.
    advance : callable
        Called with 1 after each architecture and when the members are trained:
        a progress bar's.

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError
        For an unknown or constant metric, or fewer usable rows than twice
        the number of hyperparameters plus the number of folds.

    Examples
    --------
    >>> from ubalkit import readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + y}), "score")
    >>> fit(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3, 1]).chosen
    {'n_h': 2, 'd_h': 32, 'weight_decay': 0.001}
    """
    metric, space = trials.named(metric), trials.space
    unit, y = observed(trials, metric, n_folds)
    mean, std = y.mean(), y.std()
    inputs = spaces.encoded(space, unit)
    x, target = (torch.as_tensor(values, dtype=torch.float32) for values in (inputs, (y - mean) / std))
    rng = np.random.default_rng(seed)
    # One generator of the initial weights, drawn from in a fixed order.
    generator = torch.Generator().manual_seed(int(rng.integers(2**32)))
    train = functools.partial(_train, x, target, steps=steps, generator=generator, advance=advance)

    # Rows of one configuration stay together: who has seen one of them knows the others.
    configuration = pd.DataFrame(unit).groupby([*range(unit.shape[1])], sort=False).ngroup().to_numpy()
    n = configuration.max() + 1
    folds = (rng.permutation(n) % n_folds)[configuration]
    weights = rng.gamma(_SHAPE, size=(n_members, n))
    weights[np.arange(n_members)[:, None] % _PARTS == rng.permutation(n) % _PARTS] = 0
    weights = weights.take(configuration, axis=1)
    unseen, selection, fitted = weights == 0, pd.DataFrame(columns=_SIZE).set_index(_SIZE), {}
    if space.conditions or len(y) > _MOST:
        kinds = KINDS[:1]
    if "MLP" in kinds:
        selection = _selection(train, x, target, folds, configuration, architectures, weight_decays)
        n_h, d_h, decay = selection["r2"].idxmax()
        networks = train(weights, int(n_h), int(d_h), torch.full((n_members,), decay))
        members = [_member([p[k] for p in networks], mean, std) for k in range(n_members)]
        fitted["MLP"] = members
    if "GP" in kinds:
        owner, points = spaces.inputs(space), spaces.encoded(space, spaces.spread(space, _N_CENTRES, seed))
        fitted["GP"] = _processes(inputs, y, owner, points, unseen, rng)
        advance(1)

    judged = {kind: _judged(y, _predict(m, inputs), unseen, configuration) for kind, m in fitted.items()}
    kind = max(judged, key=lambda kind: judged[kind][1].loc["ensemble", "r2"])
    held_out, quality = judged[kind]
    if np.isnan(noise):
        noise = noise_variance(pd.DataFrame({metric: y}, pd.Index(configuration, name="index")), metric)
    data, ceiling = (unit, len(trials) - len(y)), 1 - noise / y.var()
    about = (ceiling, trials.metrics[metric] == "maximize", unseen)
    return Ensemble(metric, space, fitted[kind], quality, held_out, selection, *data, *about)


def _selection(train, x, target, folds, configuration, architectures, weight_decays) -> pd.DataFrame:
    """Quality of each architecture and weight decay in cross-validation."""
    n_folds, n_decays = folds.max() + 1, len(weight_decays)
    seen = np.tile(folds != np.arange(n_folds)[:, None], (n_decays, 1))
    decays = torch.tensor(weight_decays).repeat_interleave(n_folds)
    scores = {}
    for n_h, d_h in architectures:
        # All folds and weight decays of an architecture train as one batch.
        networks = train(seen, n_h, d_h, decays)
        predictions = _forward(networks, x).detach().reshape(n_decays, n_folds, -1)
        for decay, predicted in zip(weight_decays, predictions):
            held_out = predicted.gather(0, torch.as_tensor(folds)[None])[0].numpy()
            scores[n_h, d_h, decay] = _scores(target.numpy(), held_out, configuration)
    return pd.DataFrame(scores).T.rename_axis(_SIZE)


def observed(trials: Trials, metric: str, n_more: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Take from trials what a model learns from, and refuse what is too little.

    Parameters
    ----------
    trials : Trials
        The observations; failed ones are left out.
    metric : str
        Which metric to learn.
    n_more : int
        How many rows are needed beyond twice the number of hyperparameters.

    Returns
    -------
    unit : ndarray, shape (n, d)
        Unit-cube coordinates of the usable rows.
    y : ndarray, shape (n,)
        Their metric.

    Raises
    ------
    ValueError
        For an unknown or constant metric, too few usable rows, or a space of
        constants only.

    Examples
    --------
    >>> from ubalkit import readers
    >>> frame = pd.DataFrame({"x": [0.0, 0.5, 1.0], "score": [3.0, np.nan, 4.0]})
    >>> unit, y = observed(readers.from_frame(frame, "score"), "score")
    >>> unit.tolist(), y.tolist()
    ([[0.0], [1.0]], [3.0, 4.0])
    """
    rows = trials.usable
    unit, y = spaces.to_unit(trials.space, rows), rows[trials.named(metric)].to_numpy(float)
    n, d = len(np.unique(unit, axis=0)), unit.shape[1]
    if n < (least := 2 * d + n_more):
        raise ValueError(
            f"{n} different usable configurations are too few for {d} hyperparameters; "
            f"at least {least} are needed."
        )
    if d == 0 or np.ptp(y) == 0:
        what = f"{metric} is the same in all trials" if d else "the space holds constants only"
        raise ValueError(f"There is nothing to explain: {what}.")
    return unit, y


def _predict(members: list[nn.Sequential], unit: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        x = torch.as_tensor(np.asarray(unit, dtype=float))
        return torch.stack([member(x).squeeze(1) for member in members]).numpy()


def _judged(y, predictions, unseen, configuration) -> tuple[np.ndarray, pd.DataFrame]:
    """What each row is predicted by the members that have not seen it, and how good that is."""
    left_out = np.where(unseen, predictions, np.nan)
    held_out = np.ma.masked_invalid(left_out).mean(0).filled(np.nan)
    quality = {"ensemble": _scores(y, held_out, configuration)}
    quality |= {f"member {k}": _scores(y, values, configuration) for k, values in enumerate(left_out)}
    return held_out, pd.DataFrame(quality).T.astype({"n": int})


def _scores(y: np.ndarray, predicted: np.ndarray, groups: np.ndarray) -> dict:
    known = ~np.isnan(predicted)
    if np.ptp(y[known]) == 0:
        return dict.fromkeys(("r2", "low", "high", "spearman"), math.nan) | {"n": known.sum()}
    residual = np.mean((y - predicted)[known] ** 2) / np.var(y[known])
    low, high = r2_interval(y, predicted, groups)
    rank = spearmanr(y[known], predicted[known])[0]
    return {"r2": 1 - residual, "low": low, "high": high, "spearman": rank, "n": known.sum()}


def _train(x, y, row_weights, n_h, d_h, decays, *, steps, generator, advance) -> list[Tensor]:
    """Train networks side by side, one for each row of `row_weights`; weights and biases in turn."""
    n_networks, widths = len(row_weights), [x.shape[1]] + [d_h] * n_h + [1]
    parameters = []
    for fan_in, fan_out in itertools.pairwise(widths):
        weights = torch.randn(n_networks, fan_in, fan_out, generator=generator) / fan_in**0.5
        parameters += [weights, torch.zeros(n_networks, 1, fan_out)]
    # Inputs centred to unit variance train faster; folded into the first
    # layer at the end, so that members take unit-cube coordinates.
    scaled = (x - 0.5) * 12**0.5
    row_weights = torch.as_tensor(row_weights, dtype=torch.float32)
    row_weights = row_weights / row_weights.sum(1, keepdim=True)
    # Two networks a part at least: one alone is rounded otherwise, and numbers must not hang on threads.
    n_parts = max(min(torch.get_num_threads(), n_networks // 2), 1)
    parts = zip(*(whole.tensor_split(n_parts) for whole in (row_weights, decays, *parameters)))
    trained = workers.in_threads(lambda part: _descend(scaled, y, *part, steps=steps), parts)
    first, bias, *others = map(torch.cat, zip(*trained))
    advance(1)
    first = first * 12**0.5
    return [first, bias - 0.5 * first.sum(1, keepdim=True), *others]


def _descend(x, y, row_weights, decays, *parameters, steps) -> list[Tensor]:
    """Follow the gradient from initial parameters."""
    parameters = [p.clone().requires_grad_() for p in parameters]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        error = (row_weights * (_forward(parameters, x) - y) ** 2).sum()
        penalty = sum((decays * (w**2).sum((1, 2))).sum() for w in parameters[::2])
        (error + penalty).backward()
        optimizer.step()
        schedule.step()
    return [p.detach() for p in parameters]


def _forward(parameters: list[Tensor], x: Tensor) -> Tensor:
    a = x.expand(len(parameters[0]), -1, -1)
    *hidden, (last, last_bias) = zip(parameters[::2], parameters[1::2])
    for weights, bias in hidden:
        a = nn.functional.gelu(torch.baddbmm(bias, a, weights), approximate="tanh")
    return torch.baddbmm(last_bias, a, last).squeeze(2)


def _member(parameters: list[Tensor], mean: float, std: float) -> nn.Sequential:
    """One of the networks that were trained, as a module that predicts the metric in its own units."""
    *hidden, weights, bias = [p.double() for p in parameters]
    in_units = [*hidden, weights * std, bias * std + mean]
    # The weights of a linear module are transposed; its bias is a row without a batch.
    turned = [p[0] if k % 2 else p.T.contiguous() for k, p in enumerate(in_units)]
    return _module(*turned)


def _module(*parameters: Tensor) -> nn.Sequential:
    """The member that has these weights and biases, in turn."""
    modules = []
    for weights, bias in zip(parameters[::2], parameters[1::2]):
        linear = nn.Linear(*reversed(weights.shape), dtype=torch.float64)
        linear.weight.data, linear.bias.data = weights, bias
        # Deep SHAP needs every activation to be a module of its own.
        # GELU bends as a kink does and is smooth; of its two forms this one is
        # ten times faster in float64.
        modules += [linear, nn.GELU(approximate="tanh")]
    return nn.Sequential(*modules[:-1]).requires_grad_(False)


class Process(nn.Module):
    """A function that a Gaussian process has drawn: a constant and a bump around each centre.

    Parameters
    ----------
    centres : Tensor, shape (n, n_inputs)
        Where the bumps are.
    scales : Tensor, shape (n_inputs,)
        One over the length of the kernel along each input.
    heights : Tensor, shape (n,)
        How high the bumps are; negative ones are dips.
    mean : Tensor, shape (1,)
        The constant.

    Examples
    --------
    >>> bump = Process(torch.zeros(1, 2), torch.ones(2), torch.tensor([2.0]), torch.tensor([0.5]))
    >>> bump(torch.tensor([[0.0, 0.0], [9.0, 9.0]])).tolist()
    [[2.5], [0.5]]
    """

    def __init__(self, centres: Tensor, scales: Tensor, heights: Tensor, mean: Tensor):
        super().__init__()
        parts = (nn.Parameter(part, requires_grad=False) for part in (centres, scales, heights, mean))
        self.centres, self.scales, self.heights, self.mean = parts

    def forward(self, x: Tensor) -> Tensor:
        """Values, (n, 1), at inputs, (n, n_inputs)."""
        return (_bumps(x, self.centres, self.scales) @ self.heights + self.mean)[:, None]


def _bumps(a: Tensor, b: Tensor, scales: Tensor) -> Tensor:
    # High bumps cancel, so that distances must be exact.
    exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    return torch.exp(torch.cdist(a * scales, b * scales, **exact) ** 2 / -2)


def _processes(x, y, owner, points, unseen, rng) -> list[Process]:
    """For each row of `unseen` a draw from the process that knows the others."""
    mean, std, x = torch.tensor([y.mean()]), y.std(), torch.as_tensor(x)
    target, centres = torch.as_tensor(y - y.mean()) / std, torch.cat([x, torch.as_tensor(points)])
    some = rng.permutation(len(y))[:_LEARN_FROM]
    parts, part_of = np.unique(unseen, axis=0, return_inverse=True)
    seeds = rng.integers(2**32, size=len(parts)).tolist()

    def of_part(k: int) -> tuple[Tensor, Tensor]:
        learn, n_pairs = some[~parts[k][some]], (np.sum(part_of == k) + 1) // 2
        apart = [torch.cdist(*[x[learn][:, owner == j]] * 2) ** 2 for j in range(owner.max() + 1)]
        *lengths, variance, noise = _most_probable(torch.stack(apart), target[learn]).exp()
        scales = 1 / torch.stack(lengths)[owner]
        kernel, seen = variance * _bumps(centres, centres, scales), torch.as_tensor(~parts[k])
        generator = torch.Generator().manual_seed(seeds[k])
        return scales, variance * std * _heights(kernel, noise, seen, target[seen], n_pairs, generator)

    learnt = workers.in_threads(of_part, range(len(parts)))
    draws = []
    for member, k in enumerate(part_of):
        scales, heights = learnt[k]
        place = np.sum(part_of[:member] == k)
        drawn = heights[:, 0] + (-1) ** place * heights[:, 1 + place // 2]
        draws.append(Process(centres, scales, drawn, mean))
    return draws


def _heights(kernel, noise, seen, y, n_draws: int, generator: torch.Generator) -> Tensor:
    """Of the expected function, and of what so many draws add to it, (n_centres, 1 + n_draws).

    A draw is one of the prior's, less what the process would expect of its
    values at the rows seen (Matheron's rule).
    """
    known, n = torch.cat([seen, seen.new_zeros(len(kernel) - len(seen))]), len(kernel)
    factor = torch.linalg.cholesky(kernel[known][:, known] + noise * torch.eye(len(y)).double())
    root = torch.linalg.cholesky(kernel + _JITTER * kernel[0, 0] * torch.eye(n).double())
    random, errors = torch.randn(2, n, n_draws, generator=generator, dtype=torch.float64)
    heights = torch.zeros(n, 1 + n_draws, dtype=torch.float64)
    heights[:, 1:] = torch.linalg.solve_triangular(root.T, random, upper=True)
    met = (root @ random)[known] + noise**0.5 * errors[known]
    heights[known] += torch.cholesky_solve(torch.cat([y[:, None], -met], 1), factor)
    return heights


def _most_probable(apart: Tensor, y: Tensor) -> Tensor:
    """Logarithms of a process's lengths, of its variance and of the noise, (d + 2,).

    `apart` holds squared distances along each hyperparameter, (d, n, n).
    """
    d, unit = len(apart), torch.eye(len(y)).double()
    typical = 2**0.5 + math.log(d) / 2

    def improbable(values: np.ndarray) -> tuple[float, np.ndarray]:
        free = torch.tensor(values, requires_grad=True)
        *_, variance, noise = free.exp()
        kernel = variance * torch.exp(torch.tensordot((-2 * free[:d]).exp(), apart, 1) / -2)
        factor = torch.linalg.cholesky(kernel + noise * unit)
        white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
        prior = ((free[:d] - typical) ** 2).sum() / 6 + free[d] ** 2 / 18
        loss = (white**2).sum() / 2 + factor.diagonal().log().sum() + prior
        loss.backward()
        return loss.item(), free.grad.numpy()

    # A smooth function with noise and a bent one with little: either may be a peak of its own.
    starts = [np.array([length] * d + [0.0, noise]) for length, noise in ((0.0, -2.0), (-1.0, -5.0))]
    within = {"jac": True, "method": "L-BFGS-B", "bounds": [(-3, 5)] * d + [(-4, 6), (-9, 2)]}
    return torch.as_tensor(min((minimize(improbable, s, **within) for s in starts), key=lambda f: f.fun).x)


def r2_interval(
    y: np.ndarray, predicted: np.ndarray, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """Bounds of the 90 % interval of R², by bootstrap over rows.

    Parameters
    ----------
    y : ndarray, shape (n,)
        What was observed.
    predicted : ndarray, shape (n,)
        What was predicted; rows where it is NaN are left out.
    groups : ndarray of int, shape (n,), optional
        Rows of one group, repetitions of a configuration, are drawn together;
        by default each row is its own.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> y = np.linspace(0, 1, 100)
    >>> low, high = r2_interval(y, y + 0.1 * np.sin(50 * y))
    >>> round(float(low), 2), round(float(high), 2)
    (0.93, 0.95)
    """
    known = ~np.isnan(predicted)
    groups = np.arange(len(y)) if groups is None else groups
    from_mean, error = (y - y[known].mean())[known], (y - predicted)[known]
    rows = pd.DataFrame({"n": 1.0, "sum": from_mean, "squares": from_mean**2, "errors": error**2})
    sums = rows.groupby(groups[known], sort=False).sum()

    def r2(*drawn):
        n, total, squares, errors = (column.sum(-1) for column in drawn)
        variance = squares - total**2 / n
        return 1 - errors / np.where(variance > 1e-12 * squares, variance, np.nan)

    return uncertainty.bootstrap(r2, *sums.to_numpy().T, n_resamples=400)[1:]


def noise_variance(repeats: pd.DataFrame, metric: str) -> float:
    """Variance of a metric between seeds of one configuration, pooled over configurations.

    Parameters
    ----------
    repeats : DataFrame
        Observations in which every configuration (``index``) stands several
        times; see `Experiment.repeats`.
    metric : str
        Which of its columns to look at.

    Returns
    -------
    float
        NaN where no configuration stands there twice.

    Examples
    --------
    >>> noise_variance(pd.DataFrame({"loss": [1.0, 3.0, 5.0]}, pd.Index([0, 0, 1], name="index")), "loss")
    2.0
    """
    groups = repeats.groupby(level="index")[metric]
    freedom = groups.count() - 1
    return float((groups.var() * freedom).sum(min_count=1) / freedom.sum())
