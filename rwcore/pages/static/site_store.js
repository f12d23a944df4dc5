// The numbers of the neurons: those with a page are in the index, those of a layer in a file of their own. The
// files are loaded as scripts, for a page that was opened from a disk may read nothing else. Few layers are held.
const rwStore = (data) => {
  "use strict";
  const HELD = 6;
  const kinds = data.roles ? 2 : 1;
  const held = new Map(); // promises by layer, the one that was asked for last at the end
  const failed = new Set();
  const handed = new Map();
  window.rwLayer = (layer, given) => handed.set(layer, given);

  const decoded = (text) => {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
    return bytes.buffer;
  };

  // A block of neurons. Their numbers are `first`, first + 1, … or those in `ids`; a neuron's number is
  // layer · dMlp + place in the layer.
  const block = (given, length, { first = 0, ids = null }) => {
    const codes = new Int8Array(decoded(given.codes));
    const values = new Float32Array(decoded(given.values));
    if (codes.length !== kinds * length || values.length !== data.columns.length * length) throw new RangeError();
    const row = (all, k) => all.subarray(k * length, (k + 1) * length);
    return {
      length,
      idAt: ids ? (place) => ids[place] : (place) => first + place,
      classes: row(codes, 0),
      roles: data.roles ? row(codes, 1) : null,
      columns: data.columns.map((_, k) => row(values, k)),
    };
  };

  const read = (layer) =>
    new Promise((resolve, reject) => {
      const { file, digest } = data.layers[layer];
      const fail = (what) => reject(new Error(`${file} ${what}`));
      const script = document.createElement("script");
      script.onload = () => {
        const given = handed.get(layer);
        handed.delete(layer);
        script.remove();
        if (!given) return fail("is damaged");
        if (given.digest !== digest) return fail("belongs to another site");
        try {
          resolve(block(given, data.dMlp, { first: layer * data.dMlp }));
        } catch {
          fail("is damaged");
        }
      };
      script.onerror = () => {
        script.remove();
        fail("could not be loaded");
      };
      script.src = `${file}?${digest}`; // an older file that a browser has kept is another file
      document.head.append(script);
    });

  const layer = (number) => {
    const found = held.get(number) ?? read(number);
    held.delete(number);
    held.set(number, found);
    found.catch(() => failed.add(number));
    if (held.size > HELD) held.delete(held.keys().next().value);
    return found;
  };

  // A file that was missing may be there the next time.
  const retry = () => {
    for (const number of failed) held.delete(number);
    failed.clear();
  };

  const ids = Int32Array.from(data.pages, (page) => page.layer * data.dMlp + page.neuron);
  const pageOf = new Map(data.pages.map((page, k) => [ids[k], page]));
  const paged = data.paged && block(data.paged, data.pages.length, { ids });

  return { layer, retry, paged, pageOf };
};
