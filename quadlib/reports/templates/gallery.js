// The filter box: a run stays when its text holds every word.
(() => {
  const box = document.getElementById("filter");
  const runs = [...document.querySelectorAll(".run")];
  const count = document.getElementById("count");
  if (!box) return;
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const run of runs) {
      const text = run.textContent.toLowerCase();
      run.hidden = !words.every((word) => text.includes(word));
      shown += run.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${runs.length} runs`;
  };
  box.addEventListener("input", apply);
})();
