"""Two hidden layers through the whole way: space, search, Fig. 3, and the rule in all three layers.

``python tests/benchmarks/two_layers.py`` trains 1 000 networks 64–50–30–10 on digits, writes Fig. 3 into
``figures`` and what the page "Your own data and sizes" quotes into ``data/results``.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from ubalkit import explain, figures, files, run, uncertainty
from ubalkit.paper import protocols, results
from ubalkit.paper.figures import UBAL


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "two_layers.json").write_text(json.dumps({"base": "digits", "hidden": [50, 30]}))
        protocol = protocols.find(str(folder / "two_layers.json"))
        trials = run(protocol, progress=True)
        found = {"n": results.Result(len(trials), unit="networks")}
        explained = {metric: explain(trials, metric, progress=True) for metric in protocols.METRICS}
        figures.use(UBAL)
        points = figures.fig3_frame({metric: e.at_trials.shap() for metric, e in explained.items()})[0]
        curves = figures.fig3_frame({metric: e.shap for metric, e in explained.items()})[1]
        trusts = {metric: e.trust for metric, e in explained.items()}
        figures.save(figures.fig3(points, curves, protocol.space, trusts), files.figures(), "fig3_two_layers")
        table, rng = trials.usable, np.random.default_rng(0)
        obeyed = sum((table[f"gammaF_{k}"] > table[f"beta_{k + 1}"]).astype(int) for k in (1, 2, 3))
        for metric, e in explained.items():
            short = metric.removesuffix("_accuracy")
            found[f"r2_{short}"] = results.Result(e.trust.r2, e.trust.low, e.trust.high)
            found[f"first_{short}"] = results.Result(", ".join(e.table.index[:3]), unit="hyperparameters")
            found[f"rules_{short}"] = results.Result("; ".join(map(str, e.rules)))
            for layers, values in table[metric].groupby(obeyed):
                numbers = uncertainty.bootstrap(lambda x: x.mean(-1), values.to_numpy(), seed=rng)
                found[f"rule_{layers}_{short}"] = results.Result(*numbers)
        results.save(found, folder, "two_layers")
        results.publish(folder, files.data("results") / "two_layers.csv")


if __name__ == "__main__":
    main()
