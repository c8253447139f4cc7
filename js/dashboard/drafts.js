// What is typed to agents and not sent yet, or is being sent: a box may be closed and opened again meanwhile.

import { useLayoutEffect, useState } from "preact/hooks";

/** What boxes share: `typed`, texts by the names of drafts, and `sent`, promises that end when such a one was answered. */
export const makeDrafts = () => ({ typed: new Map(), sent: new Map() });

/**
 * {sending, send(say)}: is something being sent from the box `draft`? `say` does it, unless that goes on already; its
 * promise tells whether the box goes with it; if it stays, `done` is called then.
 */
export function useSending({ sent }, draft, done) {
  const [sending, setSending] = useState(sent.has(draft));
  async function follow(promise) {
    setSending(true);
    if (await promise) return;
    setSending(false);
    done();
  }
  function send(say) {
    if (!sent.has(draft)) sent.set(draft, say().finally(() => sent.delete(draft))); // by whichever box of it
    follow(sent.get(draft));
  }
  useLayoutEffect(() => {
    if (sent.has(draft)) follow(sent.get(draft));
  }, []);
  return { sending, send };
}
