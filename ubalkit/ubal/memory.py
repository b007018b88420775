"""Memory for networks side by side: whole registers, so that what trains beside a network changes no bit.

A network's last bits must not depend on its neighbours: chunks of any size
shall give the same table. σ rounds differently in the last, incomplete vector
register of a tensor, so every tensor ends at a whole one. Products round
differently where a matrix starts off the boundary of a small register, so
networks whose matrices do not fill these lie apart.
"""

from torch import Tensor

_REGISTER, _SMALL_REGISTER = 64, 8


def memory(n_networks: int, rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Uninitialised whole registers, and a tensor in them: contiguous where that is harmless.

    Returns
    -------
    flat : Tensor
        All of the memory.
    view : Tensor, shape (n_networks, rows, columns)
    """
    size = rows * columns
    if size % _SMALL_REGISTER:
        blocks = like.new_empty(n_networks, -(size // -_REGISTER) * _REGISTER)
        return blocks, blocks[:, :size].view(n_networks, rows, columns)
    flat = like.new_empty(-(n_networks * size // -_REGISTER) * _REGISTER)
    return flat, flat[: n_networks * size].view(n_networks, rows, columns)


def copied(matrices: Tensor) -> Tensor:
    """A copy of matrices (n_networks, rows, columns) in such memory."""
    return memory(*matrices.shape, like=matrices)[1].copy_(matrices)


def harmless(value: Tensor) -> bool:
    """Whether a tensor may stay where it is: all networks share it, or its matrices fill small registers."""
    return value.dim() == 2 or value[0].numel() % _SMALL_REGISTER == 0


class Kept(dict):
    """Memory of activations by key and shape: fresh memory for every product would cost page faults."""

    def __call__(self, key, *shape: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The memory of a key and shape; see `memory`."""
        if (key, shape) not in self:
            self[key, shape] = memory(*shape, like=like)
        return self[key, shape]
