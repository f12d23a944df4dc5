// Folds columns and filters rows of the table of claims. Without it the table is whole and the page complete.
(() => {
  "use strict";
  const table = document.getElementById("matrix");
  const form = document.getElementById("filters");
  const heads = [...table.tHead.rows[1].cells];
  const rows = [...table.querySelectorAll("tbody tr")];
  const open = new Set();
  form.hidden = false;

  // In body rows cell 0 is the claim, so column i of `heads` is cell i + 1.
  const column = (i) => [heads[i], ...rows.map((row) => row.cells[i + 1])];
  const columns = heads.map((_, i) => column(i));

  const buttons = [...table.tHead.rows[0].querySelectorAll("th[data-folds]")].map((head) => {
    const key = head.dataset.group;
    const folded = heads.filter((one) => one.dataset.group === key && "fold" in one.dataset).length;
    if (!folded) return () => {};
    const button = document.createElement("button");
    button.type = "button";
    button.className = "fold";
    button.addEventListener("click", () => {
      if (!open.delete(key)) open.add(key);
      update();
    });
    head.firstElementChild.append(" ", button);
    return (asked) => {
      button.hidden = asked;
      button.setAttribute("aria-expanded", String(open.has(key)));
      button.textContent = open.has(key) ? "◂" : "▸";
      button.title = open.has(key) ? "show fewer models" : `show ${folded} more models`;
      button.setAttribute("aria-label", button.title);
    };
  });

  const nameOf = (head) => ("model" in head.dataset ? `${head.dataset.group}:${head.dataset.model}` : null);

  function update() {
    const { text, verdict, model, scope } = Object.fromEntries(new FormData(form));
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = verdict ? verdict.split(" ") : null;
    const asked = Boolean(verdicts || scope || model);
    const fits = (mark) =>
      (!verdicts || verdicts.some((name) => mark.classList.contains(name))) && (!scope || mark.dataset.s === scope);

    let count = 0;
    let total = 0;
    const found = new Set();
    for (const row of rows) {
      if (!row.classList.contains("row")) continue;
      total += 1;
      const said = row.cells[0].textContent.toLowerCase();
      const columnsHit = new Set();
      heads.forEach((head, i) => {
        if (!nameOf(head) || (model && nameOf(head) !== model)) return;
        for (const mark of row.cells[i + 1].querySelectorAll(".m")) {
          const hit = fits(mark);
          mark.classList.toggle("dim", !hit);
          if (hit) columnsHit.add(i);
        }
      });
      const wanted = words.every((word) => said.includes(word)) && (!asked || columnsHit.size > 0);
      row.hidden = !wanted;
      count += wanted;
      if (wanted) columnsHit.forEach((i) => found.add(i));
    }
    // Asked for something, the table shows the columns where it is; sums would count what was not asked for.
    heads.forEach((head, i) => {
      const shown = asked ? found.has(i) : !("fold" in head.dataset) || open.has(head.dataset.group);
      columns[i].forEach((cell) => { cell.hidden = !shown; });
    });
    for (const head of table.tHead.rows[0].querySelectorAll("th[data-group]")) {
      const width = heads.filter((one) => one.dataset.group === head.dataset.group && !one.hidden).length;
      head.hidden = width === 0;
      head.colSpan = width || 1;
    }
    for (const body of table.tBodies) {
      body.rows[0].hidden = ![...body.rows].some((row) => row.classList.contains("row") && !row.hidden);
    }
    document.getElementById("shown").textContent = `${count} of ${total} claims`;
    buttons.forEach((button) => button(asked));
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  addEventListener("beforeprint", () => document.querySelectorAll("#missing details, .legend").forEach((one) => { one.open = true; }));
  update();
})();
