// The task producer: Bill and Jane, who add tasks and finish them for as long
// as they are let, so that one sees whether a migration disturbs them.
import { element, form, listPath, pause, request, taskPath } from "./api.js";
import { watchConfig } from "./panel.js";
import { Strip } from "./strip.js";

const rest = 500; // milliseconds from an accepted task to the next one
const finishing = 6_000; // milliseconds between two rounds of marking done
const scale = 20; // tasks on the whole bar
const page = 100; // tasks that are asked for at once

const $ = (id) => document.getElementById(id);
const strip = new Strip($("strip"), $("cuts"));

class Person {
  constructor(name) {
    this.name = name;
    this.made = 0;
    this.kinds = { POST: newKind(), GET: newKind(), PUT: newKind() };
    this.count = element("span", { className: "count number", textContent: "–" });
    this.fill = element("div");
    this.bar = element("div", { className: "scale", role: "meter", ariaLabel: `${name}'s undone tasks`, ariaValueMin: 0, ariaValueMax: scale, ariaValueNow: 0 }, this.fill);
    this.verdict = element("p", { className: "verdict", role: "status" });
    this.card = element("section", { className: "card person", ariaLabel: name },
      element("div", { className: "heading" }, element("h2", { textContent: name }), element("p", { className: "quiet" }, this.count, " undone")),
      element("div", {}, this.bar, ticks()),
      this.verdict, this.table());
    this.card.dataset.person = name;
    this.idle();
  }

  table() {
    const head = element("tr", {}, ...["", "requests", "failed"].map((text) => element("th", { scope: "col", textContent: text })));
    const lines = Object.entries(this.kinds).map(([method, kind]) =>
      element("tr", {}, element("th", { scope: "row", textContent: method }), kind.requestsCell, kind.failuresCell));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
  }

  idle() {
    this.card.dataset.state = "idle";
    this.verdict.textContent = "Idle";
  }

  // run adds and finishes tasks until the signal is aborted, and returns when
  // the last request has been answered.
  async run(signal) {
    await Promise.all([this.produce(signal), this.finish(signal)]);
    this.idle();
  }

  async produce(signal) {
    while (!signal.aborted) {
      const description = `${this.name}'s task ${++this.made}`;
      const accepted = await this.ask("POST", "/tasks", form({ assignee: this.name, description }));
      const rested = pause(accepted ? rest : 2 * rest, signal);
      await this.look();
      await rested;
    }
  }

  async finish(signal) {
    for (;;) {
      await pause(finishing, signal);
      if (signal.aborted) return;
      for (let after, more = true; more && !signal.aborted;) {
        const answer = await this.undone(after);
        for (const task of answer?.body ?? []) await this.ask("PUT", taskPath(task.id), { method: "PUT" });
        more = answer?.headers.has("Link");
        after = answer?.body.at(-1)?.id;
      }
      await this.look();
    }
  }

  // undone asks for a page of undone tasks.
  undone(after) {
    return this.ask("GET", listPath(this.name, page, after));
  }

  // look shows how many tasks are undone.
  async look() {
    const answer = await this.undone();
    if (!answer) return;
    const tasks = answer.body, more = answer.headers.has("Link") ? "+" : "";
    this.count.textContent = `${tasks.length}${more}`;
    this.fill.style.width = `${Math.min(100, (100 * tasks.length) / scale)}%`;
    this.bar.ariaValueNow = Math.min(scale, tasks.length);
    this.bar.ariaValueText = `${tasks.length}${more} undone`;
  }

  // ask sends a request and counts it. It returns what was answered, or
  // undefined when it failed.
  async ask(method, path, options) {
    const kind = this.kinds[method];
    let answer;
    try {
      answer = await request(path, options);
      kind.trouble = "";
    } catch (failure) {
      kind.failures++;
      kind.trouble = failure.unknown ? `${failure.message} (it may have been saved)` : failure.message;
    }
    kind.requests++;
    strip.count(answer !== undefined);
    this.judge();
    total();
    return answer;
  }

  // judge is green while the latest of each kind has succeeded.
  judge() {
    for (const kind of Object.values(this.kinds)) {
      kind.requestsCell.textContent = kind.requests;
      kind.failuresCell.textContent = kind.failures;
      kind.failuresCell.classList.toggle("failed", kind.failures > 0);
    }
    const troubled = Object.entries(this.kinds).filter(([, kind]) => kind.trouble);
    this.card.dataset.state = troubled.length ? "bad" : "good";
    // Only when it differs: a screen reader would say it again at each request.
    const text = troubled.map(([method, kind]) => `${method} fails: ${kind.trouble}`).join("; ") || "Everything succeeds";
    if (this.verdict.textContent !== text) this.verdict.textContent = text;
  }
}

function newKind() {
  return {
    requests: 0, failures: 0, trouble: "",
    requestsCell: element("td", { className: "number", textContent: 0 }),
    failuresCell: element("td", { className: "number", textContent: 0 }),
  };
}

function ticks() {
  const marks = [0, 5, 10, 15, scale].map((n) => element("span", { textContent: n }));
  return element("div", { className: "ticks number", ariaHidden: "true" }, ...marks);
}

const people = ["Bill", "Jane"].map((name) => new Person(name));

function total() {
  const kinds = people.flatMap((person) => Object.values(person.kinds));
  const failures = kinds.reduce((n, kind) => n + kind.failures, 0);
  $("requests").textContent = kinds.reduce((n, kind) => n + kind.requests, 0);
  $("failures").textContent = failures;
}

let running; // what stops them; undefined while they are idle

async function toggle() {
  if (running) {
    running.abort();
    $("running").textContent = "Stopping…";
    return;
  }
  running = new AbortController();
  $("run").textContent = "Stop";
  $("running").textContent = "Running";
  await Promise.all(people.map((person) => person.run(running.signal)));
  running = undefined;
  $("run").textContent = "Start";
  $("running").textContent = "Stopped";
}

$("run").addEventListener("click", toggle);
$("people").replaceChildren(...people.map((person) => person.card));
strip.draw();
setInterval(() => strip.draw(), 1000);
watchConfig((change) => strip.cut(change));
