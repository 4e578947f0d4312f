// Where things lie on a canvas, and lines that can be told from what is below them.

const PAD = 0.03; // room around the unit square, in its own units, so that points at its edges are whole
const EDGE = { left: 40, right: 8, top: 8, bottom: 36 };

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

function fit(canvas, g) {
  const [width, height] = [Math.round(g.width * g.dpr), Math.round(g.height * g.dpr)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(g.dpr, 0, 0, g.dpr, 0, 0);
  context.clearRect(0, 0, g.width, g.height);
  return context;
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

function writeHaloed(context, words, { x, y }, colour, ground) {
  context.lineJoin = "round";
  context.lineWidth = 3.5;
  context.strokeStyle = ground;
  context.fillStyle = colour;
  context.strokeText(words, x, y);
  context.fillText(words, x, y);
}
