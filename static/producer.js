import { request, say, watchConfig } from "./api.js";

const form = document.getElementById("new");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { id } = await request("/tasks", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    form.elements.description.value = "";
    say(`Added ${id}`);
  } catch (error) {
    say(error.message);
  }
});
watchConfig();
