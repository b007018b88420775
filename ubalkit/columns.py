"""Columns: what the columns of a table of trials are, by their names and by what is in them."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import ConfigSpace as cs
import numpy as np
import pandas as pd
from ConfigSpace import Constant
from ConfigSpace.hyperparameters import Hyperparameter, IntegerHyperparameter

from ubalkit import space as spaces
from ubalkit.files import line

STATES = {
    word: state
    for state, words in {
        "ok": "ok complete completed success succeeded finished done terminated",
        "failed": "failed fail failure error crash crashed timeout memoryout invalid",
        "not finished": "running waiting pending paused killed aborted stopped preempting queued idle",
        "pruned": "pruned earlystopped",
    }.items()
    for word in words.split()
}
# How tools begin the names of hyperparameters, and of what they measure.
_SET = re.compile(r"(params?_|(config|params|parameters|hyperparameters|hparams|hp)[./])(?=.)")
METRIC = re.compile(r"(metrics[./]|values_|mean_test_)(?=.)")
# Levels that a choice may well have; trials too few to conclude from; correlation of ranks of what is one.
_MANY, FEW, SAME = 20, 5, 0.95
# Words in the names of columns: results of which the small ones are good, other results, ...
COSTS = set("time duration seconds secs sec minutes latency elapsed memory mem gb flops params".split())
COSTS |= {"zeit", "dauer"}
_AVERAGES = set("mean avg average median sem".split())
ERRORS = set("loss error errors err mse rmse mae mape smape nll logloss perplexity ppl regret cost".split())
ERRORS |= set("deviance wer cer fid brier misclassification fehler verlust".split())
_QUALITY = set("acc accuracy auc auroc auprc ap map f1 fscore precision recall score r2 r²".split())
_QUALITY |= set(
    "sensitivity specificity dice iou jaccard kappa mcc bleu ndcg mrr psnr ssim fitness sharpe".split()
)
_QUALITY |= set("profit pnl drawdown reward objective genauigkeit".split())
_RESULTS, _PARTS = ERRORS | _QUALITY | COSTS, set("train test val valid dev best".split())
# ... what is a result unless its values look as if somebody had set them, ...
_DOUBTFUL = set("rank std cost train test val valid validation cv epoch step iteration".split())
_HEDGES = set("n num max min total cost".split())
# ... what is set whatever else its name says, and by its logarithm, ...
_SETTINGS = set("weight weights coef coefficient beta threshold limit fraction scale size batch seed".split())
_SETTINGS |= set("steps function fn type kind penalty margin smoothing temperature drop dropout".split())
_SETTINGS |= set(
    "warmup window patience tolerance horizon factor depth units layers width hidden momentum".split()
)
_LOGARITHMIC = set("lr learning decay alpha lambda gamma reg l1 l2 eps epsilon tol".split())
_SETTINGS |= _LOGARITHMIC | set("estimators epochs".split())
# ... what says which trial it is, and how far.
IDENTITIES = set("id tid uuid trial run name number no nr job experiment".split())
PROGRESS = set("epoch step iteration iter training_iteration _step global_step budget resource".split())
# What stands beside the settings and results of W&B.
STATUS, _OWN = {"status", "state"}, {"value", "target", "result"}
WANDB = set("Name State Notes User Tags Created Runtime Sweep ID Group Hostname Description Commit".split())
_TEXTS = {
    "dates and times": r"(?s).*\b(19|20)\d\d[-/.]\d\d?[-/.]\d.*|.*\d:\d\d(:\d\d.*)?|\d+ days.*"
    r"|\d\d?[./]\d\d?[./](19|20)?\d\d( .*)?|[\d.]+ ?(s|ms|sec|seconds|min|minutes|h|hours)",
    "paths": r"(?s)([a-z0-9]+:/)?[./~]*/.*|[A-Za-z]:\\.*",
    "objects": r"(?s)\{.*\}",
}


def tool_prefix(names: Sequence[str]) -> str:
    """With what a tool began the names of hyperparameters, if this is a tool's table."""
    found = Counter(match.group() for name in names if (match := _SET.match(name)))
    prefix, n = next(iter(found.most_common(1)), ("", 0))
    # One such column may be anything's, but not beside these.
    sure = n > 1 or prefix[-1:] in "./" or {"number", "params", "value", "mean_test_score"} & {*names}
    return prefix if sure else ""


