// What sections are made of.
//
// useFrame() → {store, act, ask, fill}, in any component:
//   act(name, args, {quiet, told}?) → Promise<{ok, text, hint}>   sends an intent and shows its answer in the
//     frame; quiet: a good answer is not shown there, as the caller shows it; told(): whether the caller shows a
//     bad one. Use this rather than `store.act`.
//   ask({title, text, yes, danger?}) → Promise<boolean>      text: a string, or a list of paragraphs
//   fill({title, text?, fields, yes, danger?, intent?}) → Promise<values | null>
//     intent(values): the [name, args] of what is to be done with them; the form stays until it has been
//     fields: {name, label, type: text|number|textarea|select|checkbox, value?, options?, required?, hint?,
//     min?, max?, placeholder?}; options: strings, or [value, label]. values: by name; texts and numbers that are
//     left empty are not in it, and numbers are numbers.
// <Button onClick kind="" | "main" | "danger" | "quiet" why title>   `why` it cannot be used now; "" if it can
// <Modal title onClose wide?>                     a dialog, open as long as it is there; focus goes back
// <Menu label title? kind? actions why?>          a button with actions: a list of {label, onClick, why?, danger?},
//                                                 or a function that tells it when the menu opens
// <Said answer onDismiss?>                        the answer of an intent
// <Refused failure>                               likewise in a dialog, of one that failed; null: none did
// <Code text>                                     `code` in backquotes
// <Age at>                                        how long ago, ticking; `at` in seconds since the epoch
// <Empty>                                         what stands where there is nothing: a sentence and a button
// span(seconds), money(dollars), amount(number): texts.   memo(Component): drawn again when a prop is another
// CSS: the colours and sizes are the variables at the top of dashboard.css.

import { Component } from "preact";
import { Button, Code } from "./controls.jsx";
import { useFrame, useTicking } from "./frame.js";

export { Modal, Refused } from "./dialogs.jsx";
export { Menu } from "./menu.jsx";
export { Button, Code, useFrame };

/** A time in the largest unit that fits: 12 s, 5 min, 3 h, 4 d. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit}`;
  }
  return `${whole} s`;
}

/** Such as $0.0042, or $1.20; "" for nothing. */
export function money(dollars) {
  return dollars === 0 ? "" : `$${dollars.toFixed(dollars < 0.1 ? 4 : 2)}`;
}

/** A count, as 950, 12.3k or 4.0M. */
export function amount(number) {
  if (number < 1000) return String(number);
  const [size, unit] = number < 999_950 ? [1e3, "k"] : [1e6, "M"];
  return `${(number / size).toFixed(1)}${unit}`;
}

/** Drawn again only when a prop is another. */
export function memo(Inner) {
  return class extends Component {
    shouldComponentUpdate(next) {
      const names = Object.keys(next);
      return names.length !== Object.keys(this.props).length || names.some((name) => next[name] !== this.props[name]);
    }
    render(props) {
      return <Inner {...props} />;
    }
  };
}

/** What came of an intent. */
export function Said({ answer, onDismiss }) {
  return (
    <div class={["pi-v-said", !answer.ok && "pi-v-failed", answer.noted && "pi-v-noted"].filter(Boolean).join(" ")}>
      <span class="pi-v-mark" aria-hidden="true">
        {answer.ok ? "✓" : "✗"}
      </span>
      <p>
        {!answer.ok && <b>{answer.action} failed: </b>}
        <Code text={answer.text} />
        {answer.hint && (
          <span class="pi-v-hint">
            {" "}
            <Code text={answer.hint} />
          </span>
        )}
      </p>
      {onDismiss && (
        <Button kind="quiet" aria-label="Dismiss" title="Do not show this any more" onClick={onDismiss}>
          ×
        </Button>
      )}
    </div>
  );
}

/** How long ago that was. */
export function Age({ at }) {
  const { store } = useFrame();
  const text = useTicking(() => span(store.now() - at));
  return at > 0 && <time title={new Date(at * 1000).toLocaleString()}>{text}</time>;
}

/** What is said where there is nothing. */
export function Empty({ children }) {
  return <div class="pi-v-empty">{children}</div>;
}
