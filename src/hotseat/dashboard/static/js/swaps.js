// The last swaps, each with its phases: one bar a swap, one part a phase, and the numbers beneath.
import { bytes, clock, duration, total } from "./format.js";
import { html } from "./html.js";
import { colour } from "./store.js";
import { PARTS } from "./words.js";

const SHOWN = 10;
const LABELS = { out: "parked", in: "seated" };

export const isSwap = (event) => event.kind === "swap" || event.kind === "start";

function title(event) {
  return event.kind === "start" ? "cold start" : LABELS[event.direction];
}

function moved(event, phase, count) {
  const moves = phase.name === "checkpoint" || phase.name === "restore";
  return moves && count > 0 && phase.seconds > 0 ? `${(count / phase.seconds / 1e9).toFixed(2)} GB/s` : "";
}

function Swap({ event, longest }) {
  const count = total(event.gpu_bytes);
  const phases = event.phases.filter((phase) => phase.seconds > 0);
  const told = phases.map((phase) => `${phase.name} ${duration(phase.seconds)}`).join(", ");
  return html`<li><details>
    <summary><span class="swap-at">${clock(event.at)}</span>
      <span class="swap-who"><i class="swatch" style=${{ background: colour(event.workload) }}></i><b class="clip">${event.workload}</b> ${title(event)}</span>
      <span class="swap-time">${duration(event.seconds)}</span>
      <span class="phases" role="img" aria-label=${`phases: ${told}`}><span class="phases-in" style=${{ width: `${Math.max(2, (100 * event.seconds) / longest)}%` }}>
        ${phases.map((phase) => html`<i class=${`p-${phase.part}`} style=${{ flexGrow: phase.seconds }} title=${`${phase.name}: ${duration(phase.seconds)} (${phase.part})`}></i>`)}
      </span></span></summary>
    <div class="scroll" tabindex="0" role="group" aria-label=${`phases of the swap of ${event.workload}`}><table>
      <thead><tr><th scope="col">phase</th><th scope="col">whose time</th><th scope="col" class="num">time</th><th scope="col" class="num">rate</th></tr></thead>
      <tbody>${event.phases.map((phase) => html`<tr><td><i class=${`swatch p-${phase.part}`}></i>${phase.name}</td><td>${phase.part}</td>
        <td class="num">${duration(phase.seconds)}</td><td class="num">${moved(event, phase, count)}</td></tr>`)}</tbody>
    </table></div>
    <p class="quiet">${bytes(count)} of device memory ${event.direction === "out" ? "released" : "taken"}${event.own_seconds !== undefined ? `, hotseat's own part ${duration(event.own_seconds)}` : ""}</p>
  </details></li>`;
}

export function Swaps({ events }) {
  const swaps = events.filter((event) => isSwap(event) && event.phases.length > 0).slice(-SHOWN).reverse();
  const longest = Math.max(...swaps.map((event) => event.seconds), 1e-9);
  return html`<section aria-labelledby="swaps" class="card">
    <h2 id="swaps">Last swaps</h2>
    ${swaps.length === 0
      ? html`<p class="quiet">None since the daemon started.</p>`
      : html`<ul class="parts" aria-label="colours">${Object.entries(PARTS).map(([part, text]) => html`<li title=${text}><i class=${`swatch p-${part}`}></i>${part}</li>`)}</ul>
        <ol class="swaps">${swaps.map((event) => html`<${Swap} key=${event.seq} event=${event} longest=${longest} />`)}</ol>`}
  </section>`;
}

export function Troubles({ events }) {
  const notes = events.filter((event) => event.kind === "note").slice(-6).reverse();
  if (notes.length === 0) return null;
  return html`<section aria-labelledby="notes" class="card">
    <h2 id="notes">Worth knowing</h2>
    <ol class="notes">${notes.map((event) => html`<li key=${event.seq}>
      <span class="swap-at">${clock(event.at)}</span>
      <p class="wrap"><b>${event.workload ?? "hotseat"}</b>${event.job ? ` (${event.job})` : ""}: ${event.error?.message ?? event.note ?? ""}
        ${event.error?.hint && html` <span class="hint">${event.error.hint}</span>`}</p></li>`)}</ol>
  </section>`;
}
