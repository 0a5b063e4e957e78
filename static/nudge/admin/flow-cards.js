// What is done with steps: their menu, keys, folded branches, and buttons that change the draft.
(() => {
  "use strict";

  const byId = (id) => document.getElementById(id);
  const root = () => byId("flow-builder");
  const card = (key) => byId(`step-${key}`);
  const address = (key, part) => root().dataset.steps.replace(/-\/$/, `${encodeURIComponent(key)}/${part}/`);

  // --- What can be done ---
  function perform(what, key) {
    if (window.flowQueue.before(null) === false) return;
    window.flowQueue.run(() => {
      if (what === "paste") window.flowQueue.send(root().dataset.paste, key ? { after: key } : { at: "", index: "0" });
      else if (!card(key)) document.dispatchEvent(new CustomEvent("flow-lost"));
      else if (what === "up" || what === "down") window.flowQueue.send(address(key, "move"), { by: what });
      else if (what === "delete") window.htmx.ajax("GET", address(key, "delete"), { source: card(key), target: "#dialog-body" });
      else window.flowQueue.send(address(key, "clip"), { do: what });
    });
  }

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("#flow-builder button[data-act]");
    if (!button || button.getAttribute("aria-disabled") === "true") return;
    const { act, values, at, index } = button.dataset;
    window.flowQueue.send(act, values ? JSON.parse(values) : { ...(at === undefined ? {} : { at, index }) });
  });

  // --- The menu of a step ---
  let menuOf = "";

  function openMenu(button) {
    const menu = byId("flow-menu"), box = button.getBoundingClientRect(), stage = root().getBoundingClientRect();
    menuOf = button.dataset.more;
    menu.hidden = false;
    button.setAttribute("aria-expanded", "true");
    const size = menu.getBoundingClientRect(), rtl = getComputedStyle(root()).direction === "rtl";
    const left = rtl ? box.left : box.right - size.width;
    const below = box.bottom + 4 + size.height < window.innerHeight;
    menu.style.left = `${Math.max(8, Math.min(left, window.innerWidth - size.width - 8)) - stage.left}px`;
    menu.style.top = `${Math.max(8, below ? box.bottom + 4 : box.top - size.height - 4) - stage.top}px`;
    menu.querySelector("button").focus();
  }

  function closeMenu(refocus) {
    const menu = byId("flow-menu");
    if (!menu || menu.hidden) return;
    menu.hidden = true;
    const button = byId(`more-${menuOf}`);
    button?.setAttribute("aria-expanded", "false");
    if (refocus) button?.focus();
  }

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const more = event.target.closest("[data-more]"), item = event.target.closest("#flow-menu [data-do]");
    if (item) {
      const what = item.dataset.do, key = menuOf;
      closeMenu(true);
      perform(what, key);
    } else if (more) {
      const again = !byId("flow-menu").hidden && menuOf === more.dataset.more;
      closeMenu(false);
      if (!again) openMenu(more);
    } else closeMenu(false);
    const bar = document.querySelector(".flow-menu-box[open]");
    if (bar && (!bar.contains(event.target) || event.target.closest("button, a"))) bar.open = false;
  });
  document.addEventListener("scroll", () => closeMenu(false), true);

  function walkMenu(event) {
    const items = Array.from(byId("flow-menu").querySelectorAll("button")), at = items.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") closeMenu(true);
    else if (next === undefined) return;
    else items[next % items.length].focus();
    event.preventDefault();
    event.stopPropagation();
  }

  // --- Keys ---
  const KEYS = { c: "copy", x: "cut", v: "paste", d: "duplicate" };

  document.addEventListener("keydown", (event) => {
    if (!(event.target instanceof Element) || !root() || byId("flow-dialog").open) return;
    if (event.target.closest("#flow-menu")) {
      walkMenu(event);
      return;
    }
    if (event.key === "Escape") {
      const bar = document.querySelector(".flow-menu-box[open]");
      if (bar) {
        bar.open = false;
        bar.querySelector("summary").focus();
        event.stopImmediatePropagation();
      }
      return;
    }
    if (event.target.closest("input, select, textarea, [contenteditable]") || !byId("flow-menu")) return;
    const command = (event.ctrlKey || event.metaKey) && !event.altKey, key = event.key.toLowerCase();
    const step = event.target.closest(".flow-card[data-key], [data-more]");
    const name = step?.dataset.key || step?.dataset.more || "";
    if (command && (key === "z" || key === "y")) {
      event.preventDefault();
      byId(key === "y" || event.shiftKey ? "flow-redo" : "flow-undo").click();
    } else if (command && !event.shiftKey && KEYS[key] && event.target.closest(".flow-canvas")) {
      if (key === "c" && String(getSelection())) return; // words are being copied
      if (!name && !(key === "v" && event.target.id === "flow-trigger")) return;
      event.preventDefault();
      perform(KEYS[key], name);
    } else if (name && event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      event.stopPropagation();
      perform(event.key === "ArrowUp" ? "up" : "down", name);
    } else if (name && event.key === "Delete") {
      event.preventDefault();
      perform("delete", name);
    }
  }, true);

  // --- Folded branches, remembered in this browser ---
  const memory = () => `flow-folded:${root().dataset.flow}`;
  const folded = () => new Set(JSON.parse(localStorage.getItem(memory()) || "[]"));

  function fold() {
    const shut = folded();
    root()?.querySelectorAll("[data-branches]").forEach((button) => {
      const closed = shut.has(button.dataset.branches);
      button.setAttribute("aria-expanded", String(!closed));
      button.closest(".flow-item").classList.toggle("flow-folded", closed);
    });
  }

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("[data-branches]");
    if (!button) return;
    const shut = folded(), key = button.dataset.branches;
    if (!shut.delete(key)) shut.add(key);
    localStorage.setItem(memory(), JSON.stringify([...shut]));
    fold();
  });

  window.flowCards = {
    fold,
    // Unfold whatever hides a card.
    reveal(element) {
      for (let item = element?.closest(".flow-folded"); item; item = item.parentElement.closest(".flow-folded")) {
        if (element.closest(".flow-node")?.parentElement === item) continue;
        item.querySelector(":scope > .flow-node [data-branches]")?.click();
      }
    },
  };
  document.addEventListener("DOMContentLoaded", fold);
  document.addEventListener("htmx:afterSwap", ({ detail }) => {
    closeMenu(false);
    if (detail.target?.id !== "panel-body") fold();
  });
})();
