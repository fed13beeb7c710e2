// Plays a recording: one time for the cursor, the frame that is shown, and the sound, on the clock of its log.
const playRecording = (root) => {
  const [start, end] = [Number(root.dataset.start), Number(root.dataset.end)];
  if (!("start" in root.dataset)) return () => {};
  const [button, slider, clock, cursor, now] = ["play", "time", "clock", "cursor", "now"].map((name) => root.querySelector(`.quad-${name}`));
  const strip = root.querySelector(".quad-frames");
  const sounds = [...root.querySelectorAll("audio")];
  sounds.forEach((sound) => { sound.controls = false; });
  root.querySelector(".quad-controls").hidden = false;
  let [time, playing, before, frame] = [Number(slider.value), false, 0, 0];

  const place = (sound) => time - Number(sound.dataset.start);
  const draw = () => {
    const share = (time - start) / Math.max(end - start, 1e-9);
    cursor.style.left = `${100 * share}%`;
    slider.value = time;
    clock.textContent = `${time.toFixed(1).replace(/^-0\.0$/, "0.0")} s`;
    slider.setAttribute("aria-valuetext", clock.textContent);
    if (!strip || !now) return;
    const [left, width] = [parseFloat(strip.style.left), parseFloat(strip.style.width)];
    const count = strip.children.length;
    const which = Math.floor(((100 * share - left) / width) * count);
    now.src = strip.children[Math.min(Math.max(which, 0), count - 1)].src;
  };
  // A sound is heard while the time is within it; it then gives the time itself, so that both stay together.
  const listen = () => {
    for (const sound of sounds) {
      const at = place(sound);
      const inside = playing && at >= 0 && at < sound.duration;
      if (inside && sound.paused && !sound.ended) { sound.currentTime = at; sound.play(); }
      if (!inside && !sound.paused) sound.pause();
    }
  };
  const tick = (stamp) => {
    if (!playing) return;
    if (!root.isConnected) return stop();
    const heard = sounds.find((sound) => !sound.paused && sound.readyState > 2 && !sound.seeking);
    time = heard ? Number(heard.dataset.start) + heard.currentTime : time + (stamp - before) / 1000;
    before = stamp;
    if (time >= end) { time = end; stop(); }
    listen();
    draw();
    frame = requestAnimationFrame(tick);
  };
  const stop = () => {
    playing = false;
    cancelAnimationFrame(frame);
    button.textContent = "Play";
    listen();
  };
  const play = () => {
    if (time >= end) time = start;
    playing = true;
    button.textContent = "Pause";
    before = performance.now();
    listen();
    frame = requestAnimationFrame(tick);
  };
  const seek = (to) => {
    time = Math.min(Math.max(to, start), end);
    for (const sound of sounds) if (!sound.paused) sound.pause();
    listen();
    draw();
  };
  button.addEventListener("click", () => (playing ? stop() : play()));
  slider.addEventListener("input", () => seek(Number(slider.value)));
  for (const lane of root.querySelectorAll(".quad-axis")) {
    lane.addEventListener("click", (event) => {
      const box = lane.getBoundingClientRect();
      seek(start + ((event.clientX - box.left) / box.width) * (end - start));
    });
  }
  draw();
  return stop;
};
