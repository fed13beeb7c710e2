// Goes on where the kernel cannot be heard, as after a reload while a cell runs: reads what the monitor wrote into the
// run's folder, through the server that this page came from.
(() => {
  const root = document.getElementById("__ID__");
  const told = document.getElementById("jupyter-config-data");
  if (!root || !told || !root.dataset.place) return;
  const config = JSON.parse(told.textContent);
  const folder = config.serverRoot.replace(/^~/, root.dataset.home);
  if (!root.dataset.place.startsWith(`${folder}/`)) return;
  const path = root.dataset.place.slice(folder.length + 1).split("/").map(encodeURIComponent).join("/");
  const look = async () => {
    if (!root.isConnected) return;
    const answer = await fetch(`${config.baseUrl}files/${path}?at=${Date.now()}`, { credentials: "same-origin" });
    if (!answer.ok || !root.isConnected) return;
    root.innerHTML = await answer.text();
    if (!root.querySelector("[data-ended]")) setTimeout(look, 3000);
  };
  setTimeout(look, 5000);
})();
