// Which rows are chosen: one by one, a range by Shift, or all.

import { useMemo, useRef, useState } from "preact/hooks";

/** {chosen: Set of ids, choose(id, on, range), chooseAll(on)}; `order` is that of the rows; what is gone is not chosen. */
export function useSelection(order) {
  const [picked, pick] = useState(new Set());
  const latest = useRef(order);
  latest.current = order;
  const anchor = useRef("");
  const choose = useRef((id, on, range) => {
    const from = latest.current.indexOf(anchor.current);
    const to = latest.current.indexOf(id);
    anchor.current = id;
    const those = range && from >= 0 ? latest.current.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    pick((before) => {
      const after = new Set(before);
      for (const one of those) on ? after.add(one) : after.delete(one);
      return after;
    });
  }).current;
  const chosen = useMemo(() => new Set(order.filter((id) => picked.has(id))), [order, picked]);
  return { chosen, choose, chooseAll: (on) => pick(new Set(on ? order : [])) };
}
