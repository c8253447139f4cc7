// One row's part of the lineage graph. Rows may have any height: what goes on below is as long as the row is high.

import "./graph.css";

const LANE = 14; // pixels
const MIDDLE = 15; // pixels from a row's top to its node
const STUMP = 6; // pixels from a row's top to the end of a line whose beginning is gone
const LANES = 16; // all further ones are drawn as the last
const COLOURS = 6;

const x = (lane) => Math.min(lane, LANES - 1) * LANE + LANE / 2 + 1;
const colour = (lane) => `pi-v-lane-${lane % COLOURS}`;

/** Pixels for so many lanes. */
export const graphWidth = (lanes) => Math.min(lanes, LANES) * LANE + 2;

const MARKS = {
  running: ["machine", true, "A machine that runs"],
  still: ["machine", false, "A machine that does not run"],
  commit: ["commit", false, "A commit"],
};

/** `mark`: "running", "still" or "commit". The others as lineage.js tells them. */
export function Graph({ lane, through, up, down, mark, active }) {
  const [, , told] = MARKS[mark];
  const here = x(lane);
  const passing = through ? through.split(",").map(Number) : [];
  return (
    <svg class="pi-v-lines" aria-hidden="true">
      {passing.map((other) => (
        <line class={colour(other)} x1={x(other)} y1="0" x2={x(other)} y2="100%" key={other} />
      ))}
      {up === "straight" && <line class={colour(lane)} x1={here} y1="0" x2={here} y2={MIDDLE} />}
      {up === "gone" && <path class={colour(lane)} d={`M${here - 4} ${STUMP} H${here + 4} M${here} ${STUMP} V${MIDDLE - 4}`} />}
      {up === "branch" && (
        <path class={colour(lane)} d={`M${x(lane - 1)} 0 C${x(lane - 1)} ${MIDDLE} ${here - 8} ${MIDDLE} ${here} ${MIDDLE}`} />
      )}
      {down && <line class={colour(lane)} x1={here} y1={MIDDLE} x2={here} y2="100%" />}
      <g>
        <title>{active ? `${told}; cells run on it` : told}</title>
        {active && <circle class={`${colour(lane)} pi-v-ring`} cx={here} cy={MIDDLE} r="6.5" />}
        <Mark mark={mark} lane={lane} x={here} y={MIDDLE} />
      </g>
    </svg>
  );
}

function Mark({ mark, lane, x, y }) {
  const [shape, filled] = MARKS[mark];
  return shape === "commit" ? (
    <rect class={`${colour(lane)} pi-v-node`} x={x - 3} y={y - 3} width="6" height="6" transform={`rotate(45 ${x} ${y})`} />
  ) : (
    <circle class={`${colour(lane)} pi-v-node ${filled ? "pi-v-filled" : ""}`} cx={x} cy={y} r="4" />
  );
}

/** What the marks mean; `withCommits`: are there commits among them? */
export function Legend({ withCommits }) {
  return (
    <ul class="pi-v-legend pi-v-dim" aria-label="Marks of the lineage">
      {Object.entries(MARKS)
        .filter(([mark]) => mark !== "commit" || withCommits)
        .map(([mark, [, , told]]) => (
          <li key={mark}>
            <svg width="12" height="12" class="pi-v-marks" aria-hidden="true">
              <Mark mark={mark} lane={0} x={6} y={6} />
            </svg>
            {told}
          </li>
        ))}
    </ul>
  );
}
