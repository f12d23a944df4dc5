"""Roles against read-write classes: counts, what chance would give, and tests of the association."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int8
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.stats.classes import UNDEFINED, UNDEFINED_CODE, RWClass
from rwcore.stats.roles.choose import ROLES

DRAWS = 9999
SEED = 2512800


@dataclass(frozen=True)
class Association:
    """How role and class hang together.

    Attributes:
        neurons: Neurons counted.
        statistic: Pearson's ``X² = Σ (count - expected)²/expected``.
        dof: Degrees of freedom, (roles - 1)·(classes - 1), rows and columns without neurons left out; 0 if
            there is nothing to test. None where the reference distribution is not chi-square.
        p: Probability of such an X² if role and class were independent, from the chi-square distribution;
            NaN with dof 0, None where it is not the reference.
        cramers_v: ``√(X²/(n·(min(roles, classes) - 1)))``: 0 for none, 1 for a perfect association; NaN with
            dof 0, None for a test within layers.
        p_permutation: The same probability from tables with the same margins drawn at random,
            ``(1 + draws at least as extreme)/(1 + draws)``. The one to trust: expected counts of rare
            roles and classes are far below what chi-square needs. NaN if there is nothing to test.
        smallest_expected: Smallest expected count.
        draws: Number of drawn tables.
        seed: Seed they were drawn with.
    """

    neurons: int
    statistic: float
    dof: int | None
    p: float | None
    cramers_v: float | None
    p_permutation: float
    smallest_expected: float
    draws: int
    seed: int


def members(codes: Int8[Tensor, "layer neuron"]) -> dict[str, Bool[Tensor, "layer neuron"]]:
    """Which neurons have which of the exclusive roles, by name, in the order of `ROLES`."""
    return {role: codes == code for code, role in enumerate(ROLES)}


def contingency(
    roles: Int8[Tensor, "layer neuron"] | Mapping[str, Bool[Tensor, "layer neuron"]],
    codes: Int8[Tensor, "class_layer class_neuron"],
    classes: Sequence[RWClass],
) -> pd.DataFrame:
    """How many neurons of each role are of each class, and how many would be by chance.

    Args:
        roles: Codes from `rwcore.stats.roles.choose.choose_roles`, or which neurons have a role, by its
            name; such roles may overlap.
        codes: Class of every neuron, from `rwcore.stats.classes.class_codes`.
        classes: What the class codes stand for.

    Returns:
        ``role``, ``class`` (canonical order; ``undefined`` last, only if there are such neurons), ``count``,
        ``expected``: neurons of the role times neurons of the class over all neurons. A row for every role
        and class, also if there are none.

    Raises:
        OptionError: Roles and classes are of different models.

    Source: RW functionalities, appendix on functional roles; section 7.1 of the specification.
    """
    named = roles if isinstance(roles, Mapping) else members(roles)
    names = [one.name for one in classes]
    by_class = {name: codes == code for code, name in enumerate(names)}
    undefined = codes == UNDEFINED_CODE
    if undefined.any():
        by_class[UNDEFINED] = undefined
    rows = []
    for role, chosen in named.items():
        _check_shapes(chosen, codes)
        for name, belongs in by_class.items():
            expected = int(chosen.sum()) * int(belongs.sum()) / codes.numel()
            rows.append((role, name, int((chosen & belongs).sum()), expected))
    frame = pd.DataFrame(rows, columns=["role", "class", "count", "expected"])
    return frame.astype({"role": "str", "class": "str", "count": "int64", "expected": "float64"})


def _check_shapes(roles: Tensor, codes: Tensor) -> None:
    if roles.shape != codes.shape:
        raise OptionError(
            f"roles of {tuple(roles.shape)} neurons are crossed with classes of {tuple(codes.shape)}",
            remedy="take both from one model",
        )


def association_test(table: pd.DataFrame, *, draws: int = DRAWS, seed: int = SEED) -> Association:
    """Whether role and class hang together, over the whole model.

    Args:
        table: From `contingency` with exclusive roles; rows of undefined neurons are left out.
        draws: Number of random tables with the same margins.
        seed: Seed of the draws.

    Raises:
        OptionError: The roles overlap, so that neurons are counted twice, or ``draws`` is less than 1.
    """
    if not set(table["role"]) <= set(ROLES):
        raise OptionError(
            f"roles that may overlap cannot be tested: {sorted(set(table['role']) - set(ROLES))}",
            remedy=f"keep the rows of {', '.join(ROLES)}",
        )
    defined = table[table["class"] != UNDEFINED]
    counts = defined.pivot_table(index="role", columns="class", values="count", aggfunc="sum").to_numpy()
    return _tested([counts], draws, seed)


def association_within_layers(
    roles: Int8[Tensor, "layer neuron"],
    codes: Int8[Tensor, "class_layer class_neuron"],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Association:
    """Whether role and class hang together among the neurons of one layer.

    Both depend on depth: prediction neurons are frequent in late layers, and so are some classes. A
    table of the whole model shows that as an association. Here expected counts are those of each layer,
    added up, and random tables are drawn layer by layer, so that depth alone explains nothing.

    Args:
        roles: Role of every neuron.
        codes: Class of every neuron; undefined ones (-1) are left out.
        draws: Number of random tables per layer.
        seed: Seed of the draws.

    Raises:
        OptionError: Roles and classes are of different models, or ``draws`` is less than 1.
    """
    _check_shapes(roles, codes)
    n_codes = max(int(codes.max()) + 1, 1)
    tables = []
    for role, code in zip(roles, codes, strict=True):
        kept = code != UNDEFINED_CODE
        cells = role[kept].long() * n_codes + code[kept].long()
        tables.append(torch.bincount(cells, minlength=len(ROLES) * n_codes).reshape(-1, n_codes).numpy())
    return _tested(tables, draws, seed)


def _tested(tables: list[np.ndarray], draws: int, seed: int) -> Association:
    """X² of the sum of some tables against the sum of their expected counts."""
    from scipy.stats import chi2, random_table

    if draws < 1:
        raise OptionError(f"a test with {draws} draws", remedy="give at least 1")
    tables = [table for table in tables if table.sum()]
    if not tables:
        return Association(0, 0.0, 0, float("nan"), float("nan"), float("nan"), 0.0, draws, seed)
    observed = np.sum(tables, axis=0)
    expected = np.sum([np.outer(table.sum(1), table.sum(0)) / table.sum() for table in tables], axis=0)
    filled = expected > 0
    roles, classes = (int((observed.sum(axis) > 0).sum()) for axis in (1, 0))
    dof = (roles - 1) * (classes - 1)
    neurons, smallest = int(observed.sum()), float(expected[filled].min())
    one = len(tables) == 1

    def statistic(counts: np.ndarray) -> np.ndarray:
        parts = (counts[..., filled] - expected[filled]) ** 2 / expected[filled]
        return np.asarray(parts.sum(-1))

    found = float(statistic(observed))
    if dof == 0:
        nothing = float("nan")
        return Association(neurons, found, 0, nothing, nothing, nothing, smallest, draws, seed)
    generator = np.random.default_rng(seed)
    drawn = np.zeros((draws, *observed.shape), dtype=np.int64)
    for table in tables:
        drawn += random_table(table.sum(1), table.sum(0)).rvs(draws, random_state=generator).astype(np.int64)
    # Equal tables must count as equally extreme, whatever the order their cells were added in.
    extreme = int((statistic(drawn) >= found * (1 - 1e-9)).sum())
    return Association(
        neurons=neurons,
        statistic=found,
        dof=dof if one else None,
        p=float(chi2.sf(found, dof)) if one else None,
        cramers_v=float(np.sqrt(found / (neurons * (min(roles, classes) - 1)))) if one else None,
        p_permutation=(1 + extreme) / (1 + draws),
        smallest_expected=smallest,
        draws=draws,
        seed=seed,
    )
