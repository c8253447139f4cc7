// What the frame lends to all that is in it, wherever it is.

import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";

export const Frame = createContext(null);

/** {store, act, ask, fill, clock, redraw}: see parts.jsx. */
export const useFrame = () => useContext(Frame);

/** Calls what listens whenever it is told to tick. */
export function makeClock() {
  const listeners = new Set();
  return {
    tick() {
      for (const listener of listeners) listener();
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** What `read` tells, looked at again each second; only where that has changed is anything drawn again. */
export function useTicking(read) {
  const { clock } = useFrame();
  const [, draw] = useState();
  useEffect(() => clock.listen(() => draw(read())));
  return read();
}
