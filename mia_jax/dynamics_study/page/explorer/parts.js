// Elements of the page and words for numbers. Text from the data only ever becomes text nodes.

const byId = (id) => document.getElementById(id);

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
