// Before anything is drawn, so that a dark room stays dark. "auto" follows the system.
"use strict";
{
  let theme = "auto";
  try {
    theme = localStorage.getItem("hotseat.theme") ?? "auto";
  } catch {
    // Storage may be forbidden; the page works without.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
