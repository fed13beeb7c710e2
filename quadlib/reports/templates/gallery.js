// The filter box: a run stays when its text holds every word, or when it is pinned. Two pinned runs or
// more give the command that compares them.
(() => {
  const box = document.getElementById("filter");
  const runs = [...document.querySelectorAll(".run")];
  const count = document.getElementById("count");
  const pinned = document.querySelector(".pinned");
  if (!box) return;
  const chosen = () => [...document.querySelectorAll(".run input:checked")].map((pin) => pin.value);
  const quoted = (name) => (/^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", `'"'"'`)}'`);
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const run of runs) {
      const text = run.textContent.toLowerCase();
      const kept = run.querySelector("input:checked") !== null;
      run.hidden = !kept && !words.every((word) => text.includes(word));
      shown += run.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${runs.length} runs`;
    const names = chosen();
    pinned.hidden = names.length < 2;
    pinned.querySelector("code").textContent = [pinned.dataset.command, ...names.map(quoted)].join(" ");
  };
  box.addEventListener("input", apply);
  for (const run of runs) run.querySelector("input")?.addEventListener("change", apply);
})();
