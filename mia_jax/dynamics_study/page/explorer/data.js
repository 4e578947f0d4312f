// The data of the page, decoded once: rates stay bytes, everything else becomes plain numbers.

const UNKNOWN = 255;
const LEVELS = 254;

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

const data = JSON.parse(byId("explorer-data").textContent);
const pools = data.pools.map(poolOf);
const arms = data.arms.map((sent) => armOf(sent, pools));
const hasCurve = (arm, name) => (arm.curves[name] || []).some((value) => value !== null);
const known = Object.keys(data.curves).filter((name) => arms.some((arm) => hasCurve(arm, name)));
data.arms = data.pools = null; // the base64 is not needed any more
