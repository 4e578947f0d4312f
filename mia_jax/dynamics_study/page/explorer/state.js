// The one object that everything drawn follows from, beside the data.

const DEFAULT_CURVES = ["vulnerability", "speed", "entropy", "high", "early_recall"];

const state = {
  timeline: [], // the epochs at which any arm that is shown has a checkpoint
  at: 0, // place in it
  playing: null, // the timer, while it runs
  arms: arms.map((_, index) => index).slice(0, 2),
  colour: "vulnerability",
  highlighted: null, // a class
  spread: true,
  chosen: [], // {pool, row, slot}
  listed: { arm: 0, when: "end" },
  curves: known.filter((name) => DEFAULT_CURVES.includes(name)),
};
const panels = new Map(); // by arm
const charts = new Map(); // by curve
const cards = new Map(); // by chosen record

// The last checkpoint of an arm at or before the epoch shown, -1 where there is none yet.
function checkpointOf(arm, epochs = arm.epochs) {
  let at = -1;
  while (at + 1 < epochs.length && epochs[at + 1] <= state.timeline[state.at]) at++;
  return at;
}
