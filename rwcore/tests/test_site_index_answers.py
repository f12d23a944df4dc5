"""What the index of a site lists in a real Chromium, against pandas; and sites of other kinds and sizes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from rwcore.activations.quadrants import QUADRANTS
from rwcore.stats.classes import RW_CLASSES, UNDEFINED
from rwcore.stats.roles.choose import ROLES
from rwcore.tests.explorer_page import requests, start_chromium
from rwcore.tests.index_browser import Index, index_table, make_file, open_index, opened
from rwcore.tests.index_site import (
    LAYERS,
    NUMBERS,
    PAGES,
    WIDTH,
    facts_of,
    layers_of,
    plain_facts,
    table_of,
    write_site,
)

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)
index_file = pytest.fixture(scope="module")(make_file)
table = pytest.fixture(scope="module")(index_table)
page = pytest.fixture(open_index)


# --- questions ---------------------------------------------------------------------------------------------


def random_question(chance: random.Random, table: pd.DataFrame) -> tuple[str, list[str]]:
    """A link, and the neurons it asks for in their order."""
    parts, found = [], table
    if chance.random() < 0.75:
        parts.append("show=all")
    else:
        found = found.loc[[f"{layer}.{neuron}" for layer, neuron in PAGES]]
    if chance.random() < 0.4:
        first, last = sorted(chance.choices(range(LAYERS), k=2))
        parts.append(f"layers={first}-{last}")
        found = found[found["layer"].between(first, last)]
    if chance.random() < 0.4:
        names = [*(one.name for one in RW_CLASSES), UNDEFINED]
        codes = chance.sample(range(len(names)), chance.randint(1, 5))
        parts.append("class=" + ",".join(names[code].replace(" ", "-") for code in codes))
        found = found[found["class"].fillna(len(RW_CLASSES)).isin(codes)]
    if chance.random() < 0.3:
        roles = chance.sample(range(len(ROLES)), chance.randint(1, 2))
        parts.append("role=" + ",".join(ROLES[code] for code in roles))
        found = found[found["role"].isin(roles)]
    if chance.random() < 0.5:
        key = chance.choice(NUMBERS)
        scale = 100 if key in QUADRANTS else 1
        ends = sorted(round(scale * one, 2) for one in chance.choices(table[key].dropna().to_list(), k=2))
        low, high = (end if chance.random() < 0.8 and abs(end) < 1e6 else None for end in ends)
        parts.append(f"where={key}:{'' if low is None else low}:{'' if high is None else high}")
        if low is not None:
            found = found[found[key] >= low / scale]
        if high is not None:
            found = found[found[key] <= high / scale]
    by, down = chance.choice(["neuron", "class", "role", *NUMBERS]), chance.random() < 0.5
    parts.append(f"sort={'-' if down else ''}{by}&rows=25")
    if by == "neuron":
        order = found.sort_values(by, ascending=not down)
    else:
        order = found.sort_values([by, "neuron"], ascending=[not down, True], na_position="last")
    chance.shuffle(parts)
    return "&".join(parts), order.index.to_list()


@pytest.mark.parametrize("seed", range(4))
def test_every_question_has_the_answer_of_pandas(page: Index, table: pd.DataFrame, seed: int) -> None:
    chance = random.Random(seed)
    empty = 0
    for _ in range(25):
        link, expected = random_question(chance, table)
        assert page.go(link) == expected[:25], link
        empty += not expected
        begins = page.text("#status").split(" ")
        assert begins[0] == str(len(expected)) or begins[:2] == ["All", str(len(expected))], link
    assert empty < 13


@pytest.mark.parametrize("seed", range(3))
def test_one_goes_through_the_answer_forth_and_back(page: Index, table: pd.DataFrame, seed: int) -> None:
    chance = random.Random(100 + seed)
    walked = 0
    while walked < 3:
        link, expected = random_question(chance, table)
        shown = page.go(link)
        if len(expected) < 60:
            continue
        walked += 1
        pages = [expected[k : k + 25] for k in range(0, len(expected), 25)]
        found = [shown]
        while not page.run("return document.getElementById('on').disabled") and len(found) < len(pages):
            found.append(page.press("on"))
        assert found == pages, link
        for place in range(len(pages) - 2, -1, -1):
            assert page.press("back") == pages[place], link
        assert page.run("return document.getElementById('back').disabled")
        assert page.press("end") == pages[-1]
        start = 25 * (len(pages) - 1)
        assert page.text("#status").endswith(f", {start + 1} to {len(expected)} shown")
        assert page.link.endswith(f"from={pages[-1][0]}")
        assert page.press("begin") == pages[0]
        # A link into the middle of the answer begins there, and says where that is.
        place = chance.randrange(1, len(expected) - 25)
        assert page.go(f"{link}&from={expected[place]}") == expected[place : place + 25], link
        assert f", {place + 1} to {place + 25} shown" in page.text("#status")


def test_layers_that_are_not_read_are_those_without_an_answer(browser: Any, tmp_path: Path) -> None:
    layers = layers_of()
    layers[3].cosines["gateout"][:31] = torch.tensor([-2.0] + 30 * [-1.5])  # ties with a later, lower layer
    layers[0].cosines["gateout"][4:9] = -1.5
    table = table_of(layers)
    for page in opened(browser, write_site(tmp_path / "site", facts_of(), layers)):
        for key, down in (
            ("gateout", False),
            ("high", False),
            ("high", True),
            ("norm_out", False),
            ("class", False),
        ):
            order = table.sort_values([key, "neuron"], ascending=[not down, True], na_position="last")
            found = page.go(f"show=all&sort={'-' if down else ''}{key}&rows=25")
            for _ in range(7):
                found += page.press("on")
            assert found == order.index.to_list(), key
        for link, fits in (
            ("sort=-neuron&where=high:-1000:1000", table["high"].notna()),
            ("role=partition", table["role"] == ROLES.index("partition")),
            ("where=linout::0.5", table["linout"] <= 0.5),
            ("from=3.4", table["neuron"] >= 0),
        ):
            page.go(f"show=all&rows=25&{link}")
            assert page.text("#status").startswith(f"{fits.sum()} of" if fits.sum() < 185 else "All 185"), (
                link
            )
        assert page.text("#status") == "All 185 neurons, 116 to 140 shown"
        requests(browser)
        page.open("show=all&where=linout:3:")
        assert page.names == []
        assert not any("data/" in one for one in requests(browser))


def test_numbers_are_those_of_the_neuron(page: Index, table: pd.DataFrame) -> None:
    page.go("show=all&find=0.3")
    cells = page.run(
        "const row = document.querySelector('#neurons tbody tr');"
        "return [...row.cells].map((one) => one.textContent)"
    )
    row = table.loc["0.3"]
    assert cells[:4] == [
        "0.3",
        RW_CLASSES[int(row["class"])].name,
        ROLES[int(row["role"])].replace("none", "–"),
        "",
    ]
    assert cells[4:8] == ["0", "<0.001", "25.0", "75.0"]
    assert cells[8:11] == [f"{row[name]:+.3f}".replace("-", "−") for name in NUMBERS[4:7]]
    assert float(cells[11]) == pytest.approx(row["norm_out"], rel=5e-3)
    assert float(cells[12].replace("−", "-")) == pytest.approx(row["low"], rel=5e-3)
    assert page.find("#neurons tbody .mix").get_attribute("aria-label") == (
        "gate+ in+ 0 %, gate+ in− <0.001 %, gate− in+ 25.0 %, gate− in− 75.0 %"
    )
    widths = page.run(
        "return [...document.querySelectorAll('#neurons tbody .mix span')].map((one) => one.style.width)"
    )
    assert [float(one[:-1]) for one in widths] == pytest.approx([0, 4e-4, 25, 75], rel=1e-3)
    page.go("find=1.2,1.5")
    texts = page.run(
        "return [...document.querySelectorAll('#neurons tbody tr')].map((one) => one.textContent)"
    )
    assert "−∞" in texts[0]
    assert "undefined" in texts[1]
    assert "–" in texts[1]


# --- files that are missing --------------------------------------------------------------------------------


def test_missing_layers_are_told_in_the_page(
    browser: Any, index_file: Path, tmp_path: Path, table: pd.DataFrame
) -> None:
    site = tmp_path / "site"
    shutil.copytree(index_file.parent, site)
    (site / "data/layer-001.js").unlink()
    (site / "data/layer-002.js").write_text("rwLayer(2, {")
    other = layers_of(seed=9)
    write_site(tmp_path / "other", facts_of(), other)
    shutil.copy(tmp_path / "other/data/layer-003.js", site / "data")
    requests(browser)
    page = Index(browser, (site / "index.html").as_uri())
    page.open("show=all&sort=low&rows=200")
    expected = table[table["layer"].isin([0, 4])].sort_values(["low", "neuron"], na_position="last")
    assert page.names == expected.index.to_list()
    told = page.text("#problem")
    assert told.startswith("3 of 5 layers are missing from this list: ")
    for words in ("-001.js could not be loaded", "-002.js is damaged", "-003.js belongs to another site"):
        assert f"data/layer{words}" in told
    assert page.find("#problem").get_attribute("role") == "alert"
    counted = [one for one in browser.get_log("browser") if "layer-001" in one["message"]]
    assert len(counted) == 1  # it is asked for once
    shutil.copy(index_file.parent / "data/layer-001.js", site / "data")
    assert len(page.go("show=all&sort=-low&rows=200")) == 3 * WIDTH  # and again with the next question
    page.go("")
    assert not page.find("#problem").is_displayed()
    assert page.names == [f"{layer}.{neuron}" for layer, neuron in PAGES]
    browser.get_log("browser")


# --- other models and sizes --------------------------------------------------------------------------------


def test_a_model_without_gates(browser: Any, tmp_path: Path) -> None:
    layers = layers_of(plain=True)
    file = write_site(tmp_path / "site", plain_facts(), layers)
    for page in opened(browser, file):
        shown = page.go("show=all&sort=-in-&rows=25")
        table = table_of(layers)
        assert shown == table.sort_values(["in-", "neuron"], ascending=[False, True]).index.to_list()[:25]
        heads = page.run(
            "return [...document.querySelectorAll('thead [data-sort]')].map((one) => one.dataset.sort)"
        )
        assert heads == ["neuron", "class", "role", "norm_out", "in+", "in-", "linout", "low", "high"]


def test_a_site_without_pages_shows_all_neurons(browser: Any, tmp_path: Path) -> None:
    for page in opened(browser, write_site(tmp_path / "site", facts_of(()), layers_of())):
        assert page.names[0] == "0.0"
        page.click("[name=show][value=pages]")
        assert page.text("#none") == "No neuron has a page yet. Show all neurons."


def test_the_index_of_46080_neurons_opens_in_less_than_a_second(browser: Any, tmp_path: Path) -> None:
    places = tuple((layer, 50 * layer + k) for layer in range(30) for k in range(2))
    file = write_site(tmp_path / "site", facts_of(places), layers_of(30, 1536))
    for page in opened(browser, file):
        page.open()
        taken = page.wait()
        print(f"46,080 neurons: first list after {taken:.0f} ms, {file.stat().st_size / 1e3:.0f} kB")  # noqa: T201
        assert len(page.names) == 50
        assert taken < 1000
        requests(browser)
        page.open("show=all")
        asked = requests(browser)
        assert sum("data/" in one for one in asked) <= 3  # the layers that are shown, and what is read ahead


@pytest.mark.slow
def test_352256_neurons_are_never_all_in_memory(browser: Any, tmp_path: Path) -> None:
    layers = layers_of(32, 11_008)
    table = table_of(layers)
    for page in opened(browser, write_site(tmp_path / "site", facts_of(), layers)):
        most = 0.0
        for link in (
            "sort=-low",
            "role=prediction&sort=gatelin",
            "where=high:5:6&sort=-norm_out",
            "sort=gate+_in-",
        ):
            page.go(f"show=all&{link}")
            browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
            used = browser.execute_cdp_cmd("Runtime.getHeapUsage", {})
            most = max(most, used["usedSize"] + used["backingStorageSize"])
        assert page.names == table.sort_values(["gate+_in-", "neuron"]).index.to_list()[:50]
        whole = 352_256 * (4 * len(NUMBERS) + 2)
        print(f"352,256 neurons: {most / 1e6:.1f} MB of {whole / 1e6:.1f} MB held")  # noqa: T201
        assert most < whole / 2


def test_a_later_question_is_answered_and_the_earlier_one_is_not(browser: Any, tmp_path: Path) -> None:
    for page in opened(browser, write_site(tmp_path / "site", facts_of(), layers_of(12, 3000))):
        # The first reads every layer, the second none.
        page.run(
            "addEventListener('hashchange', () => { location.hash = 'find=0.3'; }, { once: true });"
            "location.hash = 'show=all&role=partition&sort=high'"
        )
        page.browser.execute_async_script("setTimeout(arguments[0], 2000)")
        assert page.names == ["0.3"]
        assert page.link == "find=0.3"
