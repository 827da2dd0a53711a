// Server-sent events by fetch: an EventSource cannot send the key. Connects again by itself, later and later.

const SILENCE = 6000; // The server says something each second.
const LONGEST_PAUSE = 8000;

export class Refused extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the daemon answered ${status}`);
    this.status = status;
    this.hint = body?.error?.hint ?? "";
  }
}

export const headers = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

export async function call(path, { key, body, signal, method = body === undefined ? "GET" : "POST" } = {}) {
  const sent = { ...headers(key), ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
  const answer = await fetch(path, {
    method, signal, headers: sent, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
  });
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => null));
  return answer;
}

export async function* events(answer, alive = () => {}) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    pending += value;
    const blocks = pending.split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const kind = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (kind && data) yield { kind, data: JSON.parse(data) };
    }
  }
}

export function follow({ path, key, onEvent, onStatus, onRefused }) {
  const ended = new AbortController();
  (async () => {
    let pause = 500;
    while (!ended.signal.aborted) {
      const once = new AbortController();
      const end = () => once.abort();
      ended.signal.addEventListener("abort", end);
      let timer = setTimeout(end, SILENCE);
      const alive = () => {
        clearTimeout(timer);
        timer = setTimeout(end, SILENCE);
      };
      try {
        const answer = await call(path, { key, signal: once.signal });
        for await (const event of events(answer, alive)) {
          pause = 500;
          onEvent(event);
        }
      } catch (error) {
        if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
          onRefused(error);
          return;
        }
      } finally {
        clearTimeout(timer);
        ended.signal.removeEventListener("abort", end);
      }
      if (ended.signal.aborted) return;
      onStatus("lost");
      await new Promise((go) => setTimeout(go, pause));
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  })();
  return () => ended.abort();
}
