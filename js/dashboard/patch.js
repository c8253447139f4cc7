// What `pi_v_jupyter/dashboard/patches.py` tells, applied: JSON merge patches, and {"+": "…"} for text that has grown.

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** What comes of `old`, which stays as it is: parts that have not changed are the same objects. */
export function apply(old, patch) {
  if (!isObject(patch)) return patch;
  const names = Object.keys(patch);
  if (names.length === 1 && names[0] === "+") return old + patch["+"];
  const next = isObject(old) ? { ...old } : {};
  for (const name of names) {
    if (patch[name] === null) delete next[name];
    else next[name] = apply(next[name], patch[name]);
  }
  return next;
}
