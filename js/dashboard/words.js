// Sentences about machines and commits.

const MANY = 6; // names in a sentence

/** "a", "a and b", "a, b and c", "a, b, … and 12 more". */
export function names(labels) {
  const shown = labels.length > MANY ? [...labels.slice(0, MANY - 1), `${labels.length - MANY + 1} more`] : labels;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}

/** "1 machine", "3 machines". */
export const several = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** What sends a form from within a box of many lines. */
export const SEND = /Mac|iP/.test(navigator.platform) ? "⌘+Enter" : "Ctrl+Enter";

const CALLED = { local: "Run here", check: "Try again", cancel: "Stop", logs: "Read the log", teardown: "Tear down", connect: "Look there" };

/** What an intent of that name is called where it is told of, such as "Delete commits". */
export function called(name) {
  const words = name.replaceAll("_", " ");
  return CALLED[name] ?? words.charAt(0).toUpperCase() + words.slice(1);
}
