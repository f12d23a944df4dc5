"""Examples of heads in a real Chromium: every tab shows the record's numbers."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest

from rwcore.tests.explorer_page import Page, start_chromium
from rwcore.tests.head_browser import (
    LABELS,
    RECORD,
    cells,
    changes,
    listed,
    make_file,
    open_page,
    painted,
    percent,
    pick,
    plain,
    reading,
    shifted,
    signed,
    strongest,
    word,
)
from rwcore.tests.head_records import EFFECTS, TEXTS, floats, grid

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)
file = pytest.fixture(scope="module")(make_file)
page = pytest.fixture(open_page)


def test_loss(page: Page) -> None:
    query = strongest(0)
    painted(page, shifted(changes(0)), 2.5)
    assert page.text("#details h2") == f"Prediction of {word(RECORD['rows'][0]['tokens'][query + 1])}"
    intact, *rows = cells(page)
    clean = reading(0)["clean"]
    numbers = [floats(clean[name])[query] for name in ("loss", "p", "rank")]
    assert intact == ["intact model", plain(numbers[0]), percent(numbers[1]), plain(numbers[2], 0), ""]
    for row, name, effect in zip(rows, LABELS, EFFECTS, strict=True):
        run = {key: floats(reading(0)["effects"][effect][key])[query] for key in ("loss", "p", "rank", "kl")}
        assert row == [
            name,
            signed(run["loss"]),
            percent(run["p"]),
            plain(run["rank"], 0),
            plain(run["kl"], 4),
        ]
    change = changes(0)[query]
    says = "Ablation hurts by" if change > 0 else "Ablation helps by"
    assert page.text("#details").count(f"{says} {abs(change):.3f} nats") == 1
    page.click("#range")
    painted(page, shifted(changes(0)), max(abs(one) for one in changes(0)[:-1]))
    assert page.link.endswith("range=own")
    mean = sum(changes(0)[1:-1]) / len(changes(0)[1:-1])
    assert f"by {signed(mean, 4)} nats on average" in page.text("#facts")


def test_effects_heads_and_rows(page: Page) -> None:
    for effect in EFFECTS:
        pick(page, "effect", effect)
        painted(page, shifted(changes(0, effect=effect)), 2.5)
        assert (
            page.run("return document.querySelector('#details [aria-current]').cells[0].textContent")
            == (LABELS[EFFECTS.index(effect)])
        )
    page.run(
        "const one = document.getElementById('head'); one.value = 1; one.dispatchEvent(new Event('change'))"
    )
    page.settle()
    painted(page, shifted(changes(0, 1, "total")), 2.5)
    page.click("#row-after"), page.click("#row-after")
    painted(page, shifted(changes(2, 1, "total")), 2.5)
    assert page.find("#row-after").get_property("disabled")
    assert page.text("#facts").startswith("Head 3.0 in sequence 10 (text 2): 150 tokens.")
    assert page.link == "row=10&head=3.0&effect=total"
    page.click("#row-before")
    assert page.text("#facts").startswith("Head 3.0 in sequence 7: 12 tokens, with the one that begins")


@pytest.mark.parametrize("which", ["lowered", "raised"])
def test_attribution(page: Page, which: str) -> None:
    page.open(f"row=4&tab=logits&show={which}&at=6")
    lists = reading(0)["attribution"][which]
    assert listed(page) == [[word(one), signed(value)] for one, value in lists[6]]
    extremes = [one[0][1] for one in lists]
    painted(page, extremes, max(2.5, *map(abs, extremes)))
    page.click("#range")
    painted(page, extremes, max(map(abs, extremes)))


@pytest.mark.parametrize("which", ["before", "after"])
def test_predictions(page: Page, which: str) -> None:
    page.open(f"row=4&effect=indirect&tab=logits&show={which}&at=6")
    clean, ablated = reading(0)["clean"], reading(0)["effects"]["indirect"]
    for place, run in enumerate((clean, ablated)):
        assert listed(page, place) == [[word(one), percent(p)] for one, p in run["top"][6]]
    nats = floats(clean["loss"])[6]
    logs = [-nats, -np.float32(nats) - np.float32(changes(0, effect="indirect")[6])]
    for row, run, log in zip(cells(page), (clean, ablated), logs, strict=True):
        assert row[1] == percent(floats(run["p"])[6])
        assert float(row[2].replace("−", "-")) == pytest.approx(log, abs=1.1e-3)
        assert row[3] == plain(floats(run["rank"])[6], 0)
    if which == "before":
        painted(page, floats(clean["p"]), 1)
    else:
        painted(page, [-one for one in changes(0, effect="indirect")], 2.5)


@pytest.mark.parametrize("kind", ["written", "pattern"])
def test_attention(page: Page, kind: str) -> None:
    page.open(f"row=10&tab=attention&weight={kind}&at=70")
    weights = grid(reading(2)["attention"], kind)[70]
    painted(page, weights.tolist(), 1)
    order = np.argsort(-weights[:71], kind="stable")[:10]
    tokens = RECORD["rows"][2]["tokens"]
    assert listed(page) == [[word(tokens[key]), plain(weights[key], 4)] for key in order]
    assert f"61 more tokens, together {plain(np.sort(weights[:71])[:-10].sum(), 4)}" in page.text("#details")
    framed = page.run(
        "return [...document.querySelectorAll('#tokens > .query')].map((one) => one.textContent)"
    )
    assert framed == [TEXTS[2][70]]
    page.click("#range")
    painted(page, weights.tolist(), weights.max())


def test_logit_lens(page: Page) -> None:
    page.open("row=4&tab=lens&at=9")
    found = reading(0)["lens"]
    assert listed(page, 0) == [[word(one), percent(p)] for one, p, _ in found[9]["context"]]
    assert listed(page, 1) == [[word(one), percent(p)] for one, p in found[9]["top"]]
    places = page.run(
        "return [...document.querySelectorAll('#details .bars small')].map((one) => one.textContent)"
    )
    assert [one.split(" ", 1)[1] for one in places] == [
        ", ".join(map(str, positions)) for *_, positions in found[9]["context"]
    ]
    first = [one["context"][0][1] if one["context"] else math.nan for one in found]
    assert math.isnan(first[0])
    painted(page, first, 1)
    page.open("row=4&tab=lens&at=0")
    assert "None but function words" in page.text("#details")


def test_cspa(page: Page) -> None:
    page.open("row=10&tab=cspa")
    below, above = -0.14, 0.14
    assert "by −0.140 or less, or +0.140 or more (fixed limits" in page.text("#says")
    mean, left = (np.array(floats(reading(2)["cspa"][name])) for name in ("mean", "left"))
    large = (mean <= below) | (mean >= above)
    share = 1 - left / mean
    painted(page, shifted(np.where(large, np.sign(mean) * share.clip(0, 1), np.nan).tolist()), 1)
    bold = page.run(
        "return [...document.querySelectorAll('#tokens > *')].map((one) => one.classList.contains('large'))"
    )
    assert bold == [False, *large[:-1].tolist()]
    query = strongest(2)
    assert large[query]
    assert cells(page) == [
        ["whole head", signed(mean[query], 4)],
        ["all but copy suppression", signed(left[query], 4)],
    ]
    assert percent(share[query]) in page.text("#details")
    even = int(np.flatnonzero(large & (np.arange(len(mean)) % 2 == 0))[0])
    page.open(f"row=10&tab=cspa&at={even}")
    assert cells(page, "#details section table") == [
        [word(one), str(key), plain(score), signed(coefficient), "yes" if coefficient < 0 else "no"]
        for query, key, one, score, coefficient in reading(2)["cspa"]["kept"]
        if query == even
    ]
    small = int(np.flatnonzero(~large[:-1])[0])
    page.open(f"row=10&tab=cspa&at={small}")
    assert "The effect is not large" in page.text("#details")


def test_what_cspa_counts_as_large_in_many_predictions(page: Page) -> None:
    """The outer 3 % of the predictions that count, the one made at BOS not being one of them."""
    rows = [0, *[2] * 7]
    data = {
        **RECORD,
        "rows": [RECORD["rows"][row] for row in rows],
        "heads": [RECORD["heads"][0]],
        "readings": [reading(row) for row in rows],
    }

    def says() -> str:
        found = page.run(
            "return rwHeadViews(rwHeadRecord(arguments[0])).views.cspa.says({ head: 0 })",
            data,
        )
        return str(found)

    every = np.array(floats(reading(0)["cspa"]["mean"])[1:-1] + 7 * floats(reading(2)["cspa"]["mean"])[:-1])
    assert len(every) > 1000
    below, above = np.quantile(every, [0.03, 0.97])
    assert below < 0 < above
    assert f"by {signed(below)} or less, or {signed(above)} or more (the outer 3 %" in says()
    means = np.linspace(1, 3, 150, dtype="<f4")
    helps = base64.b64encode(means.tobytes()).decode()
    data["rows"] = data["rows"][1:]
    data["readings"] = [{**one, "cspa": {**one["cspa"], "mean": helps}} for one in data["readings"][1:]]
    above = np.quantile(np.repeat(means.astype(float), 7), 0.97)
    assert f"by 0.000 or less, or {signed(above)} or more" in says()
