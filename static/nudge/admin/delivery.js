// Writing messages: character counters, and the preview follows the language that is being edited.
(() => {
  "use strict";

  const counted = (field) => {
    const limit = Number(field.dataset.count);
    let out = field.parentElement.querySelector(":scope > .count");
    if (!out) {
      out = document.createElement("p");
      out.className = "count";
      out.setAttribute("aria-hidden", "true");
      field.insertAdjacentElement("afterend", out);
    }
    const shown = field.value.replace(/\{\{.*?\}\}|\{%.*?%\}/gs, ""); // what variables stand for is not known here
    const length = [...shown].length; // an emoji is one character
    out.textContent = `${length} / ${limit}`;
    out.classList.toggle("is-over", length > limit);
  };

  const countAll = (root) => root.querySelectorAll("[data-count]").forEach(counted);

  document.addEventListener("input", (event) => {
    if (event.target.matches?.("[data-count]")) counted(event.target);
  });

  document.addEventListener("focusin", (event) => {
    const found = /^(contents-[a-z]+-\d+)-/.exec(event.target.name ?? "");
    const chosen = document.querySelector("input[name=preview_form]");
    if (found && chosen) chosen.value = found[1];
  });

  document.addEventListener("formset:added", (event) => countAll(event.target));
  countAll(document);
})();
