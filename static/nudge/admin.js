/* What all admin pages share: definitions, charts, and HTMX's manners. Loaded in <head>, before Alpine. */
"use strict";

/* --- Definitions: open by hover, focus or tap; Escape closes; they stay inside the window ------------------ */
(() => {
  const GAP = 8;
  let open = null;

  function hide() {
    if (open) open.words.hidden = true;
    open = null;
  }

  function show(name) {
    const words = document.getElementById(name.getAttribute("aria-describedby"));
    if (!words || open?.words === words) return;
    hide();
    words.hidden = false;
    const at = name.getBoundingClientRect();
    const size = words.getBoundingClientRect();
    const left = Math.min(Math.max(at.left + at.width / 2 - size.width / 2, GAP), innerWidth - size.width - GAP);
    const above = at.top - size.height - GAP;
    words.style.left = `${Math.max(left, GAP)}px`;
    words.style.top = `${above > GAP ? above : at.bottom + GAP}px`;
    open = { name, words, shown: Date.now() };
  }

  const nameOf = (event) => event.target.closest?.(".nudge-def-name");
  document.addEventListener("mouseover", (event) => {
    const name = nameOf(event);
    if (name) show(name);
    // The words themselves may be pointed at, to read or copy them.
    else if (open && !event.target.closest?.(".nudge-def") && document.activeElement !== open.name) hide();
  });
  document.addEventListener("focusin", (event) => (nameOf(event) ? show(nameOf(event)) : hide()));
  document.addEventListener("click", (event) => {
    const name = nameOf(event);
    if (!name) return event.target.closest?.(".nudge-def") ? undefined : hide();
    // A tap focuses first, which has just opened it; a second tap closes.
    if (open?.name === name && Date.now() - open.shown > 350) hide();
    else show(name);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open) {
      hide();
      event.stopPropagation();
    }
  }, true);
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  window.addEventListener("resize", hide);
})();

