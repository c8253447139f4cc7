// The dashboard: what `pi_v_jupyter/dashboard/shape.py` describes, shown; what is clicked, sent as an intent.

import { render as show } from "preact";
import { passOn, saves } from "../keys.js";
import { App } from "./app.jsx";
import { makeClock } from "./frame.js";
import { keepFocus } from "./refocus.js";
import { makePainter } from "./painter.js";
import { makeStore } from "./store.js";
import "./dashboard.css";
import "./dialogs.css";
import "./frame.css";

const USED = ["pointerdown", "click", "keydown"];
const TYPED = "input, textarea, select, .pi-v-terminal"; // what has menus of the browser's

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "pi-v-dashboard";
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's, such as "dd": delete the cell
  for (const type of ["keydown", "keypress", "keyup"]) root.addEventListener(type, (event) => event.stopPropagation());
  root.addEventListener("contextmenu", (event) => event.target.closest(TYPED) && event.stopPropagation());
  root.addEventListener("keydown", (event) => saves(event) && !event.target.closest(".pi-v-terminal") && passOn(event, el));
  el.append(root);
  const letGo = keepFocus(root);
  const clock = makeClock();
  let closed = false;
  const painter = makePainter(draw);
  for (const type of USED) root.addEventListener(type, painter.giveWay, true);
  const store = makeStore(model, () => !closed && painter.ask());
  function draw() {
    show(<App store={store} model={model} clock={clock} redraw={painter.ask} />, root);
    root.classList.toggle("pi-v-old", store.gone || store.stale || store.state?.connection.state === "trouble");
    root.classList.toggle("pi-v-live", store.state !== null); // what is shown beside it gives way: views/saved.py
  }
  draw();
  let near = false;
  const look = () => store.setVisible(near && document.visibilityState === "visible");
  const nearness = new IntersectionObserver((entries) => {
    near = entries.at(-1).isIntersecting;
    look();
  });
  nearness.observe(root);
  document.addEventListener("visibilitychange", look);
  // A page that goes tells its views nothing, and is hidden only after that.
  function close() {
    closed = true;
    document.removeEventListener("visibilitychange", look);
    removeEventListener("pagehide", close);
    store.close();
  }
  addEventListener("pagehide", close);
  const ticks = setInterval(() => near && clock.tick(), 1000);
  return () => {
    clearInterval(ticks);
    painter.close();
    letGo();
    nearness.disconnect();
    if (!closed) close();
    show(null, root);
  };
}

export default { render };
