// Choosing a user: from a list, or by typing an id where there are too many to list.

import { make } from "./elements.js";

export function chooser(slot, id, about, changed) {
  const chooses = about.users.length > 0 && !about.more;
  const control = chooses
    ? make("select", { id }, ...about.users.map(option))
    : make("input", { id, type: "text", spellcheck: false, placeholder: "a user's id" });
  control.setAttribute("aria-label", id === "user" ? "User" : "Another user");
  control.addEventListener("change", changed);
  slot.replaceChildren(control);
  return control;
}

export function named(about, id) {
  return about.users.find((user) => user.id === id)?.label || id;
}

// A user's dictionary is there now.
export function relabel(controls, id, about) {
  const user = about.users.find((one) => one.id === id);
  for (const control of Object.values(controls)) {
    for (const one of control.options ?? []) if (one.value === id) one.textContent = shown(user);
  }
}

function option(user) {
  return make("option", { value: user.id }, shown(user));
}

function shown(user) {
  const name = user.label ? `${user.label} (${user.id})` : user.id;
  return user.ready ? name : `${name}, dictionary not built yet`;
}