/* --- Charts: <canvas data-nudge-chart="id of a JSON script">, drawn again after swaps and theme changes ------ */
(() => {
  const POINTS = { sent: "circle", opened: "triangle", clicked: "rect", converted: "rectRot" };
  // Lines that have no colour of their own take these by turns, and points of other shapes beside.
  const COLOURS = ["sent", "opened", "clicked", "converted", "fifth", "sixth"];
  const SHAPES = ["circle", "triangle", "rect", "rectRot", "star", "cross"];
  const quick = matchMedia("(prefers-reduced-motion: reduce)");

  /** How a value of a series is written; shares are 0 to 1, seconds become the unit that suits them. */
  function writer(line) {
    const lang = document.documentElement.lang || "en";
    const format = (options) => new Intl.NumberFormat(lang, options);
    if (line?.unit === "share") return (value) => format({ style: "percent", maximumFractionDigits: 1 }).format(value);
    if (line?.unit === "money" && /^[A-Za-z]{3}$/.test(line.currency ?? "")) {
      return (value) => format({ style: "currency", currency: line.currency, maximumFractionDigits: Math.abs(value) < 100 ? 2 : 0 }).format(value);
    }
    if (line?.unit === "seconds") {
      return (value) => {
        const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].find((one) => Math.abs(value) >= 2 * one[1]) ?? ["second", 1];
        return format({ style: "unit", unit, maximumFractionDigits: 1 }).format(value / size);
      };
    }
    return (value) => format({ maximumFractionDigits: 2 }).format(value);
  }

  function draw(canvas, still) {
    const source = document.getElementById(canvas.dataset.nudgeChart);
    if (!source || !window.Chart) return;
    const data = JSON.parse(source.textContent);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--nudge-${name}`).trim();
    const text = colour("quiet");
    const bars = data.kind === "bars" || data.kind === "stacked";
    // What is of another kind than the first has a scale of its own, at the other side.
    const first = data.series[0];
    const other = data.series.find((line) => line.unit !== first.unit || line.currency !== first.currency);
    const scale = (line) => (other && (line.unit !== first.unit || line.currency !== first.currency) ? "other" : "y");
    const datasets = data.series.flatMap((line, place) => {
      const shade = colour(`chart-${line.key}`) || colour(`chart-${COLOURS[place % COLOURS.length]}`);
      const common = {
        type: bars ? "bar" : "line",
        yAxisID: scale(line),
        borderColor: shade,
        backgroundColor: shade,
        pointStyle: POINTS[line.key] ?? SHAPES[place % SHAPES.length],
        pointRadius: data.labels.length > 31 ? 0 : 2.5,
        pointHoverRadius: 5,
        borderWidth: bars ? 0 : 2,
        tension: 0.3,
        cubicInterpolationMode: "monotone",
        write: writer(line),
      };
      const now = { ...common, label: line.label, data: line.values, stack: "now" };
      if (!line.before) return [now];
      const pale = { isBefore: true, borderDash: [5, 4], borderWidth: 1.5, pointRadius: 0, backgroundColor: bars ? `${shade}66` : shade, stack: "before", order: 1 };
      return [now, { ...common, ...pale, label: line.before_label, data: line.before }];
    });
    const axis = (end, write) => ({
      position: end === data.rtl ? "left" : "right",
      beginAtZero: true,
      stacked: data.kind === "stacked",
      grid: { color: colour("line"), drawOnChartArea: !end },
      border: { display: false },
      ticks: { color: text, maxTicksLimit: 6, callback: write, ...(first.unit === "count" || !first.unit ? { precision: 0 } : {}) },
    });
    Chart.getChart(canvas)?.destroy();
    new Chart(canvas, {
      data: { labels: data.labels, datasets },
      options: {
        responsive: true,
        maintainAspectRatio: false,
        animation: still || quick.matches ? false : { duration: 300 },
        locale: document.documentElement.lang,
        interaction: { mode: "index", intersect: false },
        plugins: {
          legend: { rtl: data.rtl, align: "end", labels: { color: text, usePointStyle: true, boxHeight: 7, font: { family: "Inter" }, filter: (item) => !datasets[item.datasetIndex].isBefore } },
          tooltip: {
            rtl: data.rtl,
            usePointStyle: true,
            callbacks: { label: (item) => `${item.dataset.label}: ${item.parsed.y === null ? "–" : item.dataset.write(item.parsed.y)}` },
          },
        },
        scales: {
          x: { reverse: data.rtl, stacked: data.kind === "stacked", grid: { display: false }, border: { color: colour("line") }, ticks: { color: text, maxTicksLimit: 8, maxRotation: 0 } },
          y: axis(false, writer(first)),
          ...(other ? { other: axis(true, writer(other)) } : {}),
        },
      },
    });
  }

  function drawAll(root, still = false) {
    root.querySelectorAll("canvas[data-nudge-chart]").forEach((canvas) => draw(canvas, still));
  }

  window.addEventListener("load", () => drawAll(document));
  document.addEventListener("htmx:beforeCleanupElement", (event) => {
    if (event.target.matches?.("canvas[data-nudge-chart]")) Chart.getChart(event.target)?.destroy();
  });
  document.addEventListener("htmx:afterSettle", () => {
    document.querySelectorAll("canvas[data-nudge-chart]").forEach((canvas) => Chart.getChart(canvas) || draw(canvas, true));
  });
  let theme = "";
  new MutationObserver(() => {
    const now = document.documentElement.classList.contains("dark") ? "dark" : "light";
    if (theme && theme !== now) drawAll(document, true);
    theme = now;
  }).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
})();

/* --- HTMX ---------------------------------------------------------------------------------------------------- */
(() => {
  // HTMX lets 20 ms pass between putting an answer in its place and listening to what stands in it: a click or a form
  // sent meanwhile would be lost, or leave the page.
  document.addEventListener("DOMContentLoaded", () => {
    if (window.htmx) htmx.config.defaultSettleDelay = 0;
  });

  // What is pressed, chosen or sent before the page listens waits until it does.
  const ASKS = "[hx-get], [hx-post]";
  const early = [];
  const wait = (event) => {
    const { type, target, submitter } = event;
    const asks = type === "click" ? target.closest?.(`${ASKS}, button[type=button]`) : target.matches?.(ASKS) && target;
    if (!asks || (type === "click" && asks.matches("form, input, select, textarea"))) return;
    if (event.cancelable) event.preventDefault();
    event.stopImmediatePropagation();
    if (type === "click") event.detail > 1 || early.push(() => asks.click()); // of a double click, the first
    else if (type === "submit") early.push(() => asks.requestSubmit(submitter));
    else early.push(() => asks.dispatchEvent(new Event(type, { bubbles: true })));
  };
  const kinds = ["click", "change", "submit"];
  kinds.forEach((kind) => document.addEventListener(kind, wait, true));
  document.addEventListener("DOMContentLoaded", () => {
    kinds.forEach((kind) => document.removeEventListener(kind, wait, true));
    early.forEach((again) => again());
  });

  // Every request carries the page's CSRF token unless it brings one.
  document.addEventListener("htmx:configRequest", (event) => {
    const headers = event.detail.headers;
    const token = document.querySelector("input[name=csrfmiddlewaretoken]")?.value;
    if (token && !headers["X-CSRFToken"] && event.detail.verb !== "get") headers["X-CSRFToken"] = token;
  });

  // When the session is over, the answer is the login page: go there rather than put it into a panel.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const address = event.detail.xhr.responseURL;
    if (!address) return;
    const url = new URL(address, location.href);
    if (url.origin === location.origin && /\/login\/$/.test(url.pathname)) {
      event.detail.shouldSwap = false;
      url.searchParams.set("next", location.pathname + location.search);
      location.assign(url);
    }
  });

  // Parts that refresh themselves leave their reader alone: not while hidden, focused, pointed at or unfolded, neither
  // when they ask nor when the answer comes. No part is exchanged under a finger: a click on two elements is none.
  const inUse = (part) =>
    part.matches?.("[data-quiet-refresh]") &&
    (document.hidden || part.contains(document.activeElement) || part.querySelector("details[open], .nudge-def-words:not([hidden])") || part.querySelector("canvas:hover"));
  let pressed = null;
  document.addEventListener("pointerdown", (event) => { pressed = event.target; }, true);
  ["pointerup", "pointercancel"].forEach((kind) => document.addEventListener(kind, () => { pressed = null; }, true));
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (inUse(event.target)) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { elt, target } = event.detail;
    if (elt !== target || !/^every /.test(elt.getAttribute("hx-trigger"))) return;
    if (inUse(elt) || elt.contains(pressed)) event.detail.shouldSwap = false;
  });
})();

/* --- Forms: a second click while the first is on its way does nothing ------------------------------------------ */
(() => {
  const WAIT = 10000; // ms after which an answer is taken for lost
  let sent = new WeakMap();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post" || (form.target && form.target !== "_self")) return;
    if (Date.now() - (sent.get(form) ?? -WAIT) < WAIT) return event.preventDefault();
    sent.set(form, Date.now());
    form.setAttribute("aria-busy", "true");
  });
  // The back button may bring the page back as it was left.
  window.addEventListener("pageshow", () => {
    sent = new WeakMap();
    document.querySelectorAll("form[aria-busy]").forEach((form) => form.removeAttribute("aria-busy"));
  });
})();
