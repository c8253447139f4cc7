// Terminals below the machines: each is another widget, which the kernel makes, shown in here.

import { useEffect, useRef, useState } from "preact/hooks";
import { Pane } from "./panes.jsx";
import { useFrame } from "./parts.jsx";

const TYPED = "input, textarea, select";

/** {all, manager, open(vm), close(vm)}: one per machine; what runs in one that is closed is hung up on. */
export function useTerminals(model) {
  const { act, store } = useFrame();
  const [all, setAll] = useState([]);
  const count = useRef(0);
  async function open(vm) {
    const answer = await act("terminal", { vm }, { quiet: true });
    if (!answer.ok) return;
    const { label } = store.state.machines[vm] ?? { label: vm };
    const times = ++count.current;
    setAll((before) => [...before.filter((one) => one.vm !== vm), { vm, label, id: answer.text, times }]);
  }
  function close(vm) {
    setAll((before) => before.filter((one) => one.vm !== vm));
    act("close_terminal", { vm }, { quiet: true });
  }
  return { all, manager: model.widget_manager, open, close };
}

/** A pane for each. */
export function Terminals({ terminals: { all, manager, close } }) {
  return all.map(({ vm, label, id, times }) => (
    <Pane
      label={`Terminal on ${label}`}
      title={
        <>
          <b>Terminal</b>
          <span class="pi-v-dim">on {label}</span>
        </>
      }
      closing={`End the terminal on ${label}`}
      tip="End it: what runs there is hung up on"
      onClose={() => close(vm)}
      key={id}
    >
      <Widget id={id} manager={manager} times={times} />
    </Pane>
  ));
}

/** Give it the focus, and show all of it, if it is there, unless somebody has gone on to do something else. */
function take(box) {
  if (!box) return;
  const { activeElement } = box.getRootNode();
  const left = document.activeElement !== document.body && !box.closest(".pi-v-dashboard").contains(activeElement);
  if (left || activeElement?.matches(TYPED)) return;
  box.focus();
  box.closest(".pi-v-panel").scrollIntoView({ block: "nearest" });
}

/** The widget whose model has this id, with the focus on it as soon as it takes keys, and whenever it is asked for. */
function Widget({ id, manager, times }) {
  const place = useRef(null);
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    let view = null;
    let left = false;
    const arrival = new MutationObserver(() => {
      const box = place.current.querySelector("textarea");
      if (!box) return;
      arrival.disconnect();
      take(box);
    });
    arrival.observe(place.current, { childList: true, subtree: true });
    async function put() {
      const made = await manager.create_view(await manager.get_model(id));
      if (left) return made.remove();
      view = made;
      place.current.append(view.el);
    }
    put().catch((error) => setTrouble(`The terminal cannot be shown: ${error.message}.`));
    return () => {
      left = true;
      arrival.disconnect();
      view?.remove();
    };
  }, [id]);
  useEffect(() => take(place.current.querySelector("textarea")), [times]);
  return (
    <>
      {trouble && <p role="alert">{trouble}</p>}
      <div ref={place} />
    </>
  );
}
