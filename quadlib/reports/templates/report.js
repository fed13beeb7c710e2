// Draws every figure of the page with the plotly engine that lies in the page, gzipped; nothing is loaded from anywhere.
(async () => {
  const areas = [...document.querySelectorAll(".plot-area")];
  if (!areas.length) return;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // The figures' neutral greys, made as strong as the page's own ink in either theme.
  const themed = (area, isDark) => {
    const [ink, quiet, grid] = isDark ? ["#e6e6e3", "#a2a6aa", "#33373b"] : ["#1d1f21", "#5c6166", "#e4e4e0"];
    const text = area.specification.replace(/"#(797979|222|222222)"/gi, `"${ink}"`);
    const figure = JSON.parse(text);
    const layout = figure.layout;
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { ...layout.font, color: ink };
    layout.autosize = true;
    layout.hoverlabel = { bgcolor: isDark ? "#2c3034" : "#ffffff", bordercolor: quiet, ...layout.hoverlabel, font: { color: ink } };
    layout.modebar = { ...layout.modebar, remove: [...((layout.modebar || {}).remove || []), "sendChartToCloud", "lasso2d", "select2d", "autoScale2d"],
      bgcolor: "rgba(0,0,0,0)", color: quiet, activecolor: ink };
    for (const name of new Set([...Object.keys(layout), "xaxis", "yaxis"])) {
      if (/^[xy]axis\d*$/.test(name)) {
        layout[name] = { ...layout[name], gridcolor: grid, zerolinecolor: quiet, linecolor: quiet, tickcolor: quiet, color: quiet };
      }
    }
    return figure;
  };

  const draw = (isDark) => Promise.all(areas.map(async (area) => {
    try {
      const figure = themed(area, isDark);
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
  window.addEventListener("beforeprint", () => draw(false));
  window.addEventListener("afterprint", () => draw(dark.matches));
  document.documentElement.dataset.drawn = String(document.querySelectorAll(".plot-area .main-svg").length > 0);
})();
