// The flow builder's manners: panel, dialog, toasts, zoom, keyboard and dragging. What is drawn comes from the server.
(() => {
  "use strict";

  const FIELDS = "input:not([type=hidden]):not([disabled]), select:not([disabled]), textarea:not([disabled])";
  const byId = (id) => document.getElementById(id);

  const component = () => ({
    zoom: 100,
    opener: null,
    quiet: false,
    sorting: { delay: 200, delayOnTouchOnly: true, animation: 150, fallbackOnBody: true, swapThreshold: 0.6, invertSwap: true },

    init() {
      // Kept, because Alpine's own names are looked up from the element clicked, which may be gone by then.
      this.root = this.$root;
      Object.assign(this, { panel: this.$refs.panel, dialog: this.$refs.dialog, canvas: this.$refs.canvas, zoomed: this.$refs.zoom });
      const texts = this.root.dataset, queue = window.flowQueue;
      queue.before = (button) => this.before(button);
      this.root.addEventListener("htmx:beforeRequest", (event) => this.remember(event.detail.elt));
      this.root.addEventListener("htmx:afterSettle", (event) => this.settled(event));
      this.root.addEventListener("htmx:beforeSwap", (event) => {
        // 409: somebody else changed the draft. The answer says so, in its place.
        if (event.detail.xhr.status !== 409) return;
        event.detail.shouldSwap = true;
        event.detail.isError = false;
        queue.forget();
        this.dialog.close();
      });
      this.root.addEventListener("htmx:responseError", (event) => {
        queue.forget();
        if (event.detail.xhr.status !== 401) this.toast(texts.moveFailed, true);
      });
      this.root.addEventListener("htmx:sendError", () => {
        queue.forget();
        this.toast(texts.offline, true);
      });
      document.addEventListener("flow-lost", () => this.toast(texts.gone, true));
      // Triggered by the server; they bubble from whatever asked, which may be gone from the page by then.
      document.addEventListener("flow-done", (event) => this.done(event.detail));
      document.addEventListener("flow-saved", () => this.markOpener());
      document.addEventListener("flow-toast", (event) => this.toast(event.detail.text, event.detail.bad));
      document.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && !this.dialog.open && !this.panel.hidden) this.closePanel();
      });
      this.dialog.addEventListener("close", () => this.refocus());
      this.zoomKey = `flow-zoom-${texts.flow}`;
      const remembered = Number(localStorage.getItem(this.zoomKey));
      if (remembered >= 30 && remembered <= 150) this.setZoom(remembered);
      this.centre();
    },

    remember(element) {
      if (element.matches?.("[data-panel], [data-dialog]") && !this.panel.contains(element)) {
        this.opener = element.id || this.opener;
      }
    },

    // What was changed in the panel is stored before something else is done.
    before(button) {
      const form = button?.closest("#panel-body form");
      if (form && !button.matches("[data-act], [data-dialog]")) return true;
      return this.panel.hidden || Boolean(button?.closest("#dialog-body")) || window.flowForms.leave();
    },

    settled(event) {
      const target = event.detail.target;
      if (target?.id === "panel-body") {
        if (!window.flowQueue.redraws()) this.panel.scrollTop = 0;
        if (this.panel.hidden) this.openPanel();
        else if (this.quiet) this.markOpener();
        else this.focusPanel();
        this.quiet = false;
      } else if (target?.id === "dialog-body" && !this.dialog.open && byId("dialog-body").childElementCount) this.dialog.showModal();
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
          this.panel.querySelector(".flow-pick, button"))?.focus({ preventScroll: this.panel.scrollTop === 0 });
      }
      this.markOpener();
    },

    markOpener() {
      this.root.querySelectorAll(".flow-chosen").forEach((node) => node.classList.remove("flow-chosen"));
      if (!this.panel.hidden && this.opener) byId(this.opener)?.parentElement?.classList.add("flow-chosen");
    },

    closePanel() {
      if (!window.flowForms.leave()) return;
      window.flowQueue.run(() => this.shutPanel());
    },

    shutPanel() {
      window.flowForms.fresh();
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
      window.flowCards.reveal(card);
      card?.scrollIntoView({ block: "center", inline: "center" });
      card?.click();
    },

    done({ toast, focus, keep }) {
      if (this.dialog.open) this.dialog.close();
      byId("flow-notice").replaceChildren();
      const card = this.opener && byId(this.opener);
      if (keep && !this.panel.hidden && card?.matches("[data-walk]")) {
        // The panel shows what is there now: which step is first or last, and what was undone.
        window.flowForms.fresh();
        this.quiet = !this.panel.contains(document.activeElement);
        window.htmx.ajax("GET", card.getAttribute("hx-get"), { source: card, target: "#panel-body" });
        card.scrollIntoView({ block: "nearest", inline: "nearest" });
        if (this.quiet) byId(focus)?.focus({ preventScroll: true });
      } else {
        this.opener = focus || this.opener;
        window.flowCards.reveal(byId(focus));
        this.shutPanel();
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
      if (window.flowQueue.before(null) === false) {
        window.htmx.ajax("GET", this.root.dataset.tree, { source: "#flow-tree", target: "#flow-tree", swap: "outerHTML" });
        return;
      }
      window.flowQueue.send(this.root.dataset.steps.replace(/-\/$/, `${encodeURIComponent(key)}/move/`), { to: place, index: position });
    },

    zoomBy(change) {
      this.setZoom(Math.max(30, Math.min(150, this.zoom + change)));
      localStorage.setItem(this.zoomKey, this.zoom);
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
        localStorage.setItem(this.zoomKey, this.zoom);
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
      if (!here || event.altKey || !["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"].includes(event.key)) return;
      event.preventDefault();
      const cards = [...this.canvas.querySelectorAll("[data-walk]")].filter((card) => card.getClientRects().length);
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