def words_of(name: str) -> set[str]:
    """The words in a column's name: val and acc in valAcc, val_acc, Val-Acc and valacc."""
    words = {*re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())}
    words |= {word.rstrip("0123456789") for word in words}
    glued = {(word.removesuffix(end), end) for word in words for end in _RESULTS if word.endswith(end)}
    return words | {end for start, end in glued if len(end) > 3 or start in _PARTS}


def state_of(value: object) -> str:
    """A word for how a trial went, as `STATES` has it: `TrialState.COMPLETE` and Complete are complete."""
    return re.sub(r".*\.|[\s_-]", "", str(value)).lower()


def column_of(wanted: str, rest: pd.DataFrame) -> str:
    """The column that a metric's name means: with or without what a tool puts before it, in any case."""
    short = {name: METRIC.sub("", name) for name in rest}
    exact = [name for name in rest if wanted in (name, short[name])]
    folded = [name for name in rest if wanted.lower() in (name.lower(), short[name].lower())]
    found = [wanted] if wanted in rest or not folded else exact if len(exact) == 1 else folded
    need_all([wanted] if len(found) > 1 else found, rest)
    return found[0]


def own_metrics(rest: pd.DataFrame, prefix: str) -> list[str]:
    """What a table's own tool explains, else the only column that looks like a metric."""
    own = [name for name in rest if prefix and re.fullmatch(r"value|mean_test_score", name)]
    several = [name for name in rest if prefix == "params_" and name.startswith("values_")]
    numbers = [name for name in rest if 2 * as_numbers(rest[name]).notna().sum() > len(rest)]
    numbers = [name for name in numbers if len({*rest[name].dropna()}) > 1]
    words = {name: words_of(name) for name in numbers}
    sure = [n for n in numbers if words[n] & (ERRORS | _QUALITY) and not words[n] & _SETTINGS]
    sure += [n for n in numbers if n not in sure and (METRIC.match(n) or n.lower() in _OWN)]
    best = [n for n in sure if not words[n] & (COSTS | {"train", "std", "rank", "split", "best"})]
    for found in (own, several, sure, best):
        if len(found) == 1 or (found and found is several):
            return found
    known = line(", ".join(best or sure or numbers or rest), 200)
    raise ValueError(f"No metric is named; say metric= one of {known}.")


COUNTS, FOLLOWS = "columns that count", "columns that follow the metric"


def reason_to_leave(values: pd.Series, metrics: pd.DataFrame, after: bool) -> str:
    """Why a column of an unknown table is no hyperparameter, or nothing."""
    present = values.dropna()
    numbers, distinct, n = as_numbers(present), present.map(str).nunique(), len(present)
    if distinct < 2:
        return "constant columns" if n else "empty columns"
    if re.fullmatch(r"status|(Unnamed: \d+)?", values.name):
        return "columns without a name of their own"
    if numbers.isna().any():
        return _reason_of_texts(present.map(str), distinct, numbers.isna().all())
    if (numbers.between(1e9, 2e9) | numbers.between(1e12, 2e12)).all():
        return "dates and times"
    if numbers.nunique() == n >= FEW and (numbers % 1 == 0).all():
        turns = {*np.sign(numbers.diff().dropna())}
        if len(turns) == 1 or np.ptp(numbers) == n - 1 or words_of(values.name) & IDENTITIES:
            return COUNTS
    return _reason_of_results(numbers, metrics.loc[present.index], after)


def _reason_of_texts(texts: pd.Series, distinct: int, only: bool) -> str:
    kind = next((why for why, pattern in _TEXTS.items() if texts.str.fullmatch(pattern).mean() > 0.9), "")
    many = distinct > max(_MANY, len(texts) / 2) or distinct > max(FEW, 0.8 * len(texts))
    return kind or ("texts that differ" if only and many else "")


def _reason_of_results(numbers: pd.Series, metrics: pd.DataFrame, after: bool) -> str:
    words, n, distinct = words_of(numbers.name), len(numbers), numbers.nunique()
    related = metrics.rank().corrwith(numbers.rank()).abs().max() if n >= 10 else 0
    drawn = 3 * distinct <= n or _even(numbers)
    if words & {"best", "fold", "completed", "generation"}:
        return "results"
    if words & _SETTINGS:
        return ""
    if words & (_RESULTS | _AVERAGES) and not words & (_HEDGES | {"cost"}):
        few = 3 * distinct <= n and distinct <= _MANY and (numbers % 1 == 0).all()
        return "" if few else "results"
    if words & (_RESULTS | _AVERAGES | _DOUBTFUL):
        return "" if related <= SAME and drawn else "results"
    return FOLLOWS if related > SAME and distinct == n and (after or not drawn) else ""


