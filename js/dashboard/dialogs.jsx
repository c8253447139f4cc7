// Dialogs: questions, forms, and whatever else a section opens.

import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button, Code } from "./controls.jsx";
import { useFrame } from "./frame.js";

/** A modal dialog that is open as long as it is there. `onClose` is called when it is dismissed. */
export function Modal({ title, onClose, wide = false, children }) {
  const ref = useRef(null);
  const there = useRef(true);
  const heading = useId();
  useLayoutEffect(() => {
    const dialog = ref.current;
    dialog.showModal();
    return () => {
      there.current = false;
      dialog.close(); // or the focus would not go back
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={wide ? "pi-v-modal pi-v-wide" : "pi-v-modal"}
      aria-labelledby={heading}
      onClose={(event) => event.target === ref.current && there.current && onClose()}
    >
      <header>
        <h2 id={heading}>{title}</h2>
        <Button kind="quiet" aria-label="Close" title="Close (Esc)" onClick={onClose}>
          ×
        </Button>
      </header>
      {children}
    </dialog>
  );
}

/**
 * A form in a dialog, or, without fields, a question. `onDone` is given the values, or null. What `intent(values)`
 * names, as [name, args], is done first: what was typed stays until it has been.
 */
export function Form({ title, text = [], fields = [], yes, danger = false, intent, onDone }) {
  const { store, act } = useFrame();
  const id = useId();
  const there = useRef(true);
  const form = useRef(null);
  const [sending, setSending] = useState(false);
  const [failure, setFailure] = useState(null);
  useLayoutEffect(() => {
    form.current.querySelector("input:focus")?.select(); // what is there already is typed over
    return () => (there.current = false);
  }, []);
  async function submit(event) {
    event.preventDefault();
    if (sending) return;
    const given = values(fields, event.target);
    if (!intent) {
      onDone(given);
      return;
    }
    setSending(true);
    setFailure(null);
    const answer = await act(...intent(given), { told: () => there.current });
    if (!there.current) return;
    setSending(false);
    if (answer.ok) onDone(given);
    else setFailure(answer);
  }
  function key(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat) return;
    event.preventDefault();
    event.currentTarget.requestSubmit();
  }
  return (
    <Modal title={title} onClose={() => onDone(null)}>
      <form ref={form} onSubmit={submit} onKeyDown={key}>
        {[text].flat().map((paragraph) => (
          <p key={paragraph}>
            <Code text={paragraph} />
          </p>
        ))}
        {fields.map((field, at) => (
          <Field field={field} id={`${id}-${field.name}`} first={at === 0 && !danger} key={field.name} />
        ))}
        <Outcome failure={failure} waits={sending && store.waiting > 0} />
        <footer>
          <Button onClick={() => onDone(null)} autofocus={danger || fields.length === 0} title={sending ? "It goes on all the same" : undefined}>
            {sending ? "Close" : "Cancel"}
          </Button>
          <Button kind={danger ? "danger" : "main"} type="submit" why={sending ? "It is being done." : ""}>
            {sending ? "Working…" : yes}
          </Button>
        </footer>
      </form>
    </Modal>
  );
}

/** Why the answer `failure`, if there is one, was no. */
export function Refused({ failure }) {
  return (
    <div role="alert">
      {failure && (
        <p class="pi-v-refused">
          <Code text={failure.text} /> <Code text={failure.hint} />
        </p>
      )}
    </div>
  );
}

/** What came of what the form sent. */
function Outcome({ failure, waits }) {
  return (
    <>
      <Refused failure={failure} />
      <div role="status">{waits && <p class="pi-v-dim">It will be done when the cell has ended, also if this is closed.</p>}</div>
    </>
  );
}

function values(fields, form) {
  const found = {};
  for (const { name, type = "text" } of fields) {
    const { value, checked } = form.elements.namedItem(name);
    if (type === "checkbox") found[name] = checked;
    else if (value.trim() !== "") found[name] = type === "number" ? Number(value) : value;
  }
  return found;
}

function Field({ field, id, first }) {
  const { name, label, type = "text", value, options = [], hint, ...more } = field;
  const common = { id, name, autofocus: first, "aria-describedby": hint && `${id}-hint`, ...more };
  const below = hint && (
    <small id={`${id}-hint`}>
      <Code text={hint} />
    </small>
  );
  if (type === "checkbox") {
    return (
      <div class="pi-v-field">
        <label class="pi-v-check">
          <input type="checkbox" {...common} defaultChecked={value} /> {label}
        </label>
        {below}
      </div>
    );
  }
  return (
    <div class="pi-v-field">
      <label for={id}>{label}</label>
      {type === "select" ? (
        <select {...common}>
          {options.map((option) => {
            const [its, text] = [option].flat();
            return (
              <option value={its} selected={its === value} key={its}>
                {text ?? its}
              </option>
            );
          })}
        </select>
      ) : type === "textarea" ? (
        <textarea rows={5} spellcheck={false} {...common} defaultValue={value} />
      ) : (
        <input type={type} autocomplete="off" spellcheck={false} {...common} defaultValue={value} />
      )}
      {below}
    </div>
  );
}
