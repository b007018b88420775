import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, configuration, settings

# The networks of the tests are tiny: threads would wait for each other far longer than they compute.
torch.set_num_threads(1)

# Where there is no CUDA device its kernels are interpreted; Triton reads this when it is first imported.
os.environ["TRITON_INTERPRET"] = str(int(not torch.cuda.is_available()))

# The same examples in every run of the same files, for Hypothesis takes constants from what is imported;
# and nothing kept in the tree. Examples never tried before, and how to repeat what fails:
# pytest --hypothesis-profile=new
configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir(), "ubalkit-hypothesis"))
SHARED = {
    "database": None,
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
}
settings.register_profile("same", derandomize=True, **SHARED)
settings.register_profile("new", print_blob=True, **SHARED)
settings.load_profile("same")


#: What takes longest begins first: at the end one process would be busy with it alone.
LONGEST = ["test_pipeline", "test_cluster", "test_docs", "test_paper_figures"]


def pytest_collection_modifyitems(items):
    """Files in the order in which ``make unit`` hands them to its processes."""
    place = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Hand-made networks are drawn alike whatever ran before, also those of a module's fixtures."""
    torch.manual_seed(0)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Everything that runs write goes to a folder of the test's own."""
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path))
    return tmp_path
