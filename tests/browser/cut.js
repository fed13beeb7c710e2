// Every text that a page of this width does not show whole: beyond its edges, or beyond what clips it.
(width) => {
  const cut = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest("script, style, noscript, .modebar, .skip")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of [...range.getClientRects()].filter((box) => box.width && box.height)) {
      let [left, right] = [0, width];
      for (let up = parent; up; up = up.parentElement) {
        const frame = up.getBoundingClientRect();
        const scrolls = up.closest("[tabindex='0']") && !matchMedia("print").matches;  // within reach on a screen
        const clips = up.tagName === "svg" || getComputedStyle(up).overflowX !== "visible";
        if (scrolls) [left, right] = [-Infinity, Infinity];
        else if (clips && frame.width) [left, right] = [Math.max(left, frame.left), Math.min(right, frame.right)];
      }
      if (box.left < left - 1 || box.right > right + 1) cut.push(node.textContent.trim());
    }
  }
  return cut;
}
