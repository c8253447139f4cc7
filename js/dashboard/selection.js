// Which rows are chosen: one by one, a range by Shift, or all.

import { useMemo, useRef, useState } from "preact/hooks";

/** {chosen: Set of ids, choose(id, range), chooseAll(on)}; `order` is that of the rows; what is gone is not chosen. */
export function useSelection(order) {
  const [picked, pick] = useState(new Set());
  const latest = useRef(order);
  latest.current = order;
  const anchor = useRef("");
  const choose = useRef((id, range) => {
    const from = latest.current.indexOf(anchor.current);
    const to = latest.current.indexOf(id);
    if (range && from >= 0) {
      const between = latest.current.slice(Math.min(from, to), Math.max(from, to) + 1);
      pick((before) => new Set([...before, ...between]));
      return;
    }
    anchor.current = id;
    pick((before) => {
      const after = new Set(before);
      if (!after.delete(id)) after.add(id);
      return after;
    });
  }).current;
  const chosen = useMemo(() => new Set(order.filter((id) => picked.has(id))), [order, picked]);
  return { chosen, choose, chooseAll: (on) => pick(new Set(on ? order : [])) };
}
