"use strict";
const study = JSON.parse(document.getElementById("study").textContent);
const knobs = study.hyperparameters, trials = study.trials, d = knobs.length;
const number = (v, n = 3) => Number(v.toPrecision(n)).toString().replace("-", "−");

// The meta-models

/* Clauses of the space: each says for every stop of the sliders, and for every background point, whether it is met.
   `taken[k]` says of a mixture whether hyperparameter k is as set, at `stops[k]`, or as in background point `point`. */
function met(clause, on, stops, taken, point) {
  if (clause.all) return clause.all.every((part) => met(part, on, stops, taken, point));
  if (clause.any) return clause.any.some((part) => met(part, on, stops, taken, point));
  if (!clause.of.every((k) => on[k])) return false;
  if (taken && !clause.of.every((k) => taken[k])) return clause.back[point] === "1";
  return clause.at[clause.of.reduce((place, k) => place * knobs[k].unit.length + stops[k], 0)] === "1";
}

function active(stops, taken, point) {
  const on = new Array(d).fill(true);
  for (const [k, clause] of study.conditions) on[k] = met(clause, on, stops, taken, point);
  return on;
}

const forbidden = (stops) => study.forbidden.some((clause) => met(clause, active(stops), stops));

/* GELU in its tanh form, as the networks were trained with. */
const gelu = (z) => z / (1 + Math.exp(-1.5957691216057308 * z * (1 + 0.044715 * z * z)));

/* Gaussian processes: how near an input is to each centre, along each hyperparameter. */
function near([scales], inputs) {
  return study.centres.map((centre) => {
    const apart = new Array(d).fill(0);
    centre.forEach((c, k) => { apart[study.owner[k]] += ((inputs[k] - c) * scales[k]) ** 2; });
    return apart.map((square) => Math.exp(-square / 2));
  });
}

/* A bump around each centre, the product over hyperparameters. */
function bumps([, heights, [constant]], factor) {
  return heights.reduce((sum, height, i) => {
    let bump = height;
    for (let j = 0; j < d; j++) bump *= factor(i, j);
    return sum + bump;
  }, constant);
}

function evaluate(member, inputs) {
  if (study.centres) {
    const here = near(member, inputs);
    return bumps(member, (i, j) => here[i][j]);
  }
  let values = inputs;
  for (let layer = 0; layer < member.length; layer += 2) {
    const weights = member[layer], last = layer + 2 === member.length;
    values = member[layer + 1].map((bias, unit) => {
      const row = weights[unit];
      let z = bias;
      for (let k = 0; k < row.length; k++) z += row[k] * values[k];
      return last ? z : gelu(z);
    });
  }
  return values[0];
}

/* What a network takes in: what is not active stands at its default. */
const settled = (values, on) => values.map((v, c) => (on[study.owner[c]] ? v : study.fallback[c]));
const inputs = (stops) => settled(stops.flatMap((stop, k) => knobs[k].inputs[stop]), active(stops));

/* The same of a mixture with a background point. */
function mixture(stops, own, taken, background, point) {
  const mixed = own.map((v, c) => (taken[study.owner[c]] ? v : background[c]));
  return study.conditions.length ? settled(mixed, active(stops, taken, point)) : mixed;
}

function predict(stops) {
  const own = inputs(stops);
  return study.members.map((member) => evaluate(member, own));
}

/* The game of one member: the mean prediction with some hyperparameters as set, the others as in the background. */
function game(k, stops) {
  const member = study.members[k], points = study.backgrounds[k], own = inputs(stops), known = new Map();
  const here = study.centres && near(member, own), there = study.centres && elsewhere(k);
  return (held) => {
    const name = held.join();
    if (!known.has(name)) {
      const taken = new Array(d).fill(false);
      for (const j of held) taken[j] = true;
      const at = (b, p) => evaluate(member, mixture(stops, own, taken, b, k * points.length + p));
      known.set(name, here ? bumps(member, (i, j) => (taken[j] ? here : there)[i][j]) : mean(points.map(at)));
    }
    return known.get(name);
  };
}

