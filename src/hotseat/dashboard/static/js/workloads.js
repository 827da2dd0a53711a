// Every workload: where it is, why, what it holds, who waits for it, and what may be done with it.
import { bytes, duration, plural, rate } from "./format.js";
import { html } from "./html.js";
import { colour } from "./store.js";
import { slug, STATES } from "./words.js";

export function State({ state }) {
  const known = STATES[state];
  return html`<span class=${`state s-${slug(state)}`} title=${known?.text ?? ""}>
    <span aria-hidden="true">${known?.mark ?? "?"}</span> ${state}</span>`;
}

// A button that says why not, also to those who do not see it greyed.
export function Action({ label, why, busy, onClick, name, primary = false, pressed = undefined }) {
  const refused = Boolean(why) || busy;
  return html`<button type="button" class=${primary ? "primary" : ""} aria-disabled=${refused ? "true" : "false"}
    aria-pressed=${pressed === undefined ? undefined : String(pressed)}
    aria-label=${`${label} ${name}${why ? `: not now, ${why}` : ""}`} title=${why || `${label} ${name}`}
    onClick=${() => !refused && onClick()}>${busy ? html`<span class="spin" aria-hidden="true"></span>` : null}${label}</button>`;
}

function Reason({ row, since }) {
  const { doing } = row;
  const lines = [];
  if (doing) lines.push(`${doing.kind}${doing.step ? `, ${doing.step}` : ""}, for ${duration(Math.max(0, since - doing.since))}`);
  if (row.why) lines.push(row.why);
  else if (row.note && !doing) lines.push(row.note);
  if (row.waiting > 0 && row.expected_wait) lines.push(`its seat in about ${duration(row.expected_wait)}`);
  if (row.warm_seconds > 0) lines.push(`prewarmed: wanted for another ${duration(row.warm_seconds)}`);
  if (row.state === "seated" && row.seated_since && !doing) lines.push(`for ${duration(Math.max(0, since - row.seated_since))}`);
  return html`<p class="why">${lines.join("; ")}${row.hint && html` <span class="hint">${row.hint}</span>`}</p>`;
}

function Workload({ row, now, asked, blocked, onAct, onPrewarm, onLogs }) {
  const parked = row.parked_gpu_bytes;
  const models = row.models.filter((model) => model !== row.name);
  const busy = asked?.has(row.name);
  return html`<li class=${`workload in-${slug(row.state)}`} aria-label=${row.name}>
    <div class="w-name"><i class="swatch" style=${{ background: colour(row.name) }}></i>
      <div><h3 class="wrap">${row.name}</h3>
        <p class="quiet wrap">${[row.platform, ...models].join(" · ")}${row.pinned ? " · pinned" : ""}</p></div></div>
    <div class="w-state"><${State} state=${row.state} /><${Reason} row=${row} since=${now.at} /></div>
    <dl class="w-figures">
      <div><dt>GPU</dt><dd>${row.gpu_bytes > 0 || parked === 0 ? bytes(row.gpu_bytes) : html`0 B <br /><small>needs ${bytes(parked)}</small>`}</dd></div>
      <div><dt>Host</dt><dd>${bytes(row.host_bytes)}</dd></div>
      <div class=${row.waiting > 0 ? "is-waiting" : ""}><dt>Waiting</dt>
        <dd>${row.waiting}${row.waiting > 0 && html` <small>${duration(row.oldest_wait)}</small>`}</dd></div>
      <div><dt>Running</dt><dd>${row.in_flight}${row.in_flight > 0 && row.state !== "seated" ? html` <small>frozen</small>` : ""}</dd></div>
      <div><dt>Rate</dt><dd>${rate(row.requests_per_second)}<small>/s</small>
        ${row.tokens_per_second > 0 && html`<br /><small>${rate(row.tokens_per_second)} tokens/s</small>`}</dd></div>
    </dl>
    <div class="w-actions">
      ${row.cannot.seat === "" || row.state !== "seated"
        ? html`<${Action} label="Seat" name=${row.name} primary=${true} why=${blocked || row.cannot.seat} busy=${busy} onClick=${() => onAct("seat", row.name)} />`
        : html`<${Action} label="Park" name=${row.name} why=${blocked || row.cannot.park} busy=${busy} onClick=${() => onAct("park", row.name)} />`}
      <${Action} label="Prewarm" name=${row.name} pressed=${row.warm_seconds > 0} why=${blocked || row.cannot.prewarm} busy=${busy}
        onClick=${() => onPrewarm(row.name, !(row.warm_seconds > 0))} />
      <${Action} label="Logs" name=${row.name} why=${blocked} onClick=${() => onLogs(row.name)} />
    </div>
  </li>`;
}

const ORDER = ["seated", "swapping in", "swapping out", "paused", "quarantined", "parked", "stored", "stopped"];

export function Workloads({ now, asked, blocked, onAct, onPrewarm, onLogs }) {
  const rows = [...now.workloads].sort((one, other) =>
    ORDER.indexOf(one.state) - ORDER.indexOf(other.state) || other.waiting - one.waiting || one.name.localeCompare(other.name));
  const waiting = rows.reduce((sum, row) => sum + row.waiting, 0);
  const seated = rows.filter((row) => row.state === "seated").length;
  return html`<section aria-labelledby="workloads">
    <h2 id="workloads">Workloads <small>${seated} of ${rows.length} seated, ${plural(waiting, "request waits", "requests wait")}</small></h2>
    ${blocked && html`<p class="quiet blocked">${blocked}</p>`}
    <ul class="card workloads">${rows.map((row) => html`<${Workload} key=${row.name} row=${row} now=${now} asked=${asked}
      blocked=${blocked} onAct=${onAct} onPrewarm=${onPrewarm} onLogs=${onLogs} />`)}</ul>
    ${rows.length === 0 && html`<p class="card quiet">No workload yet: name some in hotseat.yaml, or start a container with the label hotseat.model.</p>`}
    <details class="states"><summary>What the states mean</summary>
      <dl>${Object.entries(STATES).map(([state, { text }]) => html`<dt><${State} state=${state} /></dt><dd>${text}</dd>`)}</dl>
    </details>
  </section>`;
}
