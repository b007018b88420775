"""What nbval compares, and how long it waits, when it checks the notebooks of this folder."""


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):
        # Warnings and progress bars go to stderr; they name paths, versions and rates.
        collector.skip_compare = (*collector.skip_compare, "stderr")


def pytest_itemcollected(item):
    if hasattr(item, "output_timeout"):
        # Seconds for the messages after a cell: nbval's 5 are too few on a busy machine.
        item.output_timeout = 60
