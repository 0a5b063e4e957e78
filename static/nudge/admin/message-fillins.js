// Offers what a text can be filled in with: while somebody types {{ or |, and from a menu for those who do not.
(() => {
  "use strict";

  const root = document.querySelector("[data-fill-ins]");
  if (!root) return;
  const url = root.dataset.fillIns;
  const list = document.createElement("ul");
  list.className = "fill-ins";
  list.id = "fill-ins";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", gettext("What can be filled in"));
  list.hidden = true;
  document.body.append(list);

  let field = null; // that is being offered to
  let open = null; // {start, end, kind} of what was typed
  let chosen = -1;
  let asking = null;
  let timer = 0;

  const texts = "input[type=text], input:not([type]), textarea";
  const fits = (target) =>
    target?.matches?.(texts) && target.closest("[data-words], [data-fill-in-text]") && !/-(locale|variant)$/.test(target.name);

  // What stands between the last {{ and the caret, or behind the last | in it.
  const typed = (target) => {
    const end = target.selectionStart;
    const before = target.value.slice(0, end);
    const start = Math.max(before.lastIndexOf("{{"), before.lastIndexOf("{%"));
    if (start < 0) return null;
    const inside = before.slice(start + 2);
    if (inside.includes("}}") || inside.includes("%}") || inside.includes("\n")) return null;
    const bar = inside.lastIndexOf("|");
    if (bar >= 0) {
      const text = inside.slice(bar + 1);
      return text.includes(":") ? null : { start: end - text.trimStart().length, end, kind: "filter", text: text.trim() };
    }
    if (before[start + 1] === "%") return null;
    return { start: end - inside.trimStart().length, end, kind: "value", text: inside.trim() };
  };

  const close = () => {
    list.hidden = true;
    open = null;
    chosen = -1;
    clearTimeout(timer);
    asking?.abort();
    if (field) {
      field.setAttribute("aria-expanded", "false");
      field.removeAttribute("aria-activedescendant");
    }
  };

  const mark = (place) => {
    const items = [...list.querySelectorAll("[role=option]")];
    if (!items.length) return;
    chosen = (place + items.length) % items.length;
    items.forEach((item, number) => item.setAttribute("aria-selected", String(number === chosen)));
    items[chosen].scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", items[chosen].id);
  };

  const place = () => {
    const box = field.getBoundingClientRect();
    list.style.insetBlockStart = `${box.bottom + window.scrollY + 2}px`;
    list.style.left = `${box.left + window.scrollX}px`;
    list.style.inlineSize = `${Math.min(Math.max(box.width, 260), window.innerWidth - 16)}px`;
  };

  const show = (offers) => {
    list.replaceChildren();
    let group = "";
    offers.forEach((offer, number) => {
      if (offer.group !== group) {
        group = offer.group;
        const head = document.createElement("li");
        head.className = "fill-ins-group";
        head.setAttribute("role", "presentation");
        head.textContent = group;
        list.append(head);
      }
      const item = document.createElement("li");
      item.id = `fill-in-${number}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      item.dataset.insert = offer.insert;
      const code = document.createElement("code");
      code.dir = "ltr";
      code.textContent = offer.insert;
      const label = document.createElement("span");
      label.dir = "auto";
      label.textContent = offer.label;
      item.append(code, label);
      list.append(item);
    });
    list.hidden = !offers.length;
    field.setAttribute("aria-expanded", String(offers.length > 0));
    if (offers.length) {
      place();
      mark(0);
    }
  };

  const ask = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      if (!open || !field) return;
      asking?.abort();
      asking = new AbortController();
      const query = new URLSearchParams({ q: open.text, kind: open.kind });
      try {
        const answer = await fetch(`${url}?${query}`, { signal: asking.signal, headers: { Accept: "application/json" } });
        if (answer.ok && open) show((await answer.json()).offers);
      } catch (error) {
        if (error.name !== "AbortError") close();
      }
    }, 120);
  };

  const accept = (insert) => {
    const target = field;
    const { start, end, kind } = open;
    const after = target.value.slice(end);
    // A name with a bracket still wants its end.
    const tail = insert.endsWith('["') || /^\s*(\}\}|\|)/.test(after) ? "" : kind === "value" ? " }}" : after.startsWith("}") ? "" : " }}";
    target.setRangeText(insert + tail, start, end, "end");
    const word = insert.indexOf("…");
    if (word >= 0) target.setSelectionRange(start + word, start + word + 1);
    close();
    target.focus();
    target.dispatchEvent(new Event("input", { bubbles: true }));
  };

  document.addEventListener("input", (event) => {
    if (!fits(event.target)) return;
    field = event.target;
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", "fill-ins");
    open = typed(field);
    if (open) ask();
    else close();
  });
  document.addEventListener("keydown", (event) => {
    if (list.hidden || event.target !== field) return;
    const keys = {
      ArrowDown: () => mark(chosen + 1),
      ArrowUp: () => mark(chosen - 1),
      Enter: () => accept(list.querySelectorAll("[role=option]")[chosen].dataset.insert),
      Tab: () => accept(list.querySelectorAll("[role=option]")[chosen].dataset.insert),
      Escape: close,
    };
    if (!keys[event.key] || (event.key === "Tab" && event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }, true);
  list.addEventListener("mousedown", (event) => {
    const item = event.target.closest("[role=option]");
    event.preventDefault(); // the field keeps the focus
    if (item) accept(item.dataset.insert);
  });
  document.addEventListener("focusout", (event) => {
    if (event.target === field) setTimeout(() => document.activeElement !== field && close(), 0);
  });
  window.addEventListener("resize", close);

  // The menu: a button beside each text, which begins what could have been typed.
  const insertable = (target) => {
    if (!fits(target) || target.dataset.insertable) return;
    target.dataset.insertable = "yes";
    const made = document.createElement("button");
    made.type = "button";
    made.className = "fill-in-button";
    made.textContent = "{ }";
    made.title = gettext("Fill in something about the person");
    made.setAttribute("aria-label", made.title);
    made.addEventListener("click", () => {
      const at = target.selectionStart ?? target.value.length;
      target.focus();
      target.setRangeText("{{ ", at, target.selectionEnd ?? at, "end");
      target.dispatchEvent(new Event("input", { bubbles: true }));
    });
    target.parentElement.classList.add("has-fill-in");
    target.after(made);
  };
  const all = (within) => within.querySelectorAll?.(`:is(${texts})`).forEach(insertable);
  document.addEventListener("formset:added", (event) => all(event.target));
  all(root);
})();
