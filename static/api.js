// How the pages talk to the service, and make elements of what it says.

const patience = 20_000; // milliseconds; the service itself gives up after ten seconds

// Failure is a request that was not answered with success. unknown: it was a
// write, and nobody can say whether it took effect.
export class Failure extends Error {
  constructor(message, { unknown = false, code = "" } = {}) {
    super(message);
    this.unknown = unknown;
    this.code = code;
  }
}

// request answers the decoded body and the headers, or throws a Failure.
export async function request(path, options = {}) {
  const writes = (options.method ?? "GET") !== "GET";
  let response, text;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(patience), ...options });
    text = await response.text();
  } catch {
    throw new Failure("the service can't be reached", { unknown: writes });
  }
  const body = decoded(text);
  if (response.ok && body !== undefined) return { body, headers: response.headers };
  const { code, message } = body?.error ?? {};
  // An answer that isn't the service's own says nothing about a write.
  const unknown = writes && (code === undefined ? response.status >= 500 || response.ok
    : code === "outcome_unknown" || code === "internal");
  throw new Failure(message ?? `the answer was ${response.status} ${response.statusText}`, { unknown, code });
}

function decoded(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// form is the body and the headers of a POST as the original's client sends it.
export function form(fields, headers = {}) {
  return { method: "POST", body: new URLSearchParams(fields), headers };
}

export function taskPath(id) {
  return `/tasks/${encodeURIComponent(id)}`;
}

// listPath asks for one page of somebody's undone tasks.
export function listPath(assignee, limit, after) {
  const query = new URLSearchParams({ assignee, limit });
  if (after !== undefined) query.set("after", after);
  return `/tasks?${query}`;
}

// element makes an element of properties and children. Text is always text:
// nothing here, and nowhere else, is read as markup.
export function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

// pause waits, or returns at once when the signal is aborted.
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

export function clock(time) {
  return new Date(time).toLocaleTimeString();
}
