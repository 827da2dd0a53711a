// Puts the page together: who asks, what is known, what is drawn.
import { Devices } from "./devices.js";
import { call, follow, Refused } from "./feed.js";
import { clock, duration } from "./format.js";
import { html, render, useEffect, useState } from "./html.js";
import { Login } from "./login.js";
import { Logs } from "./logs.js";
import { Plots } from "./plots.js";
import { empty, readKey, taken, writeKey } from "./store.js";
import { Swaps, Troubles } from "./swaps.js";
import { Timeline } from "./timeline.js";
import { Workloads } from "./workloads.js";

const THEMES = ["auto", "light", "dark"];
const NAMES = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
const STATUS = { live: "live", connecting: "connecting", lost: "connection lost" };

function useTheme() {
  const [theme, become] = useState(document.documentElement.dataset.theme ?? "auto");
  const [dark, darken] = useState(matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => darken(system.matches);
    system.addEventListener("change", changed);
    return () => system.removeEventListener("change", changed);
  }, []);
  const next = () => {
    const chosen = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    if (chosen === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    try {
      localStorage.setItem("hotseat.theme", chosen);
    } catch {
      // Then it lasts as long as the page.
    }
    become(chosen);
  };
  return [theme, `${theme}${dark}`, next];
}

function Header({ state, theme, onTheme, onLeave }) {
  const { now, status } = state;
  return html`<header class="top">
    <a class="skip" href="#main">Skip to the devices</a>
    <img src="icon.svg" alt="" width="30" height="30" />
    <h1>hotseat</h1>
    ${now && html`<span class="quiet version">${now.version}</span>`}
    ${now?.emulated && html`<span class="badge emulated" title="A test bench: no figure here is a performance figure">EMULATED</span>`}
    <span class="fill"></span>
    <span class=${`status ${status}`} role="status"><i aria-hidden="true"></i><span>${STATUS[status]}</span></span>
    <button type="button" class="plain" onClick=${onTheme} aria-label=${NAMES[theme]} title=${NAMES[theme]}>
      <span aria-hidden="true">${{ auto: "◑", light: "☀", dark: "☾" }[theme]}</span></button>
    ${onLeave && html`<button type="button" class="plain" onClick=${onLeave}>Leave</button>`}
  </header>`;
}

function Notices({ notices, onClose }) {
  return html`<div class="notices" role="status" aria-live="polite">${notices.map((notice) => html`<div key=${notice.id} class=${`notice ${notice.bad ? "bad" : ""}`}>
    <p class="wrap">${notice.text}${notice.hint && html` <span class="hint">${notice.hint}</span>`}</p>
    <button type="button" class="plain" aria-label="Dismiss" onClick=${() => onClose(notice.id)}>✕</button></div>`)}</div>`;
}

const PREWARM = 600; // Seconds, as the command's.

function done(what, name, { reports, seconds }) {
  if (what === "prewarm") return seconds > 0 ? `${name} will be wanted for ${duration(seconds)}` : `${name} is not expected any more`;
  const own = reports.at(-1);
  if (!own || own.phases.length === 0) return `${name} is ${what === "park" ? "parked" : "seated"} already`;
  const others = reports.slice(0, -1).map((report) => `${report.workload} parked in ${duration(report.seconds)}`);
  return [`${name} ${what === "park" ? "parked" : "seated"} in ${duration(own.seconds)}`, ...others].join("; ");
}

function Page() {
  const [state, change] = useState(empty());
  const [key, keep] = useState(readKey());
  const [said, say] = useState("");
  const [logs, show] = useState(null);
  const [asked, ask] = useState(new Set());
  const [theme, drawn, nextTheme] = useTheme();

  useEffect(() => {
    let stop = () => {};
    let left = false;
    const refused = (error) => {
      if (error.status !== undefined) say(key ? error.message : "");
      change((before) => ({ ...before, now: null, who: { ...before.who, look: false } }));
    };
    const begin = async () => {
      try {
        const who = await (await call("api/who", { key })).json();
        if (left) return;
        change((before) => ({ ...before, who }));
        if (!who.look) {
          say(key ? "That is not an admin key." : "");
          return;
        }
        say("");
        stop = follow({
          path: "api/stream", key, onRefused: refused,
          onEvent: (event) => change((before) => taken(before, event)),
          onStatus: (status) => change((before) => ({ ...before, status })),
        });
      } catch (error) {
        if (error instanceof Refused && error.status === 401) {
          change((before) => ({ ...before, who: { admin: false, look: false, keys: true, why: error.message } }));
          say(key ? "That is no key of this daemon." : "");
          return;
        }
        change((before) => ({ ...before, status: "lost" }));
        setTimeout(() => !left && begin(), 2000);
      }
    };
    begin();
    return () => {
      left = true;
      stop();
    };
  }, [key]);

  const enter = (given) => {
    writeKey(given);
    change(empty());
    keep(given);
  };
  const notice = (text, { bad = false, hint = "" } = {}) =>
    change((before) => ({ ...before, notices: [...before.notices.slice(-2), { id: Math.random(), text, bad, hint }] }));
  const act = async (what, name, body = {}) => {
    ask((before) => new Set(before).add(name));
    try {
      const answer = await call(`api/workloads/${encodeURIComponent(name)}/${what}`, { key, body });
      notice(done(what, name, await answer.json()));
    } catch (error) {
      notice(`${name}: ${error.message}`, { bad: true, hint: error.hint });
    } finally {
      ask((before) => {
        const after = new Set(before);
        after.delete(name);
        return after;
      });
    }
  };

  const { who, now, status } = state;
  if (who && !who.look) return html`<${Header} state=${state} theme=${theme} onTheme=${nextTheme} /><${Login} who=${who} said=${said} onKey=${enter} />`;
  const blocked = status === "lost" ? "no connection to the daemon" : who && !who.admin ? who.why : "";
  return html`<${Header} state=${state} theme=${theme} onTheme=${nextTheme} onLeave=${key ? () => enter("") : null} />
    <main id="main" class=${status === "lost" ? "stale" : ""}>
      ${status === "lost" && html`<p class="banner bad" role="alert">The daemon does not answer; trying again.${now ? ` What you see is from ${clock(now.at)}.` : ""} Seated engines run on, parked ones stay parked.</p>`}
      ${now?.closing && html`<p class="banner">The daemon is shutting down.</p>`}
      ${now?.emulated && html`<p class="banner">Emulated driver: a test bench and a demo stage. No figure here is a performance figure.</p>`}
      ${now === null
        ? html`<p class="starting">${STATUS[status]} …</p>`
        : html`<${Devices} devices=${now.devices} />
          <${Workloads} now=${now} asked=${asked} blocked=${blocked} onAct=${act} onPrewarm=${(name, on) => act("prewarm", name, { seconds: on ? PREWARM : 0 })} onLogs=${show} />
          <${Timeline} now=${now} events=${state.events} />
          <${Plots} points=${state.points} workloads=${now.workloads} theme=${drawn} />
          <div class="two"><${Swaps} events=${state.events} /><${Troubles} events=${state.events} /></div>`}
    </main>
    <${Notices} notices=${state.notices} onClose=${(id) => change((before) => ({ ...before, notices: before.notices.filter((one) => one.id !== id) }))} />
    ${logs !== null && html`<${Logs} key=${logs} name=${logs} apiKey=${key} onClose=${() => show(null)} />`}`;
}

const root = document.getElementById("page");
root.replaceChildren();
render(html`<${Page} />`, root);
