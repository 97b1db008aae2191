// The keys, the theme, and what keeps an open page fresh. Everything else works without a script.
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

  // A page that is read anew keeps what its reader opened.
  const open = new Set();
  document.addEventListener("toggle", (event) => {
    if (!event.target.id) return;
    if (event.target.open) open.add(event.target.id); else open.delete(event.target.id);
  }, true);
  document.addEventListener("htmx:afterSwap", () => open.forEach((id) => {
    const details = document.getElementById(id);
    if (details) details.open = true;
  }));

  // A hidden page is not read anew at intervals.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt.matches('[hx-trigger^="every"]')) event.preventDefault();
  });

  // Changes come over one stream for all pages of this browser: it gives a host six connections
  // in all. The page that holds the lock has the stream, and passes on what it says.
  const isLive = () => document.getElementById("live");
  if (!isLive()) return;
  const others = "BroadcastChannel" in window ? new BroadcastChannel("live") : null;
  let stream = null, leave = null;

  function react(word) {
    document.body.classList.toggle("lost", word === "lost");
    document.getElementById("lost").hidden = word !== "lost";
    if (word === "changed" && !document.hidden && window.htmx) htmx.trigger(isLive(), "changed");
  }
  function tell(word) {
    react(word);
    if (others) others.postMessage(word);
  }
  function listen() {
    stream = new EventSource("/live");
    stream.addEventListener("changed", () => tell("changed"));
    stream.addEventListener("error", () => tell("lost"));
  }
  function begin() {
    if (!navigator.locks) { listen(); leave = () => {}; return; }
    const waiting = new AbortController();
    leave = () => waiting.abort();
    const held = () => new Promise((done) => { leave = done; listen(); });
    navigator.locks.request("live", { signal: waiting.signal }, held).catch(() => { /* it was hidden */ });
  }
  function end() {
    if (stream) stream.close();
    if (leave) leave();
    stream = leave = null;
  }
  if (others) others.addEventListener("message", (event) => react(event.data));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { end(); return; }
    react("changed");
    begin();
  });
  window.addEventListener("pagehide", end);
  window.addEventListener("pageshow", (event) => { if (event.persisted) begin(); });
  if (!document.hidden) begin();
})();
