// The one object that everything drawn follows from, and the words and elements that all parts use.

const RANKED = 20;
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
let due = 0; // the animation frame that is asked for

// The last checkpoint of an arm at or before the epoch shown, -1 where there is none yet.
function checkpointOf(arm, epochs = arm.epochs) {
  let at = -1;
  while (at + 1 < epochs.length && epochs[at + 1] <= state.timeline[state.at]) at++;
  return at;
}

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const rate = (value) => (Number.isFinite(value) ? value.toFixed(2) : "unknown");
const percent = (share) => `${Math.round(100 * share)}%`;
const short = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "none");

function within(value, error) {
  return Number.isFinite(error) ? `${rate(value)} ± ${rate(error)}` : rate(value);
}

function look() {
  const style = getComputedStyle(byId("explorer"));
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { text: of("text"), soft: of("soft"), line: of("line"), ground: of("ground"), accent: of("accent") };
}
