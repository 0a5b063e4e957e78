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

    document.addEventListener("htmx:beforeRequest", function (event) {
        const inside = event.target.closest && event.target.closest("#computed-sentence");
        if (inside) { focused = document.activeElement ? document.activeElement.id : ""; }
    });
    document.addEventListener("computed:changed", function () {
        const lines = document.querySelectorAll("#computed-sentence .sg-where");
        const target = focused === "d.add" && lines.length ? lines[lines.length - 1].querySelector("select, input:not([type=hidden])")
            : document.getElementById(focused) || document.getElementById("d.kind");
        if (target && !document.activeElement.closest("#computed-sentence")) { target.focus(); }
    });
}());
