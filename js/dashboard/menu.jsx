// A button with a menu of actions, as WAI-ARIA's pattern has it.

import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "./controls.jsx";

const GAP = 2; // pixels between the button and its menu

/** `actions`: a list of {label, onClick, why?, danger?}, or what tells it when the menu opens. */
export function Menu({ label, title, kind, why = "", actions, ...more }) {
  const [open, setOpen] = useState(false);
  const button = useRef(null);
  const id = useId();
  function choose({ why: reason, onClick }) {
    if (reason) return;
    close();
    onClick();
  }
  function close() {
    setOpen(false);
    button.current.querySelector("button").focus({ preventScroll: true }); // a dialog that opens now gives the focus back to it
  }
  function key(event) {
    if (event.key === "ArrowDown" && !open && !why) {
      event.preventDefault();
      setOpen(true);
    }
  }
  return (
    <span class="pi-v-menu" ref={button} onKeyDown={key}>
      <Button
        {...more}
        kind={kind}
        title={title}
        why={why}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(!open)}
      >
        {label}
      </Button>
      {open && <Items id={id} anchor={button} actions={typeof actions === "function" ? actions() : actions} choose={choose} close={close} />}
    </span>
  );
}

function Items({ id, anchor, actions, choose, close }) {
  const list = useRef(null);
  useLayoutEffect(() => {
    const { style } = list.current;
    list.current.showPopover(); // above all, whatever scrolls or cuts off around it
    const at = anchor.current.getBoundingClientRect();
    const size = list.current.getBoundingClientRect();
    const below = at.bottom + GAP + size.height <= innerHeight || at.top < size.height + GAP;
    style.top = `${below ? at.bottom + GAP : at.top - GAP - size.height}px`;
    style.left = `${Math.max(0, Math.min(at.left, innerWidth - size.width))}px`;
    list.current.querySelector("[role=menuitem]")?.focus();
    const outside = (event) => anchor.current.contains(event.composedPath()[0]) || close();
    const scrolled = (event) => event.target.contains(anchor.current) && close();
    addEventListener("pointerdown", outside, true);
    addEventListener("scroll", scrolled, true);
    return () => {
      removeEventListener("pointerdown", outside, true);
      removeEventListener("scroll", scrolled, true);
    };
  }, []);
  function key(event) {
    const items = [...list.current.querySelectorAll("[role=menuitem]")];
    const at = items.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) items.at(to % items.length).focus();
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return;
    event.stopPropagation();
    if (event.key !== "Tab") event.preventDefault();
  }
  return (
    <div ref={list} id={id} role="menu" popover="manual" class="pi-v-items" onKeyDown={key}>
      {actions.map((action) => (
        <button
          type="button"
          role="menuitem"
          tabIndex={-1}
          class={action.danger ? "pi-v-item pi-v-danger" : "pi-v-item"}
          aria-disabled={action.why ? "true" : undefined}
          title={action.why || undefined}
          onClick={() => choose(action)}
          key={action.label}
        >
          {action.label}
        </button>
      ))}
    </div>
  );
}
