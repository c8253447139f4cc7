// The smallest parts, which dialogs and menus are made of too.

/** A button that can be reached, and says why, also when it cannot be used. */
export function Button({ onClick, why = "", title, kind = "", children, ...more }) {
  return (
    <button
      type="button"
      {...more}
      class={`pi-v-button ${kind && `pi-v-${kind}`}`}
      aria-disabled={why ? "true" : undefined}
      title={why || title}
      onClick={(event) => (why ? event.preventDefault() : onClick?.(event))}
    >
      {children}
    </button>
  );
}

/** Text, with what is between backquotes as code. */
export function Code({ text }) {
  return text.split("`").map((part, at) => (at % 2 ? <code key={at}>{part}</code> : part));
}
