"""Ridge regression of many columns on sparse rows, by conjugate gradients (Hestenes & Stiefel 1952).

All columns go through the same products, each with step lengths of its own. Stopping early is part of the shrinkage:
what few prompts share is fitted last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gateway.routing.features import ROWS, Features

Floats = NDArray[np.float32]

ITERATIONS = 16
TOLERANCE = 0.03
"""Of the gradient's norm, at which a column is good enough."""


def rows_of(prompts: Sequence[str]) -> sparse.csr_array:
    """One row of unit length per prompt, with as many entries as it has features."""
    features = Features()
    found = [features(prompt) for prompt in prompts]
    sizes = np.array([len(each) for each in found], np.int64)
    ends = np.concatenate(([0], np.cumsum(sizes)))
    values = np.repeat(1.0 / np.sqrt(sizes), sizes).astype(np.float32)
    columns = np.concatenate(found) if found else np.empty(0, np.int64)
    return sparse.csr_array((values, columns.astype(np.int32), ends.astype(np.int32)), shape=(len(prompts), ROWS))


def solve(rows: sparse.csr_array, targets: Floats, penalty: float, iterations: int = ITERATIONS) -> Floats:
    """The weights (features × columns) that bring ``rows @ weights`` near ``targets`` (rows × columns).

    A target of NaN counts for nothing. ``penalty`` is that of the squared weights; a row's length is 1.
    """
    known = None if not np.isnan(targets).any() else (~np.isnan(targets)).astype(np.float32)
    turned = rows.T.tocsr()
    weights = np.zeros((rows.shape[1], targets.shape[1]), np.float32)
    rest = turned @ np.nan_to_num(targets)
    direction = rest.copy()
    before = first = (rest * rest).sum(0)
    for _ in range(iterations):
        image = rows @ direction
        if known is not None:
            image *= known
        image = turned @ image
        image += np.float32(penalty) * direction
        step = before / np.maximum((direction * image).sum(0), 1e-20)
        weights += step * direction
        rest -= step * image
        after = (rest * rest).sum(0)
        if (after <= TOLERANCE**2 * first).all():
            break
        direction *= after / np.maximum(before, 1e-20)
        direction += rest
        before = after
    return weights
