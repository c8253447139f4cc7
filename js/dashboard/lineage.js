// What came from what, as rows with lanes, like a git graph: each below what it came from, oldest first. The
// youngest that came from something goes on in its lane; each other has the next lane to the right.

/**
 * Rows {id, lane, through, up, down, origin}: `through` are the lanes that pass by, such as "0,1"; `up` tells what
 * leads to it: "" nothing, "straight", "branch" from the lane before, "gone" something that is no more; `down`,
 * whether something came from it; `origin`, the id of what it came from, if that is shown.
 */
export function lineage(machines, commits, withCommits) {
  const shown = withCommits ? { ...commits, ...machines } : machines;
  const all = { ...commits, ...machines };
  const below = children(shown, all);
  const rows = [];
  const seen = new Set();
  // A platform that names a machine as its own ancestor gets it shown all the same: whoever is left, once.
  for (const root of [...(below.get("") ?? []), ...Object.keys(shown)]) {
    const up = shown[root].parent && !(shown[root].parent in all) ? "gone" : "";
    const waiting = [{ id: root, lane: 0, through: [], up, origin: "" }];
    while (waiting.length) {
      const row = waiting.pop();
      if (seen.has(row.id)) continue;
      seen.add(row.id);
      const next = (below.get(row.id) ?? []).filter((id) => !seen.has(id));
      rows.push({ ...row, through: row.through.join(), down: next.length > 0 });
      const last = next.length - 1;
      for (let at = last; at >= 0; at--) {
        const { lane, through } = row;
        const place = at === last ? { lane, through, up: "straight" } : { lane: lane + 1, through: [...through, lane], up: "branch" };
        waiting.push({ id: next[at], ...place, origin: row.id });
      }
    }
  }
  return rows;
}

/** The ids of machines that came from these, at whatever remove, as `%vers rm -r` has it, without these. */
export function descendants(machines, commits, ids) {
  const below = new Map();
  for (const [id, { parent }] of Object.entries(machines)) {
    const origin = parent in machines ? parent : commits[parent]?.parent;
    below.set(origin, [...(below.get(origin) ?? []), id]);
  }
  const found = new Set(ids);
  for (const id of found) for (const child of below.get(id) ?? []) found.add(child);
  return [...found].slice(ids.length);
}

/** The ids of all that came from these, at whatever remove, without these; `items`: machines and commits. */
export function issue(items, ids) {
  const found = new Set(ids);
  for (const from of found) {
    for (const [id, { parent }] of Object.entries(items)) if (parent === from) found.add(id);
  }
  return [...found].slice(ids.length);
}

/** The ids of those shown by that of what they came from; "" nothing that is shown. */
function children(shown, all) {
  const below = new Map();
  const ids = Object.keys(shown).sort((one, other) => shown[one].created - shown[other].created || (one < other ? -1 : 1));
  for (const id of ids) {
    const passed = new Set();
    let origin = shown[id].parent;
    while (origin && !(origin in shown)) {
      passed.add(origin);
      origin = all[origin]?.parent;
      if (passed.has(origin)) origin = "";
    }
    const parent = origin || "";
    if (!below.has(parent)) below.set(parent, []);
    below.get(parent).push(id);
  }
  return below;
}
