// A record of what heads do in rows of text (schema rwcore-head-reading/1), made to be asked.
//
// A classic script; it makes one global, `rwHeadRecord`, and uses `rwTokens`. Numbers stay packed until the
// row and head they belong to are looked at.
//
//   const record = rwHeadRecord(data);
//   record.reading(row, head)   what one head does in one row, by query position:
//     size      positions of the row
//     clean     {loss, p, rank, top}; effects: by name {loss, kl, p, rank, top}, loss as ablated − clean
//     lists     {lowered, raised}: of each query [[word, value], …], direct logit attribution
//     attention (kind, query): numbers by key, kind being "pattern" or "written"
//     lens      of each query {top: [[word, p], …], context: [[word, p, [positions]], …]}
//     cspa      {mean, left, kept(query): [[key, word, score, coefficient], …]}
//   record.ablation             what heads are replaced by, a sentence; or empty
//   record.typed                whether the text is somebody's own and no row of a corpus
//   record.name(word)           text of a word of the record's list
//   record.token(row, place)    word at a place of a row; undefined beyond its ends
//   record.changes(row, head, effect)   [[query, change of the loss], …] of the predictions that count: not of
//                               the one made at a token that begins every row
//   record.means(row, head)     the same of the change that CSPA is compared with
const rwHeadRecord = (data) => {
  "use strict";

  const WHOLE = 65535; // stands for 1 in attention
  const decoded = new Map();

  const shares = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
    return Float32Array.from({ length: bytes.length / 2 }, (_, at) => (bytes[2 * at] + 256 * bytes[2 * at + 1]) / WHOLE);
  };

  const runOf = (packed) =>
    Object.fromEntries(Object.entries(packed).map(([name, held]) => [name, name === "top" ? held : rwTokens.floats(held)]));

  const attentionOf = (packed) => {
    const [, keys] = packed.shape;
    const grids = {};
    return (kind, query) => {
      grids[kind] ??= shares(packed[kind]);
      return grids[kind].subarray(query * keys, (query + 1) * keys);
    };
  };

  const cspaOf = (packed) => {
    const byQuery = new Map();
    for (const [query, ...pair] of packed.kept) {
      if (!byQuery.has(query)) byQuery.set(query, []);
      byQuery.get(query).push(pair);
    }
    const [mean, left] = [packed.mean, packed.left].map(rwTokens.floats);
    return { mean, left, kept: (query) => byQuery.get(query) ?? [] };
  };

  const decode = (packed) => {
    const clean = runOf(packed.clean);
    return {
      size: clean.loss.length,
      clean,
      effects: Object.fromEntries(Object.entries(packed.effects).map(([name, run]) => [name, runOf(run)])),
      lists: packed.attribution,
      attention: attentionOf(packed.attention),
      lens: packed.lens,
      cspa: cspaOf(packed.cspa),
    };
  };

  const reading = (row, head) => {
    const place = row * data.heads.length + head;
    if (!decoded.has(place)) decoded.set(place, decode(data.readings[place]));
    return decoded.get(place);
  };

  const counted = (row, values) =>
    Array.from(values, (change, query) => [query, change]).filter(
      ([query, change]) => Number.isFinite(change) && !(data.rows[row].bos && query === 0),
    );
  const changes = (row, head, effect) => counted(row, reading(row, head).effects[effect].loss);
  const means = (row, head) => counted(row, reading(row, head).cspa.mean);

  return {
    rows: data.rows,
    heads: data.heads,
    effects: data.effects,
    ablation: data.ablation ?? "",
    typed: data.corpus === null,
    reading,
    changes,
    means,
    name: (word) => data.words[word],
    token: (row, place) => data.rows[row].tokens[place],
  };
};
