// The segment builder's page: keyboard focus after changes, lists with several values, a short name from the name.
(function () {
    "use strict";

    function listOf(target) {
        return target instanceof Element ? target.closest(".sg-many") : null;
    }

    // After a button changed the tree, the focus goes where the change is.
    document.addEventListener("segment:focus", function (event) {
        const node = document.getElementById(event.detail.id);
        if (!node) { return; }
        const first = event.detail.added && node.querySelector(".sg-body select, .sg-body input:not([type=hidden]), .sg-adds button");
        (first || node).focus({ preventScroll: false });
    });

    document.addEventListener("change", function (event) {
        const list = listOf(event.target);
        if (!list || event.target.type !== "checkbox") { return; }
        const names = Array.from(list.querySelectorAll("input:checked + span"), (label) => label.textContent.trim());
        list.querySelector("[data-chosen]").textContent = names.join(", ") || list.dataset.empty;
    });

    document.addEventListener("input", function (event) {
        if (event.target.matches("[data-filter]")) {
            const wanted = event.target.value.toLocaleLowerCase();
            listOf(event.target).querySelectorAll("label").forEach(function (label) {
                label.hidden = !label.textContent.toLocaleLowerCase().includes(wanted);
                label.style.display = label.hidden ? "none" : "";
            });
            event.stopPropagation();
        }
        if (event.target.id === "id_slug") { event.target.dataset.typed = "1"; }
        if (event.target.id === "id_name") {
            const slug = document.getElementById("id_slug");
            if (!slug.dataset.typed && !slug.defaultValue) {
                slug.value = event.target.value.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").replace(/ł/g, "l").toLowerCase()
                    .replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 50);
            }
        }
    }, true);

    document.addEventListener("click", function (event) {
        document.querySelectorAll(".sg-many[open]").forEach(function (list) {
            if (!list.contains(event.target)) { list.open = false; }
        });
    });
    document.addEventListener("keydown", function (event) {
        const list = listOf(event.target);
        if (event.key === "Escape" && list && list.open) {
            list.open = false;
            list.querySelector("summary").focus();
        }
        // Enter in a condition's input must not save half a rule.
        if (event.key === "Enter" && event.target.matches("#segment-tree input")) { event.preventDefault(); }
    });
}());