def _even(numbers: pd.Series) -> bool:
    """Whether numbers may have been drawn uniformly, or their logarithms (Kolmogorov-Smirnov, 5 %)."""
    return min(_distances(numbers)) * math.sqrt(len(numbers)) < 1.36


def _distances(numbers: pd.Series) -> tuple[float, float]:
    """How far numbers are from uniform between their ends, and their logarithms (Kolmogorov-Smirnov)."""
    share, places = numbers.rank(), [numbers, np.log(numbers) if numbers.min() > 0 else None]
    share, *places = (None if v is None else (v - v.min()) / np.ptp(v) for v in (share, *places))
    return tuple(math.inf if v is None else (share - v).abs().max() for v in places)


def guessed(values: pd.Series, cells: bool) -> tuple[object, str]:
    """What a mapping would say of a column: a range, choices or one value; and how its scale was found."""
    present = values[~is_absent(values)]
    numbers, texts = as_numbers(present), present.map(str).str.lower()
    if {*texts} <= {"true", "false"}:
        present = texts == "true"
    elif numbers.notna().all():
        return _range(numbers.astype(float), present)
    elif cells:
        words = present[numbers.isna() & present.map(lambda value: isinstance(value, str))]
        # Text among many numbers and decimal commas are no choices.
        wrong = words.str.fullmatch(r"[-+]?\d+,\d+").astype(bool) | (numbers.nunique() > _MANY)
        refuse_values(
            words, wrong, "is no number: correct it, state its choices in space, or name hyperparameters"
        )
        present = [_whole(number) if math.isfinite(number) else v for number, v in zip(numbers, present)]
    choices = sorted({*present}, key=lambda choice: (type(choice).__name__, choice))
    return (choices if len(choices) > 1 else choices[0]), ""


def _range(numbers: pd.Series, present: pd.Series) -> tuple[object, str]:
    """What a mapping would say of numbers, and how the scale was found."""
    distinct = sorted({*numbers})
    low, high = distinct[0], distinct[-1]
    # Beyond 64 bits a whole number is one of many that look alike.
    whole = (numbers % 1 == 0).all() and numbers.abs().max() < 2**62
    if low == high or (whole and len(distinct) == 2) or _of_two_kinds(distinct, present):
        choices = [_whole(number) for number in distinct] if low < high or whole else distinct
        return (choices if low < high else choices[0]), ""
    log, how = _scale(numbers, low, high)
    if whole:
        low, high = int(low), int(high)
    else:
        outwards = ((low, ROUND_FLOOR), (high, ROUND_CEILING))
        low, high = (float(Context(3, way).create_decimal(repr(float(number)))) for number, way in outwards)
    return (low, high, "log") if log else (low, high), how


def _of_two_kinds(distinct: list[float], present: pd.Series) -> bool:
    """Whether numbers are shares and counts, 0.1 and 2: no scale has both. 0.1, 1, 10 and 100 are on one."""
    shares, counts = [v for v in distinct if v < 1], [v for v in distinct if v >= 1]
    if not 1 < len(shares) <= _MANY or not 1 < len(counts) <= _MANY or shares[0] <= 0:
        return False
    written = present.map(lambda value: isinstance(value, int) or bool(re.fullmatch(r"\d+", str(value))))
    gaps = np.diff(np.log(distinct))
    return bool(np.std(gaps) > 0.3 * np.mean(gaps) and all(v % 1 == 0 for v in counts) and written.any())


def _scale(numbers: pd.Series, low: float, high: float) -> tuple[bool, str]:
    """Whether numbers are better seen by their logarithms, and why."""
    n = numbers.nunique()
    grid = n < 10 and np.ptp(numbers) != n - 1
    linear, log = _distances(numbers.drop_duplicates() if grid else numbers)
    fits, chosen = 0.1 if grid else 1.36 / math.sqrt(len(numbers)), log < (0.5 if grid else 0.75) * linear
    sure, chosen = min(linear, log) < fits < max(linear, log), chosen and high >= 4 * low
    # Where a search kept to one place, the name is the better witness.
    if min(linear, log) > fits and 0 < 100 * low <= high and words_of(numbers.name) & _LOGARITHMIC:
        chosen = True
    words = ("logarithmic", log, "linear", linear) if chosen else ("linear", linear, "logarithmic", log)
    how = "{} (distance from uniform {:.2f}; {} {:.2f})".format(*words)
    return chosen, ("" if sure else "unsure: ") + how if chosen or 0 < 10 * low <= high else ""


def _whole(number: float) -> float:
    return int(number) if number % 1 == 0 and abs(number) < 2**62 else number


