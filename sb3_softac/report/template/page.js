"use strict";
// Bokeh's models, by the name that Python gave them.
const model = (name) => Bokeh.documents.map((each) => each.get_model_by_name(name)).find((each) => each);
const plots = () => Bokeh.documents.flatMap((each) => each.roots());
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const saved = JSON.parse(sessionStorage.getItem("choices") || "{}"); // which a reload of a watched page keeps

// Bokeh draws on a canvas, which no style sheet reaches.
function paint() {
  const ink = css("--ink"), quiet = css("--quiet"), grid = css("--grid"), line = css("--line");
  for (const plot of plots()) {
    for (const axis of [...plot.below, ...plot.left].filter((each) => each.type.endsWith("Axis"))) {
      axis.setv({
        axis_label_text_color: quiet, major_label_text_color: quiet, axis_line_color: line, major_tick_line_color: line,
        minor_tick_line_color: null, axis_label_text_font_style: "normal", axis_label_text_font_size: "13px",
        major_label_text_font_size: "12px",
      });
    }
    for (const each of plot.center.filter((part) => part.type === "Grid")) each.grid_line_color = grid;
    for (const legend of plot.below.filter((part) => part.type === "Legend")) {
      legend.setv({ label_text_color: ink, inactive_fill_color: css("--card"), inactive_fill_alpha: 0.7, label_text_font_size: "13px" });
    }
  }
}

function positive(list) { return (list || []).map((value) => (value > 0 ? value : NaN)); }

// Puts the chosen metric into the plot of a section.
function show(section) {
  const control = (name) => document.querySelector(`.${name}[data-section="${section}"]`);
  if (!control("metric")) return;
  const key = control("metric").value, axis = control("axis").value, logarithmic = control("log").checked;
  const data = METRICS[section], plot = model(`explorer-${section}`);
  data.metrics[key].forEach((series, run) => {
    const source = model(`explorer-${section}-${run}`);
    if (!series) { source.data = { x: [], mean: [], low: [], high: [], label: [] }; return; }
    const number = (list) => list.map((value) => {
      const n = value === null ? NaN : value;
      return !logarithmic ? n : n > 0 ? Math.log10(n) : NaN;
    });
    const mean = number(series.mean);
    source.data = {
      x: series[axis].map((value) => (value === null ? NaN : value)), mean,
      low: series.low ? number(series.low) : mean, high: series.high ? number(series.high) : mean,
      label: mean.map(() => data.labels[run]),
    };
  });
  plot.below.find((each) => each.type.endsWith("Axis")).axis_label.text = axis === "time" ? `time (${data.unit})` : "environment steps";
  plot.left.find((each) => each.type.endsWith("Axis")).axis_label.text = logarithmic ? `log10 of ${key}` : key;
  plot.reset.emit();
  saved[section] = { metric: key, axis, log: logarithmic };
  sessionStorage.setItem("choices", JSON.stringify(saved));
}

function begin() {
  document.querySelectorAll("select.metric").forEach((select) => {
    const section = select.dataset.section, choice = saved[section];
    const all = [...document.querySelectorAll(`.controls [data-section="${section}"]`)];
    if (choice && choice.metric in METRICS[section].metrics) {
      all[0].value = choice.metric; all[1].value = choice.axis; all[2].checked = choice.log;
    }
    all.forEach((each) => each.addEventListener("change", () => show(section)));
    show(section);
  });
  paint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  document.documentElement.dataset.ready = "yes";
}

async function follow() {
  try {
    const answer = await fetch("version", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== VERSION) location.reload();
    document.querySelector("[role=status]").textContent = "follows the run";
  } catch { // the command has ended
    document.querySelector("[role=status]").textContent = "no longer follows the run";
  }
}

const waiting = setInterval(() => {
  if (document.readyState !== "complete" || Bokeh.documents.length === 0 && document.querySelector(".plot")) return;
  clearInterval(waiting);
  begin();
  if (VERSION) setInterval(follow, 3000);
}, 30);
