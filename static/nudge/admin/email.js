// The block editor of emails: a list of blocks beside the form of the chosen one. The text area stays what is posted.
(() => {
  "use strict";

  const STEPS = 100; // of undo
  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  };
  const icon = (name) => make("span", { class: "material-symbols-outlined", "aria-hidden": "true" }, name);
  const tool = (sign, label, on, extra = {}) =>
    make("button", { type: "button", class: "eb-tool", title: label, "aria-label": label, onclick: on, ...extra }, icon(sign));

  function mount(area) {
    const host = area.closest(".eb");
    if (!host || host.dataset.mounted || area.name.includes("__prefix__")) return;
    host.dataset.mounted = "yes";
    const { kinds, words } = JSON.parse(host.dataset.editor);
    const kindOf = Object.fromEntries(kinds.map((each) => [each.kind, each]));
    const ids = `eb-${area.name}`;

    let blocks = [];
    try { blocks = JSON.parse(area.value || "[]"); } catch { return; } // what can't be read stays to be put right by hand
    if (!Array.isArray(blocks)) return;
    let past = [], future = [], chosen = null, dragged = null, typing = "";

    // A place is a path: [2] is the third block, [2, "left", 0] the first one in its first column.
    const listAt = (path) => path.slice(0, -1).reduce((found, key) => found[key] ?? (found[key] = []), blocks);
    const at = (path) => path.reduce((found, key) => found?.[key], blocks);
    const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

    function write() {
      const text = JSON.stringify(blocks);
      if (area.value === text) return;
      area.value = text;
      area.dispatchEvent(new Event("input", { bubbles: true }));
      area.dispatchEvent(new Event("change", { bubbles: true }));
    }
    // `what` names a run of changes that are one step of undo, such as typing into one field.
    function change(act, what = "") {
      if (!what || what !== typing) {
        past.push(JSON.stringify([blocks, chosen]));
        if (past.length > STEPS) past.shift();
        future = [];
      }
      typing = what;
      act();
      write();
      drawTools();
    }
    function travel(from, to) {
      if (!from.length) return;
      to.push(JSON.stringify([blocks, chosen]));
      [blocks, chosen] = JSON.parse(from.pop());
      typing = "";
      write();
      draw();
    }
    function say(text) { status.textContent = text; }

    // --- What can be done with blocks ---
    function add(path, kind) {
      change(() => listAt(path).splice(path.at(-1), 0, structuredClone(kindOf[kind].new)));
      choose(path, true);
      say(kindOf[kind].label);
    }
    function remove(path) {
      change(() => listAt(path).splice(path.at(-1), 1));
      const left = listAt(path).length;
      chosen = left ? [...path.slice(0, -1), Math.min(path.at(-1), left - 1)] : null;
      draw();
      focusChosen();
    }
    function copy(path) {
      change(() => listAt(path).splice(path.at(-1) + 1, 0, structuredClone(at(path))));
      choose([...path.slice(0, -1), path.at(-1) + 1]);
      focusChosen();
    }
    function move(path, to) {
      const [from, target] = [listAt(path), listAt(to)];
      const [moved, place] = [at(path), to.at(-1)];
      if (!moved || same(path, to) || (moved.kind === "columns" && to.length > 1) || (moved.kind === "footer" && to.length > 1)) return;
      change(() => {
        from.splice(path.at(-1), 1);
        const shift = from === target && path.at(-1) < place ? 1 : 0;
        target.splice(place - shift, 0, moved);
      });
      chosen = findPath(moved);
      draw();
      focusChosen();
    }
    function findPath(wanted, list = blocks, path = []) {
      for (const [place, block] of list.entries()) {
        const here = [...path, place];
        if (block === wanted) return here;
        for (const side of ["left", "right"]) {
          const found = block[side] && findPath(wanted, block[side], [...here, side]);
          if (found) return found;
        }
      }
      return null;
    }
    function step(path, by) {
      const place = path.at(-1) + by;
      if (place < 0 || place >= listAt(path).length) return;
      move(path, [...path.slice(0, -1), by > 0 ? place + 1 : place]);
    }
    function choose(path, focusForm = false) {
      chosen = path;
      draw();
      if (focusForm) form.querySelector("input, textarea, select")?.focus();
    }
    function focusChosen() {
      list.querySelector("[aria-current=true]")?.focus();
    }

    // --- The list ---
    function summary(block) {
      const text = block.text ?? block.label ?? block.alt ?? block.items ?? block.html ?? "";
      return text.replace(/\s+/g, " ").slice(0, 80);
    }
    function adder(path) {
      const menu = make("div", { class: "eb-menu", role: "menu", hidden: true });
      const button = make("button", {
        type: "button", class: "eb-add", "aria-haspopup": "menu", "aria-expanded": "false", title: words.add_here, "aria-label": words.add_here,
        onclick: () => (menu.hidden ? open() : close(true)),
      }, icon("add"));
      const close = (back) => { menu.hidden = true; button.setAttribute("aria-expanded", "false"); if (back) button.focus(); };
      const open = () => {
        const inside = path.length > 1;
        menu.replaceChildren(...kinds.filter((each) => !inside || !["columns", "footer"].includes(each.kind)).map((each) =>
          make("button", { type: "button", role: "menuitem", onclick: () => { close(); add(path, each.kind); } }, icon(each.icon), each.label)));
        menu.hidden = false;
        button.setAttribute("aria-expanded", "true");
        menu.scrollIntoView({ block: "nearest" });
        menu.firstChild.focus({ preventScroll: true });
      };
      menu.addEventListener("keydown", (event) => {
        const items = [...menu.children], place = items.indexOf(document.activeElement);
        const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: items.length - 1 }[event.key];
        if (next !== undefined) { event.preventDefault(); items[(next + items.length) % items.length].focus(); }
        if (event.key === "Escape") { event.stopPropagation(); close(true); }
      });
      const whole = make("li", { class: "eb-between" }, button, menu);
      whole.addEventListener("focusout", (event) => { if (!whole.contains(event.relatedTarget)) close(); });
      drops(whole, path);
      return whole;
    }
    function drops(element, path) {
      element.addEventListener("dragover", (event) => {
        if (!dragged) return;
        event.preventDefault();
        event.stopPropagation();
        element.classList.add("is-target");
      });
      element.addEventListener("dragleave", () => element.classList.remove("is-target"));
      element.addEventListener("drop", (event) => {
        if (!dragged) return;
        event.preventDefault();
        event.stopPropagation();
        const from = dragged;
        dragged = null;
        if (!same(path.slice(0, from.length), from)) move(from, path);
      });
    }
    function row(block, path) {
      const known = kindOf[block.kind] ?? { label: block.kind, icon: "help", fields: [] };
      const current = same(path, chosen);
      const head = make("div", {
        class: "eb-head", tabindex: current || (!chosen && path.length === 1 && !path[0]) ? "0" : "-1", role: "button",
        "aria-current": String(current), draggable: "true",
        onclick: () => { choose(path); focusChosen(); },
        onkeydown: (event) => keys(event, path),
        ondragstart: (event) => { dragged = path; event.dataTransfer.setData("text/plain", ""); event.dataTransfer.effectAllowed = "move"; event.stopPropagation(); },
        ondragend: () => { dragged = null; },
      }, icon(known.icon), make("span", { class: "eb-kind" }, known.label), make("span", { class: "eb-summary", dir: "auto" }, summary(block)));
      drops(head, path);
      const tools = make("div", { class: "eb-tools" },
        tool("arrow_upward", words.up, () => step(path, -1)), tool("arrow_downward", words.down, () => step(path, 1)),
        tool("content_copy", words.copy, () => copy(path)), tool("delete", words.remove, () => remove(path)));
      const whole = make("li", { class: `eb-block${current ? " is-chosen" : ""}` }, make("div", { class: "eb-line" }, head, tools));
      if (block.kind === "columns") {
        whole.append(make("div", { class: "eb-columns" }, ...["left", "right"].map((side) =>
          make("div", {}, make("p", { class: "eb-side" }, words[side]), ...rows(block[side] ?? [], [...path, side])))));
      }
      return whole;
    }
    function rows(found, path) {
      const inner = found.flatMap((block, place) => [adder([...path, place]), row(block, [...path, place])]);
      return [make("ol", { class: "eb-list" }, ...inner, adder([...path, found.length]))];
    }
    function keys(event, path) {
      const heads = [...list.querySelectorAll(".eb-head")], place = heads.indexOf(event.currentTarget);
      const go = (next) => { heads.at(Math.max(0, Math.min(next, heads.length - 1)))?.click(); };
      const acts = {
        ArrowDown: () => (event.altKey ? step(path, 1) : go(place + 1)),
        ArrowUp: () => (event.altKey ? step(path, -1) : go(place - 1)),
        Enter: () => choose(path, true), " ": () => choose(path, true),
        Delete: () => remove(path),
        d: () => (event.ctrlKey || event.metaKey) && copy(path),
      };
      if (!acts[event.key] || (event.key === "d" && !(event.ctrlKey || event.metaKey))) return;
      event.preventDefault();
      acts[event.key]();
    }

    // --- The form of the chosen block ---
    function drawForm() {
      const block = chosen && at(chosen);
      form.replaceChildren();
      if (!block) { form.hidden = true; return; }
      form.hidden = false;
      const known = kindOf[block.kind];
      form.append(make("p", { class: "eb-form-title" }, known.label), ...known.fields.map((field) => control(field, block, chosen)));
    }
    function control(field, block, path) {
      const id = `${ids}-${path.join("-")}-${field.name}`;
      const value = block[field.name] ?? (field.type === "align" ? (["image", "button", "logo", "social"].includes(block.kind) ? "center" : "start") : "");
      const put = (found) => {
        change(() => { if (found === "" || found === false) delete block[field.name]; else block[field.name] = found; }, id);
        const shown = list.querySelector("[aria-current=true] .eb-summary");
        if (shown) shown.textContent = summary(block);
      };
      let input;
      if (field.type === "area") {
        input = make("textarea", { id, rows: field.code ? 10 : 6, dir: field.code ? "ltr" : "auto", oninput: () => put(input.value) });
        input.value = value;
      } else if (field.type === "select" || field.type === "align") {
        const options = field.options ?? ["start", "center", "end"].map((each) => [each, words[each]]);
        input = make("select", { id, onchange: () => put(field.number ? Number(input.value) : input.value) },
          ...options.map(([key, label]) => make("option", { value: key, selected: key === value }, label)));
      } else if (field.type === "checkbox") {
        input = make("input", { id, type: "checkbox", onchange: () => { change(() => { block[field.name] = input.checked; }, id); } });
        input.checked = block[field.name] ?? false;
      } else {
        const number = field.type === "number";
        input = make("input", { id, type: number ? "number" : "text", dir: number ? null : "auto", min: field.min, max: field.max,
          oninput: () => put(number ? (input.value === "" || !input.validity.valid ? "" : Number(input.value)) : input.value) });
        input.value = value;
      }
      const help = field.help ? make("p", { class: "eb-help", id: `${id}-help` }, field.help) : "";
      if (help) input.setAttribute("aria-describedby", `${id}-help`);
      const label = make("label", { for: id }, field.label);
      const extra = field.type === "image" && host.dataset.images
        ? make("button", { type: "button", class: "eb-button", onclick: () => pick(block) }, icon("photo_library"), words.choose) : "";
      return make("div", { class: `eb-field${field.type === "checkbox" ? " is-check" : ""}` }, label, input, extra, help);
    }

    // --- Pictures ---
    const token = () => area.form?.elements.csrfmiddlewaretoken?.value ?? "";
    async function ask(url, data) {
      const answer = await fetch(url, data ? { method: "POST", body: data, headers: { "X-CSRFToken": token() } } : {});
      const told = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error(told.error || words.failed);
      return told;
    }
    function pick(block) {
      const where = chosen;
      const shelf = make("div", { class: "eb-shelf" }), problem = make("p", { class: "eb-problem", role: "alert" });
      const file = make("input", { type: "file", accept: "image/png,image/jpeg,image/gif,image/webp", id: `${ids}-file` });
      const alt = make("input", { type: "text", id: `${ids}-alt`, dir: "auto" });
      const dialog = make("dialog", { class: "eb-dialog", "aria-label": words.choose });
      const take = (image) => {
        change(() => { block.src = image.url; block.alt = block.alt || image.alt; });
        dialog.close();
        choose(where);
        form.querySelector("input")?.focus();
      };
      const upload = async () => {
        const data = new FormData();
        if (file.files[0]) data.append("file", file.files[0]);
        data.append("alt", alt.value);
        sending.disabled = true; // a second click would keep the picture twice
        try { take(await ask(host.dataset.images, data)); } catch (error) { problem.textContent = error.message; }
        sending.disabled = false;
      };
      const sending = make("button", { type: "button", class: "eb-button", onclick: upload }, icon("upload"), words.upload);
      dialog.append(
        make("div", { class: "eb-dialog-head" }, make("strong", {}, words.choose), tool("close", words.close, () => dialog.close())),
        make("div", { class: "eb-upload" }, make("label", { for: file.id }, words.file), file, make("label", { for: alt.id }, words.alt), alt,
          sending), problem, shelf);
      dialog.addEventListener("close", () => dialog.remove());
      host.append(dialog);
      dialog.showModal();
      ask(host.dataset.images).then(({ images }) => {
        shelf.replaceChildren(...images.map((image) => make("button", { type: "button", title: image.alt, onclick: () => take(image) },
          make("img", { src: image.url, alt: image.alt, loading: "lazy" }), make("span", { dir: "auto" }, image.name))));
        if (!images.length) shelf.textContent = words.none;
      }).catch((error) => { problem.textContent = error.message; });
    }

    // --- The three ways to write a body ---
    const prefix = area.name.replace(/blocks$/, "");
    const sources = Object.fromEntries(["mjml", "html"].map((way) => [way, area.form?.elements[`${prefix}${way}`]]).filter(([, field]) => field));
    const kept = {};
    const rowOf = (field) => {
      let found = field;
      while (found.parentElement && !found.parentElement.contains(host)) found = found.parentElement;
      return found;
    };
    let way = Object.keys(sources).find((each) => sources[each].value.trim()) ?? "blocks";
    function show() {
      for (const [name, field] of Object.entries(sources)) rowOf(field).hidden = way !== name;
      body.hidden = way !== "blocks";
      tabs.querySelectorAll("[data-way]").forEach((tab) => tab.setAttribute("aria-pressed", String(tab.dataset.way === way)));
      drawTools();
    }
    async function turn(to) {
      if (to === way) return;
      const now = way === "blocks" ? blocks : sources[way].value;
      kept[way] = now;
      let text = kept[to] ?? "";
      if (to === "mjml" && way === "blocks" && blocks.length && host.dataset.convert) {
        const data = new FormData();
        data.append("blocks", JSON.stringify(blocks));
        try { text = (await ask(host.dataset.convert, data)).mjml; } catch (error) { say(error.message); return; }
      }
      if (way !== "blocks") sources[way].value = "";
      way = to;
      blocks = to === "blocks" ? text || [] : [];
      chosen = null;
      past = [];
      future = [];
      write();
      if (to !== "blocks") {
        sources[to].value = text;
        sources[to].dispatchEvent(new Event("input", { bubbles: true }));
      }
      draw();
      show();
    }

    // --- All of it ---
    const status = make("p", { class: "eb-status", role: "status" });
    const undo = tool("undo", words.undo, () => travel(past, future)), redo = tool("redo", words.redo, () => travel(future, past));
    const tabs = make("div", { class: "eb-ways", role: "group", "aria-label": words.way }, ...["blocks", ...Object.keys(sources)].map((name) =>
      make("button", { type: "button", "data-way": name, onclick: () => turn(name) }, name === "blocks" ? words.blocks : name.toUpperCase())));
    const list = make("div", { class: "eb-all" }), form = make("div", { class: "eb-form", hidden: true });
    form.addEventListener("keydown", (event) => { // Escape closes what is offered first, then leads back to the block
      if (event.key !== "Escape" || document.querySelector(".fill-ins:not([hidden])")) return;
      list.querySelector(".is-chosen > .eb-line .eb-head")?.focus();
    });
    const body = make("div", { class: "eb-body" }, list, form);
    function drawTools() {
      undo.disabled = !past.length || way !== "blocks";
      redo.disabled = !future.length || way !== "blocks";
    }
    function draw() {
      list.replaceChildren(...rows(blocks, []));
      if (!blocks.length) list.prepend(make("p", { class: "eb-empty" }, words.empty));
      drawForm();
      drawTools();
    }
    host.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || way !== "blocks") return;
      event.preventDefault();
      travel(...(event.shiftKey ? [future, past] : [past, future]));
      focusChosen();
    });
    area.hidden = true;
    host.append(make("div", { class: "eb-bar" }, tabs, make("div", { class: "eb-tools" }, undo, redo)), body, status);
    draw();
    show();
  }

  const mountAll = (root) => {
    if (root.matches?.("[data-email-blocks]")) mount(root);
    root.querySelectorAll?.("[data-email-blocks]").forEach(mount);
  };
  document.addEventListener("formset:added", (event) => mountAll(event.target));
  document.addEventListener("htmx:load", (event) => mountAll(event.target));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => mountAll(document));
  else mountAll(document);
})();
