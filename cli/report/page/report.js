"use strict";
// Draws the charts that the page's data holds; every number is in the tables too.
(() => {
  const data = () => JSON.parse(document.getElementById("data").textContent);
  let charts = data();
  const colours = ["var(--s0)", "var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)"];
  const dashes = [null, "6 4", "2 3", "10 3 2 3", "14 4", "1 3", "10 3 2 3 2 3"];
  const short = d3.format(".4~g");
  const tick = (value) => d3.format(Math.abs(value) < 1000 ? "~g" : "~s")(value);
  const percent = (value) => `${d3.format(".1f")(100 * value)} %`;
  const whole = (span) => (span[0] === span[1] ? `round ${span[0]}` : `rounds ${span[0]} to ${span[1]}`);

  function element(name, attributes = {}, ...inside) {
    const made = document.createElementNS(name === "svg" || name === "line" ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  }

  // No two series look alike, up to 42 of one run, or seven of each of six runs: several runs have a colour each.
  function look(series) {
    const several = new Set(series.map((one) => one.run)).size > 1;
    return series.map((one) => {
      const number = several ? one.run : one.kind;
      const repeated = Math.floor(number / colours.length);
      return {
        colour: colours[number % colours.length],
        dash: dashes[((several ? one.kind : number % colours.length) + repeated) % dashes.length],
      };
    });
  }

  function legend(names, looks) {
    return element("ul", { class: "legend" }, ...names.map((name, index) => {
      const line = element("line", { x1: 0, y1: 6, x2: 30, y2: 6, stroke: looks[index].colour, "stroke-width": 3, "stroke-dasharray": looks[index].dash });
      return element("li", {}, element("svg", { class: "swatch", viewBox: "0 0 30 12", "aria-hidden": "true" }, line), name);
    }));
  }

  function base(chart, width, more) {
    return {
      width, height: Math.max(220, Math.min(320, width * 0.55)), marginLeft: 52, marginBottom: 40, marginRight: 18,
      style: { background: "none", fontSize: "12px", overflow: "visible" },
      x: { label: chart.x, labelArrow: false, nice: false, tickFormat: tick },
      y: { label: chart.y || null, grid: true, labelArrow: false, tickFormat: chart.percent ? ((value) => `${Math.round(1000 * value) / 10} %`) : tick },
      ...more,
    };
  }

  function lines(chart, width) {
    const looks = look(chart.series);
    const shown = (value) => (chart.percent ? percent(value) : short(value));
    const marks = [];
    const all = [];
    chart.series.forEach((one, index) => {
      const { colour, dash } = looks[index];
      marks.push(Plot.line(one.points, { x: (p) => p[0], y: (p) => p[1], stroke: colour, strokeWidth: 2, strokeDasharray: dash }));
      if (one.points.length <= 40) marks.push(Plot.dot(one.points, { x: (p) => p[0], y: (p) => p[1], fill: colour, r: 2.5 }));
      for (const point of one.points) all.push({ x: point[0], y: point[1], name: one.name });
    });
    marks.push(Plot.tip(all, Plot.pointer({ x: "x", y: "y", title: (p) => `${p.name}\n${chart.x} ${short(p.x)}: ${shown(p.y)}` })));
    for (const { at, name } of chart.uprights || []) {
      marks.push(Plot.ruleX([at], { stroke: "var(--soft)", strokeDasharray: "1 4", strokeWidth: 2 }));
      marks.push(Plot.text([name], { x: at, frameAnchor: "top", rotate: -90, textAnchor: "end", dx: -9, fill: "var(--ink)", stroke: "var(--card)", strokeWidth: 4 }));
    }
    const values = all.map((p) => p.y);
    const low = d3.min(values), high = d3.max(values);
    const logarithmic = chart.log || (chart.log_y && low > 0);
    const domain = logarithmic ? [low / 2, high * 2] : low >= 0 && low < 0.6 * high ? [0, high * 1.05] : low === high ? [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2] : [low - (high - low) * 0.08, high + (high - low) * 0.08];
    const options = base(chart, width, { marks });
    options.y.domain = domain;
    if (chart.log) Object.assign(options.x, { type: "log", tickFormat: "~s" });
    if (logarithmic) Object.assign(options.y, { type: "log", tickFormat: tick });
    const made = [Plot.plot(options)];
    if (chart.series.length > 1) made.unshift(legend(chart.series.map((one) => one.name), looks));
    return made;
  }

  function cohort(chart, width) {
    const rounds = chart.points.map((p) => p[0]);
    const span = [{ x1: d3.min(rounds) - 0.5, x2: d3.max(rounds) + 0.5, y1: chart.band[0], y2: chart.band[1] }];
    const options = base(chart, width, { marks: [
      Plot.rect(span, { x1: "x1", x2: "x2", y1: "y1", y2: "y2", fill: "var(--band)" }),
      Plot.ruleY([chart.mean], { stroke: "var(--s2)", strokeWidth: 2, strokeDasharray: "6 4" }),
      Plot.dot(chart.points, { x: (p) => p[0], y: (p) => p[1], fill: "var(--s0)", r: rounds.length > 120 ? 1.8 : 3.5 }),
      Plot.tip(chart.points, Plot.pointer({ x: (p) => p[0], y: (p) => p[1], title: (p) => `round ${p[0]}: ${p[1]} drawn` })),
    ] });
    const [low, high] = d3.extent([...chart.band, ...chart.points.map((p) => p[1])]);
    options.y.domain = [Math.max(0, low - 0.15 * (high - low)), high + 0.15 * (high - low)];
    const names = ["drawn", `expected, ${short(chart.mean)}; shaded: 95 % of the rounds`];
    return [legend(names, [{ colour: "var(--s0)", dash: "1 5" }, { colour: "var(--s2)", dash: "6 4" }]), Plot.plot(options)];
  }

  function heat(chart, width) {
    const rows = chart.values.length, columns = chart.columns.length;
    const cells = [];
    chart.values.forEach((row, y) => row.forEach((value, x) => cells.push({ x, y, value })));
    const positive = cells.map((cell) => cell.value).filter((value) => value > 0);
    const few = rows <= 40;
    const left = few ? Math.min(width * 0.4, 12 + 6.4 * d3.max(chart.rows, (name) => Math.min(name.length, 34))) : 52;
    const clipped = (name) => { const most = Math.max(8, Math.floor((left - 12) / 6.4)); return name.length > most ? `…${name.slice(1 - most)}` : name; };
    const size = Math.ceil(columns / Math.max(3, (width - left) / 60));
    const height = few ? 70 + rows * 15 : Math.min(640, 90 + rows * 2);
    const title = (cell) => `${chart.rows[cell.y]}, ${whole(chart.columns[cell.x])}: norm ${short(cell.value)}${chart.bounds ? `, clip bound ${short(chart.bounds[cell.y])}` : ""}`;
    const options = {
      width, height, marginLeft: left, marginBottom: 40, marginTop: 8,
      style: { background: "none", fontSize: "11px", overflow: "visible" },
      x: { domain: [-0.5, columns - 0.5], label: "round", labelArrow: false, ticks: d3.range(0, columns, size), tickFormat: (i) => (chart.columns[i] ? chart.columns[i][0] : "") },
      y: { domain: [-0.5, rows - 0.5], reverse: true, label: few ? null : "tensor, in the order of the model", labelArrow: false, ticks: few ? d3.range(rows) : 6, tickFormat: (i) => (few ? clipped(chart.rows[i] || "") : i + 1), tickSize: few ? 0 : 6 },
      color: { type: "log", scheme: "cividis", domain: [d3.min(positive) || 1e-9, d3.max(positive) || 1], label: "mean norm before clipping", tickFormat: "~g" },
      marks: [
        Plot.raster(cells, { x1: -0.5, x2: columns - 0.5, y1: -0.5, y2: rows - 0.5, width: columns, height: rows, x: "x", y: "y", fill: "value", imageRendering: "pixelated" }),
      ],
    };
    const drawn = Plot.plot(options);
    const key = Plot.legend({ color: options.color, width: Math.min(width, 320), style: { background: "none" }, ticks: 3 });
    const read = element("p", { class: "readout" }, "Point at a cell to read it.");
    drawn.addEventListener("pointermove", (event) => { // one listener: a tip for each of 50,000 cells takes seconds
      const [px, py] = d3.pointer(event, drawn);
      const x = Math.round(drawn.scale("x").invert(px)), y = Math.round(drawn.scale("y").invert(py));
      if (x >= 0 && x < columns && y >= 0 && y < rows) read.textContent = title({ x, y, value: chart.values[y][x] });
    });
    return [key, drawn, read];
  }

  function tensors(chart, width) {
    const shown = [
      { name: "update norm, mean over rounds", values: chart.norms, symbol: "circle", colour: "var(--s0)" },
      { name: "clip bound", values: chart.bounds, symbol: "square", colour: "var(--s1)" },
    ];
    if (chart.noise) shown.push({ name: "noise of a round, norm", values: chart.noise, symbol: "triangle", colour: "var(--s2)" });
    const all = shown.flatMap((one) => one.values.map((value, index) => ({ index, value, name: one.name }))).filter((p) => p.value > 0);
    const options = base({ x: "tensor, in the order of the model", y: "L2 norm" }, width, { marks: [
      ...shown.map((one) => Plot.dot(one.values.map((value, index) => ({ index, value })).filter((p) => p.value > 0), { x: (p) => p.index + 1, y: "value", fill: one.colour, symbol: one.symbol, r: one.values.length > 100 ? 2 : 3.5 })),
      Plot.tip(all, Plot.pointer({ x: (p) => p.index + 1, y: "value", title: (p) => `${chart.names[p.index]}\n${p.name}: ${short(p.value)}` })),
    ] });
    options.y = { ...options.y, type: "log", tickFormat: "~g" };
    const drawn = Plot.plot(options);
    const key = element("ul", { class: "legend" }, ...shown.map((one) => element("li", {}, Plot.plot({ width: 16, height: 14, margin: 0, axis: null, x: { domain: [0, 1] }, y: { domain: [0, 1] }, style: { background: "none", display: "inline-block", width: "16px" }, marks: [Plot.dot([[0.5, 0.5]], { fill: one.colour, symbol: one.symbol, r: 5 })] }), one.name)));
    return [key, drawn];
  }

  function speakers(chart, width) {
    const first = chart.rates.length - chart.worst;
    const dots = chart.rates.map(([rate, name], index) => ({ rate, name, index, worst: index >= first }));
    const marks = [
      Plot.ruleY([0]),
      Plot.dot(dots.filter((p) => !p.worst), { x: (p) => p.index + 1, y: "rate", fill: "var(--s0)", r: 3 }),
      Plot.dot(dots.filter((p) => p.worst), { x: (p) => p.index + 1, y: "rate", fill: "var(--s1)", symbol: "diamond", r: 4.5 }),
      Plot.tip(dots, Plot.pointer({ x: (p) => p.index + 1, y: "rate", title: (p) => `${p.name}\nWER ${percent(p.rate)}` })),
    ];
    if (chart.mean !== null) marks.unshift(Plot.ruleY([chart.mean], { stroke: "var(--s2)", strokeDasharray: "6 4", strokeWidth: 2 }));
    const names = ["speakers, by their WER", "the worst tenth"];
    const looks = [{ colour: "var(--s0)", dash: "3 5" }, { colour: "var(--s1)", dash: "3 5" }];
    if (chart.mean !== null) { names.push("all together"); looks.push({ colour: "var(--s2)", dash: "6 4" }); }
    return [legend(names, looks), Plot.plot(base({ x: "speakers in ascending order", y: "WER", percent: true }, width, { marks }))];
  }

  const kinds = { lines, cohort, heat, tensors, speakers };
  function draw(holder, width) {
    const chart = charts[holder.id];
    const drawn = kinds[chart.chart](chart, width);
    for (const one of drawn) one.setAttribute("aria-hidden", "true"); // the holder's label says what they show
    holder.replaceChildren(...drawn);
    holder.dataset.drawn = chart.chart;
    shown.set(holder, JSON.stringify(chart));
  }

  const widths = new WeakMap(), shown = new WeakMap();
  const seen = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const width = Math.floor(contentRect.width);
      if (width > 0 && widths.get(target) !== width) { widths.set(target, width); draw(target, width); }
    }
  });
  for (const holder of document.querySelectorAll(".plot")) seen.observe(holder);
  // For the live page: draw anew what the page's data has changed, and what has come.
  window.redraw = () => {
    charts = data();
    for (const holder of document.querySelectorAll(".plot")) {
      if (!widths.has(holder)) seen.observe(holder);
      else if (shown.get(holder) !== JSON.stringify(charts[holder.id])) draw(holder, widths.get(holder));
    }
  };
  document.documentElement.dataset.ready = "yes";
})();
