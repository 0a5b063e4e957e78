// The form of a computed attribute: a short name from the name, keyboard focus after the sentence was drawn anew.
(function () {
    "use strict";

    let focused = "";

    document.addEventListener("input", function (event) {
        if (event.target.id === "id_slug") { event.target.dataset.typed = "1"; }
        if (event.target.id === "id_name") {
            const slug = document.getElementById("id_slug");
            if (slug && !slug.disabled && !slug.dataset.typed && !slug.defaultValue) {
                slug.value = event.target.value.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").replace(/ł/g, "l").toLowerCase()
                    .replace(/[^a-z0-9]+/g, "_").replace(/^[^a-z]+|_+$/g, "").slice(0, 50);
            }
        }
    }, true);

    // Enter in the sentence must not save half a definition.
    document.addEventListener("keydown", function (event) {
        if (event.key === "Enter" && event.target.matches("#computed-sentence input")) { event.preventDefault(); }
    });

    // --- While the answer is on its way: what is typed, chosen or pressed meanwhile goes into the new sentence ---
    let late = null;
    const inSentence = (element) => element instanceof Element && element.closest("#computed-sentence");

    document.addEventListener("htmx:beforeRequest", function (event) {
        if (!inSentence(event.target)) { return; }
        const removed = /"remove-where-(\d+)"/.exec(event.target.getAttribute("hx-vals"));
        late = { typed: [], pressed: null, removed: removed ? Number(removed[1]) : Infinity };
        focused = document.activeElement ? document.activeElement.id : "";
    });
    document.addEventListener("htmx:afterRequest", function (event) {
        if (late && !event.detail.successful && event.detail.target.id === "computed-sentence") { late = null; }
    });

    ["input", "change"].forEach((type) => document.addEventListener(type, function (event) {
        if (!late || !inSentence(event.target)) { return; }
        late.typed = late.typed.filter((old) => !same(old, event.target)).concat(event.target);
        if (type === "change" && event.target.hasAttribute("hx-post")) { event.stopImmediatePropagation(); }
    }, true));
    document.addEventListener("click", function (event) {
        const button = inSentence(event.target) && event.target.closest("button[hx-post]");
        if (!button || (!late && event.detail < 2)) { return; }
        event.preventDefault();
        event.stopImmediatePropagation();
        if (event.detail < 2) { late.pressed = button; }  // the second of a double click would hit whatever lies there by now
    }, true);

    const ticks = (field) => ["checkbox", "radio"].includes(field.type);

    function same(one, other, removed) {
        return one.type === other.type && one.id === renamed(other.id, removed) && one.name === renamed(other.name, removed) && (!ticks(one) || one.value === other.value);
    }

    // What a field or button of the old sentence is called in the new one, where a line may have gone.
    function renamed(name, removed) {
        return name.replace(/(where-?)(\d+)/, (_all, word, number) => word + (number === String(removed) ? "gone" : number - (number > removed)));
    }

    // Puts into the new sentence what came late; tells whether that draws it once more.
    function catchUp() {
        const { typed, pressed, removed } = late;
        late = null;
        let again = null;
        typed.forEach(function (old) {
            const field = Array.from(document.querySelectorAll("#computed-sentence [name]")).find((found) => same(found, old, removed));
            if (!field || (old.options && !Array.from(field.options).some((option) => option.value === old.value))) { return; }
            if (field.hasAttribute("hx-post") && field.value !== old.value) { again = field; }
            if (ticks(field)) {
                field.checked = old.checked;
                field.dispatchEvent(new Event("change", { bubbles: true }));
            } else { field.value = old.value; }
        });
        if (again) { again.dispatchEvent(new Event("change", { bubbles: true })); }
        if (!pressed) { return Boolean(again); }
        const asked = renamed(pressed.getAttribute("hx-vals"), removed);
        const button = Array.from(document.querySelectorAll("#computed-sentence button[hx-post]")).find((found) => found.getAttribute("hx-vals") === asked);
        if (button) { button.click(); }
        return Boolean(again || button);
    }

    document.addEventListener("computed:changed", function () {
        if (late && catchUp()) { return; }
        const lines = document.querySelectorAll("#computed-sentence .sg-where"), active = document.activeElement;
        const target = focused === "d.add" && lines.length ? lines[lines.length - 1].querySelector("select, input:not([type=hidden])")
            : document.getElementById(focused) || document.getElementById("d.kind");
        // Not when somebody has gone on to another field meanwhile.
        if (target && (active === document.body || active.id === focused)) { target.focus(); }
    }, true);
}());
