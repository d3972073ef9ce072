import { element, request, say, watchConfig } from "./api.js";

const filter = document.getElementById("filter");
const list = document.getElementById("tasks");

function row(task) {
  const item = element("li", "");
  const done = element("button", "Done");
  done.addEventListener("click", () => finish(task, done));
  item.append(element("span", task.description), done);
  return item;
}

async function finish(task, button) {
  button.disabled = true;
  try {
    await request(`/tasks/${encodeURIComponent(task.id)}`, { method: "PUT" });
    await show();
  } catch (error) {
    button.disabled = false;
    say(error.message);
  }
}

async function show() {
  try {
    const assignee = filter.elements.assignee.value;
    const tasks = await request(`/tasks?assignee=${encodeURIComponent(assignee)}`);
    list.replaceChildren(...tasks.map(row));
    say(`${tasks.length} to do`);
  } catch (error) {
    say(error.message);
  }
}

filter.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
show();
watchConfig();
