// Terminals below the machines: each is another widget, which the kernel makes, shown in here.

import { useEffect, useRef, useState } from "preact/hooks";
import { Button, useFrame } from "./parts.jsx";

/** {all, manager, open(vm), close(vm)}: one per machine. */
export function useTerminals(model) {
  const { act, store } = useFrame();
  const [all, setAll] = useState([]);
  async function open(vm) {
    const answer = await act("terminal", { vm }, { quiet: true });
    if (!answer.ok) return;
    const { label } = store.state.machines[vm] ?? { label: vm };
    setAll((before) => [...before.filter((one) => one.vm !== vm), { vm, label, id: answer.text }]);
  }
  const close = (vm) => setAll((before) => before.filter((one) => one.vm !== vm));
  return { all, manager: model.widget_manager, open, close };
}

/** A panel for each. */
export function Terminals({ terminals: { all, manager, close } }) {
  return all.map(({ vm, label, id }) => (
    <section class="pi-v-panel" aria-label={`Terminal on ${label}`} key={id}>
      <header>
        <b>Terminal</b>
        <span class="pi-v-dim">on {label}</span>
        <Button kind="quiet" title="Close" aria-label={`Close the terminal on ${label}`} onClick={() => close(vm)}>
          ×
        </Button>
      </header>
      <Widget id={id} manager={manager} />
    </section>
  ));
}

/** The widget whose model has this id. */
function Widget({ id, manager }) {
  const place = useRef(null);
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    let view = null;
    let left = false;
    async function put() {
      const made = await manager.create_view(await manager.get_model(id));
      if (left) return made.remove();
      view = made;
      place.current.append(view.el);
      view.el.querySelector("textarea")?.focus();
    }
    put().catch((error) => setTrouble(`The terminal cannot be shown: ${error.message}.`));
    return () => {
      left = true;
      view?.remove();
    };
  }, [id]);
  return (
    <>
      {trouble && <p role="alert">{trouble}</p>}
      <div ref={place} />
    </>
  );
}
