/* Connecting a CRM: searching fields, showing what belongs to a choice. Everything works without it, only less handily. */
"use strict";

(() => {
  // Fields: only rows whose label or name holds the words; the folded ones open while there is a search.
  const search = document.querySelector("[data-crm-search]");
  if (search) {
    const rows = [...document.querySelectorAll("[data-crm-field]")];
    const others = document.querySelector(".crm-others");
    const none = document.querySelector("[data-crm-none]");
    const opened = others?.open;
    search.parentElement.hidden = false;
    search.addEventListener("input", () => {
      const words = search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) row.hidden = !words.every((word) => row.dataset.crmField.includes(word));
      if (others) others.open = words.length ? true : opened;
      none.hidden = rows.some((row) => !row.hidden);
    });
    // Enter would send the form that the field stands in.
    search.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  }

  // A consent has words of its own: what an inverted one means, and that nobody's own no is overruled.
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.('select[name^="map-"]')) return;
    const hint = event.target.parentElement.querySelector("[data-crm-inverted]");
    const consent = event.target.value.startsWith("consent:");
    if (hint) hint.hidden = !(consent && event.target.value.endsWith(":inverted"));
    const row = event.target.closest("tr");
    const words = row?.querySelector("[data-crm-consent]");
    if (!words) return;
    words.hidden = !consent;
    row.querySelector('select[name^="win-"]').hidden = consent;
  });

  // Credentials: only those of the chosen way of logging in.
  const dependents = [...document.querySelectorAll("[data-only-for]")];
  function show() {
    for (const field of dependents) {
      const decider = field.form.elements[field.dataset.onlyFor];
      const place = field.closest(".group") ?? field.parentElement;
      if (decider) place.hidden = !field.dataset.onlyValues.split(" ").includes(decider.value);
      place.style.display = place.hidden ? "none" : "";
    }
  }
  if (dependents.length) {
    document.addEventListener("change", show);
    show();
  }

  document.addEventListener("focusin", (event) => event.target.matches?.("[data-crm-select]") && event.target.select());

  // A menu closes when one clicks elsewhere, or by Escape.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll(".crm-menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector(".crm-menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // What is ticked stays ticked: such a part is not refreshed meanwhile.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.target;
    if (part.matches?.("[data-crm-keep-choice]") && part.querySelector("input:checked")) event.preventDefault();
  });
})();
