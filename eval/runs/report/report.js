"use strict";
// Texts of a run never become markup: every one goes in as a text node.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { methods, metrics, samples, texts, users } = data;
  const PAGE = { users: 25, samples: 10 };
  const LONGEST_COMPARED = 4e6; // words times words, above which marking would take a second
  const byId = (id) => document.getElementById(id);

  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  const isolated = (text) => make("bdi", {}, text);

  function number(value, digits = 3, signed = false) {
    if (value === null || value === undefined) return "\u2013";
    const rounded = Number(value.toFixed(digits));
    const sign = rounded < 0 ? "\u2212" : signed && rounded > 0 ? "+" : "";
    return sign + Math.abs(rounded).toFixed(digits);
  }

  const compare = (one, other) => {
    if (one === null || other === null) return (one === null) - (other === null); // none comes last
    return typeof one === "string"
      ? one.localeCompare(other, undefined, { numeric: true }) : one - other;
  };

  function key(method) {
    const drawn = document.querySelectorAll(".legend .key")[method];
    return drawn ? drawn.cloneNode(true) : "";
  }

  /** Sort a copy; what has no value comes last whichever way. */
  function sorted(items, value, descending) {
    return items
      .map((item) => [value(item), item])
      .sort(([a], [b]) => (a === null || b === null || !descending ? compare(a, b) : compare(b, a)))
      .map(([, item]) => item);
  }

  /** Buttons and a line for going through pages; `show` is called with the part to be shown. */
  function pager(places, size, items, page, show) {
    const pages = Math.max(1, Math.ceil(items.length / size));
    const at = Math.min(Math.max(0, page), pages - 1);
    const go = (to, after) => { pager(places, size, items, to, show); after(); };
    places.forEach((place, n) => {
      const button = (label, to) => make("button", {
        type: "button", textContent: label, disabled: to < 0 || to >= pages || to === at,
        onclick: () => go(to, () => {
          if (n > 0) places[0].scrollIntoView();
          const again = [...places[0].querySelectorAll("button")];
          (again.find((b) => b.textContent === label && !b.disabled) || again.find((b) => !b.disabled))
            ?.focus();
        }),
      });
      place.replaceChildren(
        button("First", 0), button("Previous", at - 1),
        make("span", {}, `page ${at + 1} of ${pages}`),
        button("Next", at + 1), button("Last", pages - 1),
      );
      place.hidden = pages === 1;
    });
    show(items.slice(at * size, (at + 1) * size), at * size);
  }

  // ---- the metric, and what the differences are taken from

  const metricPick = byId("metric");
  const referencePick = byId("reference");
  let metric = 0;

  function showMetric() {
    metric = Math.max(0, metricPick.selectedIndex);
    const name = metrics[metric]?.name;
    for (const part of document.querySelectorAll("[data-metric]")) {
      const { metric: own, reference } = part.dataset;
      part.hidden = own !== name
        || (reference !== undefined && reference !== methods[referencePick.selectedIndex]);
    }
  }

  // ---- by user

  const userTable = byId("user-table");
  let userOrder = { column: "id", descending: false };

  const userColumns = () => [
    { name: "id", label: "user", value: (user) => user.id },
    { name: "samples", label: "samples", value: (user) => user.samples },
    { name: "history", label: "history", value: (user) => user.history },
    ...methods.map((method, n) => ({
      name: `m${n}`, label: method, method: n, digits: 3,
      value: (user) => user.scores[metrics[metric]?.name]?.[n] ?? null,
    })),
  ];

  function showUsers() {
    const columns = userColumns();
    userTable.tHead.replaceChildren(make("tr", {}, ...columns.map((column) => {
      const head = make("th", { scope: "col", className: column.name === "id" ? "" : "num" });
      if (column.name === userOrder.column) {
        head.setAttribute("aria-sort", userOrder.descending ? "descending" : "ascending");
      }
      head.append(make("button", {
        type: "button",
        onclick: () => {
          const again = userOrder.column === column.name;
          // Numbers are wanted greatest first, names in their order.
          userOrder = {
            column: column.name,
            descending: again ? !userOrder.descending : column.name !== "id",
          };
          showUsers();
          userTable.tHead.querySelector("[aria-sort] button").focus();
        },
      }, ...(column.method === undefined ? [] : [key(column.method)]), isolated(column.label)));
      return head;
    })));
    const wanted = byId("user-find").value.trim().toLowerCase();
    const found = users.filter((user) => user.id.toLowerCase().includes(wanted));
    const by = columns.find((column) => column.name === userOrder.column);
    pager([byId("user-pager")], PAGE.users, sorted(found, by.value, userOrder.descending), 0, (part) => {
      userTable.tBodies[0].replaceChildren(...part.map((user) => make("tr", {},
        ...columns.map((column) => column.name === "id"
          ? make("th", { scope: "row" }, make("button", {
            type: "button", className: "link", title: "Show this user's samples",
            onclick: () => {
              filters.reset();
              filters.elements.user.value = user.id;
              showSamples();
              byId("samples").scrollIntoView();
            },
          }, isolated(user.id)))
          : make("td", { className: "num" }, number(column.value(user), column.digits || 0))),
      )));
    });
  }

  // ---- words that differ

  const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || [];
  const isSpace = (token) => /^\s/.test(token);

  /** Tokens of `text` that the longest common subsequence with `other` lacks, and those missing. */
  function differing(text, other) {
    const mine = words(text), theirs = words(other).filter((token) => !isSpace(token));
    const places = mine.flatMap((token, n) => (isSpace(token) ? [] : [n]));
    const rows = places.length, columns = theirs.length, width = columns + 1;
    if (rows * columns > LONGEST_COMPARED) return null;
    const same = (i, j) => mine[places[i]] === theirs[j];
    const length = new Uint32Array((rows + 1) * width);
    for (let i = rows - 1; i >= 0; i--) {
      for (let j = columns - 1; j >= 0; j--) {
        length[i * width + j] = same(i, j)
          ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
      }
    }
    const added = new Set(), missing = new Map();
    let i = 0, j = 0;
    while (i < rows || j < columns) {
      if (i < rows && j < columns && same(i, j)) { i++; j++; }
      else if (j >= columns
        || (i < rows && length[(i + 1) * width + j] >= length[i * width + j + 1])) {
        added.add(places[i++]);
      } else {
        const before = i < rows ? places[i] : mine.length;
        missing.set(before, [...(missing.get(before) || []), theirs[j++]]);
      }
    }
    return { mine, added, missing };
  }

  /** A text with the words marked that `other` does not have, and if wished those it lacks. */
  function marked(text, other, showMissing) {
    const found = other === null ? null : differing(text, other);
    if (found === null) return [text];
    const parts = [];
    const last = found.mine.length;
    for (let n = 0; n <= last; n++) {
      if (showMissing && found.missing.has(n)) {
        const apart = n === 0 || isSpace(found.mine[n - 1]) ? "" : " ";
        parts.push(apart, make("del", {}, found.missing.get(n).join(" ")), n === last ? "" : " ");
      }
      if (n === last) break;
      // The space between two marked words is marked with them.
      const within = isSpace(found.mine[n]) && found.added.has(n - 1) && found.added.has(n + 1);
      if (!found.added.has(n) && !within) parts.push(found.mine[n]);
      else if (parts.at(-1)?.dataset?.end === String(n - 1)) {
        parts.at(-1).append(found.mine[n]);
        parts.at(-1).dataset.end = n;
      } else {
        const mark = make("mark", {}, found.mine[n]);
        mark.dataset.end = n;
        parts.push(mark);
      }
    }
    return parts;
  }

  // ---- samples

  const filters = byId("filters");
  const fields = filters.elements;
  const scoreOf = (sample, method) => {
    const answer = sample.answers[method];
    return answer && !answer.error ? answer.scores[metric] ?? null : null;
  };
  /** How much better the first method is than the second; null where one has no score. */
  const gain = (sample, first, second) => {
    const one = scoreOf(sample, first), other = scoreOf(sample, second);
    if (one === null || other === null) return null;
    return (metrics[metric].more ? 1 : -1) * (one - other);
  };

  function haystack(sample) {
    sample.text ??= [
      sample.id, texts[sample.gold],
      ...sample.answers.flatMap((answer) => answer
        ? [texts[answer.output], answer.error,
          ...answer.prompt.filter(([role]) => role !== "system").map(([, place]) => texts[place])]
        : []),
    ].join("\n").toLowerCase();
    return sample.text;
  }

  function chosen() {
    const text = fields.text.value.trim().toLowerCase();
    const user = fields.user.value.trim().toLowerCase();
    const exact = users.some((one) => one.id.toLowerCase() === user);
    const kind = fields.kind.value;
    const first = fields.first.value === "" ? null : Number(fields.first.value);
    const second = Number(fields.second.value), outcome = fields.outcome.value;
    return samples.filter((sample) => {
      const own = sample.user.toLowerCase();
      if (user && (exact ? own !== user : !own.includes(user))) return false;
      if (kind && sample.kind !== kind) return false;
      if (text && !haystack(sample).includes(text)) return false;
      if (first === null) return true;
      if (outcome === "fail") return Boolean(sample.answers[first]?.error);
      const by = gain(sample, first, second);
      if (by === null) return false;
      return outcome === "win" ? by > 0 : outcome === "lose" ? by < 0 : by === 0;
    });
  }

  function inOrder(found) {
    const first = fields.first.value === "" ? methods.length - 1 : Number(fields.first.value);
    const second = Number(fields.second.value);
    const best = (sample) => {
      const scores = methods.map((_, n) => scoreOf(sample, n)).filter((score) => score !== null);
      const sum = scores.reduce((a, b) => a + b, 0);
      return scores.length ? (metrics[metric].more ? 1 : -1) * sum / scores.length : null;
    };
    switch (fields.sort.value) {
      case "gain": return sorted(found, (s) => gain(s, first, second), true);
      case "loss": return sorted(found, (s) => gain(s, first, second), false);
      case "low": return sorted(found, best, false);
      case "high": return sorted(found, best, true);
      case "short": return sorted(found, (s) => s.history, false);
      case "long": return sorted(found, (s) => s.history, true);
      case "user": return sorted(found, (s) => s.user, false);
      default: return found;
    }
  }

  function showSamples() {
    const failing = fields.outcome.value === "fail";
    for (const name of ["outcome", "second"]) fields[name].disabled = fields.first.value === "";
    if (failing) fields.second.disabled = true;
    const found = inOrder(chosen());
    byId("sample-count").textContent = `${found.length} of ${samples.length} samples`;
    pager([byId("sample-pager"), byId("sample-pager-below")], PAGE.samples, found, 0, (part) => {
      byId("sample-list").replaceChildren(...part.map(sampleView));
    });
  }

  function sampleView(sample) {
    const facts = [["user", sample.user], ["kind", sample.kind], ["history", String(sample.history)]]
      .filter(([, value]) => value !== "")
      .flatMap(([name, value], n) => [n ? " \u00b7 " : "", `${name} `, isolated(value)]);
    const prompts = sample.answers.filter((answer) => answer?.prompt.length);
    const asked = prompts[0]?.prompt.filter(([role]) => role === "user").at(-1);
    const against = fields.against.value;
    const other = against === "" ? null
      : against === "gold" ? texts[sample.gold] || null
        : sample.answers[against] ? texts[sample.answers[against].output] : null;
    return make("article", { className: "sample" },
      make("h3", {}, isolated(sample.id)),
      make("p", { className: "facts" }, ...facts),
      asked ? make("p", { className: "said asked", dir: "auto", tabIndex: 0 }, texts[asked[1]]) : "",
      make("div", { className: "answers" },
        make("div", { className: "answer gold" },
          make("h4", {}, "gold"), said(texts[sample.gold], null, "not known")),
        ...sample.answers.map((answer, n) => answer
          ? answerView(answer, n, String(n) === against ? null : other)
          : make("div", { className: "answer" },
            make("h4", {}, key(n), isolated(methods[n])), said("", null, "not answered"))),
      ));
  }

  function said(text, other, none) {
    return text === ""
      ? make("p", { className: "said empty" }, none)
      : make("p", { className: "said", dir: "auto" }, ...marked(text, other, fields.missing.checked));
  }

  function answerView(answer, n, other) {
    const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
    const facts = [
      ...metrics.map(({ name }, m) => [name, answer.scores[m]])
        .filter(([, score]) => score !== null && score !== undefined)
        .map(([name, score]) => fact(name, number(score))),
      fact("tokens", answer.tokens.join(" + ")),
    ];
    if (answer.seconds !== null) facts.push(fact("seconds", number(answer.seconds, 2)));
    if (answer.cut) facts.push(fact("cut", String(answer.cut)));
    return make("div", { className: "answer" },
      make("h4", {}, key(n), isolated(methods[n])),
      answer.error
        ? make("p", { className: "said bad", dir: "auto" }, `Broken off: ${answer.error}`)
        : said(texts[answer.output], other, "nothing"),
      make("dl", {}, ...facts),
      ...answer.results.some((place) => texts[place])
        ? [folded("What came back", () => answer.results.map((place) => make("pre", { dir: "auto" }, texts[place])))] : [],
      ...answer.picked.length
        ? [folded(`Steered by ${answer.picked.length} past samples`, () => [pickedView(answer.picked)])] : [],
      ...answer.prompt.length ? [folded("Prompt", () => answer.prompt.flatMap(([role, place]) => [
        make("p", { className: "role" }, role), make("pre", { dir: "auto" }, texts[place])]))] : [],
      ...answer.detail !== null
        ? [folded("Details", () => [make("pre", { dir: "auto" }, texts[answer.detail])])] : [],
    );
  }

  /** Something to open; what is in it is made when it first is. */
  function folded(label, content) {
    const details = make("details", {}, make("summary", {}, label));
    details.addEventListener("toggle", () => details.append(...content()), { once: true });
    return details;
  }

  function pickedView(picked) {
    const row = ([id, keyText, answer, similarity, weight]) => {
      const bar = make("span", { className: "weight" });
      bar.style.width = `${Math.max(0, Math.min(1, weight ?? 0)) * 100}%`;
      return make("tr", {},
        make("td", { className: "num" }, number(weight, 2), bar),
        make("td", { className: "num" }, number(similarity, 2)),
        make("td", { dir: "auto", title: id ?? "" }, keyText ?? id ?? "",
          ...answer ? [make("br"), make("em", {}, answer)] : []));
    };
    const heads = ["weight", "similarity", "past sample"];
    return make("table", { className: "picked" },
      make("thead", {}, make("tr", {}, ...heads.map((name, n) =>
        make("th", { scope: "col", className: n < 2 ? "num" : "" }, name)))),
      make("tbody", {}, ...picked.map(row)));
  }

  // ---- start

  const option = (value, label) => make("option", { value, textContent: label });
  methods.forEach((method, n) => {
    fields.first.append(option(n, method));
    fields.second.append(option(n, method));
    fields.against.insertBefore(option(n, method), fields.against.lastElementChild);
  });
  fields.second.options[data.baseline].defaultSelected = true;
  for (const one of fields.against.options) one.defaultSelected = one.value === data.against;
  const kinds = [...new Set(samples.map((sample) => sample.kind))].filter(Boolean).sort();
  fields.kind.append(...kinds.map((kind) => option(kind, kind)));
  fields.kind.closest("label").hidden = kinds.length < 2;
  byId("user-ids").append(...users.slice(0, 500).map((user) => option(user.id, user.id)));

  let waiting = 0;
  filters.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(showSamples, 120); // one search for a word, not one a letter
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(showSamples));
  byId("user-find").addEventListener("input", showUsers);
  referencePick.addEventListener("change", showMetric);
  metricPick.addEventListener("change", () => { showMetric(); showUsers(); showSamples(); });
  showMetric();
  showUsers();
  showSamples();
})();
