"""UBAL networks in a file: weights as safetensors, the rest as JSON in its header.

Nothing in the file is code: a file from elsewhere can be refused, but it
cannot run anything.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

import ubalkit
from ubalkit import files
from ubalkit.ubal.network import UBAL

#: Of the layout of the file: one of another version is refused.
VERSION = 1

_DTYPES = {"F32": torch.float32, "F64": torch.float64}
_NUMBERS, _LISTS = ("learning_rate", "init_std"), ("beta", "gamma_f", "gamma_b")


def save(net: UBAL, path: str | Path) -> None:
    """Write networks to a file, whole or not at all.

    Beside the weights it holds all that training goes on from: the
    hyperparameters to the last bit and the states of the generators, so that
    a loaded network sees the data in the order in which the saved one would
    have.

    Parameters
    ----------
    net : UBAL
        The networks.
    path : path
        Commonly ends in ``.safetensors``.

    Raises
    ------
    ValueError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> net = UBAL([2, 2], [0.5, 0.5], [0.5], [0.5])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(net, f"{folder}/net.safetensors")
    ...     again = load(f"{folder}/net.safetensors")
    >>> torch.equal(again.W[0], net.W[0])
    True
    """
    tensors = {f"{side}.{l}": w.cpu() for side in "WM" for l, w in enumerate(getattr(net, side))}
    tensors["generators"] = torch.stack([g.get_state() for g in net._generators])
    about = {"version": VERSION, "ubalkit": ubalkit.__version__, "layers": net.layers, "seeds": net.seeds}
    about["dtype"] = next(name for name, dtype in _DTYPES.items() if dtype == net.dtype)
    about |= {name: getattr(net, name) for name in _NUMBERS}
    about |= {name: getattr(net, name).tolist() for name in _LISTS}
    files.write(Path(path), to_bytes(tensors, {"ubal": json.dumps(about)}))


def load(path: str | Path, *, device="cpu") -> UBAL:
    """Read networks that `save` wrote, the same to the last bit.

    Parameters
    ----------
    path : path
        The file.
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
        If the file is damaged, holds something else, or was written in another
        version of the layout.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("ubal", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if about.get("version") != VERSION:
            raise ValueError(f"version {about.get('version')} where this ubalkit reads version {VERSION}.")
        given = {name: about[name] for name in (*_LISTS, *_NUMBERS)}
        dtype = _DTYPES[about["dtype"]]
        net = UBAL(about["layers"], **given, seed=about["seeds"], device=device, dtype=dtype)
        net.W, net.M = ([tensors[f"{side}.{l}"] for l in range(len(net.layers) - 1)] for side in "WM")
        for generator, state in zip(net._generators, tensors["generators"]):
            generator.set_state(state.clone())
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be loaded as UBAL networks: {error}") from error
    return net
