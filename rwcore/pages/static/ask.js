// Asks the server that a page came from, one question at a time. One global, `rwAsk`.
//
//   const send = rwAsk(address, {show, hide});   show(answer, question) shows one; hide() takes it away
//   send(question)                               an object; a question under way is given up
//
// The page has an element #status, which says that the model reads, and an element #problem for what went wrong;
// its body has the class `waiting` in between.
const rwAsk = (address, on) => {
  "use strict";

  const at = (id) => document.getElementById(id);
  let asked = null; // the request under way

  const paragraph = (text) => {
    const made = document.createElement("p");
    made.textContent = text;
    return made;
  };

  const explain = (error, remedy) => {
    at("problem").replaceChildren(paragraph(error), ...(remedy ? [paragraph(`To do: ${remedy}`)] : []));
    at("problem").hidden = false;
    at("status").textContent = "";
    on.hide();
  };

  return async (question, reading = "The model reads …") => {
    asked?.abort();
    const mine = new AbortController();
    asked = mine;
    at("problem").hidden = true;
    at("status").textContent = reading;
    document.body.classList.add("waiting");
    try {
      const headers = { "Content-Type": "application/json" };
      const body = JSON.stringify(question);
      const response = await fetch(address, { method: "POST", headers, body, signal: mine.signal });
      const found = await response.json();
      if (asked !== mine) return;
      if (!response.ok) {
        explain(found.error, found.remedy);
        return;
      }
      at("status").textContent = "";
      on.show(found, question);
    } catch (error) {
      if (asked === mine) explain(`The server does not answer (${error.message}).`, "look whether rwcore serve still runs");
    } finally {
      if (asked === mine) document.body.classList.remove("waiting");
    }
  };
};
