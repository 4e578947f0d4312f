// Colours and dashes, light and dark.

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

const dark = window.matchMedia("(prefers-color-scheme: dark)");

const lineColour = (index) => (dark.matches ? LINES_ON_DARK : LINES)[index % LINES.length];
// Ways of records lie on the shades of points: first the colours that are farthest from those.
const wayColour = (slot) => lineColour([0, 2, 5, 4, 3, 1][slot % 6]);

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

function rgbOf(hex) {
  return [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));
}
