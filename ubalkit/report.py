"""Report: what was found, as one page for a browser, which needs no network and can be asked.

The page's own parts lie in the folder ``page``: a template, a style and a
script. The script evaluates the meta-models themselves, so that who opens the
page can set a configuration and see what is predicted there, and why.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import vl_convert
from ConfigSpace.conditions import OrConjunction
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from scipy import stats

from ubalkit import effects, figures, uncertainty
from ubalkit import space as spaces
from ubalkit.columns import is_absent
from ubalkit.observations import Trials

# Places along a slider, hyperparameters with a chart, trials drawn, best trials and pairs listed.
_N_STOPS, _N_CHARTS, _N_TRIALS, _N_BEST, _N_PAIRS = 101, 12, 1024, 10, 8


def page(explained, *, made: str = "") -> str:
    """Write an explanation as a page of HTML.

    Parameters
    ----------
    explained : Explanation
        What `explain` gave.
    made : str
        The command or the call that made it, to be shown.

    Returns
    -------
    str
        One file: styles, scripts and data are in it.

    Examples
    --------
    >>> from ubalkit import explain, readers
    >>> x, y = np.random.default_rng(0).random((2, 60))
    >>> trials = readers.from_frame(pd.DataFrame({"x": x, "y": y, "score": 2 * x + 0.1 * y}), "score")
    >>> html = page(explain(trials, n_members=3, n_folds=2, steps=200, weight_decays=[1e-3]))
    >>> html[:15], "This can be believed" in html
    ('<!doctype html>', True)
    """
    trust, shap, ensemble = explained.trust, explained.shap, explained.ensemble
    at_trials = explained.at_trials
    charted = [*explained.table.index[:_N_CHARTS]]
    curves = shap.curves().groupby("hyperparameter")
    rows = _drawn(explained.trials, trust.metric, at_trials.table.index)
    study = _study(explained.trials, trust.metric, rows, charted) | _model(ensemble)
    places = [shap.names.index(name) for name in charted]
    study |= {
        "explained": rows.index.get_indexer(at_trials.table.index).tolist(),
        "shap": _digits(at_trials.shap().values[:, places], 4),
        "curves": [_curve(curves.get_group(name)) for name in charted],
    }
    pairs = explained.decomposition.variance()
    return _render(
        explained.trials,
        study,
        made=made,
        verdict=trust.verdict,
        trust=_trust(trust),
        actions=_actions(explained),
        sentences=explained.report[1:],
        orders=explained.decomposition.orders(),
        pairs=pairs[pairs["order"] == 2].head(_N_PAIRS),
        rules=explained.rules,
        ensemble=ensemble,
        next_space=json.dumps(spaces.plain(explained.space), indent=1, default=str),
        charts=[(name, _words(name, curves.get_group(name))) for name in charted],
    )


def refusal(trials: Trials, metric: str, why: str, *, made: str = "") -> str:
    """Write a page on trials that could not be explained: why not, and the trials themselves.

    Parameters
    ----------
    trials : Trials
        What was to be explained.
    metric : str
        Which of its metrics.
    why : str
        What the refusal said.
    made : str
        The command or the call that was tried, to be shown.

    Returns
    -------
    str

    Examples
    --------
    >>> from ubalkit import readers
    >>> table = pd.DataFrame({"x": np.linspace(0, 1, 9), "score": np.ones(9)})
    >>> "All are the same" in refusal(readers.from_frame(table, "score"), "score", "All are the same.")
    True
    """
    study = _study(trials, metric, _drawn(trials, metric), spaces.varied(trials.space)[:_N_CHARTS])
    return _render(trials, study, made=made, verdict="none", trust=why)


def _drawn(trials: Trials, metric: str, more: Sequence = ()) -> pd.DataFrame:
    """The trials that the charts show, the best among them."""
    rows, good = trials.usable, -1 if trials.metrics[metric] == "minimize" else 1
    some = rows.sample(min(len(rows), _N_TRIALS), random_state=0).index
    best = (good * rows[metric]).nlargest(_N_BEST).index
    return rows[rows.index.isin([*some, *best, *more])]


def _render(trials: Trials, study: dict, **parts) -> str:
    from ubalkit import __version__

    folder = Path(__file__).with_name("page")
    how = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    writes = Environment(loader=FileSystemLoader(folder), **how)
    writes.filters["number"] = lambda value: f"{value:.3g}".replace("-", "−")
    writes.filters["percent"] = lambda share: f"{max(share, 0):.0%}"
    # Nothing in them may end the element that they stand in.
    scripts = {"library": vl_convert.javascript_bundle(), "script": (folder / "report.js").read_text("utf-8")}
    best = trials.usable.sort_values(study["metric"], ascending=study["goal"] < 0).head(_N_BEST)
    return writes.get_template("report.html.j2").render(
        parts,
        version=__version__,
        study=study,
        names=spaces.names(trials.space),
        data=Markup(json.dumps(study, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")),
        **{name: Markup(text.replace("</script", "<\\/script")) for name, text in scripts.items()},
        style=Markup((folder / "report.css").read_text("utf-8")),
        n=len(trials.usable),
        best=best,
        read=trials.report,
        searched=spaces.describe(trials.space),
    )


def _trust(trust) -> str:
    ceiling = f", where chance leaves {trust.ceiling:.2f} at most" if np.isfinite(trust.ceiling) else ""
    found = f"R² {trust.r2:.2f} (90 % interval {trust.low:.2f} to {trust.high:.2f}{ceiling})"
    start = {"good": "This can be believed:", "poor": "Take this as a hint only:"}[trust.verdict]
    return f"{start} the meta-model predicts trials that it has not seen with {found}."


def _actions(explained) -> list[dict]:
    """What to do with each hyperparameter, how sure that is, how many trials lie there and what it gains."""
    shap, rec, sign = explained.shap, explained.recommendation, explained.ensemble.sign
    where, rows = spaces.describe(explained.space), []
    for name, row in explained.table.iterrows():
        hp, running = explained.ensemble.space[name], shap.running(name)
        kept = rec.ranges.get(name, [rec.freeze[name]] if name in rec.freeze else None)
        along = spaces.values(shap.ensemble.space, name, spaces.grid(shap.ensemble.space, name))
        # Compared with a random value, in the direction that is wanted.
        gains = sign * running.draws[:, 0, _within(hp, kept, along)].mean(1)
        gain = (gains[0], *uncertainty.interval(gains[0], gains[1:], n_members=len(shap.member_values)))
        action = "keep" if kept is None else row["action"]
        tried = explained.trials.usable[name]
        n = int(_within(hp, kept, tried[~is_absent(tried)]).sum())
        rows.append({"name": name, "do": action, "where": where[name], "trials": n, "gain": gain, "row": row})
    return rows


def _within(hp, kept: Sequence | None, values: Sequence) -> np.ndarray:
    """Which values lie in a range or among choices; around a single number, within a tenth of the range."""
    if kept is None:
        return np.ones(len(values), bool)
    if not spaces.is_number(hp):
        return np.array([value in kept for value in values], dtype=bool)
    ends, unit = spaces.coordinate(hp, kept), spaces.coordinate(hp, values)
    margin = 0.05 if len(kept) == 1 else 1e-9
    return (unit >= ends.min() - margin) & (unit <= ends.max() + margin)


def _study(trials: Trials, metric: str, table: pd.DataFrame, charted: Sequence[str]) -> dict:
    """What the charts of the trials and the sliders need."""
    space, names = trials.space, spaces.varied(trials.space)
    unit = spaces.to_unit(space, table)
    on = spaces.active(space, unit)
    stops = {name: _stops(space, name) for name in names}
    best = table[metric].argmin() if trials.metrics[metric] == "minimize" else table[metric].argmax()
    nearest = [np.abs(stops[n][:, None] - u).argmin(0) for n, u in zip(names, unit.T)]
    return {
        "metric": metric,
        "goal": -1 if trials.metrics[metric] == "minimize" else 1,
        "hyperparameters": [_control(space, name, stops[name]) for name in names],
        "start": [int(near[best]) for near in nearest],
        "charted": [names.index(name) for name in charted],
        "trials": {
            "number": table.index.tolist(),
            "metric": _digits(table[metric].to_numpy(float), 6),
            "stop": np.transpose(nearest).tolist(),
            "unit": [[round(u, 4) if o else None for u, o in zip(*both)] for both in zip(unit.tolist(), on)],
        },
    }


def _stops(space, name: str) -> np.ndarray:
    """Coordinates that the slider of a hyperparameter can be set to."""
    return np.unique(spaces.snapped(space, name, spaces.grid(space, name, _N_STOPS)))


def _control(space, name: str, stops: np.ndarray) -> dict:
    hp = space[name]
    values, labels = figures.ticks(hp)
    return {
        "name": name,
        "labels": [_readable(v) for v in spaces.values(space, name, stops)],
        "unit": _digits(stops, 9),
        "inputs": _digits(spaces.columns(hp, stops), 9),
        "ticks": [*zip(_digits(spaces.coordinate(hp, values), 4), [t.replace("\\$", "$") for t in labels])],
        "ordered": spaces.is_number(hp),
    }


def _readable(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else figures.short(value)


def _model(ensemble) -> dict:
    """What the script needs to predict as the ensemble does, and to take a prediction apart."""
    space, n_members = ensemble.space, len(ensemble.members)
    names = spaces.varied(space)
    points = uncertainty.backgrounds(ensemble, 32, 0)
    encoded = [spaces.encoded(space, b) for b in points]
    n_orders = effects.N_ORDERS if len(names) > effects.MOST else 0
    orders = [effects.random_orders(len(names), n_orders, [0, k]).tolist() for k in range(n_members)]
    everywhere = ensemble.predict_unit(spaces.spread(space, 1024)).mean(0)
    stops = [_stops(space, name) for name in names]
    clause = lambda c: _clause(space, c, stops, np.concatenate(points))  # noqa: E731
    conditions = {n: [clause(c) for c in space.parent_conditions_of[n]] for n in space if n in names}
    quantile = stats.t.ppf((1 + uncertainty.LEVEL) / 2, n_members - 1) if n_members > 1 else 0.0
    members = [[_digits(p.numpy(), 12) for p in member.parameters()] for member in ensemble.members]
    # Gaussian processes share their centres.
    centres = [member.pop(0) for member in members] if ensemble.kind == "GP" else [None]
    return {
        "centres": centres[0],
        "members": members,
        "backgrounds": [_digits(b, 10) for b in encoded],
        "owner": spaces.inputs(space).tolist(),
        "fallback": _digits(spaces.encoded(space, spaces.default(space))[0], 10),
        "orders": orders if n_orders else None,
        "conditions": [[names.index(name), {"all": parts}] for name, parts in conditions.items() if parts],
        "forbidden": [clause(c) for c in space.forbidden_clauses],
        # As far as the interval of a mean reaches, in standard deviations of the members.
        "reach": uncertainty.CALIBRATION * quantile * (1 + 1 / n_members) ** 0.5,
        "limits": [float(everywhere.min()), float(everywhere.max())],
    }


def _clause(space, clause, stops: Sequence[np.ndarray], points: np.ndarray) -> dict:
    """A condition or a forbidden clause for the script: where it is met, at each stop and at each point."""
    if parts := getattr(clause, "components", None):
        word = "any" if isinstance(clause, OrConjunction) else "all"
        return {word: [_clause(space, part, stops, points) for part in parts]}
    names = spaces.varied(space)
    sides = [getattr(clause, side, None) for side in ("parent", "hyperparameter", "left", "right")]
    of = [names.index(side.name) for side in sides if side is not None and side.name in names]
    grid = np.array(np.meshgrid(*(stops[k] for k in of), indexing="ij")).reshape(len(of), -1)
    unit = np.repeat(spaces.default(space), grid.shape[1], axis=0)
    unit[:, of] = grid.T
    met = {"at": spaces.holds(space, clause, unit), "back": spaces.holds(space, clause, points)}
    return {"of": of} | {where: "".join("01"[int(m)] for m in truth) for where, truth in met.items()}


def _curve(curve: pd.DataFrame) -> dict:
    columns = {name: _digits(curve[name].fillna(0).to_numpy(), 4) for name in ("unit", "mean", "low", "high")}
    return columns | {"seen": (curve["support"] >= figures.LEAST_SUPPORT).tolist()}


def _words(name: str, curve: pd.DataFrame) -> str:
    """What a chart along a hyperparameter shows, for who does not see it."""
    low, high = (curve.loc[place] for place in (curve["mean"].idxmin(), curve["mean"].idxmax()))
    ends = [f"{end['mean']:+.2g} at {_readable(end['value'])}" for end in (low, high)]
    return f"SHAP values along {name}: their mean is lowest, {ends[0]}, and highest, {ends[1]}."


def _digits(array: np.ndarray, n: int) -> list:
    """An array as lists, its numbers with so many digits."""
    if np.ndim(array) > 1:
        return [_digits(row, n) for row in array]
    return [float(f"{v:.{n}g}") for v in array]
