// Small charts of the curves, all arms in each.

const BESIDE = { speed: "speed_floor" }; // drawn thin and dotted in the chart of the other

function makeChart(name) {
  const { title, unit } = data.curves[name];
  const canvas = element("canvas", { role: "img" });
  const words = element("figcaption");
  const heading = element("h4", {}, `${title} `, element("span", {}, unit)); // what it says stands further down
  const figure = element("figure", { className: "chart" }, heading, canvas, words);
  const chart = { name, title, canvas, words, figure };
  const seek = (event) => moveTo(nearestTime(chart.epochAt(event.offsetX)));
  canvas.addEventListener("click", seek);
  canvas.addEventListener("pointermove", (event) => event.buttons & 1 && seek(event));
  return chart;
}

function nearestTime(epoch) {
  let best = 0;
  state.timeline.forEach((one, i) => {
    if (Math.abs(one - epoch) < Math.abs(state.timeline[best] - epoch)) best = i;
  });
  return best;
}

function limitsOf(names) {
  const lists = state.arms.flatMap((index) => names.map((name) => arms[index].curves[name] || []));
  const values = lists.flat().filter((value) => value !== null);
  if (!values.length) return [0, 1];
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low > 0 && low < 0.6 * high) low = 0; // a curve far from zero is not pressed flat to show it
  const room = 0.06 * (high - low || 1);
  return [low === 0 ? 0 : low - room, high + room];
}

function ticksOf(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step); tick * step <= high; tick++) ticks.push(tick * step);
  return ticks;
}

function drawChart(chart) {
  const { canvas, name } = chart;
  const g = { ...geometryOf(canvas), right: 8, bottom: 18, top: 6, left: 40 };
  const context = fit(canvas, g);
  const colours = look();
  const names = [name, ...(BESIDE[name] ? [BESIDE[name]] : [])];
  const [low, high] = limitsOf(names);
  const first = state.timeline[0];
  const last = Math.max(state.timeline[state.timeline.length - 1], first + 1);
  const [wide, tall] = [g.width - g.left - g.right, g.height - g.top - g.bottom];
  const across = (epoch) => g.left + (wide * (epoch - first)) / (last - first);
  const down = (value) => g.top + tall * (1 - (value - low) / (high - low));
  chart.epochAt = (x) => first + ((x - g.left) / wide) * (last - first);
  const ticks = { vertical: ticksOf(low, high, 3), horizontal: ticksOf(first, last, 5) };
  drawTicks(context, g, colours, { across, down, ...ticks });
  for (const index of state.arms) {
    for (const one of names) drawCurve(context, arms[index], index, one, one !== name, across, down);
  }
  chart.lineAt = across(state.timeline[state.at]);
  context.strokeStyle = colours.text;
  context.lineWidth = 1.2;
  context.strokeRect(chart.lineAt, g.top, 0, tall);
  describeChart(chart);
}

function drawTicks(context, g, colours, { across, down, vertical, horizontal }) {
  context.font = "10.5px system-ui, sans-serif";
  context.fillStyle = colours.soft;
  context.strokeStyle = colours.line;
  context.lineWidth = 0.7;
  context.textAlign = "right";
  for (const tick of vertical) {
    context.beginPath();
    context.moveTo(g.left, down(tick));
    context.lineTo(g.width - g.right, down(tick));
    context.stroke();
    context.fillText(short(tick), g.left - 4, down(tick) + 3.5);
  }
  context.textAlign = "center";
  for (const tick of horizontal) context.fillText(short(tick), across(tick), g.height - 5);
}

function drawCurve(context, arm, index, name, beside, across, down) {
  const values = arm.curves[name];
  if (!values) return;
  context.beginPath();
  let joined = false; // a gap is left where there is no value
  values.forEach((value, t) => {
    if (value !== null) context[joined ? "lineTo" : "moveTo"](across(arm.curveEpochs[t]), down(value));
    joined = value !== null;
  });
  context.strokeStyle = context.fillStyle = lineColour(index);
  context.lineWidth = beside ? 1.3 : 1.9;
  context.setLineDash(beside ? [1.5, 2.5] : DASHES[index % DASHES.length]);
  context.stroke();
  context.setLineDash([]);
  if (beside) return;
  const at = checkpointOf(arm, arm.curveEpochs);
  if (at < 0 || values[at] === null) return;
  context.beginPath();
  context.arc(across(arm.curveEpochs[at]), down(values[at]), 3, 0, 7);
  context.fill();
}

function describeChart(chart) {
  const parts = state.arms.map((index) => {
    const arm = arms[index];
    const values = arm.curves[chart.name];
    const at = checkpointOf(arm, arm.curveEpochs);
    const value = values && at >= 0 && values[at] !== null ? short(values[at]) : "none";
    const floor = (arm.curves[BESIDE[chart.name]] || [])[at];
    const beside = floor === undefined || floor === null ? "" : ` (by chance ${short(floor)}, dotted)`;
    return `${arm.name}: ${value}${beside}`;
  });
  chart.words.textContent = parts.join("; ");
  const now = `${chart.title} at epoch ${state.timeline[state.at]}`;
  chart.canvas.setAttribute("aria-label", `${now}. ${parts.join("; ")}`);
}

function drawKeys() {
  const keys = state.arms.map((index) => {
    const canvas = element("canvas", { width: 76, height: 26, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    context.strokeStyle = lineColour(index);
    context.lineWidth = 2;
    context.setLineDash(DASHES[index % DASHES.length]);
    context.beginPath();
    context.moveTo(0, 6.5);
    context.lineTo(38, 6.5);
    context.stroke();
    return element("span", {}, canvas, arms[index].name);
  });
  byId("keys").replaceChildren(...keys);
}
