import pytest
import torch

# The networks of the tests are tiny: threads would wait for each other far longer than they compute.
torch.set_num_threads(1)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Everything that runs write goes to a folder of the test's own."""
    monkeypatch.setenv("UBALKIT_RUNS", str(tmp_path))
    return tmp_path
