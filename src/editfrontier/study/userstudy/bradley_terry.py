"""Strengths from paired comparisons with ties: Davidson's extension of the model of Bradley and Terry.

With log strengths s and log tie parameter t, outcomes of a comparison of i and j have the log odds

    i wins: s_i,    j wins: s_j,    tie: t + (s_i + s_j) / 2

(Bradley and Terry 1952; Davidson 1970, equation 2.2). It is a multinomial logit model: its likelihood is concave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from editfrontier.statistics.bootstrap import Array
from editfrontier.study.userstudy.design import editor_pairs

_ITERATIONS = 100
_STEP = 2.0
"""Longest Newton step in any parameter, so that the first steps from zero cannot overshoot."""
_TOLERANCE = 1e-9
PRIOR_SD = 5.0
"""Standard deviation of the normal prior of strengths and tie parameter, in log odds. It keeps an editor that never
lost finite; odds of 150 to 1 are one standard deviation, so that it moves no strength that data determine."""


@dataclass(frozen=True)
class Strengths:
    """Estimates of B data sets. log_strength: [B,K], mean zero, NaN where comparisons do not connect all items.
    log_tie: [B], -inf where nothing was tied."""

    log_strength: Array
    log_tie: Array

    def win_rate(self) -> Array:
        """Return [B,K], how likely each wins a comparison with one of the others, a tie counted as half, on average."""
        s = self.log_strength
        count = s.shape[1]
        odds = np.exp(s[:, :, None] - s[:, None, :])
        tie = np.exp(self.log_tie)[:, None, None] * np.sqrt(odds)
        won = (odds + tie / 2) / (odds + 1 + tie)
        won[:, range(count), range(count)] = 0.0
        return np.asarray(won.sum(axis=2) / (count - 1))


def fit(counts: Array, items: int, prior_sd: float | None = PRIOR_SD) -> Strengths:
    """Fit the model to several data sets at once.

    Args:
        counts: [B,P,3], how often the first won, the second won, and neither did, for each pair of
            `editor_pairs(items)`; any nonnegative weights.
        prior_sd: of a normal prior; None = maximum likelihood, which is infinite for an item that never lost or won.

    Returns:
        The estimates.
    """
    pairs = np.array(editor_pairs(items))
    design = np.zeros((len(pairs), 3, items + 1))
    for index, (i, j) in enumerate(pairs):
        design[index, 0, i] = design[index, 1, j] = design[index, 2, items] = 1.0
        design[index, 2, [i, j]] = 0.5
    n = counts.sum(axis=2)
    ties = counts[:, :, 2].sum(axis=1) > 0
    # Without ties their parameter has no finite estimate: it leaves the model.
    open_outcome = np.ones((len(counts), 1, 3))
    open_outcome[~ties, :, 2] = 0.0
    observed = np.einsum("bpo,pok->bk", counts, design)
    precision = np.zeros(items + 1) if prior_sd is None else np.full(items + 1, prior_sd**-2.0)
    # The mean of the strengths is free; a ridge along it alone fixes it at zero and changes no difference.
    ridge = np.diag(precision)
    ridge[:items, :items] += 1.0 / items
    theta = np.zeros((len(counts), items + 1))
    for _ in range(_ITERATIONS):
        p = np.exp(np.einsum("pok,bk->bpo", design, theta)) * open_outcome
        p /= p.sum(axis=2, keepdims=True)
        expected = np.einsum("bpo,bp,pok->bk", p, n, design)
        mean = np.einsum("bpo,pok->bpk", p, design)
        information = np.einsum("bpo,bp,pok,pol->bkl", p, n, design, design, optimize=True)
        information -= np.einsum("bp,bpk,bpl->bkl", n, mean, mean, optimize=True)
        gradient = observed - expected - theta @ ridge
        hessian = information + ridge
        gradient[~ties, items] = 0.0
        hessian[~ties, items, :] = 0.0
        hessian[~ties, :, items] = 0.0
        hessian[~ties, items, items] = 1.0
        try:
            step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:  # an item without comparisons, and no prior
            step = (np.linalg.pinv(hessian, hermitian=True) @ gradient[:, :, None])[:, :, 0]
        theta += step * np.minimum(1.0, _STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
        if np.abs(step).max() < _TOLERANCE:
            break
    strength = theta[:, :items] - theta[:, :items].mean(axis=1, keepdims=True)
    strength[~_connected(n > 0, pairs, items)] = np.nan
    return Strengths(strength, np.where(ties, theta[:, items], -np.inf))


def _connected(compared: npt.NDArray[np.bool_], pairs: npt.NDArray[np.intp], items: int) -> npt.NDArray[np.bool_]:
    """Return [B], whether comparisons connect all items, directly or through others. compared: [B,P]."""
    reach = np.broadcast_to(np.eye(items, dtype=bool), (len(compared), items, items)).copy()
    for index, (i, j) in enumerate(pairs):
        reach[:, i, j] |= compared[:, index]
        reach[:, j, i] |= compared[:, index]
    for _ in range(int(np.ceil(np.log2(max(items, 2))))):
        reach = (reach.astype(np.intp) @ reach.astype(np.intp)) > 0
    return np.asarray(reach.all(axis=(1, 2)))
