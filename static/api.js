// What the pages share. User text only ever becomes textContent.

// request answers the decoded body, or throws what the service says is wrong.
export async function request(path, options) {
  const response = await fetch(path, options);
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Error(body?.error?.message ?? `${response.status} ${response.statusText}`);
  return body;
}

export function element(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}

export function say(text) {
  document.getElementById("message").textContent = text;
}

const shown = ["repository", "migration_step", "primary", "epoch", "port", "instance", "version",
  "sqlite_file_path", "mongodb_connection_uri", "mongodb_database_name"];

async function showConfig() {
  const config = await request("/config");
  const rows = shown.filter((key) => config[key] !== "")
    .flatMap((key) => [element("dt", key.replaceAll("_", " ")), element("dd", String(config[key]))]);
  document.getElementById("config").replaceChildren(...rows);
}

// watchConfig keeps the panel true while the service moves beneath it.
export function watchConfig() {
  showConfig().catch(() => {}).finally(() => setTimeout(watchConfig, 2000));
}
