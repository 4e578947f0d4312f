"use strict";
// The explorer of a study of dynamics. Everything that it draws follows from one object, `state`, and from
// the data of the page, which are decoded once. Text from the data only ever becomes text nodes.
(() => {
  const UNKNOWN = 255;
  const LEVELS = 254;
  const PAD = 0.03; // room around the unit square, in its own units, so that points at its edges are whole
  const EDGE = { left: 40, right: 8, top: 8, bottom: 36 };
  const TICKS = [0, 0.25, 0.5, 0.75, 1];
  const RANKED = 20;
  const DEFAULT_CURVES = ["vulnerability", "speed", "entropy", "high", "early_recall"];
  const BESIDE = { speed: "speed_floor" }; // drawn thin and dotted in the chart of the other
  // Inferno, as in the static figures, which is perceptually even and survives the common kinds of colour
  // blindness and grey; low to high, cut off where it would not show on the ground.
  const SHADES = [
    [251, 186, 31], [250, 148, 7], [241, 115, 29], [224, 85, 54], [200, 63, 75], [171, 47, 94],
    [141, 35, 105], [109, 24, 110], [79, 13, 108], [45, 11, 89], [16, 9, 45],
  ];
  const SHADES_ON_DARK = [
    [98, 20, 110], [127, 30, 108], [155, 41, 100], [182, 52, 88], [207, 68, 70], [228, 90, 49],
    [242, 116, 28], [250, 148, 7], [252, 180, 24], [246, 215, 70], [243, 246, 138],
  ];
  // Tol's muted scheme, for classes.
  const CLASSES = [
    [204, 102, 119], [51, 34, 136], [221, 204, 119], [17, 119, 51], [136, 204, 238],
    [136, 34, 85], [68, 170, 153], [153, 153, 51], [170, 68, 153], [136, 136, 136],
  ];
  const CLASSES_ON_DARK = [
    [204, 102, 119], [128, 114, 230], [221, 204, 119], [17, 119, 51], [136, 204, 238],
    [190, 80, 130], [68, 170, 153], [153, 153, 51], [170, 68, 153], [136, 136, 136],
  ];
  const LINES = ["#0072B2", "#C44E00", "#00795A", "#9B3D78", "#8A6A00", "#3D3D3D"];
  const LINES_ON_DARK = ["#56B4E9", "#F08A3C", "#2FC296", "#E08FC0", "#D9B740", "#C8C8C8"];
  const DASHES = [[], [7, 3], [2, 2.5], [7, 3, 2, 3], [11, 4], [4, 2, 1.5, 2, 1.5, 2]];

  const byId = (id) => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // ---- decoding ----

  function bytesOf(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }

  function rangedOf(sent) {
    return { values: bytesOf(sent.values), low: sent.low, step: (sent.high - sent.low) / LEVELS };
  }

  function valueIn(ranged, place) {
    const byte = ranged.values[place];
    return byte === UNKNOWN ? NaN : ranged.low + byte * ranged.step;
  }

  // A number in (-1, 1) that is always the same for the same record.
  function scatter(row, salt) {
    let h = Math.imul(row + 1, 0x9e3779b1) ^ Math.imul(salt, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
    h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
    return ((h ^ (h >>> 15)) >>> 0) / 2 ** 31 - 1;
  }

  const rising = (numbers) => [...new Set(numbers)].sort((a, b) => a - b);

  function poolOf(sent) {
    const labels = new Int32Array(bytesOf(sent.labels).buffer);
    const pool = { name: sent.name, records: sent.records, labels, classes: rising(labels) };
    pool.dx = Float32Array.from(labels, (_, row) => scatter(row, 1));
    pool.dy = Float32Array.from(labels, (_, row) => scatter(row, 2));
    pool.shown = sent.shown;
    if (!sent.shown) return pool;
    pool.places = new Map(sent.shown.rows.map((row, place) => [row, place]));
    if (sent.shown.kind === "image") pool.bytes = bytesOf(sent.shown.values);
    else if (sent.shown.kind !== "text") pool.bytes = rangedOf(sent.shown).values;
    return pool;
  }

  function armOf(sent, pools) {
    const arm = { ...sent, pool: pools[sent.pool], fpr: bytesOf(sent.fpr), tpr: bytesOf(sent.tpr) };
    arm.fprError = rangedOf(sent.fprError);
    arm.tprError = rangedOf(sent.tprError);
    arm.difficulty = {};
    for (const [name, text] of Object.entries(sent.difficulty)) {
      arm.difficulty[name] = new Float32Array(bytesOf(text).buffer);
    }
    arm.last = sent.epochs.length - 1;
    arm.final = Float32Array.from(arm.pool.labels, (_, row) => vulnerabilityOf(arm, row, arm.last));
    // Shares of K models lie about 2 / K apart: points that coincide are moved by less than that.
    arm.reach = Math.min(0.02, 0.7 / arm.models);
    return arm;
  }

  function rateOf(rates, arm, row, at) {
    const byte = rates[at * arm.pool.records + row];
    return byte === UNKNOWN ? NaN : byte / LEVELS;
  }

  function vulnerabilityOf(arm, row, at) {
    return rateOf(arm.tpr, arm, row, at) - rateOf(arm.fpr, arm, row, at);
  }

  // ---- the data and the state ----

  const data = JSON.parse(byId("explorer-data").textContent);
  const pools = data.pools.map(poolOf);
  const arms = data.arms.map((sent) => armOf(sent, pools));
  const hasCurve = (arm, name) => (arm.curves[name] || []).some((value) => value !== null);
  const known = Object.keys(data.curves).filter((name) => arms.some((arm) => hasCurve(arm, name)));
  data.arms = data.pools = null; // the base64 is not needed any more

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

  // ---- words and small parts ----

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

  const lineColour = (index) => (dark.matches ? LINES_ON_DARK : LINES)[index % LINES.length];
  // Ways of records lie on the shades of points: first the colours that are farthest from those.
  const wayColour = (slot) => lineColour([0, 2, 5, 4, 3, 1][slot % 6]);

  // ---- colours of points ----

  // A share of the scale as red, green, blue. High values stand out from the ground, light or dark.
  function ramp(share) {
    const shades = dark.matches ? SHADES_ON_DARK : SHADES;
    const lower = Math.min(9, Math.floor(10 * share));
    const rest = 10 * share - lower;
    return shades[lower].map((from, i) => Math.round(from + (shades[lower + 1][i] - from) * rest));
  }

  const pixel = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  const css = (colour) => `rgb(${colour.join(",")})`;
  const grey = () => (dark.matches ? [92, 99, 106] : [190, 196, 202]);

  function classColour(pool, label) {
    return (dark.matches ? CLASSES_ON_DARK : CLASSES)[pool.classes.indexOf(label) % CLASSES.length];
  }

  function valuesOf(arm) {
    return state.colour === "vulnerability" ? arm.final : arm.difficulty[state.colour];
  }

  // The range of the values over all arms that are shown, so that a colour means the same in every panel.
  function rangeOf() {
    let low = Infinity;
    let high = -Infinity;
    for (const index of state.arms) {
      for (const value of valuesOf(arms[index]) || []) {
        if (!Number.isFinite(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    return low <= high ? { low, high } : null;
  }

  // Pixels of all records of an arm, and the order in which they are drawn: what counts most comes last.
  function paintsOf(arm) {
    const { pool } = arm;
    const pixels = new Uint32Array(pool.records);
    const keys = new Float32Array(pool.records);
    if (state.colour === "class") {
      const byLabel = new Map(pool.classes.map((label) => [label, pixel(classColour(pool, label))]));
      const faded = pixel(grey());
      for (let row = 0; row < pool.records; row++) {
        const label = pool.labels[row];
        const lit = state.highlighted === null || state.highlighted === label;
        pixels[row] = lit ? byLabel.get(label) : faded;
        keys[row] = lit ? 1 + pool.dx[row] : -2;
      }
    } else {
      const range = rangeOf();
      const values = valuesOf(arm);
      const steps = Array.from({ length: 256 }, (_, i) => pixel(ramp(i / 255)));
      const scale = range && range.high > range.low ? 255 / (range.high - range.low) : 0;
      for (let row = 0; row < pool.records; row++) {
        const there = values && Number.isFinite(values[row]);
        pixels[row] = there ? steps[Math.round((values[row] - range.low) * scale)] : pixel(grey());
        keys[row] = there ? values[row] : -Infinity;
      }
    }
    const order = Uint32Array.from(keys, (_, row) => row).sort((a, b) => keys[a] - keys[b]);
    return { pixels, order };
  }

  function recolour() {
    for (const panel of panels.values()) panel.paints = null;
    drawScale();
    redraw();
  }

  function drawScale() {
    const place = byId("scale");
    if (state.colour === "class") return drawClasses(place);
    const harder = data.difficulties[state.colour];
    const range = rangeOf();
    const words = harder
      ? `${harder.title}, by models that did not train on the record`
      : "TPR - FPR at the last checkpoint";
    const stops = Array.from({ length: 11 }, (_, i) => css(ramp(i / 10))).join(",");
    const bar = element("span", { className: "ramp", "aria-hidden": "true" });
    bar.style.background = `linear-gradient(to right,${stops})`;
    const lacking = state.arms.filter((index) => !valuesOf(arms[index])).map((index) => arms[index].name);
    const ends = range ? [element("span", {}, short(range.low)), bar, element("span", {}, short(range.high))] : [];
    const more = lacking.length ? ` Grey: not known (${lacking.join(", ")}).` : " Grey: not known.";
    const reading = `${dark.matches ? "Brighter" : "Darker"} is higher; the same scale in all panels.`;
    place.replaceChildren(...ends, element("p", {}, `${words}. ${reading}${more}`));
  }

  function drawClasses(place) {
    const some = [...new Set(state.arms.map((index) => arms[index].pool))];
    const labels = rising(some.flatMap((pool) => pool.classes));
    const buttons = labels.map((label) => {
      const dot = element("span", { className: "dot", "aria-hidden": "true" });
      dot.style.background = css(classColour(some.find((pool) => pool.classes.includes(label)), label));
      const button = element("button", { type: "button" }, dot, `Class ${label}`);
      button.setAttribute("aria-pressed", String(state.highlighted === label));
      button.addEventListener("click", () => {
        state.highlighted = state.highlighted === label ? null : label;
        for (const other of buttons) {
          other.setAttribute("aria-pressed", String(other === button && state.highlighted !== null));
        }
        for (const panel of panels.values()) panel.paints = null;
        redraw();
      });
      return button;
    });
    const repeats = labels.length > CLASSES.length ? ` Colours repeat after ${CLASSES.length} classes.` : "";
    const words = `The class of the record. Choose one to see it alone in colour.${repeats}`;
    place.replaceChildren(...buttons, element("p", {}, words));
  }

  // ---- the plane ----

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

  // Sizes in CSS pixels, and how many device pixels one of them is.
  function geometryOf(canvas) {
    const width = canvas.clientWidth || 300;
    const height = canvas.clientHeight || width;
    const dpr = Math.min(3, window.devicePixelRatio || 1);
    const size = Math.min(width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom);
    const { left, top } = EDGE;
    return { width, height, dpr, left, top, size, unit: size * (1 - 2 * PAD), pad: size * PAD };
  }

  const acrossAt = (g, fpr) => g.left + g.pad + g.unit * fpr;
  const downAt = (g, tpr) => g.top + g.size - g.pad - g.unit * tpr;

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

  function fit(canvas, g) {
    const [width, height] = [Math.round(g.width * g.dpr), Math.round(g.height * g.dpr)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(g.dpr, 0, 0, g.dpr, 0, 0);
    context.clearRect(0, 0, g.width, g.height);
    return context;
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
    line(0, 0, 1, 1);
    context.setLineDash([2, 4]);
    for (const cut of data.cuts) {
      line(Math.max(0, -cut), Math.max(0, cut), Math.min(1, 1 - cut), Math.min(1, 1 + cut));
    }
    context.setLineDash([]);
    context.fillStyle = colours.soft;
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "left";
    for (const cut of data.cuts.filter((one) => one > 0)) {
      context.fillText(short(cut), acrossAt(g, 1 - cut) + 1, downAt(g, 1) + 12);
    }
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

  function rgbOf(hex) {
    return [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));
  }

  // A line on a halo of the ground's colour, so that it can be told from the points below it.
  function haloed(context, points, colour, ground, width) {
    context.lineJoin = context.lineCap = "round";
    for (const [stroke, thick] of [[ground, width + 2.5], [colour, width]]) {
      context.beginPath();
      for (const { x, y } of points) context.lineTo(x, y);
      context.strokeStyle = stroke;
      context.lineWidth = thick;
      context.stroke();
    }
  }

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
    context.lineWidth = 3;
    context.strokeStyle = colours.ground;
    context.fillStyle = colour;
    context.strokeText(row, x + (right ? 10 : -10), y + 4);
    context.fillText(row, x + (right ? 10 : -10), y + 4);
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

  // ---- curves ----

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
    context.lineWidth = beside ? 1 : 1.9;
    context.setLineDash(beside ? [1, 3] : DASHES[index % DASHES.length]);
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

  // ---- records ----

  function choose(row, pool = arms[state.listed.arm].pool) {
    if (!Number.isInteger(row) || row < 0 || row >= pool.records) return false;
    if (chosenAt(row, pool) >= 0) return true;
    const taken = new Set(state.chosen.map((one) => one.slot));
    let slot = 0;
    while (taken.has(slot)) slot++;
    state.chosen.push({ pool, row, slot });
    showCards();
    return true;
  }

  const chosenAt = (row, pool) => state.chosen.findIndex((one) => one.row === row && one.pool === pool);

  function toggle(row, pool) {
    const at = chosenAt(row, pool);
    if (at < 0) return choose(row, pool);
    state.chosen.splice(at, 1);
    showCards();
    return false;
  }

  function showCards() {
    for (const one of [...cards.keys()]) if (!state.chosen.includes(one)) cards.delete(one);
    for (const one of state.chosen) if (!cards.has(one)) cards.set(one, makeCard(one));
    byId("cards").replaceChildren(...state.chosen.map((one) => cards.get(one).figure));
    byId("none-chosen").hidden = state.chosen.length > 0;
    redraw();
  }

  function makeCard(one) {
    const { pool, row } = one;
    const remove = element("button", { type: "button" }, "Remove");
    remove.setAttribute("aria-label", `Remove record ${row}`);
    remove.addEventListener("click", () => {
      toggle(row, pool);
      byId("record").focus(); // the button itself is gone
    });
    const whose = pools.length > 1 ? ` of ${pool.name}` : "";
    const title = element("h4", {}, `Record ${row}${whose}, class ${pool.labels[row]}`);
    const said = element("div");
    const header = element("header", {}, title, remove);
    const figure = element("article", { className: "card" }, header, looksOf(pool, row), said);
    figure.dataset.row = row;
    return { figure, said };
  }

  // The record itself, or words on why it is not there.
  function looksOf(pool, row) {
    const place = pool.places ? pool.places.get(row) : undefined;
    if (place === undefined) return element("p", { className: "soft" }, "The record itself is not on this page.");
    if (pool.shown.kind === "text") return element("pre", { tabIndex: 0 }, pool.shown.texts[place]);
    return pool.shown.kind === "image" ? picture(pool, place) : strip(pool, place);
  }

  function painted(width, height, label, colourAt) {
    const canvas = element("canvas", { width, height, role: "img", "aria-label": label });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = colourAt(i);
    context.putImageData(image, 0, 0);
    return canvas;
  }

  function picture(pool, place) {
    const [height, width, channels = 1] = pool.shown.shape;
    const from = place * height * width * channels;
    const at = (i, channel) => pool.bytes[from + i * channels + Math.min(channel, channels - 1)];
    const canvas = painted(width, height, "The record as a picture", (i) => pixel([at(i, 0), at(i, 1), at(i, 2)]));
    canvas.style.width = `${Math.round(Math.max(1, 96 / Math.max(width, height)) * width)}px`;
    return canvas;
  }

  // Steps from left to right and features from top to bottom; a plain vector in lines of 64.
  function strip(pool, place) {
    const [length, features = 0] = pool.shown.shape;
    const [width, height] = features ? [length, features] : [Math.min(64, length), Math.ceil(length / 64)];
    const from = place * length * (features || 1);
    const byteAt = (i) => {
      const [x, y] = [i % width, Math.floor(i / width)];
      return features ? pool.bytes[from + x * features + y] : i < length ? pool.bytes[from + i] : UNKNOWN;
    };
    const colourAt = (i) => (byteAt(i) === UNKNOWN ? 0 : pixel(ramp(byteAt(i) / LEVELS)));
    const order = features ? "time to the right, one line a feature" : "its values in order";
    const canvas = painted(width, height, `The record as a strip: ${order}`, colourAt);
    canvas.style.width = "100%";
    canvas.style.height = `${Math.min(140, Math.max(20, 7 * height))}px`;
    return canvas;
  }

  function fillCard(one) {
    const parts = state.arms.map((index) => arms[index]).filter((arm) => arm.pool === one.pool);
    const said = parts.flatMap((arm) => {
      const paragraphs = sentences(arm, one.row).map((words) => element("p", {}, words));
      return [element("h5", {}, arm.name), ...paragraphs];
    });
    cards.get(one).figure.style.borderLeftColor = wayColour(one.slot);
    cards.get(one).said.replaceChildren(...said);
  }

  function sentences(arm, row) {
    const at = checkpointOf(arm);
    const found = [];
    if (at >= 0 && at < arm.last) found.push(`Epoch ${arm.epochs[at]}: ${ratesAt(arm, row, at, NaN, NaN)}.`);
    const [fprError, tprError] = [valueIn(arm.fprError, row), valueIn(arm.tprError, row)];
    found.push(`At the end: ${ratesAt(arm, row, arm.last, fprError, tprError)}.`);
    for (const [name, { title, more }] of Object.entries(data.difficulties)) {
      const values = arm.difficulty[name];
      if (!values) continue;
      const value = values[row];
      const beyond = () => `${more} ${percent(shareBelow(values, value))} of the records`;
      found.push(Number.isFinite(value) ? `${title} ${short(value)}: ${beyond()}.` : `${title}: not known.`);
    }
    return found;
  }

  function ratesAt(arm, row, at, fprError, tprError) {
    const [fpr, tpr] = [rateOf(arm.fpr, arm, row, at), rateOf(arm.tpr, arm, row, at)];
    return `FPR ${within(fpr, fprError)}, TPR ${within(tpr, tprError)}, vulnerability ${rate(tpr - fpr)}`;
  }

  function shareBelow(values, value) {
    let [below, all] = [0, 0];
    for (const other of values) {
      if (!Number.isFinite(other)) continue;
      all++;
      if (other < value) below++;
    }
    return below / all;
  }

  // The rows with the largest vulnerability, found in one pass.
  function mostExposed(arm, at) {
    const found = [];
    for (let row = 0; row < arm.pool.records; row++) {
      const value = vulnerabilityOf(arm, row, at);
      if (Number.isNaN(value) || (found.length === RANKED && value <= found[RANKED - 1].value)) continue;
      let place = found.length;
      while (place > 0 && found[place - 1].value < value) place--;
      found.splice(place, 0, { row, value });
      if (found.length > RANKED) found.pop();
    }
    return found;
  }

  function drawRanking() {
    const arm = arms[state.listed.arm];
    const at = state.listed.when === "end" ? arm.last : checkpointOf(arm);
    const found = at < 0 ? [] : mostExposed(arm, at);
    [...byId("ranking").children].forEach((item, i) => {
      item.hidden = i >= found.length;
      if (item.hidden) return;
      const button = item.firstChild;
      const { row, value } = found[i];
      button.dataset.row = row;
      button.replaceChildren(`${row} `, element("span", {}, rate(value)));
      button.setAttribute("aria-label", `Record ${row}, vulnerability ${rate(value)}`);
      button.setAttribute("aria-pressed", String(chosenAt(row, arm.pool) >= 0));
    });
  }

  // ---- drawing all of it ----

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

  // ---- controls ----

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
})();
