/* Pages of reports: searchable selects, pictures of charts and heat maps, menus, and going back. */
"use strict";

document.documentElement.classList.add("report-scripted");
// Back and forward ask the server: what HTMX would keep has neither charts nor searchable selects in it.
htmx.config.historyCacheSize = 0;
htmx.config.refreshOnHistoryMiss = true;

/* --- Searchable selects: jQuery's events are not the page's ------------------------------------------------------ */
(() => {
  const ready = (root) => {
    const $ = window.django?.jQuery;
    if (!$) return;
    $(root).find(".unfold-admin-autocomplete").djangoCustomSelect2?.();
    $(root).find(".unfold-admin-autocomplete").off(".report").on("select2:select.report", (event) => {
      event.target.dispatchEvent(new Event("change", { bubbles: true }));
    }).on("select2:open.report", () => document.querySelector(".select2-container--open .select2-search__field")?.focus());
  };
  ready(document);
  window.addEventListener("load", () => ready(document));
  document.addEventListener("htmx:load", (event) => ready(event.target));
})();

/* --- A report about something else is another page ------------------------------------------------------------------- */
document.addEventListener("change", (event) => {
  if (!event.target.matches?.("[data-report-subject]") || !event.target.value) return;
  event.stopImmediatePropagation();
  const asked = [...new FormData(event.target.form)].filter(([, value]) => value);
  location.assign(`${location.pathname}?${new URLSearchParams(asked)}`);
}, true);

/* --- Whoever goes over to days of their own begins with those that are shown ----------------------------------------- */
document.addEventListener("htmx:afterSettle", () => {
  const shown = document.querySelector("[data-report-from]");
  if (!shown || document.getElementById("filter-period")?.value === "custom") return;
  for (const name of ["from", "to"]) {
    const field = document.getElementById(`filter-${name}`);
    if (field) field.value = shown.getAttribute(`data-report-${name}`);
  }
});

/* --- What stands there now is told to those who don't see it, and the focus stays near where it was -------------------- */
document.addEventListener("htmx:afterSettle", (event) => {
  const report = document.querySelector("[data-report-title]");
  const told = document.getElementById("report-told");
  if (!report || !told) return;
  const words = [report.dataset.reportTitle, document.querySelector("[data-report-period]")?.textContent, report.dataset.reportFilters];
  told.textContent = words.filter(Boolean).join(". ");
  if (event.detail.requestConfig?.elt?.closest?.(".report-chips") || document.activeElement === document.body) {
    document.querySelector(".report-chips a, .report-more > summary, #report-form select")?.focus({ preventScroll: true });
  }
});

