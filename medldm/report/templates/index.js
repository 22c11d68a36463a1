"use strict";
// The table is whole without this; here it sorts by its heads and shows a part of its rows.
(function () {
  const table = document.getElementById("runs");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const status = document.getElementById("shown");
  document.getElementById("filters").hidden = false;

  function key(row, column, kind) {
    const value = row.cells[column].dataset.value;
    if (kind === "number") return value === "" ? null : Number(value);
    return value;
  }

  function sort(head, kind) {
    const column = head.cellIndex;
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const keyed = rows.map((row) => [key(row, column, kind), row]);
    // What has no value stays at the end, whichever way.
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = kind === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
      return rising ? order : -order;
    });
    body.append(...keyed.map(([, row]) => row));
  }

  for (const head of table.tHead.rows[0].cells) {
    if (!head.dataset.kind) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head, head.dataset.kind));
    head.replaceChildren(button);
  }

  const find = document.getElementById("find");
  const verdict = document.getElementById("status");
  const recipe = document.getElementById("recipe");

  function filter() {
    const text = find.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = (!verdict.value || row.dataset.status === verdict.value)
        && (!recipe.value || row.dataset.recipe === recipe.value)
        && row.cells[1].dataset.value.toLowerCase().includes(text);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    status.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
  }

  for (const input of [find, verdict, recipe]) input.addEventListener("input", filter);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
})();
