// The map of layers and classes: buttons in a grid that is one stop for the keyboard.
const rwMap = (root, says, choose) => {
  "use strict";
  const grid = [...root.querySelectorAll("tr")].map((row) => [...row.cells].map((cell) => cell.querySelector("button")));
  const buttons = grid.flat().filter(Boolean);
  const placeOf = (button) => [button.closest("tr").rowIndex, button.closest("td, th").cellIndex];

  const only = (button) => {
    for (const one of buttons) one.tabIndex = one === button ? 0 : -1;
  };
  const next = (button, down, right) => {
    let [row, column] = placeOf(button);
    do [row, column] = [row + down, column + right];
    while (grid[row] && column >= 0 && column < grid[row].length && !grid[row][column]);
    return grid[row]?.[column];
  };
  const STEPS = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };

  root.addEventListener("keydown", (event) => {
    const button = event.target.closest("button");
    if (!button || event.altKey || event.ctrlKey || event.metaKey) return;
    const row = grid[placeOf(button)[0]].filter(Boolean);
    const found = { Home: row[0], End: row.at(-1) }[event.key] ?? (STEPS[event.key] && next(button, ...STEPS[event.key]));
    if (event.key in STEPS || ["Home", "End"].includes(event.key)) event.preventDefault();
    if (!found) return;
    only(found);
    found.focus();
  });
  const speak = (event) => {
    const button = event.target.closest?.("button");
    says.textContent = button ? button.getAttribute("aria-label") : "";
  };
  root.addEventListener("pointerover", speak);
  root.addEventListener("focusin", speak);
  root.addEventListener("pointerleave", () => speak({ target: document.activeElement }));
  root.addEventListener("focusout", () => (says.textContent = ""));
  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    only(button);
    const { layer, kind } = button.dataset;
    choose(layer === undefined ? null : Number(layer), kind === undefined ? null : Number(kind));
  });

  // Marks what the filters ask for.
  const mark = ({ layers, classes }) => {
    for (const button of buttons) {
      const { layer, kind } = button.dataset;
      const inLayers = layers && Number(layer) >= layers[0] && Number(layer) <= layers[1];
      const inClasses = classes.includes(Number(kind));
      const pressed = layer === undefined ? inClasses : kind === undefined ? inLayers : (inLayers || !layers) && (inClasses || !classes.length) && (layers || classes.length);
      button.setAttribute("aria-pressed", String(Boolean(pressed)));
    }
  };

  only(buttons[0]);
  return { mark };
};
