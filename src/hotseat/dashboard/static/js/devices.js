// Who sits on each device and with how much: one bar a device, one part a workload.
import { bytes } from "./format.js";
import { html } from "./html.js";
import { colour } from "./store.js";

const share = (count, all) => `${(100 * count) / all}%`;

function Part({ label, count, all, style, kind = "" }) {
  if (count <= 0) return null;
  return html`<span class=${`bar-part ${kind}`} style=${{ width: share(count, all), ...style }}
    title=${`${label}: ${bytes(count)}`}>${count / all > 0.1 && html`<span class="bar-label">${label}</span>`}</span>`;
}

function Device({ device }) {
  const all = device.total_bytes;
  const held = Object.entries(device.held).sort(([one], [other]) => one.localeCompare(other));
  const told = [
    ...held.map(([name, count]) => `${name} ${bytes(count)}`),
    ...(device.foreign_bytes > 0 ? [`others ${bytes(device.foreign_bytes)}`] : []),
    `free ${bytes(device.free_bytes)}`,
  ];
  const capped = device.cap_bytes !== null && device.cap_bytes < all;
  return html`<article class="card device" aria-label=${`GPU ${device.index}`}>
    <header>
      <h3>GPU ${device.index}</h3><span class="quiet clip" title=${device.uuid}>${device.name}</span>
      ${device.emulated && html`<span class="badge emulated">emulated</span>`}
      <span class="figure"><b>${bytes(device.used_bytes)}</b> of ${bytes(all)}</span>
    </header>
    <div class="bar" role="img" aria-label=${`Memory of GPU ${device.index}: ${told.join(", ")}`}>
      ${held.map(([name, count]) =>
        html`<${Part} key=${name} label=${name} count=${count} all=${all} style=${{ background: colour(name) }} />`)}
      <${Part} label="others" count=${device.foreign_bytes} all=${all} kind="foreign" />
      ${capped && html`<span class="cap" style=${{ left: share(device.cap_bytes, all) }}
        title=${`cap: workloads may use ${bytes(device.cap_bytes)}`}></span>`}
    </div>
    <ul class="legend">
      ${held.map(([name, count]) => html`<li key=${name}><i class="swatch" style=${{ background: colour(name) }}></i>
        <span class="clip">${name}</span> <b>${bytes(count)}</b></li>`)}
      ${device.foreign_bytes > 0 && html`<li><i class="swatch foreign"></i>others <b>${bytes(device.foreign_bytes)}</b></li>`}
      <li class="quiet"><i class="swatch free"></i>free <b>${bytes(device.free_bytes)}</b></li>
      ${capped && html`<li class="quiet"><i class="swatch capline"></i>cap <b>${bytes(device.cap_bytes)}</b></li>`}
    </ul>
  </article>`;
}

export function Devices({ devices }) {
  return html`<section aria-labelledby="devices">
    <h2 id="devices">Devices</h2>
    <div class="devices">${devices.map((device) => html`<${Device} key=${device.uuid} device=${device} />`)}</div>
    ${devices.length === 0 && html`<p class="card quiet">No device has been read yet.</p>`}
  </section>`;
}
