// What lies above the points of a plane, the center and the ways of chosen records, and the plane in words.

function drawCenter(panel, context, at, colours) {
  const { arm, geometry: g } = panel;
  const way = [];
  for (let t = 0; t <= at; t++) {
    const [fpr, tpr] = [arm.center[0][t], arm.center[1][t]];
    if (fpr !== null && tpr !== null) way.push({ x: acrossAt(g, fpr), y: downAt(g, tpr) });
  }
  if (!way.length) return;
  haloed(context, way, colours.text, colours.ground, 1.8);
  const { x, y } = way[way.length - 1];
  for (const points of [[{ x: x - 7, y }, { x: x + 7, y }], [{ x, y: y - 7 }, { x, y: y + 7 }]]) {
    haloed(context, points, colours.text, colours.ground, 2.4);
  }
}

function wayOf(panel, one, at) {
  const places = [];
  for (let t = 0; t <= at; t++) {
    const place = placeOf(panel, one.row, t);
    if (place) places.push(place);
  }
  return { row: one.row, colour: wayColour(one.slot), places };
}

function drawWay(context, { places, colour }, colours) {
  for (let t = 1; t < places.length; t++) {
    context.globalAlpha = 0.25 + 0.75 * (t / (places.length - 1)) ** 2; // what is long past fades
    haloed(context, places.slice(t - 1, t + 1), colour, colours.ground, 1.6);
  }
  context.globalAlpha = 1;
}

function drawHead(panel, context, { row, places, colour }, colours) {
  if (!places.length) return;
  const { x, y } = places[places.length - 1];
  context.beginPath();
  context.arc(x, y, 6.5, 0, 7);
  context.lineWidth = 2.2;
  context.strokeStyle = colour;
  context.stroke();
  context.font = "bold 12px system-ui, sans-serif";
  const right = x < panel.geometry.width - 60;
  context.textAlign = right ? "left" : "right";
  writeHaloed(context, row, { x: x + (right ? 10 : -10), y: y + 4 }, colour, colours.ground);
}

function stateName(s) {
  if (s === 0) return `below ${short(data.cuts[0])}`;
  const from = `at ${short(data.cuts[s - 1])}`;
  return s === data.cuts.length ? `${from} or more` : `${from} to ${short(data.cuts[s])}`;
}

// The panel in words, for those who do not see it and beside the picture.
function describe(panel, at) {
  const { arm } = panel;
  const epoch = arm.epochs[at];
  const now = state.timeline[state.at];
  panel.when.textContent = at < 0 ? "no checkpoint yet" : epoch === now ? "" : `as of epoch ${epoch}`;
  let words = "Nothing was recorded of it so early.";
  if (at >= 0 && !arm.known[at]) words = "No record is known here.";
  else if (at >= 0) {
    const shares = arm.states[at];
    const parts = shares.map((share, s) => `${percent(share)} ${stateName(s)}`);
    const missing = arm.pool.records - arm.known[at];
    const [fpr, tpr] = [arm.center[0][at], arm.center[1][at]];
    words = `${arm.known[at].toLocaleString("en")} records; vulnerability ${parts.reverse().join(", ")}.`;
    words += ` Center: FPR ${rate(fpr)}, TPR ${rate(tpr)}.`;
    if (missing) words += ` ${missing.toLocaleString("en")} records are not known here.`;
  }
  panel.words.textContent = words;
  panel.canvas.setAttribute("aria-label", `FPR-TPR plane of ${arm.name} at epoch ${now}. ${words}`);
}
