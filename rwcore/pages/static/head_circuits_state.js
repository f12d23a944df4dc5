// What the page of circuits shows: head, token and options, their form as a link, and tokens by what is typed.
const rwCircuits = (data) => {
  "use strict";
  const ORDERED = Object.keys(data.map);
  const MOST = 20;
  const CHOICES = {
    focus: ["source", "destination"],
    show: ["suppressed", "boosted"],
    map: ORDERED,
  };
  const DEFAULTS = { head: 0, token: 0, focus: "source", show: "suppressed", map: ORDERED[0], bars: 10 };
  const s = { ...DEFAULTS };

  const unpack = (list) => data.lists[list]?.[s.focus][s.head][s.token];

  // The first bars of a list; the token itself follows if it is further down.
  const bars = (list) => {
    const [others, values, [place, value]] = unpack(list);
    const rows = others.slice(0, s.bars).map((other, row) => ({ place: row + 1, other, value: values[row] }));
    if (place > rows.length) rows.push({ place, other: s.token, value, beyond: true });
    return rows;
  };
  const own = (list) => unpack(list)?.[2];

  // ---- tokens by what is typed: as it stands in a text, as it is shown here, in quotes, without its space
  const byRaw = new Map(data.raw.map((text, number) => [text, number]).reverse());
  const byShown = new Map(data.raw.map((_, number) => [data.texts[number], number]).reverse());
  const byWord = new Map(data.raw.map((text, number) => [text.trim().toLowerCase(), number]).reverse());
  const QUOTED = /^\s*(["'])(.*)\1\s*$/s;
  const lookup = (typed) => {
    const bare = typed.trim().replace(QUOTED, "$2");
    for (const text of [typed, bare]) {
      for (const found of [byRaw.get(text), byShown.get(text), byRaw.get(` ${text}`)]) if (found !== undefined) return found;
    }
    return byWord.get(bare.trim().toLowerCase());
  };

  const shellQuoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const tokenQuoted = (text) => (text.includes('"') ? `'${text}'` : `"${text}"`);
  // The command line that makes charts of a token; null where --tokens cannot name it: it has both kinds of quotes.
  const command = (heads, text) => {
    if (!text || (text.includes('"') && text.includes("'"))) return null;
    return [data.again, `--heads ${heads.join()}`, `--tokens ${shellQuoted(tokenQuoted(text))}`, "--out DIR"].join(" ");
  };

  // What stands in quotes as it is; else what was typed, with the space before it that most words have.
  const meant = (typed) => QUOTED.exec(typed)?.[2] ?? (/^\s/.test(typed) ? typed : ` ${typed}`);

  // ---- links: what differs from the beginning, after the #
  const toHash = () => {
    const parts = [];
    if (s.head !== DEFAULTS.head) parts.push(`head=${data.heads[s.head]}`);
    if (s.token !== DEFAULTS.token) parts.push(`token=${encodeURIComponent(data.raw[s.token])}`);
    for (const name of [...Object.keys(CHOICES), "bars"]) if (s[name] !== DEFAULTS[name]) parts.push(`${name}=${s[name]}`);
    return parts.join("&");
  };

  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };

  // Returns what could not be used: {name: value}.
  const fromHash = (text) => {
    const bad = {};
    Object.assign(s, DEFAULTS);
    for (const part of text.split("&").filter(Boolean)) {
      const [name, value] = [part.split("=")[0], decoded(part.slice(part.indexOf("=") + 1))];
      const head = data.heads.indexOf(value);
      const token = byRaw.get(value) ?? byShown.get(value);
      if (name === "head" && head >= 0) s.head = head;
      else if (name === "token" && token !== undefined) s.token = token;
      else if (CHOICES[name]?.includes(value)) s[name] = value;
      else if (name === "bars" && /^\d+$/.test(value) && value >= 5 && value <= MOST) s.bars = Number(value);
      else if (name !== "main") bad[name] = value;
    }
    return bad;
  };

  return { s, bars, own, lookup, meant, command, toHash, fromHash };
};
