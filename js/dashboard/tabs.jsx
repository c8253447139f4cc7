// Tabs and their panels, as WAI-ARIA's pattern has them: arrow keys, Home and End go from tab to tab.

import { Component } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import { Frame } from "./frame.js";

const CHOSEN = "pi-v-dashboard-tab"; // where the browser keeps the tab that was chosen last, as long as its own is open

/** What `use` does with it, or undefined: a front end may keep nothing for its views. */
function kept(use) {
  try {
    return use(sessionStorage);
  } catch {
    return undefined;
  }
}

/** `sections`: by name, {label, panel}, both what is drawn; a panel that was seen once stays there, hidden. */
export function useTabs(sections) {
  const names = Object.keys(sections);
  const [chosen, show] = useState(() => kept((storage) => names.find((name) => name === storage.getItem(CHOSEN))) ?? names[0]);
  const seen = useRef(new Set()).current.add(chosen);
  const list = useRef(null);
  const id = useId();
  function choose(name) {
    kept((storage) => storage.setItem(CHOSEN, name));
    show(name);
  }
  function key(event) {
    const at = names.indexOf(chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const name = names.at(to % names.length);
    choose(name);
    list.current.children[names.indexOf(name)].focus();
  }
  const tabs = (
    <div role="tablist" aria-label="Dashboard" class="pi-v-tabs" ref={list} onKeyDown={key}>
      {names.map((name) => (
        <button
          type="button"
          role="tab"
          id={`${id}-${name}`}
          aria-selected={name === chosen}
          aria-controls={seen.has(name) ? `${id}-${name}-panel` : undefined}
          tabIndex={name === chosen ? 0 : -1}
          onClick={() => choose(name)}
          key={name}
        >
          {sections[name].label}
        </button>
      ))}
    </div>
  );
  const panels = names
    .filter((name) => seen.has(name))
    .map((name) => (
      <div
        role="tabpanel"
        tabIndex={-1}
        id={`${id}-${name}-panel`}
        aria-labelledby={`${id}-${name}`}
        hidden={name !== chosen && "until-found"} // its layout is kept: a hundred rows take long to be laid out
        onBeforeMatch={() => choose(name)}
        key={name}
      >
        <Panel shown={name === chosen}>{sections[name].panel}</Panel>
      </div>
    ));
  return { tabs, panels };
}

/** What is hidden is not drawn again until it is shown: first as it was, so that the click is soon answered. */
export class Panel extends Component {
  static contextType = Frame;
  shouldComponentUpdate(next) {
    if (next.shown && !this.props.shown) this.context.redraw();
    return next.shown && this.props.shown;
  }
  render({ children }) {
    return children;
  }
}
