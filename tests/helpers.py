"""What several tests need."""

import time

import numpy as np
import pandas as pd
import torch
from ConfigSpace import ConfigurationSpace, Float
from scipy import stats
from torch import nn

from ubalkit import uncertainty
from ubalkit.metamodel import Ensemble
from ubalkit.observations import Trials


def assert_same(one, other):
    """The same rows, bit for bit."""
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def chunk_files(folder):
    return sorted(folder.glob("*.chunk.json"))


def until(condition, what="It took too long.", timeout=180):
    """The first true answer of a function that is asked again and again."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return answer


def trials(table, space, **metrics):
    """Trials from a plain table: its metrics by name, each to ``maximize`` or ``minimize``."""
    table = table if "status" in table else table.assign(status="ok")
    return Trials(table, space, metrics)


def cube(names):
    """A space whose hyperparameters, in this order, are their own unit coordinates."""
    space = ConfigurationSpace()
    space.add([Float(name, (0.0, 1.0), meta={"position": k}) for k, name in enumerate(names)])
    return space


class Function(nn.Module):
    """A function of an array of unit coordinates as a member of an ensemble."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, u):
        return torch.as_tensor(self.f(u.numpy())).reshape(-1, 1)


def ensemble_of(space, *members, metric="y", quality=(1.0, 1.0, 1.0), **more):
    """An ensemble of hand-made members, networks or functions, of a given R²; nothing was fitted."""
    members = [m if isinstance(m, nn.Module) else Function(m) for m in members]
    quality = pd.DataFrame([quality], ["ensemble"], ["r2", "low", "high"])
    held_out, nothing = np.empty(0), np.empty((0, 1))
    return Ensemble(metric, space, members, quality, held_out, pd.DataFrame(), nothing, 0, **more)


def reach_of(n_members):
    """Half the width of a 90 % interval of an estimate from so many members, in standard deviations."""
    student = stats.t.ppf(0.95, n_members - 1)
    return uncertainty.CALIBRATION * student * (1 + 1 / n_members) ** 0.5
