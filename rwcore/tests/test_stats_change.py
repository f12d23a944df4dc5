"""Change between checkpoints: planted cosines, correlations and signs, and the artefact that hides them."""

from __future__ import annotations

import gc
import inspect
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rwcore.errors import NotGatedError, OptionError, WeightsError
from rwcore.stats import change as module
from rwcore.stats.change import change_correlations, change_cosines
from rwcore.stats.cosines import RWCosines, rw_cosines
from rwcore.weights.fold import fold_gate_sign
from rwcore.weights.layer import MlpLayer

LAYERS, NEURONS, WIDTH = 3, 400, 64


def moved(vectors: torch.Tensor, cosines: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vectors of other lengths whose cosines with the given ones are the given numbers."""
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    noise = torch.randn(vectors.shape, generator=generator, dtype=torch.float64)
    noise -= (noise * unit).sum(1, keepdim=True) * unit
    noise /= noise.norm(dim=1, keepdim=True)
    found = cosines[:, None] * unit + (1 - cosines[:, None] ** 2).sqrt() * noise
    lengths = torch.rand(len(vectors), 1, generator=generator, dtype=torch.float64) * 3 + 0.1
    return (found * lengths).float()


def checkpoints(
    *, seed: int = 0, gated: bool = True, n_layers: int = LAYERS
) -> tuple[list[MlpLayer], list[MlpLayer], dict[str, torch.Tensor]]:
    """An early and a late checkpoint, and the cosine between the two of every vector.

    In the late one, cosines have either sign. Changes of the gate fall with |cos(gate, in)|, those of *in*
    rise with it and those of *out* have nothing to do with it.
    """
    generator = torch.Generator().manual_seed(seed)
    first, last, planted = [], [], []
    for index in range(n_layers):
        gate, out = (torch.randn(NEURONS, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
        mixed = torch.rand(NEURONS, 1, generator=generator, dtype=torch.float64) * 2 - 1
        in_ = mixed * gate + torch.randn(NEURONS, WIDTH, generator=generator, dtype=torch.float64)
        closeness = torch.nn.functional.cosine_similarity(gate, in_).abs()
        jitter = torch.rand(3, NEURONS, generator=generator, dtype=torch.float64) * 0.1
        wanted = {
            "gate": 0.7 - 0.6 * closeness + jitter[0],
            "in": 0.1 + 0.6 * closeness + jitter[1],
            "out": 0.3 + jitter[2],
        }
        old = {
            name: moved(matrix, wanted[name], generator)
            for name, matrix in (("gate", gate), ("in", in_), ("out", out))
        }
        # At the start, whether gate and input point the same way is an accident.
        away = torch.rand(NEURONS, generator=generator) < 0.5
        towards = (old["gate"].double() * old["in"].double()).sum(1) > 0
        turn = torch.where(away == towards, -1.0, 1.0).double()[:, None]
        old["gate"] = (old["gate"] * turn).float()
        wanted["gate"] = wanted["gate"] * turn[:, 0]
        first.append(MlpLayer(index, old["gate"] if gated else None, old["in"], old["out"]))
        last.append(MlpLayer(index, gate.float() if gated else None, in_.float(), out.float()))
        planted.append({name: values for name, values in wanted.items() if gated or name != "gate"})
    return first, last, {name: torch.stack([one[name] for one in planted]) for name in planted[0]}


def folded(layers: list[MlpLayer]) -> RWCosines:
    return rw_cosines([fold_gate_sign(layer) for layer in layers])


@pytest.mark.parametrize("gated", [True, False])
def test_planted_changes_are_found(gated: bool) -> None:
    first, last, planted = checkpoints(gated=gated)
    found = change_cosines(first, last)
    assert list(found) == list(planted) == (["gate", "in", "out"] if gated else ["in", "out"])
    for name, wanted in planted.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name].double(), wanted, atol=1e-6, rtol=0)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last, _ = checkpoints(n_layers=1)
    whole = change_cosines(first, last)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 7 * WIDTH + 1)
    for name, values in change_cosines(first, last).items():
        torch.testing.assert_close(values, whole[name], atol=0, rtol=0)


def test_a_checkpoint_has_not_moved_from_itself_nor_from_a_multiple() -> None:
    first, _, _ = checkpoints(n_layers=2)
    scaled = [replace(layer, gate=layer.gate * 3, in_=layer.in_ * -2) for layer in first]
    found = change_cosines(first, scaled)
    assert (found["gate"] == 1).all()
    assert (found["in"] == -1).all()
    assert (found["out"] == 1).all()


def test_inputs_stay_as_they_are() -> None:
    first, last, _ = checkpoints(n_layers=1)
    copies = [
        matrix.clone() for layer in (first[0], last[0]) for matrix in (layer.gate, layer.in_, layer.out)
    ]
    change_cosines(first, last, flip="own")
    after = [matrix for layer in (first[0], last[0]) for matrix in (layer.gate, layer.in_, layer.out)]
    assert all(torch.equal(a, b) for a, b in zip(copies, after, strict=True))


def test_one_layer_of_each_checkpoint_is_held_at_a_time() -> None:
    alive: list[weakref.ref[MlpLayer]] = []
    most = 0

    def layers(which: int) -> object:
        nonlocal most
        for index in range(4):
            layer = checkpoints(n_layers=1)[which][0]
            layer = replace(layer, index=index)
            alive.append(weakref.ref(layer))
            gc.collect()
            most = max(most, sum(one() is not None for one in alive))
            yield layer
            del layer

    change_cosines(layers(0), layers(1))
    assert most == 2


# --- the published artefact ------------------------------------------------------------------------------


def test_own_flips_multiply_in_and_out_by_both_signs_and_leave_the_gate() -> None:
    first, last, _ = checkpoints()
    plain, own = change_cosines(first, last), change_cosines(first, last, flip="own")
    flipped = [[fold_gate_sign(layer) for layer in layers] for layers in (first, last)]
    for name, values in change_cosines(*flipped).items():
        torch.testing.assert_close(own[name], values, atol=0, rtol=0)
    assert torch.equal(own["gate"], plain["gate"])
    for name in ("in", "out"):
        assert torch.equal(own[name].abs(), plain[name].abs())
        assert 0.3 < (own[name] != plain[name]).double().mean() < 0.7


def test_own_flips_hide_the_correlation_that_is_there() -> None:
    """X4: signs folded by each checkpoint alone make the change of in and out symmetric about 0."""
    first, last, _ = checkpoints()
    cosines = folded(last)
    plain = change_correlations(change_cosines(first, last), cosines)
    own = change_correlations(change_cosines(first, last, flip="own"), cosines)
    chosen = (plain["vector"] == "in") & (plain["cosine"] == "gatelin")
    assert (plain.loc[chosen, "r"] > 0.9).all()
    assert (own.loc[chosen, "r"].abs() < 0.2).all()
    changed = change_cosines(first, last, flip="own")["in"]
    assert abs(float(changed.mean())) < 0.1 < 0.2 < float(change_cosines(first, last)["in"].mean())


def test_a_common_flip_changes_nothing() -> None:
    """Both folded by the sign of the later one: the two flips cancel, so it is no option."""
    first, last, _ = checkpoints()
    signs = [torch.sign((layer.gate * layer.in_).sum(1))[:, None] for layer in last]
    turned = [
        [
            replace(layer, in_=layer.in_ * sign, out=layer.out * sign)
            for layer, sign in zip(each, signs, strict=True)
        ]
        for each in (first, last)
    ]
    for name, values in change_cosines(*turned).items():
        assert torch.equal(values, change_cosines(first, last)[name])


# --- correlations ------------------------------------------------------------------------------------------


def test_planted_correlations_are_found() -> None:
    _, last, planted = checkpoints()
    frame = change_correlations({name: abs(values).float() for name, values in planted.items()}, folded(last))
    r = frame.set_index(["vector", "cosine", "layer"])["r"]
    assert (r["gate", "gatelin"] < -0.9).all()
    assert (r["in", "gatelin"] > 0.9).all()
    assert (r["out", "gatelin"].abs() < 0.2).all()
    assert list(dict.fromkeys(zip(frame["vector"], frame["cosine"], strict=True))) == [
        (vector, cosine) for vector in ("gate", "in", "out") for cosine in ("gatelin", "gateout", "linout")
    ]
    assert (frame["n"] == NEURONS).all()
    assert len(frame) == 9 * LAYERS


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 40), st.integers(0, 3))
def test_r_and_p_are_pearson_s_over_the_neurons_that_have_both(seed: int, n: int, missing: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, n))
    y += rng.uniform(-2, 2) * x
    x, y = x.astype(np.float32), y.astype(np.float32)
    x[rng.permutation(n)[:missing]] = np.nan
    y[rng.permutation(n)[:missing]] = np.nan
    both = np.isfinite(x) & np.isfinite(y)
    frame = change_correlations({"in": torch.tensor(x)[None]}, RWCosines(None, None, torch.tensor(y)[None]))
    (row,) = frame.itertuples()
    assert row.n == both.sum()
    if both.sum() < 2:
        assert np.isnan(row.r)
        assert np.isnan(row.p)
        return
    a, b = x[both].astype(float), y[both].astype(float)
    a, b = a - a.mean(), b - b.mean()
    r = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert row.r == pytest.approx(r, abs=1e-10)
    if both.sum() > 2 and abs(r) < 1 - 1e-9:
        t = r * np.sqrt((both.sum() - 2) / (1 - r * r))
        assert row.p == pytest.approx(2 * stats.t.sf(abs(t), both.sum() - 2), rel=1e-6, abs=1e-14)


def test_a_constant_has_no_correlation() -> None:
    frame = change_correlations(
        {"in": torch.ones(1, 5)}, RWCosines(None, None, torch.linspace(-1, 1, 5)[None])
    )
    assert np.isnan(frame["r"]).all()
    assert np.isnan(frame["p"]).all()
    assert frame["n"].tolist() == [5]


# --- bad input ---------------------------------------------------------------------------------------------


def test_vectors_without_a_direction_are_nan_and_left_out() -> None:
    first, last, _ = checkpoints(n_layers=1)
    first[0].in_[3] = 0
    last[0].in_[5, 1] = float("nan")
    last[0].out[7, 2] = float("inf")
    found = change_cosines(first, last)
    assert found["in"].isnan().nonzero().tolist() == [[0, 3], [0, 5]]
    assert found["out"].isnan().nonzero().tolist() == [[0, 7]]
    frame = change_correlations(found, folded(last)).query("cosine == 'linout'").set_index("vector")
    # Neurons 5 and 7 have no cos(in, out) in the later checkpoint either.
    assert frame["n"].to_dict() == {"gate": NEURONS - 2, "in": NEURONS - 3, "out": NEURONS - 2}


@pytest.mark.parametrize("short", [0, 1])
def test_other_numbers_of_layers_are_refused(short: int) -> None:
    pair = list(checkpoints()[:2])
    pair[short] = pair[short][:-1]
    with pytest.raises(WeightsError, match="equally many: 2"):
        change_cosines(*pair)
    with pytest.raises(WeightsError, match="no layers"):
        change_cosines([], [])


def test_other_shapes_orders_and_gates_are_refused() -> None:
    first, last, _ = checkpoints(n_layers=1)
    narrow = replace(last[0], gate=last[0].gate[:, 1:], in_=last[0].in_[:, 1:], out=last[0].out[:, 1:])
    for other in (narrow, replace(last[0], gate=None), replace(last[0], index=1)):
        with pytest.raises(WeightsError, match="differ"):
            change_cosines(first, [other])


def test_own_flips_need_a_gate_and_flips_a_name() -> None:
    first, last, _ = checkpoints(gated=False)
    with pytest.raises(NotGatedError):
        change_cosines(first, last, flip="own")
    with pytest.raises(OptionError, match="unknown flip 'last'"):
        inspect.unwrap(change_cosines)(first, last, flip="last")  # below the check of types


def test_cosines_of_another_model_are_refused() -> None:
    first, last, _ = checkpoints(n_layers=2)
    with pytest.raises(WeightsError, match=r"gate against gatelin"):
        change_correlations(change_cosines(first[:1], last[:1]), folded(last))
