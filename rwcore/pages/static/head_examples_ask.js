// The page of heads of `rwcore serve`: asks about a text, shows the record. What is shown is in the address:
// #head=23.3&mode=zero, and what `rwHeadState` keeps there.
(() => {
  "use strict";

  const at = (id) => document.getElementById(id);
  let shown = ""; // head and mode of the record that is shown

  const link = () => new URLSearchParams(location.hash.slice(1));
  const mode = (asked) => (asked.mode === "mean" ? {} : { mode: asked.mode });
  const question = () => ({ text: at("text").value, head: at("asked").value.trim(), mode: at("mode").value });
  const named = ({ head, mode: replaced }) => `${head} ${replaced}`;

  const send = rwAsk("heads/ask", {
    show: (record, asked) => {
      const state = link();
      state.set("head", record.heads[0]);
      history.replaceState(null, "", `#${state}`);
      shown = named({ head: record.heads[0], mode: asked.mode });
      rwHeadExamples.show(record, () => mode(asked)); // the choice in the form may be another one by now
    },
    hide: () => (at("view").hidden = true),
  });

  const ask = () => {
    const state = link();
    const asked = question();
    state.set("head", asked.head);
    state.delete("mode");
    for (const [key, value] of Object.entries(mode(asked))) state.set(key, value);
    history.replaceState(null, "", `#${state}`);
    send(asked, asked.mode === "mean" ? "The model reads; for the first means it also reads our own texts …" : undefined);
  };

  at("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const state = link();
    state.delete("at"); // of another text, perhaps
    history.replaceState(null, "", `#${state}`);
    ask();
  });
  at("ask").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
  });
  for (const button of document.querySelectorAll("[data-text]")) {
    button.addEventListener("click", () => {
      at("text").value = button.dataset.text;
      if (at("ask").reportValidity()) at("ask").requestSubmit();
    });
  }

  const follow = () => {
    const state = link();
    at("asked").value = state.get("head") ?? at("asked").value;
    at("mode").value = state.get("mode") === "zero" ? "zero" : "mean";
    if (!at("asked").value) return;
    if (shown === named(question()) && !at("view").hidden) rwHeadExamples.follow();
    else if (at("ask").checkValidity()) ask();
  };

  addEventListener("hashchange", follow);
  follow();
})();
