// What a workload's container writes, as it comes, in a window above the page.
import { call } from "./feed.js";
import { html, useEffect, useRef, useState } from "./html.js";

const KEEP = 200_000; // Characters.
// Colours and cursor movements mean nothing here.
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

export function Logs({ name, apiKey, onClose }) {
  const dialog = useRef(null);
  const text = useRef(null);
  const [said, say] = useState("");
  const [state, become] = useState("reading");
  useEffect(() => {
    dialog.current.showModal();
    const ended = new AbortController();
    (async () => {
      try {
        const path = `api/workloads/${encodeURIComponent(name)}/logs?tail=300&follow=1`;
        const answer = await call(path, { key: apiKey, signal: ended.signal });
        become("following");
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          say((before) => (before + value.replace(ESCAPES, "")).slice(-KEEP));
        }
        become("it has ended");
      } catch (error) {
        if (!ended.signal.aborted) become(error.message);
      }
    })();
    return () => ended.abort();
  }, [name]);
  useEffect(() => {
    // Stays at the end unless somebody has scrolled away from it.
    const box = text.current;
    if (box.scrollHeight - box.scrollTop - box.clientHeight < 120 || box.scrollTop === 0) box.scrollTop = box.scrollHeight;
  }, [said]);
  return html`<dialog ref=${dialog} class="logs" aria-labelledby="logs-title" onClose=${onClose}>
    <header class="split"><h2 id="logs-title" class="clip">Logs of ${name}</h2>
      <span class="quiet clip" role="status">${state}</span>
      <button type="button" onClick=${() => dialog.current.close()}>Close</button></header>
    <pre ref=${text} tabindex="0" role="log" aria-live="off" aria-label=${`Logs of ${name}`}>${said || (state === "reading" ? "" : "Nothing written yet.")}</pre>
  </dialog>`;
}
