// The flow builder's manners: panel, dialog, toasts, zoom, keyboard and dragging. What is drawn comes from the server.
(() => {
  "use strict";

  const FIELDS = "input:not([type=hidden]):not([disabled]), select:not([disabled]), textarea:not([disabled])";
  const byId = (id) => document.getElementById(id);

  const component = () => ({
    zoom: 100,
    opener: null,
    late: null,
    sorting: { delay: 200, delayOnTouchOnly: true, animation: 150, fallbackOnBody: true, swapThreshold: 0.6, invertSwap: true },

    init() {
      // Kept, because Alpine's own names are looked up from the element clicked, which may be gone by then.
      this.root = this.$root;
      Object.assign(this, { panel: this.$refs.panel, dialog: this.$refs.dialog, canvas: this.$refs.canvas, zoomed: this.$refs.zoom });
      const texts = this.root.dataset;
      this.root.addEventListener("htmx:beforeRequest", (event) => {
        this.remember(event.detail.elt);
        this.redrawing(event.detail);
      });
      this.panel.addEventListener("input", ({ target }) => this.late?.typed.set(target.name, target));
      this.panel.addEventListener("submit", (event) => {
        if (!this.late) return;
        this.late.pressed = true;
        event.preventDefault();
        event.stopPropagation();
      }, true);
      this.root.addEventListener("htmx:afterSettle", (event) => this.settled(event));
      this.root.addEventListener("htmx:beforeSwap", (event) => {
        // 409: somebody else changed the draft. The answer says so, in its place.
        if (event.detail.xhr.status !== 409) return;
        event.detail.shouldSwap = true;
        event.detail.isError = false;
        this.dialog.close();
      });
      this.root.addEventListener("htmx:responseError", (event) => {
        if (event.detail.xhr.status !== 401) this.toast(texts.moveFailed, true);
      });
      this.root.addEventListener("htmx:sendError", () => this.toast(texts.offline, true));
      // Triggered by the server; they bubble from whatever asked, which may be gone from the page by then.
      document.body.addEventListener("flow-done", (event) => this.done(event.detail));
      document.body.addEventListener("flow-toast", (event) => this.toast(event.detail.text, event.detail.bad));
      document.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && !this.dialog.open && !this.panel.hidden) this.closePanel();
      });
      this.dialog.addEventListener("close", () => this.refocus());
      const remembered = Number(localStorage.getItem("flow-zoom"));
      if (remembered >= 30 && remembered <= 150) this.setZoom(remembered);
      this.centre();
    },

    remember(element) {
      if (element.matches?.("[data-panel], [data-dialog]") && !this.panel.contains(element)) {
        this.opener = element.id || this.opener;
      }
    },

    // The answer replaces the form, so what is typed or pressed while it is on its way goes into the new one.
    redrawing({ elt, target }) {
      const form = elt.closest?.("form");
      if (target?.id === "panel-body" && form && form !== elt && this.panel.contains(form)) {
        this.late = { typed: new Map(), pressed: false };
        elt.addEventListener("htmx:afterRequest", ({ detail }) => { if (!detail.successful) this.late = null; }, { once: true });
      }
    },

    catchUp() {
      const { typed, pressed } = this.late, form = this.panel.querySelector("form");
      this.late = null;
      typed.forEach((old, name) => {
        const field = form?.elements.namedItem(name);
        if (field?.type !== old.type) return;
        if (old.type === "checkbox") field.checked = old.checked;
        else field.value = old.value;
      });
      if (pressed) form?.requestSubmit();
    },

    settled(event) {
      const target = event.detail.target;
      if (target?.id === "panel-body") {
        if (this.late) this.catchUp();
        if (this.panel.hidden) this.openPanel();
        else this.focusPanel();
      } else if (target?.id === "dialog-body" && !this.dialog.open) this.dialog.showModal();
    },

    openPanel() {
      this.panel.hidden = false;
      this.root.classList.add("flow-panel-open");
      this.focusPanel();
      if (this.opener) byId(this.opener)?.scrollIntoView({ block: "nearest", inline: "center" });
    },

    focusPanel() {
      const wanted = this.panel.querySelector("[data-focus]")?.dataset.focus;
      const field = (wanted && byId(wanted)) || this.panel.querySelector(".errors " + FIELDS.split(", ").join(", .errors "));
      if (field) field.focus();
      else if (!this.panel.contains(document.activeElement) || document.activeElement === document.body) {
        (this.panel.querySelector("form " + FIELDS.split(", ").join(", form ")) ||
          this.panel.querySelector(".flow-pick, button"))?.focus();
      }
      this.markOpener();
    },

    markOpener() {
      this.root.querySelectorAll(".flow-chosen").forEach((node) => node.classList.remove("flow-chosen"));
      if (!this.panel.hidden && this.opener) byId(this.opener)?.parentElement?.classList.add("flow-chosen");
    },

    closePanel() {
      this.panel.hidden = true;
      byId("panel-body").replaceChildren();
      this.root.classList.remove("flow-panel-open");
      this.markOpener();
      this.refocus();
    },

    closeDialog() {
      this.dialog.close();
    },

    refocus() {
      if (this.opener) byId(this.opener)?.focus({ preventScroll: true });
    },

    goTo(id) {
      this.dialog.close();
      const card = byId(id);
      card?.scrollIntoView({ block: "center", inline: "center" });
      card?.click();
    },

    done({ toast, focus, keep }) {
      if (this.dialog.open) this.dialog.close();
      byId("flow-notice").replaceChildren();
      if (keep && !this.panel.hidden) {
        // Moving from inside the panel: the buttons there have to know what is first and last now.
        const card = this.opener && byId(this.opener);
        if (card) window.htmx.ajax("GET", card.getAttribute("hx-get"), { source: card, target: "#panel-body" });
        card?.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else {
        this.opener = focus || this.opener;
        this.closePanel();
        byId(focus)?.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
      if (toast) this.toast(toast);
    },

    toast(text, bad = false) {
      const note = document.createElement("div");
      note.className = bad ? "flow-toast flow-toast-bad" : "flow-toast";
      note.textContent = text;
      byId("flow-toasts").replaceChildren(note);
      setTimeout(() => note.remove(), bad ? 8000 : 3500);
    },

    // A step was dropped at `position` of another place, or of its own without itself.
    move(key, position, place) {
      const card = byId(`step-${key}`);
      const url = card.getAttribute("hx-get") + "move/";
      window.htmx.ajax("POST", url, { source: "#flow-tree", target: "#flow-tree", swap: "outerHTML", values: { to: place, index: position } });
    },

    zoomBy(change) {
      this.setZoom(Math.max(30, Math.min(150, this.zoom + change)));
      localStorage.setItem("flow-zoom", this.zoom);
    },

    setZoom(percent) {
      this.zoom = percent;
      this.zoomed.style.zoom = percent / 100;
    },

    fit() {
      this.setZoom(100);
      requestAnimationFrame(() => requestAnimationFrame(() => {
        const canvas = this.canvas, tree = byId("flow-tree");
        const share = Math.min((canvas.clientWidth - 32) / tree.scrollWidth, (canvas.clientHeight - 32) / tree.scrollHeight, 1);
        this.setZoom(Math.max(30, Math.floor(share * 20) * 5));
        localStorage.setItem("flow-zoom", this.zoom);
        this.centre();
      }));
    },

    centre() {
      requestAnimationFrame(() => requestAnimationFrame(() => {
        const canvas = this.canvas, card = byId("flow-trigger").getBoundingClientRect(), box = canvas.getBoundingClientRect();
        canvas.scrollLeft += card.left + card.width / 2 - (box.left + box.width / 2);
        canvas.scrollTop = 0;
      }));
    },

    // Arrow keys go from card to card: up and down in reading order, sideways to the nearest one.
    walk(event) {
      const here = event.target.closest("[data-walk]");
      if (!here || !["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"].includes(event.key)) return;
      event.preventDefault();
      const cards = [...this.canvas.querySelectorAll("[data-walk]")];
      const at = cards.indexOf(here);
      let next = null;
      if (event.key === "ArrowUp") next = cards[at - 1];
      else if (event.key === "ArrowDown") next = cards[at + 1];
      else {
        const side = event.key === "ArrowLeft" ? -1 : 1, mine = here.getBoundingClientRect();
        const distance = (card) => {
          const box = card.getBoundingClientRect();
          return Math.abs(box.left - mine.left) + 2 * Math.abs(box.top - mine.top);
        };
        next = cards.filter((card) => (card.getBoundingClientRect().left - mine.left) * side > 20)
          .sort((a, b) => distance(a) - distance(b))[0];
      }
      next?.focus();
    },
  });

  document.addEventListener("alpine:init", () => window.Alpine.data("flowBuilder", component));
})();
