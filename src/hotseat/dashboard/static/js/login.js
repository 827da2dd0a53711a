// Asks for an admin key, or says why this page shows nothing to whoever looks.
import { html, useState } from "./html.js";

export function Login({ who, said, onKey }) {
  const [key, type] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (key.trim()) onKey(key.trim());
  };
  return html`<main id="main" class="login"><section class="card" aria-labelledby="login">
    <h1 id="login">hotseat</h1>
    ${who.keys
      ? html`<form onSubmit=${submit}>
          <label for="key">Admin key</label>
          <input id="key" type="password" autocomplete="off" spellcheck=${false} value=${key} aria-describedby="key-hint"
            aria-invalid=${said ? "true" : "false"} onInput=${(event) => type(event.target.value)} />
          ${said && html`<p class="error" role="alert">${said}</p>`}
          <p id="key-hint" class="quiet">A key with <code>admin: true</code> in hotseat.yaml; <code>hotseat key</code> makes one. It stays in this tab and goes to this daemon only.</p>
          <button type="submit" class="primary" disabled=${!key.trim()}>Come in</button>
        </form>`
      : html`<p class="error" role="alert">${who.why}</p>`}
  </section></main>`;
}
