// The keys, the theme, and the chart. Everything else of the page works without a script.
"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const SIGNS = { system: "◐", light: "☀", dark: "☾" };
  const NEXT = { system: "light", light: "dark", dark: "system" };
  const now = () => root.dataset.theme || "system";

  function name() {
    const words = now() === "system" ? "as the system" : now();
    button.textContent = SIGNS[now()];
    button.setAttribute("aria-label", `Theme: ${words}`);
    button.title = `Theme: ${words}`;
  }
  function turn() {
    const next = NEXT[now()];
    if (next === "system") delete root.dataset.theme; else root.dataset.theme = next;
    try { localStorage.setItem("theme", next); } catch (error) { /* storage is off: for this page only */ }
    name();
    document.dispatchEvent(new Event("theme"));
  }
  button.addEventListener("click", turn);
  name();

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) return;
    if (event.key === "/") { event.preventDefault(); document.getElementById("find").focus(); }
    if (event.key === "t") turn();
  });

  // An open page whose dashboard ended says so.
  document.addEventListener("htmx:sseError", () => document.body.classList.add("lost"));
  document.addEventListener("htmx:sseOpen", () => document.body.classList.remove("lost"));
})();
