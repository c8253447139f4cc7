// A view of a terminal: pixels and keys. `pi_v_jupyter/views/terminal` is the other side, and tells what they say.

import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { passOn, saves } from "./keys.js";
import "./terminal.css";

const ROWS = 24;
const SCROLLBACK = 10_000; // lines
const CONTRAST = 4.5; // of any two colours a program may choose, on whatever background the theme has
const ACK = 64 << 10; // bytes shown that are worth a message
const BEHIND = 1 << 20; // bytes not shown yet, as in a hidden page, past which more is left out until they are
const PATIENCE = 1000; // milliseconds until what is missing is asked for again, and then twice as long
const SLICE = 64 << 10; // bytes of one message: a server refuses large ones
// What a program can ask its terminal, and what has it do something over and over: each as xterm.js is told it.
const QUESTIONS = [
  { final: "c" },
  { prefix: ">", final: "c" },
  { prefix: "=", final: "c" },
  { final: "n" },
  { prefix: "?", final: "n" },
  { intermediates: "$", final: "p" },
  { prefix: "?", intermediates: "$", final: "p" },
  { prefix: ">", final: "q" },
];
const COLOURS = [4, 10, 11, 12]; // and these, of an operating system's command, where it says "?"
const REPEATS = ["b", "I", "L", "M", "S", "T", "Z"];