/* How near a member's centres are to the background, on average. */
const averages = [];
function elsewhere(k) {
  averages[k] ??= average(study.backgrounds[k].map((b) => near(study.members[k], b)));
  return averages[k];
}

const average = (tables) => tables[0].map((row, i) => row.map((_, j) => mean(tables.map((table) => table[i][j]))));

/* Shapley values of one member, over all sets of hyperparameters. */
function exact(k, stops) {
  const value = game(k, stops), values = new Array(d).fill(0), weights = [1 / d];
  for (let size = 1; size < d; size++) weights[size] = (weights[size - 1] * size) / (d - size);
  for (let set = 0; set < 2 ** d; set++) {
    const held = knobs.map((_, j) => j).filter((j) => set & (1 << j));
    for (let j = 0; j < d; j++) if (!held.includes(j)) values[j] += weights[held.length] * (value([...held, j].sort((a, b) => a - b)) - value(held));
  }
  return values;
}

/* The same of many: own effects and pairs exactly, what is left of the sets behind random orders. */
function sampled(k, stops, orders) {
  const value = game(k, stops), nothing = value([]), all = knobs.map((_, j) => j);
  const own = all.map((j) => value([j]) - nothing);
  const pair = all.map((i) => all.map((j) => (i === j ? 0 : value([Math.min(i, j), Math.max(i, j)]) - own[i] - own[j] - nothing)));
  const values = all.map((j) => own[j] + pair[j].reduce((a, b) => a + b) / 2);
  for (const order of orders) {
    let before = nothing;
    order.forEach((j, place) => {
      const held = order.slice(0, place), after = value([...held, j].sort((a, b) => a - b));
      values[j] += (after - before - own[j] - held.reduce((sum, i) => sum + pair[i][j], 0)) / orders.length;
      before = after;
    });
  }
  return values;
}

const contributions = (k, stops) => (study.orders ? sampled(k, stops, study.orders[k]) : exact(k, stops));

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
function interval(values) {
  const middle = mean(values), reach = study.reach * Math.sqrt(mean(values.map((v) => (v - middle) ** 2)));
  return [middle, middle - reach, middle + reach];
}

// Charts

