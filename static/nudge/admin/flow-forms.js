// The forms of the flow builder's panel: fields that show when others say so, rows that come and go, shares that add up,
// folded sections that stay as they were, and saving by themselves.
(() => {
  "use strict";

  const PAUSE = 800; // milliseconds after the last change
  const byId = (id) => document.getElementById(id);
  const panel = () => byId("panel-body");
  const words = (name) => byId("flow-builder").dataset[name];

  // --- Fields that show when others say so: data-show-if="kind=date,time;source=event" ---
  function chosen(form, name) {
    const found = form.elements.namedItem(name);
    if (!found) return [];
    const fields = found instanceof RadioNodeList ? Array.from(found) : [found];
    return fields.filter((field) => !["checkbox", "radio"].includes(field.type) || field.checked).map((field) => field.value);
  }

  function show(form) {
    form.querySelectorAll("[data-show-if]:not(input, select, textarea)").forEach((row) => {
      const prefix = row.closest("[data-prefix]")?.dataset.prefix || "";
      row.hidden = !row.dataset.showIf.split(";").filter(Boolean).every((part) => {
        const [name, values] = part.split("=").map((text) => text.trim());
        const now = chosen(form, prefix + name);
        return values.split(",").some((value) => now.includes(value.trim()));
      });
    });
  }

  // --- Shares ---
  function sum(form) {
    const output = form.querySelector("[data-sum]");
    if (!output) return;
    const total = Array.from(form.querySelectorAll("[data-percent]"), (field) => Number(field.value) || 0).reduce((all, one) => all + one, 0);
    const rounded = Math.round(total * 100) / 100;
    output.textContent = rounded.toLocaleString(document.documentElement.lang || undefined);
    output.closest(".flow-sum").classList.toggle("flow-sum-wrong", rounded !== 100);
  }

  // --- Names of events that nobody sent so far ---
  function doubt(form) {
    const known = new Set(Array.from(byId("flow-events")?.options || [], (option) => option.value));
    form.querySelectorAll("[data-unseen]").forEach((hint) => {
      const name = hint.parentElement.querySelector("input[list=flow-events]").value.trim();
      hint.hidden = !name || !known.size || known.has(name);
    });
  }

  function arrange() {
    const form = panel()?.querySelector("form");
    if (!form) return;
    doubt(form);
    show(form);
    sum(form);
  }

  // --- Saving ---
  let changed = false, warned = false, saving = null, merge = "", timer = 0;

  const form = () => panel()?.querySelector("form.flow-form");
  const saves = () => form()?.dataset.autosave;

  function say(state, text) {
    const chip = byId("flow-saved"), line = byId("flow-saving");
    if (chip) {
      chip.dataset.state = state;
      chip.querySelector("[data-text]").textContent = words(state);
      chip.querySelector(".material-symbols-outlined").textContent = { saved: "cloud_done", saving: "cloud_sync", unsaved: "cloud_off" }[state];
    }
    if (line && saves()) {
      line.dataset.state = state;
      line.textContent = text || words(state);
    }
  }

  function touched() {
    changed = true;
    warned = false;
    if (!saves()) return;
    clearTimeout(timer);
    timer = setTimeout(save, PAUSE);
  }

  function save() {
    clearTimeout(timer);
    window.flowQueue.run(() => {
      const source = form(), address = saves();
      if (!changed || !address) return;
      changed = false;
      saving = true; // until the request itself is known
      say("saving");
      window.htmx.ajax("POST", address, { source, target: "#flow-tree", swap: "outerHTML", values: { auto: "1" } });
    });
  }

  // A draft that is another one by now (409) has to be loaded first; what just did not get there is sent again.
  document.addEventListener("htmx:beforeRequest", ({ detail }) => {
    if (saving === true && detail.target?.id === "flow-tree") saving = detail.xhr;
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (!saving || detail.xhr !== saving) return;
    saving = null;
    if (detail.successful && detail.xhr.status !== 409) return;
    changed = detail.xhr.status !== 409;
    say("unsaved");
  });

  document.addEventListener("flow-saved", ({ detail }) => {
    merge = String(detail.revision);
    say(changed ? "unsaved" : "saved");
  });

  document.addEventListener("flow-unsaved", ({ detail }) => {
    const leaving = warned;
    changed = true;
    say("unsaved", [words("unsaved"), ...detail.mistakes].join(" · "));
    if (!leaving) return;
    window.flowQueue.forget();
    document.dispatchEvent(new CustomEvent("flow-toast", { detail: { text: words("leave"), bad: true } }));
  });

  // One undo takes back all that was changed while the panel was open.
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (merge && detail.elt.matches?.("#panel-body form.flow-form")) detail.parameters.merge = merge;
  });

  window.flowForms = {
    // Whether the panel may go: what was changed in it is stored first. Asked a second time, it may.
    leave() {
      clearTimeout(timer);
      if (!changed || !form()) return true;
      if (warned) {
        changed = false;
        return true;
      }
      warned = true;
      if (saves()) {
        save();
        return true;
      }
      document.dispatchEvent(new CustomEvent("flow-toast", { detail: { text: words("leave"), bad: true } }));
      return false;
    },
    fresh() {
      clearTimeout(timer);
      changed = warned = false;
      merge = "";
    },
  };

  const mine = (event) => event.target instanceof Element && event.target.closest("#panel-body form.flow-form");

  ["input", "change", "flow-retyped"].forEach((kind) => document.addEventListener(kind, (event) => {
    if (!mine(event) || event.target.matches("[data-filter]")) return;
    arrange();
    if (!event.target.name.startsWith("preview_")) touched();
  }));

  document.addEventListener("click", (event) => {
    if (!mine(event)) return;
    const add = event.target.closest("[data-add-row]"), remove = event.target.closest("[data-remove-row]");
    if (add) {
      const rows = add.closest("[data-pairs]"), row = rows.querySelector("template").content.firstElementChild.cloneNode(true);
      add.before(row);
      row.querySelector("input").focus();
    }
    if (remove) {
      const rows = remove.closest("[data-pairs]");
      remove.closest("[data-row]").remove();
      rows.querySelector("[data-add-row]").focus();
      touched();
    }
  });

  // --- Drawing anew: what was open stays open, and what a button did is stored like what was typed ---
  let open = [];

  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.target?.id !== "panel-body") return;
    open = window.flowQueue.redraws() ? Array.from(panel().querySelectorAll("details.flow-fold[open]"), (part) => part.id) : [];
  });

  document.addEventListener("htmx:afterSwap", ({ detail }) => {
    if (detail.target?.id !== "panel-body") return;
    open.filter((id) => id !== "fold-kind").forEach((id) => byId(id)?.setAttribute("open", ""));
    panel().querySelectorAll("details.flow-fold").forEach((part) => {
      if (part.querySelector("[role=alert], [aria-invalid=true]")) part.open = true;
    });
    if (window.flowQueue.redraws()) touched();
    else window.flowForms.fresh();
    arrange();
  });

  // --- Who wrote a message in another tab and comes back finds it chosen ---
  let known = null;

  const list = () => panel()?.querySelector("select[name=message]");
  const values = (select) => new Set(Array.from(select.options, (option) => option.value));

  document.addEventListener("click", (event) => {
    if (mine(event) && event.target.closest("[data-write]") && list()) known = values(list());
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && known) byId("refresh-messages")?.click();
  });
  document.addEventListener("htmx:afterSwap", ({ detail }) => {
    if (detail.target?.id !== "panel-body" || !known || !list()) return;
    const fresh = Array.from(list().options).filter((option) => !known.has(option.value));
    known = null;
    if (fresh.length !== 1) return;
    list().value = fresh[0].value;
    list().dispatchEvent(new Event("change", { bubbles: true }));
  });

  window.addEventListener("beforeunload", (event) => {
    if (changed && form()) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && changed && saves()) save();
  });
})();
