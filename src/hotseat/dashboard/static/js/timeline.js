// Who sat when: a lane a workload, over the last minutes; swaps are drawn with their phases.
import { clock, duration } from "./format.js";
import { html, useLayoutEffect, useRef, useState } from "./html.js";
import { isSwap } from "./swaps.js";
import { slug } from "./words.js";

const LANE = 30;
const AXIS = 22;
const HEIGHTS = { seated: 18, parked: 6, paused: 10, quarantined: 10, "swapping in": 12, "swapping out": 12 };
const WINDOWS = [60, 300, 900];

// Spans of one state each, in order, until now.
export function spans(events, name, state, from, to) {
  const out = [];
  for (const event of events) {
    if (event.kind !== "state" || event.workload !== name) continue;
    const last = out.at(-1);
    if (last?.state === event.state) continue;
    if (last) last.to = event.at;
    out.push({ state: event.state, from: event.at, to });
  }
  if (out.length === 0) out.push({ state, from, to });
  return out.filter((span) => span.to > from).map((span) => ({ ...span, from: Math.max(span.from, from) }));
}

function Lane({ row, index, events, from, to, x }) {
  const middle = AXIS + index * LANE + LANE / 2;
  const swaps = events.filter((event) => isSwap(event) && event.workload === row.name && event.at > from);
  return html`<g>
    <line class="lane" x1=${x(from)} x2=${x(to)} y1=${middle} y2=${middle} />
    ${spans(events, row.name, row.state, from, to).map((span) => {
      const height = HEIGHTS[span.state];
      return height && html`<rect class=${`t-${slug(span.state)}`} x=${x(span.from)} y=${middle - height / 2} height=${height}
        width=${Math.max(1.5, x(span.to) - x(span.from))} rx="2"><title>${`${row.name} ${span.state}, ${duration(span.to - span.from)}`}</title></rect>`;
    })}
    ${swaps.map((event) => {
      let at = event.started_at;
      return event.phases.map((phase) => {
        const begun = Math.max(at, from);
        at += phase.seconds;
        const width = x(at) - x(begun);
        return width >= 1 && html`<rect class=${`p-${phase.part}`} x=${x(begun)} y=${middle - 9} height="18" width=${width}>
          <title>${`${row.name} ${phase.name}: ${duration(phase.seconds)}`}</title></rect>`;
      });
    })}
  </g>`;
}

export function Timeline({ now, events }) {
  const [seconds, choose] = useState(300);
  const [width, measure] = useState(0);
  const frame = useRef(null);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => measure(Math.floor(entry.contentRect.width)));
    watch.observe(frame.current);
    return () => watch.disconnect();
  }, []);
  const rows = [...now.workloads].sort((one, other) => one.name.localeCompare(other.name));
  const names = width < 480 ? 84 : 132;
  const to = now.at;
  const from = to - seconds;
  const x = (at) => names + ((at - from) / seconds) * Math.max(0, width - names - 4);
  const ticks = [0, 1, 2, 3, 4].map((step) => from + (seconds * step) / 4).filter((_, step) => width >= 480 || step % 2 === 0);
  const height = AXIS + rows.length * LANE + 4;
  const said = rows.map((row) => `${row.name} ${row.state}`).join(", ");
  return html`<section aria-labelledby="timeline" class="card">
    <header class="split"><h2 id="timeline">Who sat when</h2>
      <div class="choice" role="group" aria-label="time shown">${WINDOWS.map((one) => html`<button type="button"
        aria-pressed=${one === seconds ? "true" : "false"} onClick=${() => choose(one)}>${one / 60} min</button>`)}</div></header>
    <div ref=${frame} class="timeline">
      ${width > 0 && html`<svg width=${width} height=${height} role="img" aria-label=${`The last ${seconds / 60} minutes; now: ${said}`}>
        ${ticks.map((at, step) => html`<g><line class="tick" x1=${x(at)} x2=${x(at)} y1=${AXIS - 4} y2=${height} />
          <text class="tick-label" x=${x(at)} y=${AXIS - 9} text-anchor=${step === ticks.length - 1 ? "end" : step === 0 ? "start" : "middle"}>${clock(at)}</text></g>`)}
        ${rows.map((row, index) => html`<g key=${row.name}>
          <text class="lane-label" x="0" y=${AXIS + index * LANE + LANE / 2 + 4}>${row.name.length > names / 7.6 ? `${row.name.slice(0, Math.floor(names / 7.6) - 1)}…` : row.name}<title>${row.name}</title></text>
          <${Lane} row=${row} index=${index} events=${events} from=${from} to=${to} x=${x} /></g>`)}
      </svg>`}
    </div>
    <ul class="parts">${["seated", "parked", "swapping in", "quarantined"].map((state) => html`<li><i class=${`swatch t-${slug(state)}`}></i>${state.split(" ")[0]}</li>`)}</ul>
  </section>`;
}
