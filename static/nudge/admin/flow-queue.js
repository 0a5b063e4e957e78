// One request after the other: what is pressed, chosen or dropped while the flow builder waits for an answer, or before
// what came is ready, happens when it is. A press that meets a redraw goes to the element that took the place of the old.
(() => {
  "use strict";

  const REDRAWN = ["flow-tree", "panel-body", "dialog-body"];
  const PRESSED = "button[hx-get], button[hx-post], button[data-act], button[type=submit], a[hx-get]";
  const byId = (id) => document.getElementById(id);
  const inside = (element) => (element instanceof Element ? element.closest("#flow-builder") : null);

  let current = null; // the request that is under way, or whose answer is not ready yet
  let swapped = false;
  let redraws = false;
  let waiting = [];
  let typed = [];
  let held = null;

  const queue = {
    // Whether the answer under way, or the last one, is the panel's form anew.
    redraws: () => redraws,
    // Asked before a press takes place; may begin a request that the press then waits for, or refuse by false.
    before: () => true,
    run(action) {
      if (current) waiting.push(action);
      else action();
    },
    forget() {
      waiting = [];
    },
    // Changes the draft: answers are the tree and the toolbar anew.
    send(url, values = {}) {
      queue.run(() => window.htmx.ajax("POST", url, { source: "#flow-tree", target: "#flow-tree", swap: "outerHTML", values }));
    },
  };
  window.flowQueue = queue;

  function finish(request) {
    if (current !== request) return;
    queueMicrotask(() => {
      if (current !== request) return;
      current = null;
      byId("flow-builder")?.removeAttribute("aria-busy");
      while (!current && waiting.length) waiting.shift()();
    });
  }

  document.addEventListener("htmx:beforeRequest", ({ detail }) => {
    if (!REDRAWN.includes(detail.target?.id)) return;
    current = detail.xhr;
    swapped = false;
    typed = [];
    redraws = detail.target.id === "panel-body" && Boolean(detail.elt.closest?.("#panel-body form"));
    byId("flow-builder")?.setAttribute("aria-busy", "true");
  });
  document.addEventListener("htmx:afterSwap", ({ detail }) => {
    if (detail.xhr !== current) return;
    swapped = true;
    if (detail.target?.id === "panel-body") retype();
  });
  document.addEventListener("htmx:afterSettle", ({ detail }) => {
    if (detail.xhr === current) finish(current);
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.xhr === current && !swapped) finish(current);
  });

  // --- Presses ---
  function press(button) {
    const now = (button.id && byId(button.id)) || (button.isConnected ? button : null);
    if (now) now.click();
    else document.dispatchEvent(new CustomEvent("flow-lost"));
  }

  document.addEventListener("click", (event) => {
    const button = inside(event.target) && event.target.closest(PRESSED);
    if (!button) return;
    const again = event.detail > 1 && !("repeat" in button.dataset); // of a double click, which would hit what lies there by now
    const allowed = !again && queue.before(button) !== false;
    if (allowed && !current) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (allowed) waiting.push(() => press(button));
  }, true);

  // What is exchanged under a finger gets no click: the button that took its place does.
  document.addEventListener("pointerdown", (event) => { held = inside(event.target) && event.target.closest("button[id]"); }, true);
  document.addEventListener("pointerup", (event) => {
    const was = held;
    held = null;
    if (!was || was.isConnected) return;
    const now = event.target instanceof Element && event.target.closest("button[id]");
    if (now && now.id === was.id) now.click();
  }, true);

  document.addEventListener("submit", (event) => {
    if (!current || !inside(event.target)) return;
    const box = event.target.closest("#panel-body, #dialog-body");
    event.preventDefault();
    event.stopImmediatePropagation();
    waiting.push(() => box?.querySelector("form")?.requestSubmit());
  }, true);

  // --- What is typed into a form that is being drawn anew goes into the new one ---
  const same = (one, other) => one.name === other.name && one.id === other.id && one.type === other.type &&
    (!["checkbox", "radio"].includes(one.type) || one.value === other.value);

  function keep(event) {
    const field = event.target;
    if (!current || !redraws || !(field instanceof Element) || !field.closest("#panel-body") || !field.name) return;
    typed = typed.filter((old) => !same(old, field));
    typed.push(field);
    if (event.type !== "change" || !field.hasAttribute("hx-post")) return;
    event.stopImmediatePropagation();
    waiting.push(() => {
      const now = field.isConnected ? field : find(field);
      now?.dispatchEvent(new Event("change", { bubbles: true }));
    });
  }
  document.addEventListener("input", keep, true);
  document.addEventListener("change", keep, true);

  const find = (old) => Array.from(byId("panel-body").querySelectorAll("input, select, textarea")).find((field) => same(field, old));

  function retype() {
    const late = typed;
    typed = [];
    late.filter((old) => !old.isConnected).forEach((old) => {
      const field = find(old);
      if (!field) return;
      if (["checkbox", "radio"].includes(old.type)) field.checked = old.checked;
      else field.value = old.value;
      field.dispatchEvent(new Event("flow-retyped", { bubbles: true }));
    });
  }
})();
