// The text of a row, coloured, and pointing at its tokens. One global, `rwHeadText`.
//
//   const text = rwHeadText(host, {preview, keep});
//     preview(places)   the pointer or the focus is on these places (several if they share a character);
//                       null when it has left them
//     keep(places)      they are clicked, or entered by key
//   text.show(packed, size, label)      a new text, in units as `rwTokens.show` takes them
//   text.paint(values, scale, {diverging, large})   large(place): in bold type
//   text.mark(query, next, chosen)      frames the token that predicts and the one that is predicted; `chosen`: the
//                                       place that is kept
//   text.legend(element, scale, diverging)
//   text.unit(place)                    the places of the unit that a place belongs to
//   text.strongest(places, values)      the place with the largest number
const rwHeadText = (host, on) => {
  "use strict";

  const STEPS = [-1, -0.5, -0.25, 0, 0.25, 0.5, 1];
  let places = []; // of each unit

  const units = () => [...host.children];
  const placesOf = (token) => places[Number(token.dataset.unit)];

  const show = (packed, size, label) => {
    let place = 0;
    places = packed.lengths.map((_, unit) => {
      const count = packed.tokens[unit] ?? 1;
      place += count;
      return Array.from({ length: count }, (_, more) => place - count + more);
    });
    rwTokens.show(host, packed, {}, { to: size, label });
  };

  // Of the places of a unit the one with the largest number.
  const strongest = (held, values) =>
    held.reduce((best, place) => (Math.abs(values[place]) > Math.abs(values[best]) || !(Math.abs(values[best]) >= 0) ? place : best));

  const tint = (element, value, scale, diverging) => {
    const share = scale > 0 && Number.isFinite(value) && (diverging || value > 0) ? Math.min(1, Math.abs(value) / scale) : 0;
    element.classList.toggle("positive", share > 0 && value > 0);
    element.classList.toggle("negative", share > 0 && value < 0);
    element.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
  };

  const paint = (values, scale, { diverging, large }) => {
    for (const token of units()) {
      tint(token, values[strongest(placesOf(token), values)], scale, diverging);
      token.classList.toggle("large", placesOf(token).some(large));
    }
  };

  const mark = (query, next, chosen) => {
    for (const token of units()) {
      const held = placesOf(token);
      token.classList.toggle("query", held.includes(query));
      token.classList.toggle("next", held.includes(next) && !held.includes(query));
      token.setAttribute("aria-selected", String(held.includes(chosen)));
    }
  };

  const legend = (box, scale, diverging) => {
    const steps = STEPS.filter((part) => diverging || part >= 0);
    box.replaceChildren(
      ...steps.map((part) => {
        const made = document.createElement("span");
        const size = Number((Math.abs(part) * scale).toPrecision(2));
        const sign = diverging && size ? (part > 0 ? "+" : "\u2212") : "";
        made.textContent = sign + size;
        tint(made, part * scale, scale, diverging);
        return made;
      }),
    );
  };

  const tokenOf = (event) => event.target.closest?.("[data-unit]");
  const enter = (event) => {
    if (tokenOf(event)) on.preview(placesOf(tokenOf(event)));
  };
  const leave = (event) => {
    const focused = event.type === "pointerout" && host.querySelector(":focus");
    on.preview(focused ? placesOf(focused) : null);
  };

  host.addEventListener("pointerover", enter);
  host.addEventListener("focusin", enter);
  host.addEventListener("pointerout", leave);
  host.addEventListener("focusout", leave);
  host.addEventListener("click", (event) => {
    if (tokenOf(event)) on.keep(placesOf(tokenOf(event)));
  });
  host.addEventListener("keydown", (event) => {
    if (!tokenOf(event) || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    on.keep(placesOf(tokenOf(event)));
  });

  const unit = (place) => places.find((held) => held.includes(place)) ?? [];

  return { show, paint, mark, legend, unit, strongest };
};
