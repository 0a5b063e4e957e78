/* Members of a list: tick all on the page; choosing a segment or naming a new list also ticks its answer. */
"use strict";

(() => {
  document.querySelector("[data-lists-all]")?.addEventListener("change", (event) => {
    for (const box of document.querySelectorAll("#members-form [name=people]")) box.checked = event.target.checked;
  });
  for (const field of document.querySelectorAll(".lists-source, .lists-name")) {
    field.addEventListener("input", () => (field.closest("label").querySelector("[type=radio]").checked = true));
  }
})();