def hyperparameter_of(spec: object, values: pd.Series, position: int) -> Hyperparameter:
    """The hyperparameter that a range, choices or one value mean."""
    name, meta = values.name, {"position": position}
    try:
        if not isinstance(spec, tuple):
            choices = [plain_value(choice) for choice in (spec if isinstance(spec, list) else [spec])]
            one = len(choices) == 1
            return Constant(name, *choices, meta=meta) if one else cs.Categorical(name, choices, meta=meta)
        low, high, how = (*spec, None) if len(spec) == 2 else spec
        step = None if how == "log" else how
        # Bounds that are infinite have no whole number of steps, which raises.
        steps = math.floor((high - low) / (step or 1) + 1e-9)
        if step is not None:
            meta |= {"step": step, "origin": low}
        if step is not None and steps < _MANY:
            grid = [round(low + step * k, 12) for k in range(steps + 1)]
            return cs.OrdinalHyperparameter(name, grid, meta=meta)
        whole = not isinstance(low + high, float) and (as_numbers(values).dropna() % 1 == 0).all()
        return (cs.Integer if whole else cs.Float)(name, (low, high), log=how == "log", meta=meta)
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        meant = "(low, high), (low, high, 'log'), (low, high, step), a list of choices that differ, one value"
        raise ValueError(f"{name}: {spec!r:.60} is none of {meant}.") from error


def legal_values(hp: Hyperparameter, values: pd.Series, cells: bool) -> pd.Series:
    """Values as the hyperparameter has them, NaN where missing."""
    if spaces.is_number(hp):
        numbers, whole = as_numbers(values), isinstance(hp, IntegerHyperparameter)
        inside = numbers.clip(hp.lower, hp.upper)
        # ConfigSpace keeps 13 decimals of a bound.
        right = ((inside - numbers).abs() < 1e-12) & ((inside % 1 == 0) | (not whole))
        taken = inside.where(right).astype("int64" if whole and right.all() else float)
    else:
        taken = _among(spaces.choices(hp), values, cells)
    refuse_values(values, is_absent(taken) & ~is_absent(values), f"lies outside its space: {line(hp, 150)}")
    return taken


def _among(choices: list, values: pd.Series, cells: bool) -> pd.Series:
    """The choices that values mean: themselves, or 0.30000000000000004 0.3 and TRUE True."""
    both = pd.Series([*choices, *values], dtype=object)
    numbers = as_numbers(both)
    keys = [*numbers.map("{:.9g}".format).where(numbers.notna(), both.map(str).str.lower())]
    known = dict(zip(keys, choices)) | {choice: choice for choice in choices}
    if cells and None in choices:
        known["nan"] = None
    found = [known.get(value, known.get(key, math.nan)) for value, key in zip(values, keys[len(choices) :])]
    return pd.Series(found, values.index, dtype=object)


def as_numbers(values: pd.Series) -> pd.Series:
    """The numbers that values are or spell, NaN for others."""
    return pd.to_numeric(values.where(~values.map(lambda value: isinstance(value, bool))), errors="coerce")


def is_absent(values: pd.Series) -> pd.Series:
    """Where a trial has no value; None is one."""
    return values.isna() & ~values.map(lambda value: value is None)


def plain_value(value: object) -> object:
    """A value as Python's own None, bool, number or text."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__name__", None) or " ".join(str(value).split())


def refuse_values(values: pd.Series, wrong: pd.Series, why: str) -> None:
    """Refuse the first value that is wrong."""
    if wrong.any():
        row = wrong.idxmax()
        raise ValueError(f"Trial {row} has {line(values.name)} = {values[row]!r:.60}, which {why}.")


def need_all(wanted: Iterable[str], there: Iterable[str]) -> None:
    """Refuse names that a table does not have."""
    for name in wanted:
        if name not in there:
            known = line(", ".join(there), 200)
            raise ValueError(f"There is no column {name!r:.60} to use; there are {known}.")


def checked_directions(metrics: Sequence[str], direction: str | Sequence[str]) -> dict[str, str]:
    """The direction of each metric, given one for all of them or one each."""
    directions = [direction] * len(metrics) if isinstance(direction, str) else list(direction)
    if not 0 < len({*metrics}) == len(metrics) == len(directions) or {*directions} - {"maximize", "minimize"}:
        what = f"The direction {direction!r:.60} of {', '.join(metrics):.100} is not maximize or minimize"
        raise ValueError(f"{what}, one for each metric with a name of its own.")
    return dict(zip(metrics, directions))
