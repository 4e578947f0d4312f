// Buttons, boxes and keys.

function play() {
  if (state.playing) return pause();
  if (state.at === state.timeline.length - 1) moveTo(0);
  byId("when").setAttribute("aria-live", "off"); // a voice could not keep up
  byId("play").textContent = "Pause";
  state.playing = setInterval(() => {
    if (state.at === state.timeline.length - 1) pause();
    else moveTo(state.at + 1);
  }, Math.max(80, Math.min(500, 8000 / state.timeline.length)));
}

function pause() {
  clearInterval(state.playing);
  state.playing = null;
  byId("play").textContent = "Play";
  byId("when").setAttribute("aria-live", "polite");
}

// Boxes to tick, and what to do with the places of those that are; at least so many stay ticked.
function boxes(place, names, ticked, least, act) {
  const inputs = names.map((_, i) => element("input", { type: "checkbox", checked: ticked.includes(i) }));
  const places = () => inputs.flatMap((input, i) => (input.checked ? [i] : []));
  const tell = (event) => {
    if (places().length < least) event.target.checked = true;
    else act(places());
  };
  inputs.forEach((input) => input.addEventListener("change", tell));
  place.append(...names.map((name, i) => element("label", {}, inputs[i], name)));
}

function options(select, pairs) {
  select.append(...pairs.map(([value, text]) => element("option", { value }, text)));
}

function controls() {
  byId("time").addEventListener("input", (event) => moveTo(Number(event.target.value)));
  byId("play").addEventListener("click", play);
  const classes = pools.some((pool) => pool.classes.length > 1) ? [["class", "Class"]] : [];
  const hard = Object.entries(data.difficulties).filter(([name]) => arms.some((arm) => arm.difficulty[name]));
  const byDifficulty = hard.map(([name, { title }]) => [name, title]);
  options(byId("colour"), [["vulnerability", "Vulnerability at the end"], ...classes, ...byDifficulty]);
  byId("colour").addEventListener("change", (event) => {
    Object.assign(state, { colour: event.target.value, highlighted: null });
    recolour();
  });
  byId("spread").addEventListener("change", (event) => {
    state.spread = event.target.checked;
    redraw();
  });
  if (arms.length > 2) {
    byId("arms").hidden = false;
    boxes(byId("arms").querySelector("div"), arms.map((arm) => arm.name), state.arms, 1, showArms);
  }
  const titles = known.map((name) => data.curves[name].title);
  const places = state.curves.map((name) => known.indexOf(name));
  const show = (chosen) => showCurves(chosen.map((i) => known[i]));
  boxes(byId("curves").querySelector("div"), titles, places, 0, show);
  recordControls();
  keyControls();
}

function recordControls() {
  options(byId("of-arm"), arms.map((arm, i) => [i, arm.name]));
  byId("of-arm").addEventListener("change", (event) => {
    state.listed.arm = Number(event.target.value);
    byId("record").max = arms[state.listed.arm].pool.records - 1;
    redraw();
  });
  byId("listed-when").addEventListener("change", (event) => {
    state.listed.when = event.target.value;
    redraw();
  });
  byId("record").max = arms[0].pool.records - 1;
  byId("choose").addEventListener("submit", (event) => {
    event.preventDefault();
    const { value, max } = byId("record");
    const done = value !== "" && choose(Number(value));
    byId("refused").textContent = done ? "" : `Records are numbered from 0 to ${max}.`;
  });
  const buttons = Array.from({ length: RANKED }, () => element("button", { type: "button" }));
  for (const button of buttons) {
    button.addEventListener("click", () => toggle(Number(button.dataset.row), arms[state.listed.arm].pool));
  }
  byId("ranking").append(...buttons.map((button) => element("li", { hidden: true }, button)));
}

// Arrows move through time wherever no field needs them for itself.
function keyControls() {
  byId("explorer").addEventListener("keydown", (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = state.timeline.length - 1;
    const to = { ArrowLeft: state.at - 1, ArrowRight: state.at + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    moveTo(to);
  });
}
