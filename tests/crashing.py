"""What a kill or a power cut may leave of the files of a search: every state of the disk, one after another.

The calls to the file system are written down while something runs. Then each
beginning of that list is a kill, and a power cut besides: what was done to a
folder and not synced may be on the disk or not, each part of it for itself;
what was written to a file and not synced is there whole, in half or not at
all. (`os.replace` is atomic, not durable.)
"""

import io
import itertools
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

FOLDER = "a folder"


def tree(root):
    """Of all files within a folder the content, by path; of folders `FOLDER`."""
    return {
        p: FOLDER if p.is_dir() else p.read_bytes() for p in [root, *root.rglob("*")] if p.name != ".lock"
    }


def put(root, files):
    """Make a folder anew, with these files."""
    shutil.rmtree(root, ignore_errors=True)
    for path in sorted(files):
        path.mkdir(parents=True) if files[path] == FOLDER else path.write_bytes(files[path])


@contextmanager
def written_down(root):
    """The calls that change something within a folder, as tuples, in a list that grows."""
    log, contents = [], {}

    def looked():
        """Note what was written to the files by now."""
        for path, known in contents.items():
            if path.exists() and (found := path.read_bytes()) != known:
                contents[path] = found
                log.append(("data", path, found))

    def noted(name, call):
        def noting(first, *rest, **how):
            if name == "create" and "w" not in str(rest):
                return call(first, *rest, **how)
            looked()
            done = call(first, *rest, **how)
            if name == "sync":
                opened, folders = os.fstat(first), (p for p in root.rglob("*") if p.is_dir())
                there = [*contents, root, *folders]
                same = (p for p in there if p.exists() and os.path.samestat(p.stat(), opened))
                first = next(same, Path("/"))
            elif not isinstance(first, (str, Path)):
                return done
            if root in [Path(first), *Path(first).parents]:
                log.append((name, Path(first), *map(Path, rest[:1] if name == "replace" else ())))
                if name == "create":
                    contents[Path(first)] = b""
                elif name == "replace":
                    contents[Path(rest[0])] = contents.pop(Path(first), Path(rest[0]).read_bytes())
            return done

        return noting

    calls = {"create": (io, "open"), "sync": (os, "fsync"), "replace": (os, "replace")}
    calls |= {"unlink": (os, "unlink"), "mkdir": (os, "mkdir")}
    patches = [mock.patch.object(*at, noted(name, getattr(*at))) for name, at in calls.items()]
    for patch in patches:
        patch.start()
    try:
        yield log
    finally:
        for patch in patches:
            patch.stop()


def crashes(before, log):
    """What may be on the disk: (how many calls were made, the files), for each beginning of the list."""
    for made in range(len(log) + 1):
        # Of each file, by the path and moment of its making, what it may hold; of each name, which file.
        held = {path: [content] for path, content in before.items()}
        live, durable, pending = {p: p for p in before}, {p: p for p in before}, []
        for moment, (name, path, *more) in enumerate(log[:made]):
            if name in ("create", "mkdir"):
                live[path] = (path, moment)
                held[path, moment] = [b"" if name == "create" else FOLDER]
                pending.append((path.parent, {path: live[path]}))
            elif name == "data":
                held[live[path]] = [more[0], more[0][: len(more[0]) // 2], b""]
            elif name == "sync" and held[live[path]] != [FOLDER]:
                held[live[path]] = held[live[path]][:1]
            elif name == "sync":
                for folder, change in pending:
                    durable.update(change if folder == path else {})
                pending = [one for one in pending if one[0] != path]
            elif name == "replace":
                live[more[0]] = live.pop(path)
                pending.append((path.parent, {path: None, more[0]: live[more[0]]}))
            elif path in live:
                del live[path]
                pending.append((path.parent, {path: None}))
        for kept in itertools.product([True, False], repeat=len(pending)):
            names = dict(durable)
            for _, change in itertools.compress(pending, kept):
                names.update(change)
            there = {path: file for path, file in names.items() if file is not None}
            reached = [p for p in there if p in before or all(q in there for q in p.parents if q in live)]
            for contents in itertools.product(*(held[there[path]] for path in reached)):
                yield made, dict(zip(reached, contents))
