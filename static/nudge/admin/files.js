/* Importing a file: show what was chosen, refuse what is too large before it is sent, say that it is on its way. */
"use strict";

(() => {
  const form = document.querySelector("[data-files]");
  if (!form) return;
  const input = form.elements.file;
  const drop = form.querySelector("[data-files-drop]");
  const error = form.querySelector("[data-files-error]");
  const encoding = form.querySelector(".files-encoding");

  function chosen() {
    const [file] = input.files;
    if (!file) return;
    form.querySelector("[data-files-name]").textContent = file.name;
    const large = file.size > Number(form.dataset.filesLimit);
    error.textContent = large ? error.dataset.filesTooLarge : "";
    drop.classList.toggle("is-held", !large);
    encoding.hidden = /\.xls[xm]$/i.test(file.name);
    if (large) input.value = "";
  }
  input.addEventListener("change", chosen);
  // The theme would write the name into a text field beside it, and there is none.
  input.hasChangeListener = true;
  // The field lies over the whole area, so the browser itself takes what is dropped; only the frame is ours.
  for (const [name, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    drop.addEventListener(name, () => drop.classList.toggle("is-over", over));
  }
  form.addEventListener("submit", () => {
    const status = form.querySelector("[data-files-status]");
    if (input.files.length) status.textContent = status.dataset.filesWords;
    // After this turn, so that the button that was pressed is still sent.
    setTimeout(() => form.querySelectorAll("button").forEach((button) => (button.disabled = true)));
  });
  window.addEventListener("pageshow", () => form.querySelectorAll("button").forEach((button) => (button.disabled = false)));
})();