function render({ model, el }) {
  const id = crypto.getRandomValues(new Uint32Array(2)).join("-"); // of this view
  const label = model.get("label");
  const screen = document.createElement("div");
  screen.className = "pi-v-terminal";
  screen.setAttribute("role", "group");
  screen.setAttribute("aria-label", label);
  screen.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's, such as "dd": delete the cell
  const status = document.createElement("div");
  status.className = "pi-v-terminal-status";
  status.setAttribute("role", "status");
  screen.append(status);
  const way = document.createElement("p"); // out, where all other keys are the program's; Tab goes on from here
  way.className = "pi-v-terminal-way";
  way.id = `pi-v-way-${id}`;
  way.tabIndex = -1;
  way.textContent = "Ctrl+Shift+Space leaves the terminal; Tab goes on from there.";
  way.setAttribute("data-lm-suppress-shortcuts", "true");
  el.append(screen, way);

  const terminal = new Terminal({ rows: ROWS, scrollback: SCROLLBACK, minimumContrastRatio: CONTRAST });
  const fit = new FitAddon();
  terminal.loadAddon(fit);

  function send(content, bytes) {
    try {
      model.send({ view: id, ...content }, undefined, bytes ? [bytes] : []);
    } catch {
      status.textContent = "The kernel of this terminal is not there any more.";
      terminal.options.disableStdin = true;
    }
  }

  // Output. Offsets count all bytes the terminal ever put out.
  let next = 0; // of the byte that is to come
  let shown = 0; // all before it is on the screen
  let acknowledged = 0;
  let lacking = true; // something was left out or lost, and nothing is shown until it is here
  let asked = 0; // when; a question may be lost, or wait in the kernel for the end of a cell
  let patience = PATIENCE;
  let speaks = true; // does this view answer what the program asks?
  let again = false; // is what is being shown now something that was shown, and answered, before?

  function receive(message, buffers) {
    const { kind, to, offset } = message;
    if (kind === "status") {
      status.textContent = message.text;
      return;
    }
    speaks = message.speaker === id;
    terminal.options.disableStdin = message.over;
    if (to === id) {
      lacking = false;
      patience = PATIENCE;
      if (offset > next) {
        terminal.reset(); // what was in between is kept nowhere
        terminal.write(message.modes);
        next = shown = acknowledged = offset;
      }
      show(offset, buffers[0], message.answered);
    } else if (to === null) {
      lacking ||= offset > next || next - shown > BEHIND;
      if (!lacking) show(offset, buffers[0], 0);
      catchUp();
    }
  }

  function show(offset, view, answered) {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const old = bytes.subarray(Math.max(0, next - offset), Math.max(0, answered - offset));
    if (old.length) {
      terminal.write("", () => (again = true));
      write(old);
      terminal.write("", () => (again = false));
    }
    write(bytes.subarray(Math.max(0, next - offset)));
  }

  function write(fresh) {
    next += fresh.length;
    const end = next;
    terminal.write(fresh, () => {
      shown = end;
      if (shown - acknowledged >= ACK) {
        acknowledged = shown;
        send({ kind: "shown", offset: shown });
      }
      catchUp();
    });
  }

  function catchUp() {
    if (opened && lacking && shown === next && Date.now() - asked > patience) {
      patience *= asked ? 2 : 1;
      asked = Date.now();
      send({ kind: "opened", have: next });
    }
  }

  const silent = () => again || !speaks; // true: xterm.js need not answer
  for (const question of QUESTIONS) terminal.parser.registerCsiHandler(question, silent);
  for (const intermediates of ["$", "+"]) {
    terminal.parser.registerDcsHandler({ intermediates, final: "q" }, silent);
  }
  for (const number of COLOURS) {
    terminal.parser.registerOscHandler(number, (text) => text.includes("?") && silent());
  }
  for (const final of REPEATS) {
    // No more often than there are cells; xterm.js would do it two thousand million times.
    terminal.parser.registerCsiHandler({ final }, ([times]) => times > terminal.cols * terminal.rows);
  }

  // Keys and the mouse.
  const encoder = new TextEncoder();
  function type(bytes) {
    for (let at = 0; at < bytes.length; at += SLICE) {
      send({ kind: "typed", offset: shown }, bytes.slice(at, at + SLICE));
    }
  }
  terminal.onData((text) => type(encoder.encode(text)));
  terminal.onBinary((text) => type(Uint8Array.from(text, (char) => char.charCodeAt(0))));
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.ctrlKey && event.shiftKey && event.code === "Space") {
      event.preventDefault();
      way.focus();
      return false;
    }
    const control = event.ctrlKey && !event.altKey && !event.metaKey;
    const key = event.key.toLowerCase();
    // The browser's own copy and paste follow, which the terminal takes part in.
    return !(control && (key === "v" || (key === "c" && terminal.hasSelection())));
  });
  screen.addEventListener("copy", () => setTimeout(() => terminal.clearSelection())); // Ctrl-C interrupts again
  for (const type of ["keydown", "keypress", "keyup", "contextmenu"]) {
    for (const part of [screen, way]) part.addEventListener(type, (event) => event.stopPropagation());
  }
  way.addEventListener("keydown", (event) => saves(event) && passOn(event, el));
  screen.addEventListener("click", () => terminal.focus());

  // Looks.
  function dress() {
    const style = getComputedStyle(screen);
    terminal.options.fontFamily = style.fontFamily;
    terminal.options.fontSize = parseFloat(style.fontSize);
    terminal.options.theme = {
      foreground: style.color,
      background: style.backgroundColor,
      cursor: style.color,
      cursorAccent: style.backgroundColor,
      selectionBackground: style.getPropertyValue("--selection").trim(),
    };
  }

  function sayHowLarge() {
    send({ kind: "resize", cols: terminal.cols, rows: terminal.rows });
  }

  let opened = false;
  function measure() {
    if (!screen.clientWidth) return; // not on the page, or hidden
    if (!opened) {
      dress();
      terminal.open(screen);
      terminal.textarea.setAttribute("aria-label", label);
      terminal.textarea.setAttribute("aria-describedby", way.id);
      terminal.textarea.addEventListener("focus", sayHowLarge);
    }
    const cols = fit.proposeDimensions()?.cols;
    const changed = cols && cols !== terminal.cols;
    if (changed) terminal.resize(cols, ROWS);
    if (changed || !opened) sayHowLarge();
    if (!opened) {
      opened = true;
      catchUp();
    }
  }

  const sizes = new ResizeObserver(measure);
  sizes.observe(screen);
  const themes = new MutationObserver(() => {
    dress();
    measure(); // another letter has another width
  });
  for (const node of [document.documentElement, document.body]) themes.observe(node, { attributes: true });
  const leave = () => opened && send({ kind: "left" });
  addEventListener("pagehide", leave); // a page that goes tells its views nothing
  const reminder = setInterval(catchUp, PATIENCE);
  model.on("msg:custom", receive);
  return () => {
    clearInterval(reminder);
    model.off("msg:custom", receive);
    sizes.disconnect();
    themes.disconnect();
    removeEventListener("pagehide", leave);
    leave();
    terminal.dispose();
  };
}

export default { render };
