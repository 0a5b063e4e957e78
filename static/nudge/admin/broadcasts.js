// The form of a broadcast: fields that mean nothing for what is chosen are put away.
(() => {
  "use strict";

  const NEEDS = {
    day: (form) => form.when.value !== "now",
    time: (form) => form.when.value !== "now",
    repeat: (form) => form.when.value !== "now",
    weekdays: (form) => form.when.value !== "now" && form.repeat.value === "weekly",
    last_day: (form) => form.when.value !== "now" && form.repeat.value !== "",
  };

  function arrange(form) {
    Object.entries(NEEDS).forEach(([name, needed]) => {
      const row = form.querySelector(`.form-row.field-${name}, .field-row.field-${name}, .field-${name}`);
      if (row) row.hidden = !needed(form.elements);
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("broadcast_form");
    if (!form || !form.elements.when) return;
    // What is put away must not be sent: a broadcast at once has no day.
    form.addEventListener("change", () => arrange(form));
    form.addEventListener("submit", () => {
      form.querySelectorAll("[hidden] input, [hidden] select").forEach((field) => {
        if (["checkbox", "radio"].includes(field.type)) field.checked = false;
        else field.value = "";
      });
    });
    arrange(form);
  });
})();
