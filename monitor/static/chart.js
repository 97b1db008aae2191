// The one chart that is drawn by a script: waits over time. Its numbers are in the table below it.
"use strict";
(() => {
  let chart = null;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }
  function seconds(value) {
    if (value == null) return "-";
    if (value < 60) return `${Math.round(value * 10) / 10}s`;
    if (value < 3600) return `${Math.round(value / 6) / 10}m`;
    return `${Math.round(value / 360) / 10}h`;
  }
  const stamp = (value) => new Date(value * 1e3).toISOString().slice(0, 16).replace("T", " ");
  function day(value) {
    const text = stamp(value);
    return text.endsWith("00:00") ? text.slice(5, 10) : text.slice(11);
  }
  function draw() {
    const place = document.getElementById("chart");
    if (!place || !window.uPlot) return;
    if (chart) { chart.destroy(); chart = null; }
    const columns = JSON.parse(place.dataset.columns);
    columns[1] = columns[1].map((over) => over || null); // no bar for none
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--edge"), width: 1 }, ticks: { stroke: colour("--edge") } };
    const points = { show: columns[0].length < 60, size: 5 };
    chart = new uPlot({
      width: place.clientWidth, height: 260, tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC"),
      scales: { y: { range: (u, low, high) => [0, Math.max(high || 0, 1) * 1.1] }, jobs: { range: (u, low, high) => [0, Math.max(high || 0, 4) * 1.1] } },
      axes: [{ ...axis, values: (u, ticks) => ticks.map(day) }, { ...axis, values: (u, ticks) => ticks.map(seconds), size: 56 }, { ...axis, scale: "jobs", side: 1, grid: { show: false } }],
      series: [
        { label: "from (UTC)", value: (u, value) => value == null ? "-" : stamp(value) },
        { label: "jobs over", scale: "jobs", stroke: colour("--waiting-edge"), fill: colour("--waiting"), width: 1, paths: uPlot.paths.bars({ size: [0.5, 24] }), points: { show: false } },
        { label: "p50", stroke: colour("--busy"), width: 2, points, value: (u, value) => seconds(value) },
        { label: "p95", stroke: colour("--boot"), width: 2, dash: [7, 4], points, value: (u, value) => seconds(value) },
      ],
    }, columns, place);
  }
  document.addEventListener("DOMContentLoaded", draw);
  document.addEventListener("theme", draw);
  document.addEventListener("htmx:afterSwap", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
})();
