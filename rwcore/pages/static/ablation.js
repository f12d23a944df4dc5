// Numbers of the token that is pointed at or focused; arrow keys go from token to token.
(() => {
  "use strict";

  const contextOf = (token) => token.parentElement;

  const readout = (context) => context.parentElement.querySelector(".readout");

  const said = (token) => {
    const context = contextOf(token);
    const place = [...context.children].indexOf(token);
    const [clean, ablated, difference] = ["clean", "ablated", "difference"].map(
      (name) => context.dataset[name].split(" ")[place],
    );
    const which = `${token.textContent}, token ${Number(context.dataset.start) + place}`;
    return difference === "-" ? `${which}: not counted` : `${which}: ${clean} → ${ablated}, Δ ${difference}`;
  };

  const show = (token) => {
    readout(contextOf(token)).textContent = said(token);
  };

  const hide = (event) => {
    const context = event.target.closest?.(".context");
    if (!context) return;
    const focused = context.querySelector(":focus");
    readout(context).textContent = focused && event.type === "pointerout" ? said(focused) : "";
  };

  const tokenAt = (event) => event.target.closest?.(".context > *");

  const focus = (token) => {
    const context = contextOf(token);
    context.querySelector("[tabindex='0']").tabIndex = -1;
    token.tabIndex = 0;
    token.setAttribute("aria-label", said(token));
    token.focus();
  };

  const prepare = (details) => {
    for (const context of details.querySelectorAll(".context:not([role])")) {
      context.setAttribute("role", "listbox");
      context.setAttribute("aria-orientation", "horizontal");
      context.setAttribute("aria-label", "Tokens and the differences of their predictions");
      for (const token of context.children) {
        token.setAttribute("role", "option");
        if (token.tabIndex !== 0) token.tabIndex = -1;
      }
      const chosen = context.querySelector("mark");
      chosen.setAttribute("aria-selected", "true");
      chosen.setAttribute("aria-label", said(chosen));
    }
  };

  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target?.matches("details")) target.open = true;
  };

  document.addEventListener("pointerover", (event) => {
    const token = tokenAt(event);
    if (token) show(token);
  });
  document.addEventListener("focusin", (event) => {
    const token = tokenAt(event);
    if (token) show(token);
  });
  document.addEventListener("pointerout", hide);
  document.addEventListener("focusout", hide);
  document.addEventListener("click", (event) => {
    const token = tokenAt(event);
    if (token) focus(token);
  });
  document.addEventListener("keydown", (event) => {
    const token = tokenAt(event);
    if (!token || event.altKey || event.ctrlKey || event.metaKey) return;
    const next = {
      ArrowLeft: token.previousElementSibling,
      ArrowRight: token.nextElementSibling,
      Home: contextOf(token).firstElementChild,
      End: contextOf(token).lastElementChild,
    };
    if (!(event.key in next)) return;
    event.preventDefault();
    if (next[event.key]) focus(next[event.key]);
  });
  for (const details of document.querySelectorAll("details")) {
    details.addEventListener("toggle", () => prepare(details));
    if (details.open) prepare(details);
  }
  addEventListener("hashchange", reveal);
  reveal();
})();
