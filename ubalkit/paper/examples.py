"""An objective to try the method on: hyperparameters of another model, of every kind.

``experiment.run(examples.svm())`` makes the trials that ``data/svm`` holds and
notebook 5 explains.
"""

import ConfigSpace as cs
import torch
from ConfigSpace import ConfigurationSpace

from ubalkit.experiment import Experiment
from ubalkit.paper import datasets


def svm(space: ConfigurationSpace | None = None, name: str = "svm") -> Experiment:
    """A support vector machine of scikit-learn: choices, conditions, logarithms and an integer.

    Parameters
    ----------
    space : ConfigurationSpace, optional
        A smaller one, for example.
    name : str
        Name of the experiment.

    Returns
    -------
    Experiment
        Its metric is the ``accuracy`` on test images.

    Examples
    --------
    >>> svm().evaluate([0, 1])["accuracy"].round(1).tolist()
    [1.0, 1.0]
    """
    space, directions = space or _svm_space(), {"accuracy": "maximize"}
    return Experiment(name, _svm, space, directions, n_configurations=500, chunk=25)


def _svm_space() -> ConfigurationSpace:
    space = ConfigurationSpace(name="svm")
    kernel = cs.Categorical("kernel", ["rbf", "poly", "linear"])
    gamma, degree = cs.Float("gamma", (1e-5, 1.0), log=True), cs.Integer("degree", (2, 5))
    cost, scaling = cs.Float("C", (1e-3, 1e3), log=True), cs.Categorical("scaling", ["none", "standard"])
    shrinking, tolerance = cs.Categorical("shrinking", ["yes", "no"]), cs.Float("tol", (1e-5, 1e-1), log=True)
    space.add([kernel, cost, gamma, degree, scaling, shrinking, tolerance])
    space.add(cs.InCondition(gamma, kernel, ["rbf", "poly"]), cs.EqualsCondition(degree, kernel, "poly"))
    return space


def _svm(configuration: dict, seed: int) -> float:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    data = datasets.load("digits")
    # A third of the training images, other ones each time: trials are noisy, as they are elsewhere.
    rows = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(seed))[:450]
    own = {k: v for k, v in configuration.items() if k not in ("scaling", "shrinking")}
    scaler = StandardScaler() if configuration["scaling"] == "standard" else "passthrough"
    model = make_pipeline(scaler, SVC(**own, shrinking=configuration["shrinking"] == "yes"))
    model.fit(data.x_train[rows].numpy(), data.y_train[rows].numpy())
    return model.score(data.x_test.numpy(), data.y_test.numpy())


ALL = {"svm": svm}
