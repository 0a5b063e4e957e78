// Writing messages: channels, variants and languages as tabs, counters, notes beside fields, and the preview's form.
(() => {
  "use strict";

  const root = document.querySelector("[data-writing]");
  const limitOf = (field) => Number(field.dataset.count);

  const counted = (field) => {
    let out = field.parentElement.querySelector(":scope > .count");
    if (!out) {
      out = document.createElement("p");
      out.className = "count";
      out.setAttribute("aria-hidden", "true");
      field.insertAdjacentElement("afterend", out);
    }
    const shown = field.value.replace(/\{\{.*?\}\}|\{%.*?%\}/gs, ""); // what variables stand for is not known here
    const length = [...shown].length; // an emoji is one character
    out.textContent = `${length} / ${limitOf(field)}`;
    out.classList.toggle("is-over", length > limitOf(field));
  };
  const countAll = (within) => within.querySelectorAll("[data-count]").forEach(counted);

  document.addEventListener("input", (event) => {
    if (event.target.matches?.("[data-count]")) counted(event.target);
  });
  document.addEventListener("formset:added", (event) => countAll(event.target));
  countAll(document);
  if (!root) return;

  const first = root.dataset.first;
  const spoken = JSON.parse(document.getElementById("writing-languages")?.textContent ?? "[]");
  const words = {
    everybody: gettext("Everybody"),
    language: gettext("Which language? Such as ar, pl or pt-BR."),
    gets: gettext("Who speaks %(own)s gets the text in %(chain)s, else the one for everybody."),
    none: gettext("There is no text for everybody yet: who speaks another language gets nothing."),
    variant: gettext("Variant"),
    copyOf: gettext("as in"),
    remove: gettext("Remove this variant with its texts?"),
    unsaved: gettext("What you changed is not saved yet and would be lost. Go on?"),
  };
  const called = (locale) => {
    try {
      return new Intl.DisplayNames(document.documentElement.lang, { type: "language" }).of(locale);
    } catch {
      return locale; // no language tag
    }
  };
  const named = (locale) =>
    locale ? (spoken.find((each) => each.locale === locale)?.name ?? called(locale)) : words.everybody;
  const field = (article, name) => article.querySelector(`[name="${article.dataset.words}-${name}"]`);
  const gone = (article) => field(article, "DELETE")?.checked ?? false;
  const localeOf = (article) => field(article, "locale")?.value.trim() ?? "";
  const variantOf = (article) => field(article, "variant")?.value || first;

  const state = { channel: "", variant: {}, locale: {}, side: false };
  const channels = [...root.querySelectorAll("[data-channel].writing-channel")];
  const section = (kind) => channels.find((each) => each.dataset.channel === kind);
  const articles = (kind) =>
    [...(section(kind)?.querySelectorAll("[data-words-list] > [data-words]") ?? [])].filter((each) => !gone(each));

  const button = (text, on, pressed, extra = {}) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-pressed", String(pressed));
    Object.assign(made.dataset, extra);
    made.addEventListener("click", on);
    return made;
  };

  // --- What there is --------------------------------------------------------------------------------------
  const variantRows = () => {
    const part = root.querySelector("[data-variants]");
    return part
      ? [...part.querySelectorAll("[data-rows] > [data-variant-row]")].filter(
          (row) => !row.querySelector("[name$=-DELETE]")?.checked,
        )
      : [];
  };
  const keyOf = (row) => row.querySelector("[name$=-key]").value;
  const variantKeys = () => {
    const keys = variantRows().map(keyOf);
    return keys.length ? keys : [first];
  };

  const drawVariants = () => {
    const part = root.querySelector("[data-variants]");
    if (!part) return;
    const rows = variantRows();
    const total = rows.reduce((sum, row) => sum + (Number(row.querySelector("[name$=-weight]").value) || 0), 0);
    part.querySelector("[data-one-variant]").hidden = rows.length > 1;
    part.querySelector(".writing-side").hidden = rows.length < 2;
    part.querySelectorAll("[data-rows] > [data-variant-row]").forEach((row) => {
      row.hidden = !rows.includes(row);
      row.querySelector(".writing-letter").textContent = keyOf(row).toUpperCase();
      const weight = Number(row.querySelector("[name$=-weight]").value) || 0;
      row.querySelector(".writing-percent").textContent = total ? `${Math.round((1000 * weight) / total) / 10} %` : "";
      row.querySelector("[data-remove-variant]").hidden = keyOf(row) === first;
    });
  };

  const draw = () => {
    drawVariants();
    const keys = variantKeys();
    for (const part of channels) {
      const kind = part.dataset.channel;
      const here = articles(kind);
      const tab = root.querySelector(`[data-channel-tab="${kind}"]`);
      const shown = here.length > 0 || kind === state.channel;
      tab.hidden = !shown;
      const chosen = kind === state.channel;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      part.hidden = !chosen;
      const flag = tab.querySelector("[data-flag]");
      const wrong = here.some((each) => each.classList.contains("has-errors"));
      flag.hidden = !wrong;
      flag.textContent = wrong ? "!" : "";
      const item = root.querySelector(`[data-add-channel] [data-channel="${kind}"]`);
      if (item) item.hidden = shown;
      const gaps = root.querySelector(`[data-gaps="${kind}"]`);
      if (gaps) gaps.hidden = !chosen;
      if (!chosen) continue;

      if (!keys.includes(state.variant[kind])) state.variant[kind] = keys[0];
      const ofVariant = here.filter((each) => variantOf(each) === state.variant[kind]);
      const locales = [...new Set(here.map(localeOf))].sort();
      if (!locales.includes(state.locale[kind])) state.locale[kind] = locales[0] ?? "";
      gaps?.querySelectorAll("[data-add-language]").forEach((each) => {
        each.hidden = locales.includes(each.dataset.addLanguage);
      });

      const variantTabs = part.querySelector("[data-variant-tabs]");
      variantTabs.hidden = keys.length < 2;
      variantTabs.replaceChildren(
        ...keys.map((key) =>
          button(`${words.variant} ${key.toUpperCase()}`, () => choose({ variant: key }), key === state.variant[kind]),
        ),
      );
      part.querySelector("[data-language-tabs]").replaceChildren(
        ...locales.map((locale) => {
          const made = button(named(locale), () => choose({ locale }), locale === state.locale[kind]);
          made.classList.toggle("is-missing", !ofVariant.some((each) => localeOf(each) === locale));
          return made;
        }),
      );
      part.querySelectorAll("[data-add-language-menu] [data-add-language]").forEach((each) => {
        each.hidden = each.dataset.addLanguage !== "?" && ofVariant.some((a) => localeOf(a) === each.dataset.addLanguage);
      });

      const side = state.side && keys.length > 1;
      part.querySelector("[data-words-list]").classList.toggle("is-side-by-side", side);
      for (const each of part.querySelectorAll("[data-words-list] > [data-words]")) {
        const fits = localeOf(each) === state.locale[kind] && (side || variantOf(each) === state.variant[kind]);
        each.hidden = gone(each) || !fits;
        each.querySelector("[data-words-title]").textContent =
          (keys.length > 1 ? `${words.variant} ${variantOf(each).toUpperCase()} · ` : "") + named(localeOf(each));
      }
      const locale = state.locale[kind];
      const parts = locale.split("-");
      const chain = parts.map((_part, place) => parts.slice(0, parts.length - place).join("-")).filter((each) => locales.includes(each));
      part.querySelector("[data-fallback]").textContent = [
        locale ? words.gets.replace("%(own)s", locale).replace("%(chain)s", chain.join(" → ") || "–") : "",
        locales.length && !locales.includes("") ? words.none : "",
      ].join(" ").trim();
    }
  };

  const current = () =>
    articles(state.channel).find(
      (each) => localeOf(each) === state.locale[state.channel] && variantOf(each) === state.variant[state.channel],
    );
  const preview = (article) => {
    const chosen = document.querySelector("input[name=preview_form]");
    if (!chosen || !article || chosen.value === article.dataset.words) return;
    chosen.value = article.dataset.words;
    const pane = document.getElementById("message-preview");
    pane?.dispatchEvent(new CustomEvent("preview-again"));
  };
  const choose = ({ channel, variant, locale }) => {
    if (channel !== undefined) state.channel = channel;
    if (variant !== undefined) state.variant[state.channel] = variant;
    if (locale !== undefined) state.locale[state.channel] = locale;
    draw();
    preview(current());
  };

  // --- Adding and removing --------------------------------------------------------------------------------
  const fresh = (part, list) => {
    const total = part.querySelector(`[name="${part.dataset.prefix ?? part.dataset.variants}-TOTAL_FORMS"]`);
    const number = total.value;
    total.value = String(Number(number) + 1);
    const template = part.querySelector("template[data-empty]");
    const holder = document.createElement("template");
    holder.innerHTML = template.innerHTML.replaceAll("__prefix__", number);
    const made = holder.content.firstElementChild;
    list.append(made);
    htmx.process(made);
    return made;
  };

  const addWords = (kind, locale, variant, from) => {
    const part = section(kind);
    const made = fresh(part, part.querySelector("[data-words-list]"));
    if (from) {
      for (const old of from.querySelectorAll("input, textarea, select")) {
        const name = old.name.slice(from.dataset.words.length + 1);
        const twin = field(made, name);
        if (!twin || ["id", "message", "DELETE"].includes(name)) continue;
        if (twin.type === "checkbox") twin.checked = old.checked;
        else twin.value = old.value;
      }
    }
    field(made, "locale").value = locale;
    field(made, "variant").value = variant;
    countAll(made);
    made.dispatchEvent(new CustomEvent("formset:added", { bubbles: true }));
    return made;
  };

  const addLanguage = (locale) => {
    let wanted = locale;
    if (wanted === "?") wanted = (window.prompt(words.language) ?? "").trim();
    if (locale === "?" && !/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(wanted)) return;
    const kind = state.channel;
    const variant = state.variant[kind] ?? first;
    const there = articles(kind).find((each) => localeOf(each) === wanted && variantOf(each) === variant);
    const made = there ?? addWords(kind, wanted, variant, null);
    choose({ locale: wanted });
    made.querySelector("input:not([type=hidden]), textarea")?.focus();
  };

  const addVariantRow = (key, weight) => {
    const part = root.querySelector("[data-variants]");
    const row = fresh(part, part.querySelector("[data-rows]"));
    row.querySelector("[name$=-key]").value = key;
    row.querySelector("[name$=-weight]").value = String(weight);
    return row;
  };
  const addVariant = () => {
    if (!variantRows().length) addVariantRow(first, 50);
    const keys = variantKeys();
    const removed = [...root.querySelectorAll("[data-variant-row]")].map(keyOf);
    const key = [..."abcdefghijklmnopqrstuvwxyz"].find((letter) => !keys.includes(letter) && !removed.includes(letter));
    if (!key) return;
    const row = addVariantRow(key, 50);
    for (const part of channels) {
      const kind = part.dataset.channel;
      for (const each of articles(kind).filter((a) => variantOf(a) === first)) addWords(kind, localeOf(each), key, each);
    }
    state.side = true;
    root.querySelector("[data-side-by-side]").checked = true;
    choose({ variant: key });
    row.querySelector("[name$=-name]").focus();
  };
  const drop = (holder) => {
    const box = holder.querySelector("[name$=-DELETE]");
    if (box) box.checked = true;
    holder.hidden = true;
  };
  const removeVariant = (row) => {
    if (!window.confirm(words.remove)) return;
    const key = keyOf(row);
    drop(row);
    for (const part of channels) articles(part.dataset.channel).filter((a) => variantOf(a) === key).forEach(drop);
    if (variantKeys().length < 2) variantRows().forEach(drop);
    choose({});
  };

  root.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest(selector);
    const tab = at("[data-channel-tab]");
    const add = at("[data-add-channel] [data-channel]");
    const language = at("[data-add-language]");
    if (tab) choose({ channel: tab.dataset.channelTab });
    else if (add) {
      add.closest("details").open = false;
      state.channel = add.dataset.channel;
      if (!articles(state.channel).length) addWords(state.channel, "", first, null);
      choose({ channel: add.dataset.channel });
      current()?.querySelector("input:not([type=hidden]), textarea")?.focus();
    } else if (language) {
      const menu = language.closest("details");
      if (menu) menu.open = false;
      addLanguage(language.dataset.addLanguage);
    } else if (at("[data-add-variant]")) addVariant();
    else if (at("[data-remove-variant]")) removeVariant(at("[data-variant-row]"));
    else if (at("[data-remove-words]")) {
      drop(at("[data-words]"));
      choose({});
    } else return;
    root.dispatchEvent(new Event("change", { bubbles: true }));
  });

  // Rules and approvals have buttons that belong to forms of their own: what was typed here would go with the page.
  const form = root.closest("form");
  let changed = Boolean(document.querySelector(".errornote, [data-conflict]"));
  form?.addEventListener("input", (event) => {
    if (!event.target.closest(".message-preview")) changed = true;
  });
  form?.addEventListener("click", (event) => {
    if (event.target.closest("button[formaction]") && changed && !window.confirm(words.unsaved)) event.preventDefault();
  });

  root.addEventListener("keydown", (event) => {
    const tab = event.target.closest("[data-channel-tab]");
    const menu = event.target.closest("details.writing-menu");
    if (menu && event.key === "Escape") {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    if (!tab || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    const tabs = [...root.querySelectorAll("[data-channel-tab]:not([hidden])")];
    const onward = (event.key === "ArrowRight") === (getComputedStyle(root).direction === "ltr") ? 1 : -1;
    const place = { Home: 0, End: tabs.length - 1 }[event.key] ?? (tabs.indexOf(tab) + onward + tabs.length) % tabs.length;
    event.preventDefault();
    tabs[place].focus();
    choose({ channel: tabs[place].dataset.channelTab });
  });

  root.addEventListener("input", (event) => {
    if (event.target.closest("[data-variants]")) drawVariants();
  });
  root.addEventListener("change", (event) => {
    if (event.target.matches?.("[data-side-by-side]")) state.side = event.target.checked;
    const article = event.target.closest?.("[data-words]");
    if (article && event.target === field(article, "locale")) state.locale[state.channel] = localeOf(article);
    draw();
  });
  root.addEventListener("focusin", (event) => {
    const article = event.target.closest("[data-words]");
    if (article) preview(article);
  });

  // --- Notes that the preview brings along ----------------------------------------------------------------
  const edited = new Set();
  root.addEventListener("input", (event) => {
    edited.add(event.target);
    const line = event.target.closest(".field-line.errors") ?? event.target.closest(".field-line");
    line?.querySelectorAll(":scope .text-red-600 > ul").forEach((found) => found.parentElement.remove());
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const notes = event.target.querySelector?.("[data-notes]");
    if (!notes) return;
    const prefix = notes.dataset.notes;
    root.querySelectorAll(`[data-words="${CSS.escape(prefix)}"] .writing-notes`).forEach((each) => each.remove());
    const made = new Map();
    for (const note of notes.children) {
      const there = document.querySelector(`[name="${CSS.escape(`${prefix}-${note.dataset.for}`)}"]`);
      if (!there) continue;
      // What the last save found wrong stands there already, until the field says something else.
      if (!edited.has(there) && there.closest(".field-line")?.innerText.includes(note.textContent)) continue;
      let list = made.get(there);
      if (!list) {
        list = document.createElement("ul");
        list.className = "writing-notes";
        list.id = `${there.id}-notes`;
        there.parentElement.append(list);
        there.setAttribute("aria-describedby", list.id);
        made.set(there, list);
      }
      const item = document.createElement("li");
      item.textContent = note.textContent;
      item.classList.toggle("is-wrong", "wrong" in note.dataset);
      list.append(item);
    }
  });

  const wrong = channels.find((part) => part.querySelector(".has-errors"));
  const written = channels.filter((part) => articles(part.dataset.channel).length);
  state.side = false;
  choose({ channel: (wrong ?? written[0] ?? channels[0])?.dataset.channel ?? "" });
})();
