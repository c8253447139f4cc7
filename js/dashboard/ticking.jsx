// How long things take, in words.

import { useFrame, useTicking } from "./frame.js";

const two = (number) => String(Math.floor(number)).padStart(2, "0");

function whole(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes <= 0) return `${Math.max(0, Math.floor(seconds))} s`;
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** Such as 0.4 s, 12 s, 3 min 05 s, 2 h 10 min. */
export const took = (seconds) => (seconds < 10 ? `${seconds.toFixed(1)} s` : whole(seconds));

/** How long it has gone on since `since`, a time of the kernel's; nothing but this is drawn when it ticks. */
export function Elapsed({ since }) {
  const { store } = useFrame();
  return <span>{useTicking(() => whole(store.now() - since))}</span>;
}