const INK = { color: "#3b82c4", best: "#d55e00" };
const axis = { labelColor: "currentColor", titleColor: "currentColor", domainColor: "currentColor", tickColor: "currentColor", gridColor: "#80808033", labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", labelLimit: 90 };
const config = { background: null, font: "system-ui, sans-serif", axis, view: { stroke: null }, aria: false, legend: { labelColor: "currentColor", titleColor: "currentColor" } };

async function draw(place, spec) {
  const size = { width: "container", height: "container", autosize: { type: "fit", contains: "padding" } };
  const drawn = await vegaEmbed(place, { ...size, config, ...spec }, { renderer: "svg", actions: false });
  // The place that it stands in says what it shows; its thousand marks would say nothing more.
  drawn.view.container().querySelector("svg").setAttribute("aria-hidden", "true");
  // A click on a trial sets the sliders there.
  drawn.view.addEventListener("click", (_, item) => { if (study.members && item?.datum?.row !== undefined) set(trials.stop[item.datum.row]); });
}

/* An axis of unit-cube coordinates that says the values of a hyperparameter. */
function along(k, field = "unit") {
  const [places, words] = [knobs[k].ticks.map((t) => t[0]), knobs[k].ticks.map((t) => t[1])];
  const labelExpr = `${JSON.stringify(words)}[indexof(${JSON.stringify(places)}, datum.value)]`;
  return { field, type: "quantitative", scale: { domain: [0, 1] }, axis: { values: places, labelExpr, title: null, grid: false, labelOverlap: true } };
}

const valueOf = (k, row) => (trials.unit[row][k] === null ? "not active" : knobs[k].labels[trials.stop[row][k]]);
// Points of a few values are spread over the width of each; the golden ratio leaves no pattern.
const jitter = (k, row) => (knobs[k].unit.length > 12 ? 0 : (((row * 0.618034) % 1) - 0.5) * 0.6 / knobs[k].unit.length);
const point = { type: "circle", size: 14, opacity: 0.45, color: INK.color };

function rowsAlong(k, rows) {
  return rows.filter((row) => trials.unit[row][k] !== null).map((row) => (
    { row, trial: trials.number[row], unit: trials.unit[row][k] + jitter(k, row), value: valueOf(k, row), metric: trials.metric[row] }
  ));
}

const told = (...more) => [{ field: "trial" }, { field: "value" }, { field: "metric", title: study.metric }, ...more];

function drawShap(place, c) {
  const k = study.charted[c], curve = study.curves[c];
  const shap = new Map(study.explained.map((row, i) => [row, study.shap[i][c]]));
  const points = rowsAlong(k, study.explained).map((point) => ({ ...point, shap: shap.get(point.row) }));
  const all = study.shap.flat(), span = [Math.min(...all), Math.max(...all)];
  const line = curve.unit.map((unit, i) => ({ unit, mean: curve.mean[i], low: curve.low[i], high: curve.high[i], seen: curve.seen[i] }));
  const steps = knobs[k].ordered ? { type: "line", strokeWidth: 2 } : { type: "tick", orient: "horizontal", thickness: 3, size: 120 / knobs[k].unit.length };
  const y = (field) => ({ field, type: "quantitative", title: null, scale: { domain: span, nice: true, clamp: true } });
  const band = knobs[k].ordered ? { type: "area", opacity: 0.25, color: INK.best } : { type: "rule", opacity: 0.6, strokeWidth: 2, color: INK.best };
  const mark = (data, dash) => ({ data: { values: data }, mark: { ...steps, color: INK.best, ...(dash && knobs[k].ordered ? { strokeDash: [4, 4] } : {}) }, encoding: { x: along(k), y: { ...y("mean") } } });
  return draw(place, { layer: [
    { data: { values: [{}] }, mark: { type: "rule", color: "#808080" }, encoding: { y: { datum: 0, type: "quantitative" } } },
    { data: { values: points }, mark: point, encoding: { x: along(k), y: y("shap"), tooltip: told({ field: "shap", title: "SHAP value" }) } },
    { data: { values: line }, mark: band, encoding: { x: along(k), y: y("low"), y2: { field: "high" } } },
    mark(line, true),
    mark(line.map((l) => (l.seen ? l : { ...l, mean: null })), false),
  ] });
}

function drawAlong(place, c) {
  const k = study.charted[c], data = { values: rowsAlong(k, trials.number.map((_, row) => row)) };
  return draw(place, { data, mark: point, encoding: { x: along(k), y: { field: "metric", type: "quantitative", title: null, scale: { zero: false } }, tooltip: told() } });
}

function drawHistory(place) {
  let best = -study.goal * Infinity;
  const values = trials.number.map((trial, row) => {
    const metric = trials.metric[row];
    best = study.goal > 0 ? Math.max(best, metric) : Math.min(best, metric);
    return { row, trial, metric, best };
  });
  const x = { field: "trial", type: "quantitative", title: "trial", scale: { nice: false } };
  const y = (field) => ({ field, type: "quantitative", title: study.metric, scale: { zero: false } });
  return draw(place, { data: { values }, layer: [
    { mark: point, encoding: { x, y: y("metric"), tooltip: [{ field: "trial" }, { field: "metric", title: study.metric }] } },
    { mark: { type: "line", interpolate: "step-after", color: INK.best }, encoding: { x, y: y("best") } },
  ] });
}

function drawParallel(place) {
  const order = trials.metric.map((_, row) => row).sort((a, b) => study.goal * (trials.metric[b] - trials.metric[a]));
  // The best tenth of the trials last, so that it lies on top; of many, every so manieth.
  const some = order.filter((_, rank) => rank < 30 || rank % Math.ceil(order.length / 200) === 0);
  const values = some.flatMap((row) => study.charted.map((k, place) => ({ row, trial: trials.number[row], place, unit: trials.unit[row][k], metric: trials.metric[row], value: valueOf(k, row), name: knobs[k].name })));
  const names = study.charted.map((k) => (knobs[k].name.length > 14 ? knobs[k].name.slice(0, 13) + "…" : knobs[k].name));
  const color = { field: "metric", type: "quantitative", title: study.metric, scale: { range: study.goal > 0 ? ["#8fb8dc", INK.best] : [INK.best, "#8fb8dc"] }, legend: { gradientLength: 120 } };
  return draw(place, { data: { values }, mark: { type: "line", opacity: 0.6, strokeWidth: 1.3 }, encoding: {
    x: { field: "place", type: "quantitative", title: null, axis: { values: names.map((_, i) => i), labelExpr: `${JSON.stringify(names)}[datum.value]`, labelAngle: -25, grid: true, gridColor: "#80808088" }, scale: { domain: [0, names.length - 1], nice: false } },
    y: { field: "unit", type: "quantitative", title: "from lowest to highest value", scale: { domain: [0, 1] }, axis: { labels: false, ticks: false, grid: false } },
    color, detail: { field: "row" }, tooltip: [{ field: "trial" }, { field: "name", title: "hyperparameter" }, { field: "value" }, { field: "metric", title: study.metric }],
  } });
}

// What can be set

const stops = [...study.start];
let asked = 0;

function set(there) {
  stops.splice(0, d, ...there);
  ask();
}

function makeControls() {
  const form = document.getElementById("controls");
  const others = knobs.map((_, k) => k).filter((k) => !study.charted.includes(k));
  [...study.charted, ...others].forEach((k) => {
    const knob = knobs[k];
    const label = form.appendChild(document.createElement("label"));
    const [name, said] = [label.appendChild(document.createElement("span")), label.appendChild(document.createElement("output"))];
    name.textContent = knob.name;
    const input = label.appendChild(document.createElement(knob.ordered ? "input" : "select"));
    label.htmlFor = input.id = `knob${k}`; // otherwise it would be the output's
    if (knob.ordered) Object.assign(input, { type: "range", min: 0, max: knob.unit.length - 1, step: 1 });
    else knob.labels.forEach((word, i) => input.append(new Option(word, i)));
    input.addEventListener("input", () => { stops[k] = Number(input.value); ask(); });
    knob.show = (on) => {
      input.value = stops[k];
      input.disabled = !on;
      label.classList.toggle("off", !on);
      said.value = !on ? "not active" : knob.ordered ? knob.labels[stops[k]] : "";
      if (knob.ordered) input.setAttribute("aria-valuetext", knob.labels[stops[k]]);
    };
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  const pair = ["across", "up"].map((id) => document.getElementById(id));
  pair.forEach((list, which) => {
    knobs.forEach((knob, k) => list.append(new Option(knob.name, k)));
    list.value = study.charted[Math.min(which, study.charted.length - 1)];
    list.addEventListener("change", () => {
      const other = pair[1 - which];
      if (other.value === list.value) other.value = knobs.findIndex((_, k) => String(k) !== list.value);
      drawSlice();
    });
  });
}

async function ask() {
  const mine = ++asked, on = active(stops);
  knobs.forEach((knob, k) => knob.show(on[k]));
  const [value, low, high] = interval(predict(stops)), said = document.getElementById("prediction");
  said.innerHTML = "";
  const strong = said.appendChild(document.createElement("b"));
  strong.textContent = forbidden(stops) ? "forbidden" : number(value, 4);
  said.append(forbidden(stops) ? ": the space excludes this configuration" : ` ${study.metric} predicted, 90 % interval ${number(low)} to ${number(high)}`);
  drawSlice();
  const members = [];
  for (let k = 0; k < study.members.length; k++) {
    // The page stays alive between two members, and forgets what was asked before.
    await new Promise((resume) => setTimeout(resume, k ? 0 : 120));
    if (mine !== asked) return;
    members.push(contributions(k, stops));
  }
  showContributions(knobs.map((_, j) => interval(members.map((values) => values[j]))), on);
}

function showContributions(found, on) {
  const body = document.querySelector("#contributions tbody");
  const ends = found.flatMap(([, low, high]) => [low, high]), low = Math.min(0, ...ends), high = Math.max(0, ...ends);
  const at = (v) => `${(100 * (v - low)) / (high - low || 1)}%`, wide = (v) => `${(100 * Math.abs(v)) / (high - low || 1)}%`;
  body.replaceChildren(...found.map(([value, from, to], k) => ({ value, from, to, k }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 20).map(({ value, from, to, k }) => {
      const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td"), said = document.createElement("td");
      head.scope = "row";
      head.textContent = `${knobs[k].name} = ${on[k] ? knobs[k].labels[stops[k]] : "not active"}`;
      const [bar, fill, line] = ["div", "i", "u"].map((tag) => document.createElement(tag));
      bar.className = "bar";
      bar.style.setProperty("--zero", at(0));
      Object.assign(fill.style, { left: at(Math.min(0, value)), width: wide(value) });
      fill.className = value < 0 ? "lower" : "";
      Object.assign(line.style, { left: at(from), width: wide(to - from) });
      bar.append(fill, line);
      cell.append(bar);
      said.className = "number";
      said.textContent = (value < 0 ? "" : "+") + number(value);
      row.append(head, cell, said);
      return row;
    }));
}

function drawSlice() {
  const [a, b] = ["across", "up"].map((id) => Number(document.getElementById(id).value));
  const some = (k) => { const n = knobs[k].unit.length, step = Math.ceil(n / 25); return knobs[k].unit.map((_, i) => i).filter((i) => i % step === 0); };
  const edges = (k, i, list) => {
    const at = list.indexOf(i), u = (j) => knobs[k].unit[list[j]];
    // Cells overlap a little, so that no seam shows.
    return [at ? (u(at - 1) + u(at)) / 2 : 0, at < list.length - 1 ? (u(at) + u(at + 1)) / 2 + 0.004 : 1];
  };
  const [left, down] = [some(a), some(b)];
  const values = left.flatMap((i) => (a === b ? [stops[b]] : down).map((j) => {
    const here = [...stops];
    here[b] = j;
    here[a] = i;
    const [x, x2] = edges(a, i, left), [y, y2] = a === b ? [0, 1] : edges(b, j, down);
    const note = forbidden(here) ? null : mean(predict(here));
    return { x, x2, y, y2, predicted: note, [knobs[a].name]: knobs[a].labels[i] };
  })).filter((cell) => cell.predicted !== null);
  const vertical = { ...along(b, "y"), title: null };
  return draw("#slice", { layer: [
    { data: { values }, mark: { type: "rect" }, encoding: {
      x: { ...along(a, "x"), axis: { ...along(a).axis, title: knobs[a].name } }, x2: { field: "x2" },
      y: { ...vertical, axis: { ...vertical.axis, title: a === b ? null : knobs[b].name } }, y2: { field: "y2" },
      color: { field: "predicted", type: "quantitative", title: study.metric, scale: { domain: study.limits, scheme: "viridis", clamp: true } },
      tooltip: [{ field: "predicted", title: study.metric, format: ".4g" }],
    } },
    { data: { values: [{ x: knobs[a].unit[stops[a]], y: a === b ? 0.5 : knobs[b].unit[stops[b]] }] }, layer: [5, 2].map((strokeWidth, i) => ({ mark: { type: "point", size: 120, strokeWidth, color: i ? "white" : "black" }, encoding: { x: along(a, "x"), y: along(b, "y") } })) },
  ] });
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => { const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent.trim(); return text !== "" && !isNaN(text) ? Number(text) : text; };
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)], order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows);
  }));
}

async function start() {
  document.querySelectorAll("table.sortable").forEach(sortable);
  const places = (name) => [...document.querySelectorAll(`[data-${name}]`)];
  await Promise.all(places("shap").map((place) => drawShap(place, Number(place.dataset.shap))));
  if (study.members) { makeControls(); ask(); }
  await Promise.all(places("along").map((place) => drawAlong(place, Number(place.dataset.along))));
  await drawHistory("#history");
  if (document.getElementById("parallel")) await drawParallel("#parallel");
  document.body.dataset.ready = "yes";
}

// For who wants the numbers: in the browser's console, and in the tests.
window.study = { ...study, predict, contributions, interval, forbidden, active };
start();
