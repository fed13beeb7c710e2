// Sort, filter, and pin: a run stays when its text holds every word, or when it is pinned. Two to six pinned
// runs are compared on the page: progress by epoch, scores, and the settings that differ.
(() => {
  const MOST = 6;
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D31", "#7570B3"];
  const DASHES = ["", "6 3", "2 3", "8 3 2 3", "12 4", "4 2"];
  const SVG = "http://www.w3.org/2000/svg";
  const box = document.getElementById("filter");
  if (!box) return;
  const known = JSON.parse(document.getElementById("compared-runs").textContent);
  const runs = [...document.querySelectorAll(".run")];
  const texts = new Map(runs.map((run) => [run, run.textContent.toLowerCase()]));
  const pins = new Map(runs.map((run) => [run, run.querySelector("input")]).filter(([, pin]) => pin));
  const [count, sort] = [document.getElementById("count"), document.getElementById("sort")];
  const [pinned, dialog] = [document.querySelector(".pinned"), document.querySelector(".compared")];
  const chosen = () => [...pins.values()].filter((pin) => pin.checked).map((pin) => pin.value);
  const quoted = (name) => (/^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", `'"'"'`)}'`);

  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const run of runs) {
      run.hidden = !pins.get(run)?.checked && !words.every((word) => texts.get(run).includes(word));
      shown += run.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${runs.length} runs`;
    const number = chosen().length;
    for (const pin of pins.values()) pin.disabled = number >= MOST && !pin.checked;
    pinned.hidden = !number;
    pinned.querySelector("span").textContent = `${number} of at most ${MOST} runs pinned`;
    document.getElementById("compare").disabled = number < 2;
  };

  const tones = ["broken", "look", "plain", "fine"];
  const orders = {
    newest: (a, b) => (b.dataset.created > a.dataset.created ? 1 : -1),
    oldest: (a, b) => (a.dataset.created > b.dataset.created ? 1 : -1),
    score: (a, b) => Number(b.dataset.score ?? -1) - Number(a.dataset.score ?? -1),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, "en", { numeric: true }),
    status: (a, b) => tones.indexOf(a.dataset.tone) - tones.indexOf(b.dataset.tone),
  };
  const order = () => document.querySelector(".runs").append(...[...runs].sort(orders[sort.value]));

  const made = (name, words = "", more = {}) => Object.assign(document.createElement(name), { textContent: words, ...more });
  const drawn = (name, given, words = "") => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(given)) element.setAttribute(key, value);
    element.textContent = words;
    return element;
  };

  // Progress lies from 0, collapse, to 1, the floor of the batches: runs of other batches can be laid over each other.
  const curves = (names) => {
    const lines = names.map((name) => known.runs[name].progress);
    if (lines.every((line) => line.length < 2)) return made("p", "None of them recorded its progress.");
    const last = Math.max(...lines.flat().map(([epoch]) => epoch));
    const low = Math.min(0, ...lines.flat().map(([, value]) => value));
    const [x, y] = [(epoch) => 64 + (536 * (epoch - 1)) / Math.max(last - 1, 1), (value) => 14 + (200 * (1 - value)) / (1 - low)];
    const svg = drawn("svg", { viewBox: "0 0 640 250", role: "img", "aria-label": `Progress by epoch of ${names.join(", ")}` });
    for (const [value, words] of [[0, "collapse"], [1, "floor"]]) {
      svg.append(drawn("line", { x1: 64, x2: 600, y1: y(value), y2: y(value), class: "rule" }), drawn("text", { x: 0, y: y(value) + 4 }, words));
    }
    svg.append(drawn("text", { x: 64, y: 240 }, "epoch 1"), drawn("text", { x: 600, y: 240, "text-anchor": "end" }, `epoch ${last}`));
    lines.forEach((line, place) => {
      if (!line.length) return;
      const points = line.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ");
      svg.append(drawn("polyline", { points, fill: "none", stroke: COLOURS[place], "stroke-width": 2, "stroke-dasharray": DASHES[place] }));
      const [epoch, value] = line[line.length - 1];
      svg.append(drawn("text", { x: x(epoch) + 5, y: y(value) + 4, class: "end" }, place + 1));
    });
    return svg;
  };

  const table = (names) => {
    const settings = [...new Set(names.flatMap((name) => Object.keys(known.runs[name].settings)))].sort();
    const of = (name, setting) => known.runs[name].settings[setting] ?? known.defaults[setting] ?? "";
    const differing = settings.filter((setting) => new Set(names.map((name) => of(name, setting))).size > 1);
    const rows = [
      ["score", ...names.map((name) => known.runs[name].words || "not evaluated")],
      ...differing.map((setting) => [setting, ...names.map((name) => of(name, setting))]),
    ];
    const head = made("tr");
    head.append(made("th", "", { scope: "col" }), ...names.map((name, place) => {
      const cell = made("th", `${place + 1} ${name}`, { scope: "col" });
      cell.style.borderBottom = `3px solid ${COLOURS[place]}`;
      return cell;
    }));
    const body = rows.map(([name, ...values]) => {
      const row = made("tr");
      row.append(made("th", name, { scope: "row" }), ...values.map((value) => made("td", value)));
      return row;
    });
    const whole = made("table");
    whole.append(head, ...body);
    const scroll = made("div", "", { className: "scroll", tabIndex: 0 });
    scroll.append(whole);
    return [scroll, ...(differing.length ? [] : [made("p", "Their settings are the same.")])];
  };

  document.getElementById("compare").addEventListener("click", () => {
    const names = chosen();
    dialog.querySelector("div").replaceChildren(curves(names), ...table(names));
    const scored = names.filter((name) => known.runs[name].words);
    const command = dialog.querySelector(".command");
    command.hidden = scored.length < 2;
    command.querySelector("code").textContent = [command.dataset.command, ...scored.map(quoted)].join(" ");
    dialog.showModal();
  });
  document.getElementById("unpin").addEventListener("click", () => {
    for (const pin of pins.values()) pin.checked = false;
    apply();
  });
  box.addEventListener("input", apply);
  sort.addEventListener("change", order);
  for (const pin of pins.values()) pin.addEventListener("change", apply);
})();
