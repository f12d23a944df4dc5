// A question about the neurons: which fit, in which order, and one page of them. The blocks of neurons are read
// one after the other, and of each only the rows that may be shown are kept.
const rwQuery = (data, store) => {
  "use strict";
  const { dMlp } = data;
  const columnAt = new Map(data.columns.map((column, k) => [column.key, k]));
  const everyClass = [...data.classes.keys()].map((k) => (k === data.classes.length - 1 ? -1 : k));
  const LARGEST = Number.MAX_VALUE; // infinite values stay before the ones that are missing

  // What rows are ordered by, least first; missing values come last whichever way the others go.
  const keyIn = (block, { by, down }) => {
    const turn = down ? -1 : 1;
    if (by === "neuron") return (place) => turn * block.idAt(place);
    const codes = { class: block.classes, role: block.roles }[by];
    if (codes) return (place) => (codes[place] < 0 ? Infinity : turn * codes[place]);
    const values = block.columns[columnAt.get(by)];
    return (place) => {
      const key = turn * values[place];
      return Number.isNaN(key) ? Infinity : Math.max(-LARGEST, Math.min(LARGEST, key));
    };
  };

  // The least and the greatest key in a layer.
  const reach = (layer, { by, down }, classes) => {
    let [low, high, missing] = [0, 0, true];
    if (by === "neuron") [low, high, missing] = [layer * dMlp, (layer + 1) * dMlp - 1, false];
    else if (by === "role") [low, high] = [0, data.roles.length - 1];
    else if (by === "class") {
      const found = classes.filter((code) => code >= 0 && data.layers[layer].counts[code]);
      if (!found.length) return [Infinity, Infinity];
      [low, high, missing] = [Math.min(...found), Math.max(...found), classes.includes(-1)];
    } else {
      const bounds = data.layers[layer].bounds[columnAt.get(by)];
      if (!bounds.length) return [Infinity, Infinity];
      [low, high, missing] = bounds;
    }
    return [down ? -high : low, missing ? Infinity : down ? -low : high];
  };

  const lookup = (codes, count) => {
    const wanted = new Uint8Array(count + 1);
    for (const code of codes) wanted[code + 1] = 1;
    return wanted;
  };

  const fitsIn = (block, { layers, classes, roles, ranges, ids }) => {
    const tests = [];
    if (ids) tests.push((place) => ids.has(block.idAt(place)));
    if (layers) {
      const [first, end] = [layers[0] * dMlp, (layers[1] + 1) * dMlp];
      tests.push((place) => block.idAt(place) >= first && block.idAt(place) < end);
    }
    if (classes.length) {
      const wanted = lookup(classes, data.classes.length);
      tests.push((place) => wanted[block.classes[place] + 1]);
    }
    if (roles.length) {
      const wanted = lookup(roles, data.roles.length);
      tests.push((place) => wanted[block.roles[place] + 1]);
    }
    for (const { key, low, high } of ranges) {
      const values = block.columns[columnAt.get(key)];
      tests.push((place) => values[place] >= low && values[place] <= high);
    }
    return (place) => tests.every((test) => test(place));
  };

  // What is known of a layer before its file is read: how many neurons fit at most, and whether that is exact.
  const outlook = (layer, { layers, classes, roles, ranges, ids }) => {
    const { counts, bounds } = data.layers[layer];
    const inside = !layers || (layers[0] <= layer && layer <= layers[1]);
    const asked = inside && (!ids || [...ids].some((id) => Math.floor(id / dMlp) === layer));
    let count = classes.length ? classes.reduce((sum, code) => sum + counts.at(code), 0) : dMlp;
    let exact = !ids && !roles.length;
    for (const { key, low, high } of ranges) {
      const [least, most, missing] = bounds[columnAt.get(key)];
      if (!(least <= high && most >= low)) count = 0;
      exact &&= least >= low && most <= high && !missing;
    }
    return { layer, count: asked ? count : 0, exact };
  };

  const rowAt = (block, place) => ({
    id: block.idAt(place),
    class: block.classes[place],
    role: block.roles?.[place],
    values: block.columns.map((column) => column[place]),
  });

  const before = (a, b) => a.key < b.key || (a.key === b.key && a.id < b.id);

  // One page: `rows` rows from the neuron `from` on, only those `past` it, or the ones before it if the question
  // goes `back`; without `from`, the first or the last ones. Null if `watch.stopped()` says that nobody waits for
  // it any more.
  const run = async (query, watch) => {
    const turn = query.back ? -1 : 1; // backwards everything is the other way round
    store.retry();
    const { rows, sort } = query;
    const strict = query.back || query.past;
    const best = [];
    const failed = new Set();
    let [total, beyond, cursor] = [0, 0, null];

    const scan = (block) => {
      const fits = fitsIn(block, query);
      const keyAt = keyIn(block, sort);
      for (let place = 0; place < block.length; place++) {
        if (!fits(place)) continue;
        total++;
        const one = { key: turn * keyAt(place), id: turn * block.idAt(place), block, place };
        if (cursor && (before(one, cursor) || (strict && one.id === cursor.id))) continue;
        beyond++;
        if (best.length === rows && !before(one, best[rows - 1])) continue;
        let [low, high] = [0, best.length];
        while (low < high) {
          const middle = (low + high) >> 1;
          if (before(one, best[middle])) high = middle;
          else low = middle + 1;
        }
        best.splice(low, 0, one);
        if (best.length > rows) best.pop();
      }
      // Only the numbers of the rows stay, so that the block itself can go.
      for (const one of best) if (one.block) [one.row, one.block] = [rowAt(one.block, one.place), null];
    };

    const open = async (layer) => {
      try {
        return await store.layer(layer);
      } catch (error) {
        failed.add(error.message);
        return null;
      }
    };

    const find = async (id) => {
      if (sort.by === "neuron") return { key: turn * (sort.down ? -id : id), id: turn * id };
      const block = query.paged ? store.paged : await open(Math.floor(id / dMlp));
      const place = query.paged ? [...store.pageOf.keys()].indexOf(id) : id % dMlp;
      return block && place >= 0 ? { key: turn * keyIn(block, sort)(place), id: turn * id } : null;
    };

    const readLayers = async () => {
      const classes = query.classes.length ? query.classes : everyClass;
      const plan = data.layers.map((_, layer) => outlook(layer, query)).filter((part) => part.count);
      for (const part of plan) {
        const ends = reach(part.layer, sort, classes).map((key) => turn * key);
        [part.least, part.most] = query.back ? ends.reverse() : ends;
      }
      plan.sort((a, b) => (a.least === b.least ? turn * (a.layer - b.layer) : a.least < b.least ? -1 : 1));
      const early = (part) => part.exact && cursor && part.most < cursor.key;
      const late = (part) => part.exact && best.length === rows && part.least > best[rows - 1].key;
      for (const [k, part] of plan.entries()) {
        if (early(part) || late(part)) {
          total += part.count;
          if (!early(part)) beyond += part.count;
          continue;
        }
        for (const next of plan.slice(k + 1, k + 3)) if (!early(next) && !late(next)) store.layer(next.layer).catch(() => {});
        const block = await open(part.layer);
        if (watch.stopped()) return;
        if (block) scan(block);
        watch.progress(k + 1, plan.length);
      }
    };

    if (query.from !== null) cursor = await find(query.from);
    if (watch.stopped()) return null;
    if (!query.paged) await readLayers();
    else if (store.paged) scan(store.paged);
    if (watch.stopped()) return null;
    const found = best.map((one) => one.row);
    return {
      rows: query.back ? found.reverse() : found,
      total,
      start: query.back ? beyond - found.length : total - beyond,
      failed: [...failed],
    };
  };

  return { run };
};
