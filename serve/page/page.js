// The page: one request, asked three times, and what made the answers differ.

import { Refused, asked, streamed, useKey } from "./api.js";
import * as building from "./building.js";
import { chooser, named, relabel } from "./choosers.js";
import { find, make, say, show } from "./elements.js";
import * as kept from "./kept.js";
import * as tokens from "./tokens.js";

const SIDES = ["plain", "own", "other"];
const TRIES = 3; // of a call that fails
const NEW_TOKENS = 160;

let about = null;
let controls = {};
let plan = null; // what was asked last
let leftOut = new Map(); // of the user's entries, by id: its key
const runs = new Map(); // by side: what is under way
const answers = new Map(); // by side: what has come

const side = (name) => document.querySelector(`[data-side=${name}]`);
const hints = new Map(SIDES.map((name) => [name, side(name).querySelector(".flow").textContent]));
const mode = () => (about.demo ? document.querySelector("[name=mode]:checked").value : "words");

// ---- what is asked ---------------------------------------------------------------------------

async function planned() {
  const user = controls.user.value.trim();
  const other = controls.other.value.trim();
  if (!user) throw new Refused(0, "Choose a user first.");
  if (mode() === "episode") {
    const task = find("episode").value;
    const opening = await asked(`/page/episodes/${encodeURIComponent(task)}`);
    return { user, other, task, ...opening };
  }
  const words = find("words").value.trim();
  if (!words) throw new Refused(0, "Write a request first.");
  const offered = about.demo && find("with-tools").checked;
  return {
    user, other, task: null, before: null,
    messages: [{ role: "user", content: words }],
    tools: offered ? await asked("/page/tools") : [],
  };
}

function body(name, messages, steered) {
  const wish = { strength: Number(find("strength").value), k: Number(find("k").value) || about.k };
  if (name === "own") {
    wish.without = [...leftOut.keys()];
    if (plan.before !== null) wish.before = plan.before;
  }
  const calls = plan.tools.length
    ? { tools: plan.tools, parallel_tool_calls: false, tool_choice: plan.task ? "required" : "auto" }
    : {};
  return {
    model: about.model, messages, ...calls,
    user: name === "other" ? plan.other : plan.user,
    steering: name === "plain" || !steered ? { whose: "off" } : wish,
    max_completion_tokens: NEW_TOKENS, logprobs: true, top_logprobs: 20,
  };
}

// ---- one answer ------------------------------------------------------------------------------

async function answer(name) {
  runs.get(name)?.abort();
  const run = new AbortController();
  runs.set(name, run);
  const article = side(name);
  const flow = article.querySelector(".flow");
  const foot = article.querySelector(".foot");
  article.ariaBusy = "true";
  flow.replaceChildren();
  foot.textContent = "";
  answers.delete(name);
  busy();
  try {
    if (name === "other" && !plan.other) {
      flow.append(make("p", { className: "hint", textContent: "Choose another user." }));
      return;
    }
    const messages = [...plan.messages];
    for (let n = 0; n < TRIES; n++) {
      const one = await once(name, messages, n === 0, flow, foot, run.signal);
      if (n === 0) answers.set(name, one);
      if (!one.call || !plan.task) return;
      const result = await carriedOut(one.call, flow, run.signal);
      if (!result.failed) return;
      const call = { id: one.call.id, type: "function", function: {
        name: one.call.name, arguments: one.call.arguments } };
      messages.push({ role: "assistant", content: "", tool_calls: [call] });
      messages.push({ role: "tool", tool_call_id: one.call.id, content: result.content });
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      flow.append(make("p", { className: "failed", textContent: error.message }));
    }
  } finally {
    if (runs.get(name) === run) {
      runs.delete(name);
      article.ariaBusy = "false";
      busy();
      if (name !== "other") explain();
      if (!runs.size) say("The answers are there.");
    }
  }
}

