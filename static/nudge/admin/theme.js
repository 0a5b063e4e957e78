/* The theme's menus and switches that answer only a mouse: they get a role, a name and the keys of a button. Its icons are
   letters to a screen reader and are kept from it. Started once, after Alpine has. */
"use strict";
(() => {
  const NATIVE = "a[href], button, input, select, textarea, summary, label";
  const FOCUSABLE = "a[href], button, input:not([type=hidden]), select, [role=button][tabindex]";
  const OPENS = /^\s*(\w+)\s*=\s*(?:!\s*\1|true)\s*(?:;|$)/; // what a menu that is open is remembered by
  const ICON = ".material-symbols-outlined, .material-symbols-outlined *";

  /** What a control without words of its own is called: by its cell, or by its icon. */
  function nameOf(control) {
    const words = document.getElementById("theme-words")?.content;
    return control.closest("[data-label]")?.dataset.label || words?.querySelector(`[data-icon~="${CSS.escape(control.textContent.trim().split(/\s+/)[0])}"]`)?.textContent;
  }

  function hasWords(control) {
    const copy = control.cloneNode(true);
    copy.querySelectorAll(ICON).forEach((icon) => icon.remove());
    return !control.matches(ICON) && copy.textContent.trim() !== "";
  }

  const shown = (element) => element.getClientRects().length > 0;
  const panelOf = (control) => {
    const name = OPENS.exec(control.getAttribute("x-on:click"))?.[1];
    return name && document.querySelector(`[x-show="${name}"]`);
  };

  /** By keyboard one goes into what has opened, unless it follows anyway, and comes back by Escape. */
  function follow(clicked, control) {
    const panel = panelOf(clicked);
    if (!panel || !shown(panel)) {
      if (!shown(control)) [...document.querySelectorAll("[aria-controls=nav-sidebar]")].find(shown)?.focus();
      return;
    }
    if (panel === clicked.nextElementSibling) return;
    [...panel.querySelectorAll(FOCUSABLE)].find(shown)?.focus();
    const close = (event) => {
      if (event.key !== "Escape") return;
      panel.removeEventListener("keydown", close);
      control.focus();
      if (panel.matches("#changelist-filter")) return; // which the theme closes by itself
      event.stopPropagation();
      if (control.getAttribute("aria-expanded") === "true") control.click();
    };
    panel.addEventListener("keydown", close);
  }

  /** A heading that folds what is under it stays a heading; its words become the button. */
  function wrapped(heading) {
    const inside = document.createElement("span");
    inside.className = "flex grow items-center";
    inside.append(...heading.childNodes);
    heading.append(inside);
    return inside;
  }

  function makeButton(clicked) {
    if (!clicked.textContent.trim()) return; // the ground behind an open panel
    const control = clicked.matches("h1, h2, h3, h4") ? wrapped(clicked) : clicked;
    control.setAttribute("role", "button");
    control.tabIndex = 0;
    control.addEventListener("keydown", (event) => {
      if (event.target !== control || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      control.click();
      setTimeout(() => follow(clicked, control), 60); // the theme's menus fade in
    });
    const name = OPENS.exec(clicked.getAttribute("x-on:click"))?.[1];
    if (name && panelOf(clicked)) {
      Alpine.effect(() => control.setAttribute("aria-expanded", String(Boolean(Alpine.$data(control)[name]))));
    }
  }

  document.addEventListener("alpine:initialized", () => {
    for (const control of document.querySelectorAll("[x-on\\:click]")) if (!control.matches(NATIVE)) makeButton(control);
    for (const control of document.querySelectorAll("a[href], button, [role=button]")) {
      if (control.hasAttribute("aria-label") || hasWords(control)) continue;
      const name = control.title || nameOf(control);
      if (name) control.setAttribute("aria-label", name);
    }
    for (const icon of document.querySelectorAll(".material-symbols-outlined:not([aria-hidden])")) {
      const control = icon.closest("a, button, [role=button]");
      if (control !== icon && (!control || control.hasAttribute("aria-label") || hasWords(control))) icon.setAttribute("aria-hidden", "true");
    }
    // The search term's hint of Django's own lists: a picture with a name, not a piece of text with one.
    setTimeout(() => document.querySelectorAll(".help-tooltip[aria-label]").forEach((hint) => hint.setAttribute("role", "img")), 500);
    document.querySelectorAll("#nav-sidebar a.active").forEach((link) => link.setAttribute("aria-current", "page"));
  });
})();
