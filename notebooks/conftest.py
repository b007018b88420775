"""What nbval compares, and how long it waits, when it checks the notebooks of this folder.

Words and whole numbers have to be the same. Decimal fractions may differ as
`ubalkit.paper.results.settled` says: they do, in their last digits, between
processors. Widths of columns follow them.
"""

import re

from ubalkit.paper.results import settled


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):
        # Warnings and progress bars go to stderr; they name paths, versions and rates.
        collector.skip_compare = (*collector.skip_compare, "stderr")


def pytest_itemcollected(item):
    if hasattr(item, "output_timeout"):
        # Seconds for the messages after a cell: nbval's 5 are too few on a busy machine.
        item.output_timeout = 60
        compare = item.compare_outputs
        item.compare_outputs = lambda new, old, *skip: compare(*close(new, old), *skip)


def texts(output):
    """What holds the texts of an output, by their keys."""
    return {key: output for key in ("text",) if key in output} | dict.fromkeys(
        output.get("data", {}), output.get("data")
    )


def close(new, old):
    """Outputs of a cell and those it had, where fractions that are close are the old ones."""
    for here, there in zip(new, old):
        olds = texts(there)
        for key, holder in texts(here).items():
            if key in olds and isinstance(holder[key], str) and not key.startswith("image/"):
                olds[key][key] = re.sub(" +", " ", olds[key][key])
                holder[key] = re.sub(" +", " ", settled(holder[key], olds[key][key]))
    return new, old
