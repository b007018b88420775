"""UBAL written down once more, as plainly as its equations: one network, NumPy, loops over layers.

Indices are the equations': `beta[l]` for l = 0 … L; γ^F_l, l = 1 … L, is `gamma_f[l - 1]`; γ^B_l,
l = 0 … L - 1, is `gamma_b[l]`.
"""

import numpy as np


def sigma(a):
    return 1 / (1 + np.exp(-a))


def bias(a):
    return np.hstack([a, np.ones((len(a), 1))])


def activations(W, M, x, y):
    L = len(W)
    FP, FE, BP, BE = ([None] * (L + 1) for _ in range(4))
    FP[0] = x
    for l in range(L):
        FP[l + 1] = sigma(bias(FP[l]) @ W[l])
    BP[L] = y
    for l in reversed(range(L)):
        BP[l] = sigma(bias(BP[l + 1]) @ M[l])
    for l in range(L):
        FE[l] = sigma(bias(FP[l + 1]) @ M[l])
        BE[l + 1] = sigma(bias(BP[l]) @ W[l])
    return FP, FE, BP, BE


def updated(W, M, beta, gamma_f, gamma_b, rate, x, y):
    """The weights after one minibatch; those given are left as they are."""
    L = len(W)
    FP, FE, BP, BE = activations(W, M, x, y)
    t = [beta[l] * FP[l] + (1 - beta[l]) * BP[l] for l in range(L + 1)]
    new_W, new_M = [], []
    for l in range(L):
        forward = gamma_f[l] * FP[l + 1] + (1 - gamma_f[l]) * BE[l + 1]
        backward = gamma_b[l] * BP[l] + (1 - gamma_b[l]) * FE[l]
        new_W.append(W[l] + rate * bias(t[l]).T @ (t[l + 1] - forward))
        new_M.append(M[l] + rate * bias(t[l + 1]).T @ (t[l] - backward))
    return new_W, new_M
