// Colours of maps: one hue, light to dark on a light page and the other way round on a dark one.

const LIGHT = [[242, 244, 247], [255, 205, 140], [230, 110, 20], [140, 30, 30]];
const DARK = [[38, 42, 50], [105, 45, 40], [225, 100, 25], [255, 225, 150]];

function isDark() {
  if (state.theme) return state.theme === "dark";
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

// The colour of a share from 0 to 1.
function heat(share) {
  const stops = isDark() ? DARK : LIGHT;
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const mixed = stops[low].map((value, index) => Math.round(value + (stops[low + 1][index] - value) * (at - low)));
  return `rgb(${mixed.join(",")})`;
}

// A method's colour; black, of the full cache, is the text's colour.
function methodColour(policy) {
  const own = METHOD[policy] ? METHOD[policy].color : "#888888";
  if (own === "#000000") return isDark() ? "#f0f0f0" : "#111111";
  return isDark() && own === "#0072B2" ? "#56B4E9" : own;
}

function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
}