// One completion, shown as it comes.
async function once(name, messages, first, flow, foot, signal) {
  const started = performance.now();
  const found = { text: "", call: null, logprobs: [], block: null };
  const words = make("p", { className: "words" });
  let card = null;
  let firstSeconds = null;
  for await (const chunk of streamed(body(name, messages, first), signal)) {
    if (chunk.steering) found.block = chunk.steering;
    if (chunk.usage) {
      const seconds = (performance.now() - started) / 1000;
      foot.textContent = timed(chunk.usage.completion_tokens, firstSeconds ?? seconds, seconds, found.block);
    }
    const choice = chunk.choices?.[0];
    if (!choice) continue;
    found.logprobs.push(...(choice.logprobs?.content ?? []));
    const { content, tool_calls: calls } = choice.delta;
    if (content || calls) firstSeconds ??= (performance.now() - started) / 1000;
    if (content) {
      if (!words.isConnected) flow.append(words);
      found.text += content;
      words.textContent = found.text;
    }
    for (const part of calls ?? []) {
      found.call ??= { id: "", name: "", arguments: "" };
      if (part.index > 0) continue;
      found.call.id ||= part.id ?? "";
      found.call.name ||= part.function.name ?? "";
      found.call.arguments += part.function.arguments ?? "";
      card ??= flow.appendChild(make("div", { className: "call" }));
      drawCall(card, found.call);
    }
  }
  if (!found.text && !found.call) flow.append(make("p", { className: "hint", textContent: "(nothing)" }));
  return found;
}

function timed(count, first, whole, block) {
  const rate = whole > first && count > 1 ? `, ${((count - 1) / (whole - first)).toFixed(1)} a second` : "";
  const parts = [`first word after ${first.toFixed(1)} s`, `${count} tokens${rate}`];
  if (block?.reason && block.reason !== "asked off") parts.push(`not steered: ${block.reason}`);
  return parts.join(" \u00b7 ");
}

function drawCall(card, call) {
  const name = make("span", { className: "name", textContent: call.name || "\u2026" });
  let given = null;
  try {
    given = JSON.parse(call.arguments);
  } catch {
    // still under way
  }
  if (given === null || typeof given !== "object") {
    card.replaceChildren(name, make("pre", { textContent: call.arguments }));
    return;
  }
  const lines = Object.entries(given).flatMap(([key, value]) => [
    make("dt", { textContent: key }),
    make("dd", { textContent: Array.isArray(value) ? value.join(", ") : String(value) }),
  ]);
  card.replaceChildren(name, make("dl", {}, ...lines));
}

async function carriedOut(call, flow, signal) {
  let given = {};
  try {
    given = JSON.parse(call.arguments || "{}");
  } catch {
    // The tool will say what is wrong.
  }
  const waits = flow.appendChild(make("p", { className: "hint", textContent: "calling the tool\u2026" }));
  const result = await asked(`/page/episodes/${encodeURIComponent(plan.task)}/calls`, {
    method: "POST", body: { name: call.name, arguments: given }, signal,
  }).finally(() => waits.remove());
  const verdict = result.right ? "\u2713 What the user meant" : "\u2717 Not what the user meant";
  const more = result.right ? `result ${(100 * result.score).toFixed(0)} of 100` : `meant was ${result.wanted}`;
  flow.append(
    make("p", { className: `verdict ${result.right ? "right" : "wrong"}` }, verdict, make("small", { textContent: more })),
    make("details", { className: "result" },
      make("summary", { textContent: result.failed ? "The call failed" : "What the tool returned" }),
      make("pre", { textContent: result.content })));
  return result;
}

// ---- why ---------------------------------------------------------------------------------------

function explain() {
  const own = answers.get("own");
  const plain = answers.get("plain");
  if (own && !runs.has("own")) drawPicked(own.block);
  if (own && plain && !runs.has("own") && !runs.has("plain")) tokens.draw(plain.logprobs, own.logprobs);
}

function drawPicked(block) {
  if (!block) return;
  const capped = block.capped ? ", scaled down to the bound" : "";
  show(find("push"), block.whose === "nothing" ? `Nothing was added: ${block.reason}.`
    : !Object.keys(block.push).length ? "What was trained is applied, and no vector is added."
    : `At strength ${Number(block.strength).toFixed(2)}, the push is ${block.push_size.toPrecision(3)} long${capped}. Clear a box to leave an entry out.`);
  const lines = block.picked.map((entry) => pickedLine(entry.id, entry.key, entry.weight));
  const gone = [...leftOut].filter(([id]) => !block.picked.some((entry) => entry.id === id));
  find("picked").replaceChildren(...lines, ...gone.map(([id, key]) => pickedLine(id, key, null)));
}

function pickedLine(id, key, weight) {
  const box = make("input", { type: "checkbox", checked: weight !== null });
  box.addEventListener("change", () => {
    if (box.checked) leftOut.delete(id);
    else leftOut.set(id, key);
    again(["own"]);
  });
  const meter = make("span", { className: "meter" }, make("i"));
  meter.firstChild.style.setProperty("--share", `${100 * (weight ?? 0)}%`);
  return make("li", {},
    make("label", {}, box, make("span", { textContent: key })),
    meter,
    make("span", { className: "percent", textContent: weight === null ? "out" : `${Math.round(100 * weight)} %` }));
}

