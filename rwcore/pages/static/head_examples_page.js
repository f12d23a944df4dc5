// The page of examples of heads that is one file: shows the record that stands in it, in an element #record.
(() => {
  "use strict";

  const at = (id) => document.getElementById(id);

  const start = async () => {
    rwHeadExamples.show(await rwUnpack(at("record").textContent));
    addEventListener("hashchange", rwHeadExamples.follow);
    document.documentElement.dataset.ready = "true";
  };

  start().catch((error) => {
    at("failed").querySelector("span").textContent = error.message;
    at("failed").hidden = false;
  });
})();
