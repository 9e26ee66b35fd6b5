// Talking to the view: questions, orders, and the stream of live facts.

export class Refusal extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
  }
}

async function answer(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    body = { error: { code: "bad-answer", message: "The view gave an answer that makes no sense." } };
  }
  if (!response.ok || body.error?.message) throw new Refusal(response.status, body.error ?? { code: "http", message: response.statusText });
  return body;
}

const GONE = { code: "gone", message: "The view does not answer. Start openmosixview again in its terminal." };

export async function get(path) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Refusal(0, GONE);
  }
  return answer(response);
}

export async function post(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, GONE);
  }
  return answer(response);
}

// Topics: cluster, moves, said, collector, user, and connection, which is this file's own.
const listeners = new Map();
const last = new Map();

export function follow(topic, listener) {
  if (!listeners.has(topic)) {
    listeners.set(topic, new Set());
    source?.addEventListener(topic, receive);
  }
  listeners.get(topic).add(listener);
  if (last.has(topic)) listener(last.get(topic));
  return () => listeners.get(topic).delete(listener);
}

export function known(topic) {
  return last.get(topic);
}

function tell(topic, body) {
  last.set(topic, body);
  for (const listener of listeners.get(topic) ?? []) listener(body);
}

function receive(event) {
  tell(event.type, JSON.parse(event.data));
}

let source = null;

// A browser allows six connections to one server: a page that nobody sees gives its own back.
document.addEventListener("visibilitychange", () => {
  if (!source) return;
  source.close();
  if (!document.hidden) connect();
});

export function connect() {
  source?.close();
  source = new EventSource("/events");
  for (const topic of listeners.keys()) source.addEventListener(topic, receive);
  source.addEventListener("open", () => tell("connection", { state: "open" }));
  source.addEventListener("error", async () => {
    const isClosed = source.readyState === EventSource.CLOSED && !document.hidden;
    tell("connection", { state: "lost", message: GONE.message });
    if (!isClosed) return;
    // A closed source does not try again by itself: the view refused. Ask why, and try later.
    try {
      await get("/api/runs");
    } catch (refusal) {
      tell("connection", { state: refusal.code === "locked" ? "locked" : "lost", message: refusal.message });
    }
    setTimeout(connect, 5000);
  });
}
