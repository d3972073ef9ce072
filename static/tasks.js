// The user console: somebody's undone tasks, to add to and to tick off.
import { element, form, listPath, request, taskPath } from "./api.js";
import { watchConfig } from "./panel.js";

const page = 100; // tasks a look

const $ = (id) => document.getElementById(id);
const who = $("filter").elements.assignee;
const what = $("new").elements.description;
const list = $("tasks");

let shown = ""; // whose tasks are listed
let cursor = ""; // the last id of the last page; what was added since stands after it
let looks = 0; // so that a late answer never replaces a newer one

// say tells what became of something; kind is good, bad or unknown.
function say(kind, text, action) {
  $("message").dataset.kind = kind;
  $("message").replaceChildren(element("p", { textContent: text }));
  if (action) $("message").append(button(action, "Look again"));
}

function button(action, text) {
  const node = element("button", { type: "button", textContent: text });
  node.addEventListener("click", action);
  return node;
}

// explain says what is known after a failed write of something, and only that.
function explain(failure, subject) {
  if (failure.unknown) say("unknown", `${subject} may or may not have been saved. Look again before you repeat it.`, lookAgain);
  else say("bad", `${subject} was not saved: ${failure.message}`);
}

async function lookAgain() {
  if (await look()) say("good", "This is what is saved now.");
  who.focus();
}

// look shows the first page, or with after the one that follows, and reports
// whether it could be read.
async function look(after) {
  const assignee = after === undefined ? who.value.trim() : shown;
  const turn = ++looks;
  $("list").ariaBusy = "true";
  try {
    const { body, headers } = await request(listPath(assignee, page, after));
    if (turn === looks) listed(assignee, body, after !== undefined, headers.has("Link"));
    return true;
  } catch (failure) {
    if (turn === looks) unreadable(failure, assignee);
    return false;
  } finally {
    if (turn === looks) $("list").ariaBusy = "false";
  }
}

function listed(assignee, tasks, append, more) {
  shown = assignee;
  history.replaceState(null, "", `?${new URLSearchParams({ assignee })}`);
  delete list.dataset.stale;
  if (!append) list.replaceChildren();
  for (const task of tasks) place(task);
  cursor = tasks.at(-1)?.id ?? cursor;
  $("more").hidden = !more;
  count();
}

// compare orders descriptions as the original's page does: without case, by
// code units.
function compare(a, b) {
  const [x, y] = [a.toLowerCase(), b.toLowerCase()];
  return x < y ? -1 : x > y ? 1 : 0;
}

// place shows a task among the others by its description, unless it is there
// already.
function place(task) {
  const items = [...list.children];
  if (items.some((item) => item.dataset.id === task.id)) return;
  const box = element("input", { type: "checkbox" });
  const item = element("li", {}, element("label", {}, box, element("span", { textContent: task.description })));
  item.dataset.id = task.id;
  box.addEventListener("change", () => finish(task, item, box));
  list.insertBefore(item, items.find((other) => compare(textOf(other), task.description) > 0) ?? null);
}

function textOf(item) {
  return item.querySelector("span").textContent;
}

function count() {
  const left = list.querySelectorAll("li:not(.done)").length;
  const more = !$("more").hidden;
  $("list-title").textContent = `To do for ${shown}`;
  $("count").textContent = more ? `${left} shown, there are more` : left === 1 ? "1 task" : `${left} tasks`;
  list.hidden = list.children.length === 0;
  $("blank").hidden = !list.hidden || more;
  $("blank").replaceChildren(
    element("strong", { textContent: `Nothing to do for ${shown}` }),
    element("p", { className: "quiet", textContent: "Add a task above, or look at somebody else's." }),
  );
}

// unreadable keeps what was listed before, if it is the same person's, and
// says that it is old.
function unreadable(failure, assignee) {
  say("bad", `The tasks can't be read: ${failure.message}`, lookAgain);
  if (assignee === shown && list.children.length > 0) {
    list.dataset.stale = "";
    $("count").textContent = "as last read";
    return;
  }
  shown = "";
  list.replaceChildren();
  list.hidden = $("more").hidden = true;
  $("list-title").textContent = "To do";
  $("count").textContent = "";
  $("blank").hidden = false;
  $("blank").replaceChildren(
    element("strong", { textContent: `${assignee}'s tasks can't be shown now` }),
    element("p", { className: "quiet", textContent: "Nothing is lost: they are in the database." }),
  );
}

async function finish(task, item, box) {
  if (item.ariaBusy === "true" || item.classList.contains("done")) {
    box.checked = true;
    return;
  }
  box.checked = true;
  item.ariaBusy = "true"; // not disabled: that would take the keyboard's place away
  try {
    await request(taskPath(task.id), { method: "PUT" });
    leave(item, box);
    say("good", `Done: ${brief(task.description)}`);
  } catch (failure) {
    if (failure.code === "not_found") leave(item, box);
    else box.checked = false;
    explain(failure, `That “${brief(task.description)}” is done`);
  } finally {
    item.ariaBusy = "false";
  }
}

// leave takes a task off the list and gives its place for the keyboard to the
// next one.
function leave(item, box) {
  const left = [...list.querySelectorAll("li:not(.done) input")];
  const next = left[left.indexOf(box) + 1] ?? left[left.indexOf(box) - 1] ?? what;
  item.classList.add("done");
  if (document.activeElement === box) next.focus();
  count();
  setTimeout(() => (item.remove(), count()), 500);
}

// draft is what is about to be added, with the key under which a repeat makes
// no second task. It changes with what it stands for.
let draft = {};

function drafted(assignee, description) {
  if (draft.assignee !== assignee || draft.description !== description) {
    const key = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
    draft = { assignee, description, key };
  }
  return draft.key;
}

async function add() {
  const assignee = who.value.trim(), description = what.value;
  if (!who.reportValidity()) return;
  const send = $("new").querySelector("button");
  if (send.ariaDisabled === "true") return;
  send.ariaDisabled = "true";
  try {
    const { body } = await request("/tasks", form({ assignee, description }, { "Idempotency-Key": drafted(assignee, description) }));
    draft = {};
    if (what.value === description) what.value = "";
    say("good", `Added for ${assignee}: ${brief(description)}`);
    if (assignee !== shown) await look();
    else place({ id: body.id, description }), count();
  } catch (failure) {
    explain(failure, `“${brief(description)}”`);
  } finally {
    send.ariaDisabled = "false";
    what.focus();
  }
}

function brief(text) {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

$("filter").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await look()) say("good", `${$("count").textContent} for ${shown}`);
});
who.addEventListener("change", () => who.checkValidity() && look());
$("new").addEventListener("submit", (event) => {
  event.preventDefault();
  add();
});
$("more").addEventListener("click", () => look(cursor));

who.value = new URLSearchParams(location.search).get("assignee") || "Bill";
look();
watchConfig();
