"""Two objectives to try the method on: hyperparameters of other models, of every kind.

Both read scikit-learn's digits. ``search.run(examples.svm())`` makes the
trials that ``data/svm`` holds and notebook 5 explains.
"""

import ConfigSpace as cs
import torch
from ConfigSpace import ConfigurationSpace

from ubalkit import datasets
from ubalkit.experiment import Experiment

__all__ = ["svm", "torch_mlp", "ALL"]


def svm(space: ConfigurationSpace | None = None, name: str = "svm") -> Experiment:
    """A support vector machine of scikit-learn: choices, conditions, logarithms and an integer.

    Parameters
    ----------
    space : ConfigurationSpace, optional
        A smaller one, for example.
    name : str

    Returns
    -------
    Experiment
        Its metric is the ``accuracy`` on test images.
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
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import SVC

    data = datasets.load("digits")
    # A third of the training images, other ones each time: trials are noisy, as they are elsewhere.
    rows = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(seed))[:450]
    own = {k: v for k, v in configuration.items() if k not in ("scaling", "shrinking")}
    scaler = StandardScaler() if configuration["scaling"] == "standard" else FunctionTransformer()
    model = make_pipeline(scaler, SVC(**own, shrinking=configuration["shrinking"] == "yes"))
    model.fit(data.x_train[rows].numpy(), data.y_train[rows].numpy())
    return model.score(data.x_test.numpy(), data.y_test.numpy())


def torch_mlp() -> Experiment:
    """A network of torch with one hidden layer, five epochs: two metrics, one to be minimised."""
    space = ConfigurationSpace(name="torch_mlp")
    optimizer, momentum = cs.Categorical("optimizer", ["sgd", "adam"]), cs.Float("momentum", (0.0, 0.99))
    rate = cs.Float("learning_rate", (1e-4, 1.0), log=True)
    decay = cs.Float("weight_decay", (1e-6, 1e-1), log=True)
    width = cs.Integer("width", (4, 256), log=True)
    batch_size = cs.OrdinalHyperparameter("batch_size", [16, 32, 64, 128, 256])
    space.add([optimizer, rate, momentum, decay, width, batch_size])
    space.add(cs.EqualsCondition(momentum, optimizer, "sgd"))
    directions = {"accuracy": "maximize", "loss": "minimize"}
    return Experiment("torch_mlp", _torch_mlp, space, directions, n_configurations=300, chunk=25)


def _torch_mlp(configuration: dict, seed: int) -> dict[str, float]:
    data, generator = datasets.load("digits"), torch.Generator().manual_seed(seed)
    width, rate, decay = (configuration[k] for k in ("width", "learning_rate", "weight_decay"))
    layers = [torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)]
    model = torch.nn.Sequential(*layers)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=p.shape[-1] ** -0.5, generator=generator)
    if configuration["optimizer"] == "sgd":
        momentum = configuration["momentum"]
        optimizer = torch.optim.SGD(model.parameters(), rate, momentum=momentum, weight_decay=decay)
    else:
        optimizer = torch.optim.Adam(model.parameters(), rate, weight_decay=decay)
    loss = torch.nn.CrossEntropyLoss()
    for _ in range(5):
        for rows in torch.randperm(len(data.x_train), generator=generator).split(configuration["batch_size"]):
            optimizer.zero_grad()
            loss(model(data.x_train[rows]), data.y_train[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        scores = model(data.x_test)
    accuracy = (scores.argmax(1) == data.y_test).double().mean()
    return {"accuracy": accuracy.item(), "loss": loss(scores, data.y_test).item()}


ALL = {"svm": svm, "torch_mlp": torch_mlp}
