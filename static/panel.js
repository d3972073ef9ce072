// The server configuration panel: who serves, at which step. It asks every
// three seconds, has a colour for each step and flashes whatever changed.
import { clock, element, pause, request } from "./api.js";

const every = 3_000; // milliseconds between two looks
const flash = 4_000; // milliseconds that a change is marked

const steps = [
  ["deploy the new database", "The old database is read and written; the new one is being set up."],
  ["add the new data access object", "The service knows the new database, and does not use it yet."],
  ["write to both", "The old database decides; each write then goes to the new one, too."],
  ["read from both", "Writes go to both databases, and what they answer is compared."],
  ["make the new database primary", "The new database decides; each write then goes to the old one, too."],
  ["stop writing to the old database", "Writes go to the new database; what it lacks is read from the old one."],
  ["migrate the remaining data", "What only the old database has is copied to the new one."],
  ["remove the old data access object", "Only the new database is used."],
];

const products = { sqlite: "SQLite", mongodb: "MongoDB", "mongodb+srv": "MongoDB" };

// primary is the database that decides, by its product.
function primary(config) {
  const place = config[config.primary];
  return place ? `${products[place.scheme] ?? place.scheme} (${config.primary})` : "not known now";
}

const rows = [
  ["Primary", "primary", primary],
  ["Epoch", "epoch", (c) => c.epoch],
  ["Port", "port", (c) => c.port],
  ["Instance", "instance", (c) => c.instance],
  ["Version", "version", (c) => c.version],
  ["Repository", "repository", (c) => c.repository],
];

const details = [
  ["Old", "old", (c) => c.old?.where],
  ["New", "new", (c) => c.new?.where],
  ["Name", "name", (c) => c.new?.name],
];

// stepName is the step in words.
export function stepName(step) {
  return steps[step - 1]?.[0] ?? `step ${step}`;
}

// watchConfig keeps the panel true for as long as the page is open, and tells
// changed({ before, after, since, at }) when another instance or step serves:
// it happened after since and before at.
export async function watchConfig(changed = () => {}) {
  const panel = new Panel(document.getElementById("panel"));
  let before, since;
  for (;;) {
    try {
      const { body: after } = await request("/config", { cache: "no-store" });
      const at = Date.now();
      panel.show(after, at);
      if (before && differs(before, after, ["instance", "migration_step", "port"])) changed({ before, after, since, at });
      [before, since] = [after, at];
    } catch (failure) {
      panel.unreachable(failure, since);
    }
    await pause(every);
  }
}

function differs(a, b, keys) {
  return keys.some((key) => a[key] !== b[key]);
}

class Panel {
  constructor(root) {
    this.root = root;
    this.eyebrow = element("p", { textContent: "Server configuration" });
    this.name = element("h2", { textContent: "Asking who serves…" });
    this.pips = element("ol", { className: "pips", ariaHidden: "true" }, ...steps.map(() => element("li")));
    this.meaning = element("p", { className: "meaning" });
    this.rows = new Map();
    this.looked = element("p", { className: "quiet looked" });
    this.spoken = element("p", { className: "unseen", role: "status" });
    const more = element("details", {}, element("summary", { textContent: "Databases" }), this.table(details));
    root.replaceChildren(
      element("header", {}, this.eyebrow, this.name, this.pips),
      element("div", { className: "body" }, this.meaning, this.table(rows), more, this.looked),
      this.spoken,
    );
    root.dataset.state = "loading";
  }

  table(fields) {
    const lines = fields.map(([title, key, text]) => {
      const value = element("dd", { textContent: "–" });
      value.dataset.key = key;
      const line = element("div", {}, element("dt", { textContent: title }), value);
      this.rows.set(key, { line, value, text });
      return line;
    });
    return element("dl", {}, ...lines);
  }

  show(config, at) {
    const step = config.migration_step;
    const first = this.root.dataset.state === "loading";
    const moved = !first && this.root.dataset.step !== String(step);
    let changes = moved || this.root.dataset.state === "unreachable" ? 1 : 0;
    this.root.dataset.state = "live";
    this.root.dataset.step = step;
    this.eyebrow.textContent = `Served at step ${step} of 8`;
    this.name.textContent = stepName(step);
    this.meaning.textContent = steps[step - 1]?.[1] ?? "";
    [...this.pips.children].forEach((pip, i) => pip.classList.toggle("reached", i < step));
    for (const { line, value, text } of this.rows.values()) {
      const now = String(text(config) ?? "") || "–";
      if (now === value.textContent) continue;
      value.replaceChildren(...now.split(/(?<=[_/])/).flatMap((part) => [part, element("wbr")])); // may break there
      if (first) continue;
      changes++;
      mark(line, "changed");
    }
    this.looked.textContent = `Asked at ${clock(at)}, every three seconds`;
    if (changes === 0) return;
    mark(this.root, "flashing");
    this.spoken.textContent = `Now served at step ${step}, ${stepName(step)}, on port ${config.port}. ` +
      `Primary: ${primary(config)}, epoch ${config.epoch}.`;
  }

  unreachable(failure, since) {
    if (this.root.dataset.state !== "unreachable") {
      this.spoken.textContent = "The server configuration can't be read.";
      this.root.dataset.state = "unreachable";
    }
    this.eyebrow.textContent = "Server configuration";
    this.name.textContent = "no answer";
    this.meaning.textContent = `Asking again every three seconds: ${failure.message}`;
    this.looked.textContent = since ? `What is shown is from ${clock(since)}` : "Nothing is known yet";
  }
}

const marks = new WeakMap(); // the timer that takes a mark away

// mark gives an element a class for a while, anew if it has it already.
function mark(node, name) {
  clearTimeout(marks.get(node));
  node.classList.remove(name);
  void node.offsetWidth; // or the animation would not begin again
  node.classList.add(name);
  marks.set(node, setTimeout(() => node.classList.remove(name), flash));
}
