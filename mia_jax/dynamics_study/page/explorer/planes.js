// The FPR-TPR plane of one arm: all its records at the checkpoint shown.

const TICKS = [0, 0.25, 0.5, 0.75, 1];

function makePanel(index) {
  const arm = arms[index];
  const canvas = element("canvas", { tabIndex: 0, role: "img" });
  const words = element("figcaption");
  const tip = element("div", { className: "tip", hidden: true, "aria-hidden": "true" });
  const when = element("span");
  const title = element("h4", {}, `${arm.name} `, when);
  const figure = element("figure", { className: "panel" }, title, canvas, tip, words);
  const panel = { index, arm, canvas, words, tip, when, figure };
  panel.layer = document.createElement("canvas");
  canvas.addEventListener("click", (event) => {
    const row = nearest(panel, event.offsetX, event.offsetY, event.pointerType === "touch" ? 18 : 9);
    if (row >= 0) toggle(row, arm.pool);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") showTip(panel, event.offsetX, event.offsetY);
  });
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  return panel;
}

function placeOf(panel, row, at) {
  const { arm } = panel;
  const fpr = rateOf(arm.fpr, arm, row, at);
  const tpr = rateOf(arm.tpr, arm, row, at);
  if (Number.isNaN(fpr + tpr)) return null;
  const reach = state.spread ? arm.reach : 0;
  const g = panel.geometry;
  return { x: acrossAt(g, fpr + reach * arm.pool.dx[row]), y: downAt(g, tpr + reach * arm.pool.dy[row]) };
}

function nearest(panel, x, y, reach) {
  const at = checkpointOf(panel.arm);
  let best = -1;
  let least = reach * reach;
  if (at < 0) return best;
  // From the topmost point down, so that of equal ones the visible one is taken.
  const { order } = panel.paints;
  for (let i = order.length - 1; i >= 0; i--) {
    const place = placeOf(panel, order[i], at);
    if (!place) continue;
    const far = (place.x - x) ** 2 + (place.y - y) ** 2;
    if (far < least) [least, best] = [far, order[i]];
  }
  return best;
}

function showTip(panel, x, y) {
  const row = nearest(panel, x, y, 9);
  panel.tip.hidden = row < 0;
  if (row < 0) return;
  const at = checkpointOf(panel.arm);
  const [fpr, tpr] = [panel.arm.fpr, panel.arm.tpr].map((rates) => rateOf(rates, panel.arm, row, at));
  const who = `Record ${row}, class ${panel.arm.pool.labels[row]}`;
  panel.tip.textContent = `${who}: FPR ${rate(fpr)}, TPR ${rate(tpr)}`;
  const left = Math.min(x + 12, panel.geometry.width - panel.tip.offsetWidth - 2);
  panel.tip.style.left = `${Math.max(0, left)}px`;
  panel.tip.style.top = `${panel.canvas.offsetTop + y + 14}px`;
}

function drawPanel(panel) {
  const { arm } = panel;
  const at = checkpointOf(arm);
  panel.geometry = geometryOf(panel.canvas);
  panel.paints ??= paintsOf(arm);
  const context = fit(panel.canvas, panel.geometry);
  const colours = look();
  drawSquare(context, panel.geometry, colours);
  if (at >= 0) {
    drawPoints(panel, context, at, colours);
    nameCuts(context, panel.geometry, colours); // above the points, which often lie thick there
    drawCenter(panel, context, at, colours);
    const ways = state.chosen.filter((one) => one.pool === arm.pool).map((one) => wayOf(panel, one, at));
    for (const way of ways) drawWay(context, way, colours);
    for (const way of ways) drawHead(panel, context, way, colours); // above all ways
  }
  describe(panel, at);
}

