// All that the page knows, and how it changes. Pure but for the key, which stays in this tab.

export const KEEP_POINTS = 300;
const KEEP_EVENTS = 600;
const STORED = "hotseat.key";

export const empty = () => ({
  status: "connecting", // "live", "lost"
  who: null, // What the daemon lets us do.
  now: null, // The last picture.
  points: [],
  events: [],
  notices: [], // What became of what was asked for here.
});

export function taken(state, { kind, data }) {
  if (kind === "hello") paint(data.now.workloads);
  if (kind === "now") paint(data.workloads);
  switch (kind) {
    case "hello":
      return { ...state, status: "live", now: data.now, points: data.points, events: data.events };
    case "now":
      return { ...state, status: "live", now: data };
    case "point":
      return { ...state, points: [...state.points, data].slice(-KEEP_POINTS) };
    case "event":
      return { ...state, events: [...state.events, data].slice(-KEEP_EVENTS) };
    default:
      return state;
  }
}

export function readKey() {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return "";
  }
}

export function writeKey(key) {
  try {
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  } catch {
    // Then it lives as long as the page.
  }
}

// A colour for each workload: by the order of the names, then it stays while the page lives, whoever comes and goes.
const COLOURS = 8;
const given = new Map();

function paint(workloads) {
  for (const name of workloads.map((row) => row.name).sort()) {
    if (!given.has(name)) given.set(name, given.size % COLOURS);
  }
}

export const colour = (name) => `var(--w${given.get(name) ?? 0})`;
