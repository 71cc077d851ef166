"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const tabs = [...document.querySelectorAll("[role=tab]")];
const windows = [...document.querySelectorAll(".window")];
const detail = document.getElementById("detail");

/* Moves of arrow keys and of Home and End in a list. */
function moved(key, place, count) {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[key];
  if (step) return (place + step + count) % count;
  return { Home: 0, End: count - 1 }[key];
}

function choose(chosen) {
  tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", String(i === chosen));
    tab.tabIndex = i === chosen ? 0 : -1;
    document.getElementById(`panel-${i}`).hidden = i !== chosen;
  });
  const action = data.actions[chosen];
  const reason = new Set(action ? action.tokens.map((id) => `token-${id}`) : []);
  if (action) windows.forEach((row) => { row.hidden = row.dataset.window !== String(action.window); });
  document.querySelectorAll(".timeline .token").forEach((token) => {
    const part = reason.has(token.id);
    const label = token.getAttribute("aria-label").replace(/, part of the reason$/, "");
    token.classList.toggle("reason", part);
    token.setAttribute("aria-label", part ? `${label}, part of the reason` : label);
  });
  windows.forEach((row) => {
    const start = row.querySelector(".token.reason") || row.querySelector(".token");
    if (start) show(start, !row.hidden);
    if (row.hidden) return;
    detail.hidden = !start;
    const region = row.querySelector(".scroll");
    if (start) region.scrollLeft = start.getBBox().x - region.clientWidth * 0.7;
  });
}

/* Makes a token the tab stop of its timeline and shows its frame. */
function show(token, isVisible = true) {
  token.closest("svg").querySelectorAll("[tabindex='0']").forEach((other) => { other.setAttribute("tabindex", "-1"); });
  token.setAttribute("tabindex", "0");
  if (!isVisible) return;
  document.querySelectorAll(".token.shown").forEach((other) => other.classList.remove("shown"));
  token.classList.add("shown");
  const row = data.tokens[token.id.slice("token-".length)];
  const frame = detail.querySelector(".frame");
  frame.setAttribute("aria-label", row.drawing.label);
  frame.querySelector("use").setAttribute("href", row.drawing.frame);
  for (const kind of ["human", "object"]) {
    const box = frame.querySelector(`.${kind}`), drawn = row.drawing[kind], text = box.querySelector("text");
    for (const rect of box.querySelectorAll("rect")) set(rect, drawn.rect);
    set(text, drawn.text);
    text.textContent = drawn.label;
  }
  document.getElementById("detail-title").textContent = row.title;
  document.getElementById("detail-kept").textContent =
    `${row.kept}${token.classList.contains("reason") ? ", part of the reason" : ""}`;
  document.getElementById("detail-names").replaceChildren(...row.names.map((name) => {
    const line = document.createElement("tr");
    for (const key of ["group", "predicate", "status", "right"]) line.insertCell().textContent = name[key];
    return line;
  }));
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => choose(i));
  tab.addEventListener("keydown", (event) => {
    const next = moved(event.key, i, tabs.length);
    if (next === undefined) return;
    event.preventDefault();
    choose(next);
    tabs[next].focus();
  });
});

windows.forEach((row) => {
  const region = row.querySelector(".scroll"), lanes = row.querySelector(".lanes");
  region.addEventListener("scroll", () => lanes.setAttribute("transform", `translate(${region.scrollLeft})`));
  const tokens = [...row.querySelectorAll(".token")];
  tokens.forEach((token, i) => {
    token.addEventListener("mouseenter", () => show(token));
    token.addEventListener("click", () => show(token));
    token.addEventListener("focus", () => show(token));
    token.addEventListener("keydown", (event) => {
      const next = moved(event.key, i, tokens.length);
      if (event.key !== "Enter" && event.key !== " " && next === undefined) return;
      event.preventDefault();
      if (next === undefined) show(token);
      else tokens[next].focus();
    });
  });
});

choose(0);
