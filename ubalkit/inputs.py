"""What comes from outside, numbers, texts and JSON files: as it shall be, or refused in a sentence."""

import json
import math
from pathlib import Path

import numpy as np

__all__ = ["whole", "real", "line", "mapping"]


def whole(name: str, value, least: int = 0) -> int:
    """A whole number of at least `least`.

    Raises
    ------
    ValueError
        For anything else, True and 1.0 among it.
    """
    if (type(value) is not int and not isinstance(value, np.integer)) or value < least:
        raise ValueError(f"{name} = {line(value)}; a whole number of at least {least} is needed.")
    return int(value)


def real(value) -> float:
    """The number that a value is or spells; NaN for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def line(value, most: int = 60) -> str:
    """A value as text on one line, of so many characters at most, all of which a file can hold."""
    return " ".join(str(value).split()).encode("utf-8", "backslashreplace").decode()[:most]


def mapping(path: Path) -> dict:
    """The plain values that a JSON file holds by name.

    Raises
    ------
    ValueError
        If it holds anything else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is not JSON ({line(error)}).") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: its JSON is no object.")
    return found
