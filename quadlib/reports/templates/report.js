// Draws every figure of the page with the plotly engine that lies in the page, gzipped; nothing is loaded from anywhere.
(async () => {
  const areas = [...document.querySelectorAll(".plot-area")];
  if (!areas.length) return;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // The figures' neutral greys, made as strong as the page's own ink in either theme.
  const PAPER_PX = 640;  // fits between the margins of A4 and of letter
  const NARROW_PX = 560;
  const MOST_LETTERS = 18;

  // On a phone, long class names would leave no room for what they name: they are cut, and whole in the data table.
  const wrapped = (text, most) => text.split(" ").reduce((lines, word) =>
    lines && (lines + word).length - lines.lastIndexOf("<br>") > most ? `${lines}<br>${word}` : `${lines} ${word}`.trim(), "");
  const narrowed = ({ data, layout }) => {
    const short = (text) => (text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS - 1)}…` : text);
    for (const letter of ["x", "y"]) {
      const names = [...new Set(data.flatMap((trace) => (Array.isArray(trace[letter]) ? trace[letter] : [])))];
      for (const name of Object.keys(layout).filter((key) => new RegExp(`^${letter}axis\\d*$`).test(key))) {
        const axis = layout[name];
        axis.tickfont = { size: 11, ...axis.tickfont };
        if (names.length && names.every((value) => typeof value === "string") && names.some((value) => value.length > MOST_LETTERS)) {
          Object.assign(axis, { tickmode: "array", tickvals: names, ticktext: names.map(short) });
        }
        if (letter === "y" && layout.margin) delete layout.margin.l;
      }
    }
    for (const trace of data) {
      if (trace.colorbar) trace.colorbar = { ...trace.colorbar, title: { text: "" } };  // the figure's title says it
      if (trace.type === "bar" && trace.text) trace.textposition = "none";  // in the data table
    }
  };

  const themed = (area, isDark, width) => {
    const [ink, quiet, grid] = isDark ? ["#e6e6e3", "#a2a6aa", "#33373b"] : ["#1d1f21", "#5c6166", "#e4e4e0"];
    const text = area.specification.replace(/"#(797979|222|222222)"/gi, `"${ink}"`);
    const figure = JSON.parse(text);
    const layout = figure.layout;
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { ...layout.font, color: ink };
    layout.autosize = !width;
    if (width) layout.width = width;
    layout.hoverlabel = { bgcolor: isDark ? "#2c3034" : "#ffffff", bordercolor: quiet, ...layout.hoverlabel, font: { color: ink } };
    layout.modebar = { ...layout.modebar, remove: [...((layout.modebar || {}).remove || []), "sendChartToCloud", "lasso2d", "select2d", "autoScale2d"],
      bgcolor: "rgba(0,0,0,0)", color: quiet, activecolor: ink };
    for (const name of new Set([...Object.keys(layout), "xaxis", "yaxis"])) {
      if (/^[xy]axis\d*$/.test(name)) {
        layout[name] = { ...layout[name], gridcolor: grid, zerolinecolor: quiet, linecolor: quiet, tickcolor: quiet, color: quiet };
      }
    }
    const wide = width || area.clientWidth;
    if (wide < NARROW_PX) narrowed(figure);
    for (const name of Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key))) {
      const [{ title = {}, domain = [0, 1] }, letter] = [layout[name], 10];
      if (title.text) layout[name].title = { ...title, text: wrapped(title.text, ((domain[1] - domain[0]) * wide) / letter) };
    }
    return figure;
  };

  const draw = (isDark, width) => Promise.all(areas.map(async (area) => {
    try {
      const figure = themed(area, isDark, width);
      await Plotly.react(area, figure.data, figure.layout, { responsive: true, displaylogo: false, showSendToCloud: false });
      if (figure.frames.length && !area.framed) { await Plotly.addFrames(area, figure.frames); area.framed = true; }
    } catch (error) {
      fail(area, error);
    }
  }));

  const fail = (area, error) => {
    area.className = "plot-failed";
    area.style.height = "auto";
    area.textContent = `This figure could not be drawn (${error.message}); its numbers are in the data table below.`;
  };

  try {
    const packed = Uint8Array.from(atob(document.getElementById("plotly-engine").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const engine = document.createElement("script");
    engine.textContent = await new Response(stream).text();
    const loader = window.define;  // require.js of an exported notebook would keep the engine to itself
    window.define = undefined;
    document.head.append(engine);
    window.define = loader;
    for (const area of areas) area.specification = area.nextElementSibling.textContent;
  } catch (error) {
    areas.forEach((area) => fail(area, error));
    return;
  }
  await draw(dark.matches);
  dark.addEventListener("change", () => draw(dark.matches));
  window.addEventListener("beforeprint", () => draw(false, PAPER_PX));
  window.addEventListener("afterprint", () => draw(dark.matches));
  document.documentElement.dataset.drawn = String(document.querySelectorAll(".plot-area .main-svg").length > 0);
})();
