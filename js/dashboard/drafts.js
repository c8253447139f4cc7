// What is typed to agents and not sent yet, or is being sent: a box may be closed and opened again meanwhile.

import { useLayoutEffect, useState } from "preact/hooks";

/** What boxes share: `typed`, texts by the names of drafts, and `sent`, promises that end when such a one was answered. */
export const makeDrafts = () => ({ typed: new Map(), sent: new Map() });

/**
 * {sending, send(promise)}: is something being sent from the box `draft`? The promise tells whether the box goes with
 * it; if it stays, `done` is called then.
 */
export function useSending({ sent }, draft, done) {
  const [sending, setSending] = useState(sent.has(draft));
  async function follow(promise) {
    setSending(true);
    if (await promise) return;
    setSending(false);
    done();
  }
  function send(promise) {
    const ended = promise.finally(() => sent.delete(draft));
    sent.set(draft, ended);
    follow(ended);
  }
  useLayoutEffect(() => {
    if (sent.has(draft)) follow(sent.get(draft));
  }, []);
  return { sending, send };
}
