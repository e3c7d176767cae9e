// The filter of the table of names: shows the rows that have every word that is typed, and hides sections without any.
"use strict";

(() => {
  const box = document.querySelector(".functions-filter");
  const rows = [...document.querySelectorAll("table.functions tbody tr")];
  const texts = rows.map((row) => `${row.closest("section").querySelector("h2").textContent} ${row.textContent}`.toLowerCase());

  box.addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => (row.hidden = !words.every((word) => texts[i].includes(word))));
    for (const table of document.querySelectorAll("table.functions"))
      table.closest("section").hidden = !table.querySelector("tbody tr:not([hidden])");
    const shown = rows.filter((row) => !row.hidden).length;
    box.querySelector("output").textContent = shown ? `${shown.toLocaleString("en")} names` : "No such name";
  });
})();
