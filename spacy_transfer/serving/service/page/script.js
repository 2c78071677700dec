"use strict";

// What is shown before "Show all".
const FEW = 10;

const $ = (id) => document.getElementById(id);
const form = $("form"), text = $("text"), go = $("go"), results = $("results"), problem = $("problem");
let pipelines = [], running = null;

function element(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  // Never as HTML: labels and messages may hold anything.
  if (content !== undefined) made.textContent = content;
  return made;
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if ($("key").value) headers["X-API-Key"] = $("key").value;
  let answer, data;
  try {
    answer = await fetch(path, { ...options, headers });
    data = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is it still running?");
  }
  if (answer.ok) return data;
  if (answer.status === 401 && $("lock").hidden) {
    $("lock").hidden = false;
    $("key").focus();
    throw new Error("");
  }
  throw new Error(data.error ? data.error.message : `The service answers with status ${answer.status}.`);
}

function complain(message) {
  problem.textContent = message;
  problem.hidden = !message;
}

function chosen() {
  return pipelines.find((one) => one.name === $("pipeline").value) || pipelines[0];
}

function describe() {
  const one = chosen();
  if (!one) return;
  const parts = one.components.map((component) => {
    const n = component.labels.length;
    return `${n} ${n === 1 ? "label" : "labels"}${component.exclusive ? "" : ", any number of them per text"}`;
  });
  $("about").textContent = `${one.name}: ${parts.join(" · ")}`;
}

async function start() {
  try {
    ({ pipelines } = await ask("pipelines"));
  } catch (error) {
    complain(error.message);
    return false;
  }
  const select = $("pipeline"), before = select.value;
  select.replaceChildren(...pipelines.map((one) => new Option(one.name, one.name)));
  if (before) select.value = before;
  $("choice").hidden = pipelines.length < 2;
  describe();
  return true;
}

function line(label, score, isChosen) {
  const item = element("li", isChosen ? "chosen" : "");
  const share = `${(100 * score).toFixed(1)} %`;
  const track = element("div", "track"), bar = element("div", "bar");
  track.setAttribute("aria-hidden", "true");
  bar.style.width = `${100 * score}%`;
  track.append(bar);
  item.append(element("span", "label", label), element("span", "share", share), track);
  return item;
}

function component(shown, answer, withName) {
  const box = element("div", "component"), list = element("ol");
  if (withName) box.append(element("h2", "", shown.name));
  const ranked = Object.entries(answer.scores).sort((a, b) => b[1] - a[1]);
  // One label where exactly one holds; else all that count.
  const items = ranked.map(([label, score], i) => line(label, score, shown.exclusive ? i === 0 : score >= shown.threshold));
  list.append(...items.slice(0, FEW));
  box.append(list);
  if (items.length > FEW) {
    const more = element("button", "more", `Show all ${items.length} labels`);
    more.type = "button";
    more.addEventListener("click", () => {
      list.append(...items.slice(FEW));
      // The first of the new ones, for those who cannot see the page.
      items[FEW].tabIndex = -1;
      items[FEW].focus();
      more.remove();
    });
    box.append(more);
  }
  return box;
}

async function classify() {
  if (running) running.abort();
  if (!text.value.trim()) {
    complain("");
    results.hidden = true;
    text.focus();
    return;
  }
  if (!pipelines.length && !(await start())) return;
  const one = chosen(), mine = (running = new AbortController());
  const place = `pipelines/${encodeURIComponent(one.name)}/classify`;
  go.setAttribute("aria-busy", "true");
  results.classList.add("old");
  const begin = performance.now();
  try {
    const answer = await ask(place, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text: text.value, all_scores: true }),
      signal: mine.signal,
    });
    const [found] = answer.results;
    const parts = found.components || { [one.components[0].name]: found };
    const several = one.components.length > 1;
    results.replaceChildren(
      ...one.components.filter(({ name }) => parts[name]).map((shown) => component(shown, parts[shown.name], several)),
    );
    results.hidden = false;
    complain("");
    $("time").textContent = `${Math.round(performance.now() - begin)} ms`;
  } catch (error) {
    if (error.name === "AbortError") return;
    results.hidden = true;
    complain(error.message);
  } finally {
    if (running === mine) {
      running = null;
      go.removeAttribute("aria-busy");
      results.classList.remove("old");
    }
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    classify();
  }
});
$("pipeline").addEventListener("change", () => {
  describe();
  if (text.value.trim()) classify();
});
if (/Mac|iPhone|iPad/.test(navigator.platform)) document.querySelector("#hint kbd").textContent = "⌘";

// A link may bring a text along, after the #, which never leaves the browser but for the service.
const brought = new URLSearchParams(location.hash.slice(1));
if (brought.get("pipeline")) $("pipeline").append(new Option(brought.get("pipeline")));
if (brought.get("text")) text.value = brought.get("text");
start().then((isThere) => isThere && text.value && classify());
