// Which dictionaries are still being built: those of the users whom the page shows are built first.

import { asked } from "./api.js";
import { find, show } from "./elements.js";

const EVERY = 1500; // milliseconds

let watched = 0; // counts the calls of watch, so that a later one ends an earlier one

export async function watch(users, named, ready) {
  const mine = ++watched;
  let left = [...new Set(users)].filter((user) => user);
  const waiting = new Set();
  while (left.length) {
    const states = [];
    // The last that is asked for is built first.
    for (const user of [...left].reverse()) {
      try {
        states.unshift([user, await asked(`/page/users/${encodeURIComponent(user)}/building`)]);
      } catch {
        states.unshift([user, { ready: true }]); // no user of the demonstration
      }
      if (mine !== watched) return;
    }
    for (const [user, state] of states) {
      if (!state.ready) waiting.add(user);
      else if (waiting.has(user)) ready(user);
    }
    left = states.filter(([, state]) => !state.ready).map(([user]) => user);
    show(find("building"), states.filter(([, state]) => !state.ready).map(([user, { done, of }]) =>
      `The dictionary of ${named(user)} is being built: ${done} of ${of} past requests are read.`).join(" ")
      + (left.length ? " Until it is there, answers are not steered." : ""));
    if (left.length) await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (mine !== watched) return;
  }
  show(find("building"), "");
}
