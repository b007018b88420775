"""The call of before: ``python -m ubalkit.pipeline …`` is ``python -m ubalkit notebooks …`` now."""

import sys

from ubalkit.__main__ import main

if __name__ == "__main__":
    given = sys.argv[1:]
    main(["own" if "--own" in given else "notebooks", *(word for word in given if word != "--own")])
