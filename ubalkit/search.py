"""The call of before: ``python -m ubalkit.search …`` is ``python -m ubalkit search …`` now, and so on."""

import sys

from ubalkit.__main__ import main

if __name__ == "__main__":
    given = sys.argv[1:]
    command = "merge" if "merge" in given[:1] else "verify" if "--verify" in given else "search"
    main([command, *("--rows" if word == "--verify" else word for word in given if word != "merge")])
