// The index: filters, map, table and link tell one state, and the table answers it.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const whole = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

  const store = rwStore(data);
  const query = rwQuery(data, store);
  const { state, reset, question, search, toHash, fromHash, nameOf, filtered } = rwSiteState(data);
  const table = rwTable(data, store, nameOf);
  let answer = null; // what the table shows
  let asked = 0; // number of the last question: the answer of an earlier one is not waited for

  // ---- the filters
  const show = () => {
    if (document.activeElement !== $("find")) $("find").value = state.find;
    for (const one of all("[name=show]")) one.checked = (one.value === "all") === state.all;
    $("first").value = state.layers?.[0] ?? "";
    $("last").value = state.layers?.[1] ?? "";
    for (const [name, codes] of [["class", state.classes], ["role", state.roles]]) {
      const boxes = all(`[name=${name}]`);
      for (const one of boxes) one.checked = codes.includes(Number(one.value));
      const chosen = boxes.filter((one) => one.checked).map((one) => one.dataset.name);
      if (boxes.length) $(`${name}-now`).textContent = chosen.length ? chosen[0] + (chosen.length > 1 ? ` + ${chosen.length - 1}` : "") : "any";
    }
    if (state.range) $("where").value = state.range.key;
    for (const end of ["low", "high"]) if (document.activeElement !== $(end)) $(end).value = state.range?.[end] ?? "";
    const share = data.columns.find((one) => one.key === $("where").value).kind === "share";
    $("unit").textContent = share ? "%" : "";
    $("rows").value = state.rows;
    for (const head of all("thead [data-sort]")) {
      const now = state.sort.by === head.dataset.sort;
      const cell = head.closest("th");
      if (now) cell.setAttribute("aria-sort", state.sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    $("clear").disabled = !filtered();
    map.mark(state);
  };

  const heard = () => {
    const typed = (id) => ($(id).value.trim() === "" || !Number.isFinite($(id).valueAsNumber) ? null : $(id).valueAsNumber);
    const codes = (name) => all(`[name=${name}]:checked`).map((one) => Number(one.value));
    state.find = $("find").value;
    state.all = document.querySelector("[name=show]:checked").value === "all";
    const within = (value) => Math.max(0, Math.min(data.layers.length - 1, Math.round(value)));
    const [first, last] = ["first", "last"].map(typed);
    state.layers = first === null && last === null ? null : [within(first ?? 0), within(last ?? Infinity)].sort((a, b) => a - b);
    state.classes = codes("class");
    state.roles = codes("role");
    const [low, high] = ["low", "high"].map(typed);
    state.range = low === null && high === null ? null : { key: $("where").value, low, high };
    state.from = null;
  };

  // ---- the answer
  const say = (id, text) => {
    if ($(id).textContent !== text) $(id).textContent = text;
    $(id).hidden = !text;
  };

  const told = ({ rows, total, start }, { ids, paged }) => {
    if (ids && !search(state.find).token) return `${whole(total)} ${total === 1 ? "neuron" : "neurons"} by name; the filters are set aside`;
    const every = paged ? data.pages.length : data.layers.length * data.dMlp;
    const of = total === every ? `All ${whole(every)}` : `${whole(total)} of ${whole(every)}`;
    const here = rows.length < total ? `, ${whole(start + 1)} to ${whole(start + rows.length)} shown` : "";
    return `${of} neurons${paged ? " with a page" : ""}${here}`;
  };

  const draw = (asking) => {
    const { rows, total, start, failed } = answer;
    table.draw($("neurons"), rows);
    say("status", told(answer, asking));
    say("none", rows.length ? "" : state.all || filtered() ? "No neuron fits. Change or clear the filters." : "No neuron has a page yet. Show all neurons.");
    const [few, rest] = [failed.slice(0, 3), failed.length - 3];
    say("problem", failed.length ? `${failed.length} of ${data.layers.length} layers are missing from this list: ${few.join("; ")}${rest > 0 ? `; and ${rest} more` : ""}. Copy the folder data with the index, or make the site again.` : "");
    $("back").disabled = $("begin").disabled = start === 0;
    $("on").disabled = $("end").disabled = start + rows.length >= total;
    $("pager").hidden = rows.length >= total && start === 0;
    const bare = rows.filter((row) => !store.pageOf.has(row.id)).map((row) => nameOf(row.id));
    $("make").hidden = bare.length < 2;
    $("make-count").textContent = bare.length;
    if (bare.length > 1) $("make-command").replaceChildren(table.commandLine(bare));
  };

  const busy = (on) => {
    $("list").setAttribute("aria-busy", String(on));
    $("progress").hidden = true;
  };

  const link = (keep) => {
    const url = new URL(location.href);
    url.hash = toHash();
    if (url.hash !== location.hash) history[keep ? "pushState" : "replaceState"](null, "", url);
  };

  // Asks for what the state says; `turn` goes through the pages of the answer.
  const ask = async ({ turn = {}, keep = true } = {}) => {
    const number = ++asked;
    show();
    const asking = question(turn);
    say("wrong", asking.problem ?? "");
    if (asking.problem) return busy(false);
    busy(true);
    const began = performance.now();
    const watch = {
      stopped: () => number !== asked,
      progress: (done, of) => {
        if (number !== asked || performance.now() - began < 150) return;
        $("progress").hidden = false;
        [$("bar").value, $("bar").max] = [done, of];
        $("read").textContent = `${done} of ${of} layers read`;
      },
    };
    const found = await query.run(asking, watch);
    if (!found) return;
    if (!found.rows.length && found.total) return ask({ turn: { from: null }, keep }); // the link begins after the end
    answer = found;
    state.from = answer.start ? answer.rows[0].id : null;
    draw(asking);
    busy(false);
    link(keep);
    performance.mark("listed"); // for those who measure
  };

  const turned = async (turn) => {
    await ask({ turn });
    $("list").scrollIntoView({ block: "nearest" });
  };

  // ---- what people do
  const map = rwMap($("map"), $("map-says"), (layer, kind) => {
    const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
    const layers = layer === null ? state.layers : [layer, layer];
    const classes = kind === null ? state.classes : [kind];
    if (layer !== null && kind !== null) {
      const now = same(state.layers, layers) && same(state.classes, classes);
      [state.layers, state.classes] = now ? [null, []] : [layers, classes];
    } else if (layer !== null) state.layers = same(state.layers, layers) ? null : layers;
    else state.classes = state.classes.includes(kind) ? state.classes.filter((one) => one !== kind) : [...state.classes, kind];
    Object.assign(state, { all: true, find: "", from: null });
    $("find").value = "";
    ask();
  });

  let typing = 0;
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("input", (event) => {
    clearTimeout(typing);
    const text = ["search", "number"].includes(event.target.type);
    const go = () => {
      heard();
      ask({ keep: !text });
    };
    if (text) typing = setTimeout(go, 250);
    else go();
  });
  $("clear").addEventListener("click", () => {
    const { all, sort, rows } = state;
    reset();
    Object.assign(state, { all, sort, rows });
    $("find").value = $("low").value = $("high").value = "";
    ask();
  });
  for (const head of all("thead [data-sort]")) {
    head.addEventListener("click", () => {
      const by = head.dataset.sort;
      const down = !["neuron", "class", "role", "low"].includes(by); // what is most extreme, and names in their order
      state.sort = { by, down: state.sort.by === by ? !state.sort.down : down };
      state.from = null;
      ask();
    });
  }
  $("rows").addEventListener("change", () => {
    Object.assign(state, { rows: Number($("rows").value), from: null });
    ask();
  });
  $("begin").addEventListener("click", () => turned({ from: null }));
  $("end").addEventListener("click", () => turned({ back: true, from: null, rows: answer.total % state.rows || state.rows }));
  $("on").addEventListener("click", () => turned({ from: answer.rows.at(-1).id, past: true }));
  $("back").addEventListener("click", () => {
    const first = answer.start <= state.rows;
    turned(first ? { from: null } : { back: true, from: answer.rows[0].id });
  });

  // Menus of check boxes close when one goes elsewhere.
  for (const menu of all("details.menu")) {
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    document.addEventListener("pointerdown", (event) => menu.contains(event.target) || (menu.open = false));
    menu.addEventListener("focusout", (event) => event.relatedTarget && !menu.contains(event.relatedTarget) && (menu.open = false));
  }

  const restore = () => {
    const bad = fromHash(location.hash.slice(1));
    $("find").value = state.find;
    ask({ keep: false });
    if (bad.length) say("wrong", `Not understood in the link, and left out: ${bad.join(", ")}`);
  };
  addEventListener("hashchange", restore);
  for (const one of all(".js-only")) one.hidden = false;
  restore();
})();
