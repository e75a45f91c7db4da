// The user's own: off and on, weaker and stronger, what is kept, a copy, and to be forgotten.

import { asked } from "./api.js";
import { find, make, say, show } from "./elements.js";

let user = "";
let changed = () => {};

const path = (rest = "") => `/v1/users/${encodeURIComponent(user)}${rest}`;

export function start(whenChanged) {
  changed = whenChanged;
  find("enabled").addEventListener("change", () => set({ enabled: find("enabled").checked }));
  find("factor").addEventListener("input", tell);
  find("factor").addEventListener("change", () => set({ strength: Number(find("factor").value) }));
  find("copy").addEventListener("click", () => trying(copy));
  find("forget").addEventListener("click", () => {
    find("forget-whom").textContent = user;
    find("forget-box").returnValue = "";
    find("forget-box").showModal();
  });
  find("forget-box").addEventListener("close", () => {
    if (find("forget-box").returnValue === "forget") trying(forget);
  });
}

export async function open(id) {
  user = id;
  await trying(load);
}

async function trying(action) {
  try {
    show(find("kept-trouble"), "");
    await action();
  } catch (error) {
    show(find("kept-trouble"), error.message);
  }
}

async function load() {
  const whose = user;
  for (const id of ["enabled", "factor", "copy", "forget"]) find(id).disabled = !whose;
  if (!whose) return;
  const kept = await asked(path());
  if (whose !== user) return; // another one was chosen meanwhile
  find("enabled").checked = kept.switches.enabled;
  find("factor").value = kept.switches.strength;
  tell();
  const count = kept.entries.length;
  const waiting = kept.waiting ? `, ${kept.waiting} being learned` : "";
  find("entries-count").textContent =
    (count ? `${count} ${count === 1 ? "entry" : "entries"}` : "nothing") + waiting;
  find("entries").replaceChildren(...kept.entries.map(line));
}

function tell() {
  const factor = Number(find("factor").value);
  find("factor-said").textContent = `${Math.round(100 * factor)} %`;
}

function set(wish) {
  return trying(async () => {
    await asked(path(), { method: "PATCH", body: wish });
    say(wish.enabled === false ? "Personalization is off." : "Saved.");
    changed();
  });
}

function line(entry) {
  const times = entry.uses === 1 ? "once" : `${entry.uses} times`;
  const button = make("button", { type: "button", textContent: "Delete" });
  button.setAttribute("aria-label", `Delete: ${entry.request}`);
  button.addEventListener("click", () => trying(async () => {
    await asked(path(`/entries/${encodeURIComponent(entry.id)}`), { method: "DELETE" });
    say("Deleted.");
    await load();
    changed();
    find("entries-box").querySelector("summary").focus();
  }));
  return make("li", {},
    make("p", { textContent: entry.request }),
    make("p", { className: "chosen", textContent: entry.chosen }),
    make("small", {
      textContent: `kept since ${new Date(entry.built).toLocaleDateString()}, used ${times}`,
    }),
    button);
}

async function copy() {
  const all = await asked(path("/copy"));
  const file = new Blob([JSON.stringify(all, null, 1)], { type: "application/json" });
  const link = make("a", { href: URL.createObjectURL(file), download: "what-is-kept-of-me.json" });
  link.click();
  URL.revokeObjectURL(link.href);
  say("The copy is downloaded.");
}

async function forget() {
  await asked(path(), { method: "DELETE" });
  say("Forgotten.");
  await load();
  changed();
}
