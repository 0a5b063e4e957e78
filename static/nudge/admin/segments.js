// Rules in forms (segments, flows, computed attributes): lists with several values, folding, menus, and dragging.
(function () {
    "use strict";

    const byId = (id) => document.getElementById(id);

    function listOf(target) {
        return target instanceof Element ? target.closest(".sg-many") : null;
    }

    // --- Lists with several values ---
    function showChosen(list) {
        const chips = Array.from(list.querySelectorAll("input:checked + span"), function (label) {
            const chip = document.createElement("span"), text = document.createElement("bdi");
            chip.className = "sg-chip";
            text.textContent = label.textContent.trim();
            chip.append(text);
            return chip;
        });
        list.querySelector("[data-chosen]").replaceChildren(...chips);
    }

    function filter(list, text) {
        const wanted = text.trim().toLocaleLowerCase();
        list.querySelectorAll("label").forEach(function (label) {
            label.hidden = !label.textContent.toLocaleLowerCase().includes(wanted);
        });
    }

    // Ticks what was typed, one value or several with commas between; what is not on the list yet is added to it.
    function take(list, field) {
        const texts = field.value.split(/[,;\n،]/).map((text) => text.trim()).filter(Boolean);
        const boxes = () => Array.from(list.querySelectorAll("input[type=checkbox]"));
        let taken = false;
        texts.forEach(function (text) {
            const same = (box) => box.value === text || box.nextElementSibling.textContent.trim().toLocaleLowerCase() === text.toLocaleLowerCase();
            const shown = boxes().filter((box) => !box.parentElement.hidden);
            let box = boxes().find(same) || ("closed" in list.dataset && shown.length === 1 ? shown[0] : null);
            if (!box && !("closed" in list.dataset)) {
                const label = document.createElement("label"), words = document.createElement("span"), value = document.createElement("bdi");
                box = Object.assign(document.createElement("input"), { type: "checkbox", name: list.dataset.name, value: text });
                value.textContent = text;
                words.append(value);
                label.append(box, " ", words);
                field.after(label);
            }
            if (box) { box.checked = true; taken = true; }
        });
        if (!taken) { return; }
        field.value = "";
        filter(list, "");
        showChosen(list);
        list.dispatchEvent(new Event("change", { bubbles: true }));
        list.dispatchEvent(new Event("input", { bubbles: true }));
    }

    document.addEventListener("change", function (event) {
        const list = listOf(event.target);
        if (list && event.target.type === "checkbox") { showChosen(list); }
    });

    document.addEventListener("input", function (event) {
        if (event.target.matches("[data-filter]")) {
            filter(listOf(event.target), event.target.value);
            event.stopPropagation();
        }
    }, true);

    // A list is opened to find something in it.
    document.addEventListener("toggle", function (event) {
        const list = listOf(event.target);
        if (!list) { return; }
        const field = list.querySelector("[data-filter]");
        if (list.open && field) { field.focus(); }
        if (!list.open && field && field.value && !("closed" in list.dataset)) { take(list, field); }
    }, true);

    // --- What is open closes by a click elsewhere and by Escape ---
    document.addEventListener("click", function (event) {
        document.querySelectorAll(".sg-many[open], .sg-menu[open]").forEach(function (list) {
            if (!list.contains(event.target)) { list.open = false; }
        });
    });

    // Not while a button is being pressed: what moves under the pointer gets no click.
    let pointing = false;
    ["pointerdown", "pointerup", "pointercancel"].forEach((name) => document.addEventListener(name, () => { pointing = name === "pointerdown"; }, true));
    document.addEventListener("focusout", function (event) {
        const list = event.target.closest(".sg-many[open], .sg-menu[open]");
        if (!pointing && list && event.relatedTarget && !list.contains(event.relatedTarget)) { list.open = false; }
    });

    document.addEventListener("keydown", function (event) {
        if (!(event.target instanceof Element)) { return; }
        const list = event.target.closest(".sg-many, .sg-menu");
        if (event.key === "Escape" && list && list.open) {
            event.stopPropagation();
            list.open = false;
            list.querySelector("summary").focus();
        }
        if (event.key === "Enter" && event.target.matches("[data-filter]")) {
            take(listOf(event.target), event.target);
        }
        // Enter in a condition's input must not save half a rule.
        if (event.key === "Enter" && event.target.matches("[data-node] input")) { event.preventDefault(); }
        // The handle moves by arrow keys what it drags by mouse.
        if (event.target.matches("[data-grip]") && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
            event.preventDefault();
            byId(event.target.dataset.grip + (event.key === "ArrowUp" ? "-up" : "-down"))?.click();
        }
    });

    // --- Folding a group: kept in the form, so that it survives drawing anew ---
    document.addEventListener("click", function (event) {
        const button = event.target instanceof Element && event.target.closest("[data-fold]");
        if (!button) { return; }
        const group = byId(button.dataset.fold), folded = group.classList.toggle("sg-folded");
        button.setAttribute("aria-expanded", String(!folded));
        button.previousElementSibling.value = folded ? "1" : "";
    });

    // --- Dragging: the order of the inputs is the order of the rule, so the form is just sent as it lies now ---
    document.addEventListener("alpine:init", function () {
        window.Alpine.data("ruleTree", () => ({
            sorting: {
                group: { name: "rule", put: (to, from) => to.el.closest("[x-data=ruleTree]") === from.el.closest("[x-data=ruleTree]") },
                delay: 200, delayOnTouchOnly: true, animation: 150, fallbackOnBody: true, swapThreshold: 0.6, invertSwap: true,
                onMove: (event) => depth(event.to) + height(event.dragged) <= 4,
            },
            place(id, list) {
                const node = byId(id), moved = list.closest("[x-data=ruleTree]").querySelector("[data-moved]");
                node.querySelector("[data-parent]").value = list.dataset.group;
                moved.dispatchEvent(new CustomEvent("rule:moved", { detail: { id } }));
            },
        }));
    });

    function depth(list) {
        let found = 0;
        for (let at = list; at; at = at.parentElement.closest("[data-group]")) { found += 1; }
        return found;
    }

    function height(item) {
        const lists = Array.from(item.querySelectorAll("[data-group]"));
        return Math.max(0, ...lists.map((list) => depth(list) - depth(item.parentElement.closest("[data-group]"))));
    }

    document.addEventListener("rule:moved", function (event) {
        const id = event.detail.id;
        event.target.addEventListener("htmx:configRequest", function (asked) {
            asked.detail.parameters.op = "moved";
            asked.detail.parameters.target = id;
        }, { once: true });
    }, true);
}());