function drawSquare(context, g, colours) {
  const line = (x0, y0, x1, y1) => {
    context.beginPath();
    context.moveTo(acrossAt(g, x0), downAt(g, y0));
    context.lineTo(acrossAt(g, x1), downAt(g, y1));
    context.stroke();
  };
  context.lineWidth = 1;
  context.strokeStyle = colours.line;
  context.strokeRect(g.left + 0.5, g.top + 0.5, g.size - 1, g.size - 1);
  context.strokeStyle = colours.soft;
  context.setLineDash([1.5, 3]); // dotted and dashed as in the static figures
  line(0, 0, 1, 1);
  context.setLineDash([6, 4]);
  for (const cut of data.cuts) {
    line(Math.max(0, -cut), Math.max(0, cut), Math.min(1, 1 - cut), Math.min(1, 1 + cut));
  }
  context.setLineDash([]);
  context.fillStyle = colours.soft;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  for (const tick of TICKS) context.fillText(short(tick), acrossAt(g, tick), g.top + g.size + 14);
  context.fillText("FPR: called a member by models without it", g.left + g.size / 2, g.top + g.size + 29);
  context.textAlign = "right";
  for (const tick of TICKS) context.fillText(short(tick), g.left - 5, downAt(g, tick) + 4);
  context.save();
  context.translate(11, g.top + g.size / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText("TPR: by models with it", 0, 0);
  context.restore();
}

function nameCuts(context, g, colours) {
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "left";
  for (const cut of data.cuts.filter((one) => one > 0)) {
    const place = { x: acrossAt(g, 1 - cut) + 1, y: downAt(g, 1) + 12 };
    writeHaloed(context, short(cut), place, colours.text, colours.ground);
  }
}

// Offsets of the pixels of a disc in an image that is so many pixels wide.
function disc(radius, width) {
  const found = [];
  for (let dy = -Math.ceil(radius); dy <= radius; dy++) {
    for (let dx = -Math.ceil(radius); dx <= radius; dx++) {
      if (dx * dx + dy * dy <= radius * radius) found.push(dy * width + dx);
    }
  }
  return Int32Array.from(found);
}

// All points go into one image, pixel by pixel: paths would take a hundred times as long.
function drawPoints(panel, context, at, colours) {
  const { arm, geometry: g, layer, paints } = panel;
  const { records, dx, dy } = arm.pool;
  const width = Math.round(g.width * g.dpr);
  const height = Math.round(g.height * g.dpr);
  if (layer.width !== width || layer.height !== height || !panel.image) {
    Object.assign(layer, { width, height });
    panel.image = layer.getContext("2d").createImageData(width, height);
    panel.image32 = new Uint32Array(panel.image.data.buffer);
  }
  const pixels = panel.image32.fill(0);
  const radius = g.dpr * (records <= 500 ? 3.4 : records <= 3000 ? 2.6 : records <= 8000 ? 2 : 1.5);
  const core = disc(radius, width);
  const rim = records <= 3000 ? disc(radius + 0.8 * g.dpr, width) : new Int32Array(0);
  const ground = pixel(rgbOf(colours.ground));
  const reach = state.spread ? arm.reach : 0;
  const [x0, y0] = [g.dpr * acrossAt(g, 0), g.dpr * downAt(g, 0)];
  const unit = g.dpr * g.unit;
  for (let i = 0, base = at * records; i < records; i++) {
    const row = paints.order[i];
    const fpr = arm.fpr[base + row];
    const tpr = arm.tpr[base + row];
    if (fpr === UNKNOWN || tpr === UNKNOWN) continue;
    const x = Math.round(x0 + unit * (fpr / LEVELS + reach * dx[row]));
    const y = Math.round(y0 - unit * (tpr / LEVELS + reach * dy[row]));
    const middle = y * width + x;
    for (let k = 0; k < rim.length; k++) pixels[middle + rim[k]] = ground;
    const colour = paints.pixels[row];
    for (let k = 0; k < core.length; k++) pixels[middle + core[k]] = colour;
  }
  layer.getContext("2d").putImageData(panel.image, 0, 0);
  context.drawImage(layer, 0, 0, g.width, g.height);
}
