"""UBAL networks in a file: weights as safetensors, the rest as JSON in its header.

Nothing in the file is code: a file from elsewhere can be refused, but it
cannot run anything.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

import ubalkit
from ubalkit.observations import write_atomically
from ubalkit.ubal import UBAL

__all__ = ["save", "load", "VERSION"]

#: Of the layout of the file: one of another version is refused.
VERSION = 1

_DTYPES = {"F32": torch.float32, "F64": torch.float64}
_NUMBERS, _LISTS = ("learning_rate", "init_std"), ("beta", "gamma_f", "gamma_b")
_TYPES = {"version": int, "ubalkit": str, "dtype": str, "layers": list, "seeds": list}
_TYPES |= dict.fromkeys(_NUMBERS, float) | dict.fromkeys(_LISTS, list)

# What hostile JSON and sizes raise in json, safetensors, torch and UBAL.
_REFUSED = (SafetensorError, OSError, ValueError, TypeError, RuntimeError)


def save(net: UBAL, path: str | Path) -> None:
    """Write networks to a file, whole or not at all.

    Beside the weights it holds all that training goes on from: the
    hyperparameters to the last bit and the states of the generators, so that
    a loaded network sees the data in the order in which the saved one would
    have.

    Parameters
    ----------
    net : UBAL
    path : path
        Commonly ends in ``.safetensors``.

    Raises
    ------
    ValueError
        If the file cannot be written.
    """
    tensors = {f"{side}.{l}": w.cpu() for side in "WM" for l, w in enumerate(getattr(net, side))}
    tensors["generators"] = torch.stack([g.get_state() for g in net._generators])
    about = {"version": VERSION, "ubalkit": ubalkit.__version__, "layers": net.layers, "seeds": net.seeds}
    about["dtype"] = next(name for name, dtype in _DTYPES.items() if dtype == net.dtype)
    about |= {name: getattr(net, name) for name in _NUMBERS}
    about |= {name: getattr(net, name).tolist() for name in _LISTS}
    write_atomically(Path(path), to_bytes(tensors, {"ubal": json.dumps(about)}))


def load(path: str | Path, *, layers: Sequence[int] | None = None, device="cpu") -> UBAL:
    """Read networks that `save` wrote, the same to the last bit.

    Parameters
    ----------
    path : path
    layers : sequence of int, optional
        Sizes of the layers that the networks must have; any by default.
    device : str or torch.device
        Where the weights shall be.

    Returns
    -------
    UBAL

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, holds something else, was written in another
        version of the layout, or its networks have other layers than `layers`.
    """
    try:
        with safe_open(path, "pt") as file:
            about = _header(file.metadata() or {})
            if layers is not None and list(layers) != about["layers"]:
                raise ValueError(f"layers {about['layers']} where {list(layers)} are needed.")
            views = {name: file.get_slice(name) for name in file.keys()}
            _compare({name: (v.get_dtype(), *v.get_shape()) for name, v in views.items()}, about)
            tensors = {name: file.get_tensor(name) for name in views}
        given = {name: about[name] for name in (*_LISTS, *_NUMBERS)}
        dtype = _DTYPES[about["dtype"]]
        net = UBAL(about["layers"], **given, seed=about["seeds"], device=device, dtype=dtype)
        net.W, net.M = ([tensors[f"{side}.{l}"] for l in range(len(net.layers) - 1)] for side in "WM")
        for generator, state in zip(net._generators, tensors["generators"]):
            generator.set_state(state.clone())
    except FileNotFoundError:
        raise
    except _REFUSED as error:
        raise ValueError(f"{path} cannot be loaded as UBAL networks: {error}") from error
    return net


def _header(metadata: dict[str, str]) -> dict:
    about = json.loads(metadata.get("ubal", "{}"))
    version = about.get("version") if isinstance(about, dict) else None
    if type(version) is not int:
        raise ValueError("its header does not say that it holds any.")
    if version != VERSION:
        raise ValueError(f"version {version} where this ubalkit reads version {VERSION}.")
    if {name: type(value) for name, value in about.items()} != _TYPES:
        raise ValueError(f"its header does not have the settings {', '.join(_TYPES)}, or has others.")
    return about


def _compare(found: dict[str, tuple], about: dict) -> None:
    # Before anything is made of these sizes: what passes is no larger than the file.
    n_networks, dtype = len(about["beta"]), about["dtype"]
    dtype = dtype if dtype in _DTYPES else " or ".join(_DTYPES)
    needed = {"generators": ("U8", n_networks, *torch.Generator().get_state().shape)}
    for l, (n, m) in enumerate(itertools.pairwise(about["layers"])):
        needed |= {f"W.{l}": (dtype, n_networks, n + 1, m), f"M.{l}": (dtype, n_networks, m + 1, n)}
    for name in sorted(found.keys() | needed.keys()):
        has, needs = found.get(name, "nothing"), needed.get(name, "nothing")
        if has != needs:
            raise ValueError(f"{has} as {name:.40} where {needs} is needed.")
