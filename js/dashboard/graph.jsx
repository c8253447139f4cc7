// One row's part of the lineage graph. Rows may have any height: what goes on below is as long as the row is high.

import "./graph.css";

const LANE = 14; // pixels
const MIDDLE = 15; // pixels from a row's top to its node
const LANES = 16; // all further ones are drawn as the last
const COLOURS = 6;

const x = (lane) => Math.min(lane, LANES - 1) * LANE + LANE / 2 + 1;
const colour = (lane) => `pi-v-lane-${lane % COLOURS}`;

/** Pixels for so many lanes. */
export const graphWidth = (lanes) => Math.min(lanes, LANES) * LANE + 2;

/** `shape`: "machine", "commit"; `filled`: is it something that runs?  The others as lineage.js tells them. */
export function Graph({ lane, through, up, down, shape, filled, active }) {
  const here = x(lane);
  const passing = through ? through.split(",").map(Number) : [];
  return (
    <svg class="pi-v-lines" aria-hidden="true">
      {passing.map((other) => (
        <line class={colour(other)} x1={x(other)} y1="0" x2={x(other)} y2="100%" key={other} />
      ))}
      {up === "straight" && <line class={colour(lane)} x1={here} y1="0" x2={here} y2={MIDDLE} />}
      {up === "gone" && <line class={`${colour(lane)} pi-v-gone`} x1={here} y1="0" x2={here} y2={MIDDLE} />}
      {up === "branch" && (
        <path class={colour(lane)} d={`M${x(lane - 1)} 0 C${x(lane - 1)} ${MIDDLE} ${here - 8} ${MIDDLE} ${here} ${MIDDLE}`} />
      )}
      {down && <line class={colour(lane)} x1={here} y1={MIDDLE} x2={here} y2="100%" />}
      {active && <circle class={`${colour(lane)} pi-v-ring`} cx={here} cy={MIDDLE} r="6.5" />}
      {shape === "commit" ? (
        <rect class={`${colour(lane)} pi-v-node`} x={here - 3} y={MIDDLE - 3} width="6" height="6" transform={`rotate(45 ${here} ${MIDDLE})`} />
      ) : (
        <circle class={`${colour(lane)} pi-v-node ${filled ? "pi-v-filled" : ""}`} cx={here} cy={MIDDLE} r="4" />
      )}
    </svg>
  );
}
