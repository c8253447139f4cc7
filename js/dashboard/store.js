// One view's side of what `pi_v_jupyter/dashboard/__init__.py` describes: the last snapshot, and intents.

import { apply } from "./patch.js";

const SILENT = 5000; // milliseconds without a word, while this is visible, after which what is shown may be old
const STILL = 30; // seconds after which the kernel is told that somebody looks still
const UNHEARD = 700; // milliseconds until an intent that the kernel has not taken is said to wait for a cell
const NOBODY = { ok: false, text: "There is no kernel to do that.", hint: "Run `%vers` for a live dashboard." };

/** `changed` is called when anything here is another. */
export function makeStore(model, changed) {
  const view = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const intents = new Map(); // by id: {resolve, heard}
  let seq = -1;
  let count = 0;
  let offset = 0; // seconds by which the kernel's clock is ahead of the browser's
  let lastWord = Date.now();
  let visible = false;
  const store = {
    state: null, // the last snapshot; null: none has come yet
    stale: false, // has the kernel been silent for long?
    gone: false, // is there no kernel?
    waiting: 0, // intents that wait for a cell to end
    reading: "", // the id of the VM whose agent's transcript is followed
    transcript: null,
    /** The kernel's time, in seconds since the epoch. */
    now: () => Date.now() / 1000 + offset,
    /** For how many seconds the kernel has said nothing. */
    silence: () => (Date.now() - lastWord) / 1000,
    /** Have something done; a promise of {ok, text, hint}. */
    act(name, args = {}) {
      const id = ++count;
      return new Promise((resolve) => {
        intents.set(id, { resolve, heard: false });
        send({ kind: "intent", id, name, args });
        setTimeout(tally, UNHEARD);
      });
    },
    /** Follow an agent's transcript; "" for none. */
    read(vm) {
      store.reading = vm;
      store.transcript = null;
      transcriptSeq = -1;
      send({ kind: "reading", vm });
      changed();
    },
    setVisible(now) {
      if (now === visible) return;
      visible = now;
      lastWord = Date.now();
      send({ kind: "visible", visible });
    },
    close() {
      clearInterval(watch);
      model.off("msg:custom", receive);
      model.off("comm_live_update", another);
      send({ kind: "left" });
    },
  };
  let transcriptSeq = -1;

  function send(content) {
    try {
      model.send({ view, ...content });
    } catch {
      store.gone = true;
      for (const { resolve } of intents.values()) resolve(NOBODY);
      intents.clear();
      changed();
    }
  }

  // The front end's word for a kernel that was restarted, or that is heard again: one that is there answers.
  function another() {
    store.gone = true;
    changed();
    send({ kind: "opened" });
  }

  function tally() {
    const waiting = [...intents.values()].filter((intent) => !intent.heard).length;
    if (waiting !== store.waiting) {
      store.waiting = waiting;
      changed();
    }
  }

  function receive(message) {
    if (message.to !== undefined && message.to !== view) return;
    lastWord = Date.now();
    store.stale = store.gone = false;
    if (message.now) offset = message.now - lastWord / 1000;
    if (message.kind === "snapshot") {
      seq = message.seq;
      store.state = message.all;
    } else if (message.kind === "patch") {
      if (store.state === null || message.seq <= seq) return;
      if (message.seq !== seq + 1) {
        send({ kind: "opened" }); // one was lost
        return;
      }
      seq = message.seq;
      store.state = apply(store.state, message.patch);
    } else if (message.kind === "transcript") {
      if (message.vm !== store.reading || message.seq <= transcriptSeq) return;
      if (message.seq !== transcriptSeq + 1) {
        store.read(store.reading);
        return;
      }
      transcriptSeq = message.seq;
      store.transcript = apply(store.transcript ?? {}, message.patch);
    } else if (message.kind === "heard") {
      if (intents.has(message.id)) intents.get(message.id).heard = true;
      tally();
    } else if (message.kind === "answer") {
      intents.get(message.id)?.resolve({ ok: message.ok, text: message.text, hint: message.hint });
      intents.delete(message.id);
      tally();
    }
    changed();
  }

  model.on("msg:custom", receive);
  model.on("comm_live_update", another);
  let seconds = 0;
  const watch = setInterval(() => {
    seconds += 1;
    if (visible && seconds % STILL === 0) send({ kind: "visible", visible });
    const stale = visible && Date.now() - lastWord > SILENT;
    if (stale !== store.stale) {
      store.stale = stale;
      changed();
    }
  }, 1000);
  send({ kind: "opened" });
  return store;
}
