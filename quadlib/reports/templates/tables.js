// Every table can be taken along: as text for a spreadsheet, or as a CSV file. Nothing leaves the page by itself.
(() => {
  const cells = (row) => [...row.querySelectorAll("th, td")].map((cell) => cell.innerText.trim());
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const button = (words, act) => {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: words });
    made.addEventListener("click", act);
    return made;
  };
  for (const [place, table] of document.querySelectorAll(".scroll > table").entries()) {
    if (table.rows.length < 2 || table.closest("dialog")) continue;
    const rows = () => [...table.rows].map(cells);
    const copy = button("Copy", async () => {
      await navigator.clipboard.writeText(rows().map((row) => row.join("\t")).join("\n"));
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
    const csv = button("CSV", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([rows().map((row) => row.map(quoted).join(",")).join("\r\n")], { type: "text/csv" }));
      link.download = `${document.title.split(" · ").reverse().join("-").replace(/[^\w.-]+/g, "_")}-table-${place + 1}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
    const tools = document.createElement("p");
    tools.className = "table-tools";
    tools.append(copy, csv);
    table.parentElement.before(tools);
  }
})();