// ---- running -----------------------------------------------------------------------------------

function busy() {
  find("stop").disabled = runs.size === 0;
}

async function run(event) {
  event?.preventDefault();
  stop();
  show(find("trouble"), "");
  try {
    plan = await planned();
  } catch (error) {
    show(find("trouble"), error.message);
    return;
  }
  tokens.clear();
  say("Asked.");
  await Promise.all(SIDES.map(answer));
  kept.open(controls.user.value.trim());
}

function stop() {
  for (const one of runs.values()) one.abort();
}

// Ask some sides once more, with what has been changed since.
function again(names) {
  if (plan && plan.user === controls.user.value.trim()) for (const name of names) answer(name);
}

// ---- whom it is about ------------------------------------------------------------------------

async function userChanged() {
  const user = controls.user.value.trim();
  stop();
  plan = null;
  leftOut = new Map();
  for (const name of SIDES) {
    const hint = make("p", { className: "hint", textContent: hints.get(name) });
    side(name).querySelector(".flow").replaceChildren(hint);
    side(name).querySelector(".foot").textContent = "";
  }
  find("picked").replaceChildren();
  tokens.clear();
  if (controls.other.value === user) {
    controls.other.value = about.users.find((one) => one.id !== user)?.id ?? "";
  }
  named_();
  kept.open(user);
  if (!about.demo || !user) return;
  watchBuilding();
  try {
    const player = await asked(`/page/users/${encodeURIComponent(user)}`);
    if (controls.user.value.trim() !== user) return;
    const profile = Object.entries(player.profile).map(([name, value]) => `${name}: ${value}`);
    find("profile-box").hidden = !profile.length;
    show(find("profile"), profile.join(" \u00b7 "));
    find("episode").replaceChildren(...player.episodes.map((one) =>
      make("option", { value: one.id, textContent: one.request })));
  } catch (error) {
    show(find("trouble"), error.message);
  }
}

// In a demonstration dictionaries are built behind the page, first of those whom it shows.
function watchBuilding() {
  if (!about.demo) return;
  building.watch([controls.user.value.trim(), controls.other.value.trim()], (id) => named(about, id), (id) => {
    about.users.find((one) => one.id === id).ready = true;
    relabel(controls, id, about);
    if (id === controls.user.value.trim()) kept.open(id);
  });
}

function named_() {
  side("own").querySelector(".whose").textContent = named(about, controls.user.value.trim());
  side("other").querySelector(".whose").textContent = named(about, controls.other.value.trim());
}

function modeChanged() {
  const plays = mode() === "episode";
  find("episode-row").hidden = !plays;
  find("words-row").hidden = plays;
  find("tools-row").hidden = plays || !about.demo;
}

async function open() {
  show(find("trouble"), "");
  try {
    about = await asked("/page/about");
  } catch (error) {
    show(find("trouble"), error.message);
    if (error.status === 401) find("key-box").showModal();
    return;
  }
  find("model").textContent = about.model;
  find("modes").hidden = !about.demo;
  find("k").value = about.k;
  find("strength").max = Math.max(2, 3 * about.strength);
  find("strength").step = Math.max(2, 3 * about.strength) / 48;
  find("strength").value = about.strength;
  find("factor").max = about.most_factor;
  strengthSaid();
  controls = {
    user: chooser(find("user-slot"), "user", about, userChanged),
    other: chooser(find("other-slot"), "other", about, () => { named_(); watchBuilding(); again(["other"]); }),
  };
  if (!about.users.length && !about.more) show(find("trouble"), "The store has no users yet.");
  modeChanged();
  await userChanged();
}

function strengthSaid() {
  find("strength-said").textContent = Number(find("strength").value).toFixed(2);
}

find("ask").addEventListener("submit", run);
find("stop").addEventListener("click", stop);
find("strength").addEventListener("input", strengthSaid);
find("strength").addEventListener("change", () => again(["own", "other"]));
find("k").addEventListener("change", () => again(["own", "other"]));
for (const radio of document.querySelectorAll("[name=mode]")) radio.addEventListener("change", modeChanged);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) stop();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event);
});
find("open-key").addEventListener("click", () => find("key-box").showModal());
find("key-box").addEventListener("close", () => {
  if (find("key-box").returnValue !== "use") return;
  useKey(find("key").value);
  open();
});
kept.start(() => again(["own"]));
open();
