// One view's side of what `pi_v_jupyter/dashboard/__init__.py` describes: the last snapshot, and intents.

import { apply } from "./patch.js";

const SILENT = 5000; // milliseconds without a word, while this is visible, after which what is shown may be old
const STILL = 30; // seconds after which the kernel is told that somebody looks still
const AWAY = 600; // seconds after which one that was hidden may have been forgotten
const UNHEARD = 700; // milliseconds until an intent that the kernel has not taken is said to wait for a cell
const [FIRST, LONGEST] = [2000, 60000]; // milliseconds until what was lost is asked for again, longer each time
const ANOTHER = "Run `%load_ext pi_v_jupyter` and `%vers` for a live dashboard.";
const NOBODY = { ok: false, text: "There is no kernel to do that.", hint: ANOTHER };
const LOST = { ok: false, text: "The kernel is not there any more: whether that was done is not known.", hint: ANOTHER };

/** `changed` is called when anything here is another. */
export function makeStore(model, changed) {
  const view = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const intents = new Map(); // by id: {resolve, piece, heard}
  let seq = -1;
  let count = 0;
  let offset = 0; // seconds by which the kernel's clock is ahead of the browser's
  let lastWord = Date.now();
  let visible = false;
  let hidden = Date.now(); // since when, if it is
  let readings = 0; // each has a number of its own, by which its transcript is told from others
  let asked = 0; // when it was asked for a snapshot last
  let patience = FIRST;
  let lost = 0; // since when there is no kernel, if there is none
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
    /** Have something done; a promise of {ok, text, hint, noted, stopped}, with the `id` of the intent; `piece` is given output as it comes. */
    act(name, args = {}, piece = () => {}) {
      const id = ++count;
      const answered = new Promise((resolve) => {
        intents.set(id, { resolve, piece, heard: false });
        send({ kind: "intent", id, name, args });
        setTimeout(tally, UNHEARD);
      });
      return Object.assign(answered, { id });
    },
    /** Follow an agent's transcript; "" for none. */
    read(vm) {
      store.reading = vm;
      store.transcript = null;
      transcriptSeq = -1;
      readings += 1;
      send({ kind: "reading", vm, number: readings });
      changed();
    },
    setVisible(now) {
      if (now === visible) return;
      const away = (Date.now() - hidden) / 1000;
      visible = now;
      lastWord = hidden = Date.now();
      if (visible && away > AWAY) introduce();
      else send({ kind: "visible", visible });
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
      leave();
      giveUp(NOBODY);
      changed();
    }
  }

  // The kernel may not know of this view any more.
  function introduce() {
    send({ kind: "opened" });
    send({ kind: "visible", visible });
    if (store.reading) store.read(store.reading);
  }

  // Something was lost. A kernel that has much to say may take a while to say it again.
  function ask(how) {
    if (Date.now() - asked < patience) return;
    if (asked) patience = Math.min(2 * patience, LONGEST);
    asked = Date.now();
    how();
  }

  function leave() {
    if (!store.gone) lost = Date.now();
    store.gone = true;
  }

  function giveUp(answer) {
    for (const { resolve } of intents.values()) resolve(answer);
    intents.clear();
    tally();
  }

  // The front end's word for a kernel that was restarted, or that is heard again: one that is there answers.
  function another() {
    leave();
    changed();
    introduce();
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
    if (message.kind === "closed") {
      leave();
      giveUp(LOST);
      changed();
      return;
    }
    lastWord = Date.now();
    store.stale = store.gone = false;
    if (message.now) offset = message.now - lastWord / 1000;
    if (message.kind === "snapshot") {
      seq = message.seq;
      store.state = message.all;
      asked = 0;
      patience = FIRST;
    } else if (message.kind === "patch") {
      if (store.state === null || message.seq <= seq) return;
      if (message.seq !== seq + 1) {
        ask(() => send({ kind: "opened" })); // one was lost
        changed();
        return;
      }
      seq = message.seq;
      store.state = apply(store.state, message.patch);
    } else if (message.kind === "transcript") {
      if (message.reading !== readings || message.seq <= transcriptSeq) return;
      if (message.seq !== transcriptSeq + 1) {
        store.read(store.reading);
        return;
      }
      transcriptSeq = message.seq;
      store.transcript = apply(store.transcript ?? {}, message.patch);
    } else if (message.kind === "heard") {
      if (intents.has(message.id)) intents.get(message.id).heard = true;
      tally();
    } else if (message.kind === "output") {
      intents.get(message.id)?.piece(message.text);
    } else if (message.kind === "answer") {
      const { ok, text, hint, noted, stopped } = message;
      intents.get(message.id)?.resolve({ ok, text, hint, noted, stopped });
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
    if (store.gone && intents.size > 0 && Date.now() - lost > SILENT) giveUp(LOST);
    const stale = visible && Date.now() - lastWord > SILENT;
    if (stale && !store.gone) ask(introduce);
    if (stale !== store.stale) {
      store.stale = stale;
      changed();
    }
  }, 1000);
  send({ kind: "opened" });
  return store;
}
