// Drawing all of it, moving through time, and the beginning.

let due = 0; // the animation frame that is asked for

function draw() {
  cancelAnimationFrame(due);
  due = 0;
  for (const panel of panels.values()) drawPanel(panel);
  for (const chart of charts.values()) drawChart(chart);
  drawRanking();
  state.chosen.forEach(fillCard);
}

// However often it is asked for, drawing happens once a frame.
function redraw() {
  if (!due) due = requestAnimationFrame(draw);
}

function moveTo(at) {
  state.at = Math.max(0, Math.min(state.timeline.length - 1, Math.round(at)));
  const words = `Epoch ${state.timeline[state.at]}`;
  byId("time").value = state.at;
  byId("time").setAttribute("aria-valuetext", words);
  byId("when").textContent = `${words} of ${state.timeline[state.timeline.length - 1]}`;
  redraw();
}

function arrange(map, names, make, place) {
  for (const name of [...map.keys()]) if (!names.includes(name)) map.delete(name);
  for (const name of names) if (!map.has(name)) map.set(name, make(name));
  place.replaceChildren(...names.map((name) => map.get(name).figure));
}

function showArms(chosen) {
  const epoch = state.timeline[state.at];
  state.arms = chosen;
  state.timeline = rising(chosen.flatMap((index) => arms[index].epochs));
  Object.assign(byId("time"), { min: 0, max: state.timeline.length - 1, step: 1 });
  moveTo(epoch === undefined ? state.timeline.length - 1 : nearestTime(epoch));
  arrange(panels, state.arms, makePanel, byId("panels"));
  drawKeys();
  recolour();
}

function showCurves(chosen) {
  state.curves = chosen;
  arrange(charts, state.curves, makeChart, byId("charts"));
  redraw();
}

function pointOf(index, row) {
  const panel = panels.get(index);
  const at = panel ? checkpointOf(panel.arm) : -1;
  return at < 0 || !panel.geometry ? null : placeOf(panel, row, at);
}

function start() {
  byId("explorer").hidden = false;
  controls();
  showArms(state.arms);
  showCurves(state.curves);
  const [first] = mostExposed(arms[0], arms[0].last); // an example of what choosing shows
  if (first) choose(first.row);
  draw();
  dark.addEventListener("change", () => {
    drawKeys();
    recolour();
  });
  new ResizeObserver(redraw).observe(byId("panels"));
}

window.explorer = { state, arms, panels, charts, moveTo, choose, pointOf, draw };
start();
