// Queue and rates over the last minutes, by uPlot. A line a workload, in its colour.
import { rate } from "./format.js";
import { html, useEffect, useRef } from "./html.js";
import { colour, KEEP_POINTS } from "./store.js";

const SMOOTH = 5; // Seconds that a rate is averaged over.
const resolved = (value) => getComputedStyle(document.documentElement).getPropertyValue(value.slice(4, -1)).trim();

function smoothed(values) {
  let sum = 0;
  return values.map((value, index) => {
    sum += value - (index >= SMOOTH ? values[index - SMOOTH] : 0);
    return sum / Math.min(index + 1, SMOOTH);
  });
}

function data(points, names, field, smooth) {
  const times = points.map((point) => point.at);
  const lines = names.map((name) => {
    const values = points.map((point) => point.workloads[name]?.[field] ?? 0);
    return smooth ? smoothed(values) : values;
  });
  return [times, ...lines];
}

function options(names, width, height) {
  const ink = resolved("var(--quiet)");
  const grid = resolved("var(--line)");
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return {
    width, height, cursor: { y: false, points: { size: 6 } }, legend: { show: false }, padding: [8, 8, 0, 0],
    scales: { x: { time: true, range: (_, __, max) => [max - KEEP_POINTS, max] }, y: { range: (_, __, max) => [0, Math.max(1, (max ?? 0) * 1.15)] } },
    axes: [{ ...axis, space: 90, values: "{HH}:{mm}:{ss}", size: 28 }, { ...axis, size: 44, values: (_, ticks) => ticks.map((value) => (Number.isInteger(value) ? rate(value) : value.toFixed(1))) }],
    series: [{}, ...names.map((name) => ({ label: name, stroke: resolved(colour(name)), width: 2, points: { show: false } }))],
  };
}

function Plot({ id, title, unit, points, names, field, smooth, theme }) {
  const frame = useRef(null);
  const plot = useRef(null);
  const values = data(points, names, field, smooth);
  const last = values.slice(1).map((line) => line.at(-1) ?? 0);
  const made = `${names.join("\n")}|${theme}`;
  useEffect(() => {
    const size = () => ({ width: Math.max(120, frame.current.clientWidth), height: 150 });
    plot.current = new uPlot(options(names, size().width, size().height), values, frame.current);
    const watch = new ResizeObserver(() => plot.current.setSize(size()));
    watch.observe(frame.current);
    return () => {
      watch.disconnect();
      plot.current.destroy();
    };
  }, [made]);
  useEffect(() => plot.current?.setData(values), [points]);
  const sum = last.reduce((all, value) => all + value, 0);
  const told = names.map((name, index) => `${name} ${rate(last[index])}`).join(", ");
  return html`<section class="card plot" aria-labelledby=${id}>
    <header class="split"><h2 id=${id}>${title}</h2><span class="figure"><b>${rate(sum)}</b> ${unit}</span></header>
    <div ref=${frame} role="img" aria-label=${`${title} of the last five minutes; now: ${told || "nothing"}`}></div>
  </section>`;
}

export function Plots({ points, workloads, theme }) {
  const names = workloads.map((row) => row.name).sort();
  const common = { points, names, theme };
  return html`<div class="plots">
    <${Plot} id="plot-queue" title="Waiting" unit="now" field="waiting" ...${common} />
    <${Plot} id="plot-requests" title="Requests" unit="/s" field="requests" smooth ...${common} />
    <${Plot} id="plot-tokens" title="Tokens" unit="/s" field="tokens" smooth ...${common} />
  </div>`;
}
