// Chosen records: their cards, and the list of the most exposed to choose from.

const RANKED = 20;
const NEVER = " (models that never learn it count as after the end)";

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
    const late = name === "epoch_learned" && value > arm.epochs[arm.last] ? NEVER : "";
    found.push(Number.isFinite(value) ? `${title} ${short(value)}${late}: ${beyond()}.` : `${title}: not known.`);
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
