"use strict";
const entries = [...document.querySelectorAll(".entry")];
const pick = (name) => document.getElementById(name).value;

function add(select, options) {
  for (const [value, text] of [...options].sort((a, b) => a[1].localeCompare(b[1]))) {
    document.getElementById(select).add(new Option(text, value));
  }
}

function warningsOf(entry) {
  return entry.dataset.warnings.split(" ").filter(Boolean);
}

function matches(entry) {
  const actions = [...entry.querySelectorAll("[data-action]")];
  const wanted = pick("action"), outcome = pick("outcome"), warning = pick("warning");
  const action = wanted ? actions.find((row) => row.dataset.action === wanted) : actions[0];
  const codes = warningsOf(entry);
  return (!wanted || action)
    && (!outcome || (action && action.dataset.outcome === outcome))
    && (!warning || (warning === "-" ? !codes.length : codes.includes(warning)));
}

function filter() {
  let shown = 0;
  for (const entry of entries) {
    entry.hidden = !matches(entry);
    shown += !entry.hidden;
  }
  document.getElementById("count").textContent = `${shown} of ${entries.length} videos`;
}

const actions = [...document.querySelectorAll("[data-action]")];
add("action", new Map(actions.map((row) => [row.dataset.action, row.dataset.name])));
add("warning", new Map(entries.flatMap(warningsOf).map((code) => [code, code])));
const filters = document.getElementById("filters");
filters.hidden = false;
filters.addEventListener("change", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
filter();
