// What states of agents are called and how they are marked; the marks are those of `views/telling.py`.

const SIGNS = {
  starting: "…",
  idle: "○",
  working: "⟳",
  waiting: "?",
  retrying: "↻",
  done: "✓",
  error: "✗",
  aborted: "⊘",
  lost: "✗",
  ended: "✗",
  leaving: "✗",
};
const WORDS = { waiting: "waits for you", leaving: "is being deleted" };
const TONES = {
  working: "busy",
  retrying: "warn",
  waiting: "warn",
  done: "good",
  error: "bad",
  lost: "bad",
  ended: "bad",
};

export const sign = (state) => SIGNS[state] ?? "○";

/** Which of the classes `pi-v-tone-…` a state has. */
export const tone = (state) => TONES[state] ?? "calm";

/** A state in words, such as "retrying, 2 of 5". */
export function words({ state, detail }) {
  const called = WORDS[state] ?? state;
  return state === "retrying" && detail ? `${called} ${detail}` : called;
}

/** Does it do something that a prompt would come into? */
export const busy = ({ state }) => state === "working" || state === "waiting" || state === "retrying";

/** Is it not ready yet to be told anything? */
export const starts = ({ state }) => state === "starting";

/** Has its VM, or its pi, gone or is it about to? */
export const over = ({ state }) => state === "ended" || state === "leaving";
