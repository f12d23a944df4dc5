"""Top tokens: the plain definition, a total order, the same in any blocks, nothing changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.stats import tokens as module
from rwcore.stats.tokens import top_tokens


def reference(vector: Tensor, matrix: Tensor, k: int, by: str) -> list[tuple[int, float]]:
    """All products one by one, sorted as the specification says."""
    products = [
        float(np.float32(sum(a * b for a, b in zip(vector.tolist(), column, strict=True))))
        for column in matrix.T.tolist()
    ]
    size = {"signed": lambda value: value, "absolute": abs}[by]
    order = sorted(range(len(products)), key=lambda token: (-size(products[token]), token))
    return [(token, products[token]) for token in order[:k]]


@pytest.mark.parametrize("by", ["signed", "absolute"])
@given(data=st.data())
def test_as_the_plain_definition_ties_included(by: str, data: st.DataObject) -> None:
    d_model, vocab, n = (data.draw(st.integers(1, top)) for top in (4, 9, 3))
    # Small whole numbers: products are exact and many are equal.
    numbers = st.integers(-2, 2).map(float)
    vectors, matrix = (
        torch.tensor(data.draw(st.lists(numbers, min_size=rows * cols, max_size=rows * cols))).reshape(
            rows, cols
        )
        for rows, cols in ((n, d_model), (d_model, vocab))
    )
    k = data.draw(st.integers(1, vocab))
    found = top_tokens(vectors, matrix, k, by=by)  # type: ignore[arg-type]
    assert found.ids.shape == found.values.shape == (n, k)
    for row, vector in enumerate(vectors):
        pairs = list(zip(found.ids[row].tolist(), found.values[row].tolist(), strict=True))
        assert pairs == reference(vector, matrix, k, by)


def test_random_vectors_as_the_plain_definition() -> None:
    generator = torch.Generator().manual_seed(3)
    vectors, matrix = torch.randn(5, 24, generator=generator), torch.randn(24, 200, generator=generator)
    found = top_tokens(vectors, matrix, 7)
    for row, vector in enumerate(vectors):
        tokens, values = zip(*reference(vector, matrix, 7, "signed"), strict=True)
        assert found.ids[row].tolist() == list(tokens)
        np.testing.assert_allclose(found.values[row], values, rtol=2e-7)


@pytest.mark.parametrize("elements", [1, 24 * 7, 24 * 64])
def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    generator = torch.Generator().manual_seed(4)
    vectors, matrix = torch.randn(3, 24, generator=generator), torch.randn(24, 130, generator=generator)
    matrix[:, 100] = matrix[:, 5]
    whole = top_tokens(vectors, matrix, 40)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", elements)
    found = top_tokens(vectors, matrix, 40)
    assert found.ids.equal(whole.ids)
    assert found.values.equal(whole.values)


def test_plain_dot_products_and_nothing_is_changed() -> None:
    """Trap X2: the original made its arguments unit vectors in place."""
    vectors, matrix = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([[2.0, 0.1], [1.0, -8.0]])
    before = vectors.clone(), matrix.clone()
    found = top_tokens(vectors, matrix, 2)
    assert vectors.equal(before[0])
    assert matrix.equal(before[1])
    torch.testing.assert_close(found.values, torch.tensor([[6.0, 0.3], [0.5, -4.0]]))
    torch.testing.assert_close(top_tokens(10 * vectors, matrix, 2).values, 10 * found.values)


def test_the_list_of_the_negative_is_the_other_end() -> None:
    generator = torch.Generator().manual_seed(5)
    vectors, matrix = torch.randn(2, 8, generator=generator), torch.randn(8, 30, generator=generator)
    all_of_it, negative = top_tokens(vectors, matrix, 30), top_tokens(-vectors, matrix, 5)
    assert negative.ids.equal(all_of_it.ids.flip(1)[:, :5])
    assert negative.values.equal(-all_of_it.values.flip(1)[:, :5])


def test_magnitude_ranks_and_keeps_signs() -> None:
    found = top_tokens(torch.tensor([[1.0]]), torch.tensor([[1.0, -3.0, 2.0, 3.0]]), 3, by="absolute")
    assert found.ids.tolist() == [[1, 3, 2]]
    assert found.values.tolist() == [[-3.0, 3.0, 2.0]]


def test_zero_is_zero_whatever_its_sign() -> None:
    found = top_tokens(torch.tensor([[1.0]]), torch.tensor([[-0.0, 0.0, -0.0]]), 3)
    assert found.ids.tolist() == [[0, 1, 2]]


def test_nan_comes_last_and_infinities_in_their_place() -> None:
    inf, nan = float("inf"), float("nan")
    found = top_tokens(torch.tensor([[1.0]]), torch.tensor([[nan, -inf, 0.0, inf, -5.0]]), 5)
    assert found.ids.tolist() == [[3, 2, 4, 1, 0]]
    assert found.values.isnan().tolist() == [[False] * 4 + [True]]


def test_half_precision_and_transposed_matrices_are_taken() -> None:
    rows = torch.tensor([[1.0, 2.0], [4.0, 0.5], [0.0, 1.0]], dtype=torch.bfloat16)
    assert top_tokens(torch.tensor([[1.0, 1.0]]), rows.T, 3).ids.tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("k", [0, -1, 4])
def test_an_impossible_length_names_the_option_and_the_range(k: int) -> None:
    with pytest.raises(OptionError, match=f"{k} tokens") as caught:
        top_tokens(torch.ones(1, 2), torch.ones(2, 3), k)
    assert caught.value.where == "-k"
    assert "1 to 3" in str(caught.value.remedy)
