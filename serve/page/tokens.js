// Which next tokens changed: two answers are compared where both continue the same tokens, which
// is up to the first token that differs.

import { find, make, show } from "./elements.js";

const SEEN = 0.005; // of probability; less is no change worth a line
const LINES = 6;

const shown = (token) => token.replaceAll(" ", "\u00b7").replaceAll("\n", "\u21b5") || "\u2205";
const percent = (share) => (share === null ? "rare" : `${(100 * share).toFixed(1)} %`);

// Probability of each token that was likely at a place.
function likely(place) {
  const found = new Map();
  for (const one of [place, ...place.top_logprobs]) found.set(one.token, Math.exp(one.logprob));
  return found;
}

export function compared(plain, steered) {
  const places = [];
  for (let n = 0; n < Math.min(plain.length, steered.length); n++) {
    const [before, after] = [likely(plain[n]), likely(steered[n])];
    const free = plain[n].top_logprobs.length > 0 && steered[n].top_logprobs.length > 0;
    const shifts = [...new Set([...after.keys(), ...before.keys()])].map((token) => {
      const [from, to] = [before.get(token) ?? null, after.get(token) ?? null];
      return { token, from, to, change: (to ?? 0) - (from ?? 0) };
    });
    shifts.sort((one, other) => Math.abs(other.change) - Math.abs(one.change));
    const parts = plain[n].token !== steered[n].token;
    const came = (token) => parts && (token === plain[n].token || token === steered[n].token);
    const seen = free
      ? shifts.filter((shift) => Math.abs(shift.change) >= SEEN || came(shift.token)) : [];
    // Half the sum of what moved: the share of probability that went to other tokens.
    const moved = seen.reduce((sum, shift) => sum + Math.abs(shift.change), 0) / 2;
    places.push({ token: steered[n].token, instead: plain[n].token, shifts: seen, moved, parts });
    if (parts) break;
  }
  return places;
}

export function clear(note) {
  find("tokens").replaceChildren();
  find("shifts").replaceChildren();
  if (note !== undefined) show(find("tokens-note"), note);
}

export function draw(plain, steered) {
  const places = compared(plain, steered);
  const changed = places.filter((place) => place.shifts.length > 0);
  const last = places.at(-1);
  clear(
    !places.length ? "" : last.parts
      ? "The tokens that both answers begin with, and where they part. Choose one to see its odds."
      : changed.length ? "Both answers have the same tokens, with other odds. Choose one to see them."
        : "The same tokens with the same odds.",
  );
  const most = [...changed].sort((one, other) => other.parts - one.parts || other.moved - one.moved)[0];
  for (const place of places) {
    if (!place.shifts.length) {
      find("tokens").append(make("span", { textContent: place.token }));
      continue;
    }
    const button = make("button", { type: "button", textContent: shown(place.token) });
    button.style.setProperty("--heat", Math.min(0.45, 0.08 + place.moved / 2));
    button.addEventListener("click", () => choose(button, place));
    find("tokens").append(button);
    if (place === most) choose(button, place);
  }
  if (last?.parts) {
    const rest = steered.slice(places.length).map((place) => place.token).join("");
    find("tokens").append(make("span", { className: "after", textContent: rest }));
  }
}

function choose(button, place) {
  for (const other of find("tokens").querySelectorAll("button")) other.ariaPressed = "false";
  button.ariaPressed = "true";
  // First the tokens that came, then those whose odds changed most.
  const came = new Set([place.token, place.instead]);
  const lines = [...place.shifts].sort((one, other) => came.has(other.token) - came.has(one.token));
  const rows = lines.slice(0, LINES).map((shift) =>
    make("tr", {},
      make("th", { scope: "row", textContent: shown(shift.token) }),
      make("td", { textContent: percent(shift.from) }),
      make("td", { textContent: percent(shift.to) }),
      make("td", {
        className: shift.change > 0 ? "up" : "down",
        textContent: `${shift.change > 0 ? "+" : "\u2212"}${(100 * Math.abs(shift.change)).toFixed(1)}`,
      })));
  const heads = ["next token", "unsteered", "steered", "points"];
  const head = make("tr", {}, ...heads.map((name, n) =>
    make("th", { scope: "col", textContent: name, className: n ? "number" : "" })));
  const caption = place.parts
    ? `Here they part: ${shown(place.instead)} unsteered, ${shown(place.token)} steered`
    : `In the place of ${shown(place.token)}`;
  find("shifts").replaceChildren(make("table", {},
    make("caption", { textContent: caption }), make("thead", {}, head), make("tbody", {}, ...rows)));
}