/* --- Menus close by Escape, and when one goes elsewhere ------------------------------------------------------------ */
(() => {
  const close = (but) => document.querySelectorAll(".report-menu[open]").forEach((menu) => menu === but || (menu.open = false));
  document.addEventListener("click", (event) => {
    close(event.target.closest?.(".report-menu"));
    if (event.target.closest?.("[data-report-print]")) print();
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector(".report-menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
})();

/* --- Pictures: the title, the period and the filters are written in them -------------------------------------------- */
(() => {
  const SPACE = 24;
  const SCALE = 2;
  const FONT = "Inter, 'Noto Sans Arabic', system-ui, sans-serif";
  const rtl = () => document.documentElement.dir === "rtl";

  function about(part) {
    const report = document.querySelector("[data-report-title]");
    return {
      title: [report.dataset.reportTitle, part].filter(Boolean).join(" – "),
      lines: [document.querySelector("[data-report-period]")?.textContent, report.dataset.reportFilters].filter(Boolean),
    };
  }

  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const name = (key) => style.getPropertyValue(`--nudge-${key}`).trim();
    // Custom properties that refer to others are worked out by an element that has them.
    const probe = document.body.appendChild(document.createElement("i"));
    const real = (value) => {
      probe.style.color = value;
      return getComputedStyle(probe).color;
    };
    const found = { paper: real(name("paper")), strong: real(name("strong")), quiet: real(name("quiet")) };
    probe.remove();
    return found;
  };

  function wrapped(pen, text, width) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
      if (lines.at(-1) && pen.measureText(longer).width > width) lines.push(word);
      else lines[lines.length - 1] = longer;
    }
    return lines;
  }

  /** A canvas of `width` by `height` CSS pixels below a heading; returns its pen at the content's corner. */
  function sheet(part, width, height, note = "") {
    const words = about(part);
    const colour = colours();
    const canvas = document.createElement("canvas");
    const pen = canvas.getContext("2d");
    pen.font = `13px ${FONT}`;
    const lines = [...words.lines, ...(note ? [note] : [])].flatMap((line) => wrapped(pen, line, width));
    pen.font = `600 18px ${FONT}`;
    const titles = wrapped(pen, words.title, width);
    const heading = titles.length * 24 + lines.length * 19 + 14;
    canvas.width = (width + 2 * SPACE) * SCALE;
    canvas.height = (height + heading + 2 * SPACE) * SCALE;
    pen.scale(SCALE, SCALE);
    pen.fillStyle = colour.paper;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.textBaseline = "top";
    pen.direction = rtl() ? "rtl" : "ltr";
    pen.textAlign = "start";
    const start = rtl() ? SPACE + width : SPACE;
    let top = SPACE;
    pen.fillStyle = colour.strong;
    pen.font = `600 18px ${FONT}`;
    for (const line of titles) { pen.fillText(line, start, top); top += 24; }
    pen.fillStyle = colour.quiet;
    pen.font = `13px ${FONT}`;
    for (const line of lines) { pen.fillText(line, start, top); top += 19; }
    pen.translate(SPACE, SPACE + heading);
    return { canvas, pen };
  }

  function chart(panel, part) {
    const source = panel.querySelector("canvas");
    const box = source.getBoundingClientRect();
    const { canvas, pen } = sheet(part, box.width, box.height, panel.querySelector(".report-dashed")?.textContent);
    // Once more as fine as the picture is.
    const drawn = Chart.getChart(source);
    const usual = drawn.options.devicePixelRatio;
    drawn.options.devicePixelRatio = SCALE;
    drawn.resize();
    drawn.update("none");
    pen.drawImage(source, 0, 0, box.width, box.height);
    drawn.options.devicePixelRatio = usual;
    drawn.resize();
    return canvas;
  }

  function table(panel, part) {
    const source = panel.querySelector("table");
    const box = source.getBoundingClientRect();
    const { canvas, pen } = sheet(part, box.width, box.height);
    pen.textBaseline = "middle";
    source.querySelectorAll("th, td").forEach((cell) => {
      const style = getComputedStyle(cell);
      const at = cell.getBoundingClientRect();
      // The first column sticks to the edge of what is scrolled: draw it where it belongs.
      const left = cell.cellIndex ? at.left - box.left : rtl() ? box.width - at.width : 0;
      const top = at.top - box.top;
      pen.fillStyle = style.backgroundColor;
      pen.fillRect(left, top, at.width - 2, at.height - 2);
      pen.fillStyle = style.color;
      pen.font = `${style.fontWeight} ${style.fontSize} ${FONT}`;
      const row = cell.matches("tbody th, th:first-child");
      pen.textAlign = row ? "start" : "center";
      const text = cell.innerText.replace(/\s+/g, " ").trim();
      pen.fillText(text, row ? (rtl() ? left + at.width - 8 : left + 8) : left + at.width / 2, top + at.height / 2, at.width);
    });
    return canvas;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-report-picture]");
    if (!button) return;
    const panel = button.closest("section");
    const part = panel.querySelector("h2").firstChild.textContent.trim();
    const canvas = button.dataset.reportPicture === "chart" ? chart(panel, part) : table(panel, part);
    canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${location.pathname.split("/").filter(Boolean).at(-1)}-${panel.getAttribute("aria-labelledby").replace(/^(chart|table)-/, "")}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  });
})();
