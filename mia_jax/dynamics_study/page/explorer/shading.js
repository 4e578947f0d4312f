// What points are coloured by, and the scale that says it.

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
