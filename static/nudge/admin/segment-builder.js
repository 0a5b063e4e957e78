// The segment builder's page: nothing typed or clicked is lost while the tree is drawn anew, every step can be undone,
// the keyboard focus follows what changed, and no draft gets lost by leaving.
(function () {
    "use strict";

    const STEPS = 200;
    const byId = (id) => document.getElementById(id);
    const form = byId("segment-form"), asks = byId("segment-history"), status = byId("segment-status");
    const tree = () => byId("segment-tree");
    const inTree = (element) => element instanceof Element && element.closest("#segment-tree");
    const redraws = (detail) => detail.target && detail.target.id === "segment-tree";

    // --- Saying what happened, at most one thing at a time ---
    let saying = 0;
    function say(text) {
        clearTimeout(saying);  // an older count would speak over what has just happened
        if (text && status.textContent !== text) { status.textContent = text; }
    }

    // The count, once it has come to rest.
    function sayLater(text) {
        clearTimeout(saying);
        saying = setTimeout(() => say(text), 1200);
    }

    function toast(text) {
        const note = document.createElement("div");
        note.className = "sg-toast";
        note.textContent = text;
        document.querySelectorAll(".sg-toast").forEach((old) => old.remove());
        document.body.append(note);
        setTimeout(() => note.remove(), 6000);
        say(text);
    }

    // --- While the answer is on its way: what is typed or pressed meanwhile goes into the new tree ---
    let busy = false, typed = [], pressed = null, travels = [], counts = new Map();

    document.addEventListener("click", function (event) {
        const button = inTree(event.target) && event.target.closest("button[hx-post]");
        if (!button) { return; }
        const again = event.detail > 1;  // of a double click, which would hit whatever lies there by now
        if (!busy && !again) { return; }
        event.preventDefault();
        event.stopImmediatePropagation();
        if (!again) { pressed = button.id; }
    }, true);

    document.addEventListener("change", function (event) {
        if (!busy || !inTree(event.target)) { return; }
        keep(event.target);
        if (event.target.hasAttribute("hx-post")) { event.stopImmediatePropagation(); }
    }, true);

    document.addEventListener("input", function (event) {
        if (busy && inTree(event.target)) { keep(event.target); }
    }, true);

    function keep(field) {
        typed = typed.filter((old) => !same(old, field));
        typed.push(field);
    }

    function same(one, other) {
        return one.name === other.name && one.id === other.id && (!["checkbox", "radio"].includes(one.type) || one.value === other.value);
    }

    document.body.addEventListener("htmx:beforeRequest", function (event) {
        if (!redraws(event.detail)) { return; }
        busy = true;
        typed = [];
        pressed = null;
        tree().querySelectorAll(".sg-count").forEach((count) => counts.set(count.id, count.innerHTML));
    });

    function free() {
        busy = false;
        typed = [];
        pressed = null;
    }

    function giveUp() {
        free();
        travels = [];
    }

    document.body.addEventListener("htmx:responseError", function (event) {
        if (redraws(event.detail)) { giveUp(); }
        toast(asks.dataset.failed);
    });
    document.body.addEventListener("htmx:sendError", function (event) {
        if (redraws(event.detail)) { giveUp(); }
        toast(asks.dataset.offline);
    });

    document.body.addEventListener("htmx:afterSettle", function (event) {
        const panel = byId("segment-panel");
        if (event.detail.target === panel) {
            const told = panel.querySelector("[data-say]");
            sayLater(told && told.dataset.say);
            return;
        }
        if (event.detail.target && event.detail.target.id === "segment-answer") {
            const found = byId("segment-people"), chosen = found.contains(document.activeElement);
            found.replaceChildren();
            if (chosen) { byId("segment-answer").focus({ preventScroll: true }); }
            return;
        }
        if (!busy || !tree() || !(event.detail.elt === tree() || redraws(event.detail))) { return; }
        const late = typed, next = pressed;
        free();
        // Until they are counted anew, the old numbers stand there, paler.
        counts.forEach(function (html, id) {
            const count = byId(id);
            if (count && !count.innerHTML) { count.innerHTML = html; count.classList.add("sg-old"); }
        });
        let again = null;
        late.forEach(function (old) {
            const field = Array.from(tree().querySelectorAll("input, select")).find((found) => found.type === old.type && same(found, old));
            if (!field) { return; }
            if (["checkbox", "radio"].includes(field.type)) { field.checked = old.checked; } else { field.value = old.value; }
            if (field.type === "checkbox") { field.dispatchEvent(new Event("change", { bubbles: true })); }
            if (field.hasAttribute("hx-post")) { again = field; }
        });
        if (again) {
            again.dispatchEvent(new Event("change", { bubbles: true }));
            pressed = next;
            return;
        }
        const button = next && byId(next);
        if (button) { button.click(); return; }
        restoring ? restored() : record();
        while (!busy && travels.length) { travel(...travels.shift()); }
    });

    // --- After a button changed the tree, the focus goes where the change is ---
    document.addEventListener("segment:focus", function (event) {
        const { id, added, op, say: text } = event.detail;
        const node = byId(id);
        say(text);
        if (!node) { return; }
        const inside = node.closest("[data-node]");
        const button = (op === "up" || op === "down") && (document.activeElement.matches("[data-grip]") ? byId(`${id}-grip`) : byId(`${id}-${op}`));
        const first = added && node.querySelector(".sg-body select, .sg-body input:not([type=hidden]), .sg-adds button");
        (button || first || node).focus({ preventScroll: true });
        (inside || node).scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    });

    document.addEventListener("click", function (event) {
        const link = event.target instanceof Element && event.target.closest("[data-goto]");
        if (!link) { return; }
        event.preventDefault();
        goTo(byId(link.dataset.goto));
    });

    function goTo(node) {
        if (!node) { return; }
        for (let group = node.closest(".sg-folded"); group; group = group.parentElement.closest(".sg-folded")) {
            byId(`${group.id}-fold`).click();
        }
        const list = node.closest(".sg-many") || (node.matches("[data-node]") && node.querySelector(".sg-many:has([aria-invalid])"));
        if (list && list.contains(node)) { list.open = true; }
        const empty = node.matches(".sg-condition") && Array.from(node.querySelectorAll(".sg-body select, .sg-body input:not([type=hidden])")).find((field) => !field.value);
        (empty || node).focus();
        node.scrollIntoView({ block: "center" });
    }

    // --- History: every step of the rule as the form holds it ---
    let past = [], at = -1, restoring = "", first = "";

    function snapshot() {
        const found = [];
        new FormData(form).forEach((value, name) => { if (name === "node" || /^n\d+\./.test(name)) { found.push([name, value]); } });
        return JSON.stringify(found);
    }

    const names = () => JSON.stringify(["id_name", "id_slug", "id_description"].map((id) => (byId(id) || {}).value));
    const changed = () => past.length > 0 && ("unsaved" in form.dataset || snapshot() + names() !== first);

    function record() {
        const now = snapshot();
        if (now === past[at]) { return; }
        past = past.slice(Math.max(0, at + 2 - STEPS), at + 1).concat(now);
        at = past.length - 1;
        show();
    }

    function show() {
        [["segment-undo", at > 0], ["segment-redo", at < past.length - 1]].forEach(function ([id, can]) {
            const button = byId(id);
            if (button) { button.setAttribute("aria-disabled", String(!can)); }
        });
    }

    function travel(step, text) {
        if (!byId("segment-undo")) { return; }
        if (busy) {
            travels.push([step, text]);
            return;
        }
        record();
        if (at + step < 0 || at + step >= past.length) { return; }
        at += step;
        draw(past[at], text);
    }

    function draw(step, text) {
        const values = new FormData();
        JSON.parse(step).forEach(([name, value]) => values.append(name, value));
        restoring = text;
        window.htmx.ajax("POST", asks.dataset.edit, { source: asks, target: "#segment-tree", swap: "outerHTML", values });
    }

    function restored() {
        past[at] = snapshot();
        say(restoring);
        restoring = "";
        show();
    }

    document.addEventListener("change", function (event) {
        // What makes the server draw the tree anew is kept when that is done.
        if (inTree(event.target) && !event.target.hasAttribute("hx-post")) { setTimeout(() => { if (!busy) { record(); } }); }
    });

    byId("segment-undo")?.addEventListener("click", () => travel(-1, asks.dataset.undone));
    byId("segment-redo")?.addEventListener("click", () => travel(1, asks.dataset.redone));

    document.addEventListener("keydown", function (event) {
        const key = event.key.toLowerCase();
        if ((event.ctrlKey || event.metaKey) && !event.altKey && (key === "z" || key === "y")) {
            const field = event.target;
            const typing = field.matches("textarea, [contenteditable]") || (field.matches("input") && !["checkbox", "radio"].includes(field.type));
            if (typing) { return; }
            event.preventDefault();
            if (key === "y" || event.shiftKey) { travel(1, asks.dataset.redone); } else { travel(-1, asks.dataset.undone); }
        }
        if (event.altKey && (key === "arrowup" || key === "arrowdown") && inTree(event.target) && !event.target.matches("input, select")) {
            const node = event.target.closest("[data-node]");
            event.preventDefault();
            byId(node.id + (key === "arrowup" ? "-up" : "-down"))?.click();
        }
        if (event.key === "Enter" && event.target.id === "segment-who-input") {
            event.preventDefault();
            byId("segment-ask").click();
        }
    });

    // --- Leaving: unsaved changes are asked about, and outlive a session that ended ---
    const draftKey = `segment-draft:${location.pathname}`;
    let leaving = false;
    form.addEventListener("submit", function (event) {
        if (leaving) { event.preventDefault(); }  // a double click saves once
        leaving = true;
        setTimeout(() => { leaving = false; }, 5000);
    });
    window.addEventListener("pageshow", () => { leaving = false; });
    window.addEventListener("beforeunload", (event) => { if (!leaving && changed()) { event.preventDefault(); } });

    document.body.addEventListener("htmx:beforeOnLoad", function (event) {
        if (!event.detail.xhr.getResponseHeader("HX-Redirect")) { return; }
        event.preventDefault();
        if (leaving) { return; }
        if (changed()) {
            const fields = ["id_name", "id_slug", "id_description"].map((id) => [id, byId(id).value]);
            sessionStorage.setItem(draftKey, JSON.stringify({ step: snapshot(), fields }));
        }
        leaving = true;
        location.href = `${asks.dataset.login}?next=${encodeURIComponent(location.pathname + location.search)}`;
    });

    function returned() {
        const draft = sessionStorage.getItem(draftKey);
        if (!draft) { return; }
        sessionStorage.removeItem(draftKey);
        const { step, fields } = JSON.parse(draft);
        fields.forEach(([id, value]) => { byId(id).value = value; });
        past.push(step);
        at = past.length - 1;
        draw(step, asks.dataset.restored);
        toast(asks.dataset.restored);
    }

    // --- The short name follows the name until somebody types one ---
    document.addEventListener("input", function (event) {
        if (event.target.id === "id_slug") { event.target.dataset.typed = "1"; }
        if (event.target.id === "id_name") {
            const slug = byId("id_slug");
            if (!slug.dataset.typed && !slug.defaultValue) {
                slug.value = event.target.value.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").replace(/ł/g, "l").toLowerCase()
                    .replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 50);
            }
        }
    }, true);

    // Names and the question about a person change nothing that is counted.
    document.querySelectorAll("[data-quiet]").forEach((part) => part.addEventListener("input", (event) => event.stopPropagation()));

    record();
    first = past[0] + names();
    const wrong = form.querySelector("[aria-invalid=true]") || form.querySelector(".sg-problem")?.closest("[data-node], .sg-field")?.querySelector("input:not([type=hidden]), select");
    if (wrong) { goTo(wrong); }
    window.addEventListener("load", returned);
}());
