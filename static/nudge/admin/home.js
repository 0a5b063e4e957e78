/* The home follows what happens: it asks every few seconds and changes only what has changed, so that focus, scroll,
   what is unfolded and what is pointed at in the chart stay. Not in hidden tabs; seldom while the server is in trouble. */
"use strict";

(() => {
  const EVERY = 10000; // ms
  const SELDOM = 300000; // ms, the longest pause after failures
  const PATIENCE = 30000; // ms for one answer
  let pause = EVERY;
  let timer = 0;
  let asking = null;
  let drawn = ""; // what the chart's look depends on
  let told = ""; // what it shows

  const home = () => document.getElementById("home");

  /* --- Changing what is there into what came, in place ---------------------------------------------------- */
  // What the page itself changes stays as it is: what is unfolded, the words of a definition that stand open.
  const OWN = { DETAILS: ["open"], CANVAS: ["style", "width", "height"] };
  const own = (element, name) =>
    OWN[element.nodeName]?.includes(name) || (element.classList.contains("nudge-def-words") && ["hidden", "style"].includes(name));
  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id || "" : "");

  function become(element, other) {
    for (const { name, value } of other.attributes) {
      if (!own(element, name) && element.getAttribute(name) !== value) element.setAttribute(name, value);
    }
    for (const { name } of [...element.attributes]) {
      if (!own(element, name) && !other.hasAttribute(name)) element.removeAttribute(name);
    }
    if (element.nodeName !== "CANVAS") becomeInside(element, other);
  }

  function becomeInside(element, other) {
    const left = new Set(element.childNodes);
    const byKey = new Map([...left].filter(keyOf).map((node) => [`${node.nodeName} ${keyOf(node)}`, node]));
    let place = element.firstChild;
    for (const wanted of [...other.childNodes]) {
      const key = keyOf(wanted);
      const same = key
        ? byKey.get(`${wanted.nodeName} ${key}`)
        : [...left].find((node) => node.nodeName === wanted.nodeName && !keyOf(node));
      if (same && left.delete(same)) {
        if (same === place) place = place.nextSibling;
        else element.insertBefore(same, place);
        if (same.nodeType === Node.ELEMENT_NODE) become(same, wanted);
        else if (same.data !== wanted.data) same.data = wanted.data;
      } else {
        element.insertBefore(document.adoptNode(wanted), place);
      }
      while (place && !left.has(place)) place = place.nextSibling;
    }
    left.forEach((node) => node.remove());
  }

  function show(text) {
    const came = new DOMParser().parseFromString(text, "text/html").getElementById("home-live");
    const there = document.getElementById("home-live");
    if (!came || !there) return;
    const focused = document.activeElement;
    become(there, came);
    // A row that changed its place has lost the focus on the way.
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    draw();
  }

  /* --- Asking --------------------------------------------------------------------------------------------- */
  async function ask(query = location.search) {
    asking?.abort();
    const stop = new AbortController();
    asking = stop;
    clearTimeout(timer);
    const late = setTimeout(() => stop.abort(), PATIENCE);
    try {
      const answer = await fetch(home().dataset.address + query, {
        headers: { "If-None-Match": home().dataset.tag, "HX-Request": "true" },
        signal: stop.signal,
      });
      if (answer.redirected && /\/login\/$/.test(new URL(answer.url).pathname)) return location.reload();
      if (!answer.ok && answer.status !== 304) throw new Error(answer.status);
      const text = answer.status === 304 ? "" : await answer.text();
      if (asking !== stop) return;
      if (text) show(text);
      home().dataset.tag = answer.headers.get("ETag") ?? "";
      tell(answer.headers.get("Nudge-Upto"));
      pause = EVERY;
    } catch (trouble) {
      if (asking !== stop) return; // something else was asked meanwhile
      pause = Math.min(2 * pause, SELDOM);
      tell(null);
    } finally {
      clearTimeout(late);
      if (asking === stop) {
        asking = null;
        home().classList.remove("is-asking");
        later();
      }
    }
  }

  function later() {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(ask, pause);
  }

  function tell(upto) {
    const clock = document.getElementById("home-clock");
    const trouble = document.getElementById("home-trouble");
    clock.closest(".home-clock").classList.toggle("is-troubled", !upto);
    const words = upto ? "" : trouble.dataset.words;
    if (trouble.textContent !== words) trouble.textContent = words;
    if (!upto) return;
    clock.dateTime = upto;
    const how = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: clock.dataset.zone };
    clock.firstElementChild.textContent = new Date(upto).toLocaleTimeString("en-GB", how);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!asking) ask();
  });

  // Another period, measure or order: the address remembers it, the page stays.
  document.addEventListener("click", (event) => {
    const choice = event.target.closest?.("[data-home-choice]");
    if (!choice || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.replaceState(history.state, "", choice.getAttribute("href"));
    home().classList.add("is-asking");
    ask();
  });
  // A switch is pressed with the space bar as well.
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || !event.target.matches?.("a[role=switch]")) return;
    event.preventDefault();
    event.target.click();
  });

  /* --- The chart: the period as an area, the one before as a dashed line --------------------------------------- */
  function draw() {
    const canvas = document.getElementById("home-canvas");
    const source = document.getElementById("home-chart-data");
    const before = Object.values(Chart.instances).find((one) => one.canvas?.id === "home-canvas");
    if (before && before.canvas !== canvas) before.destroy();
    if (!canvas || !source) return;
    const data = JSON.parse(source.textContent);
    const theme = document.documentElement.classList.contains("dark") ? "dark" : "light";
    const shape = `${theme} ${data.key} ${data.currency} ${data.rtl}`;
    const there = Chart.getChart(canvas);
    if (there && drawn === shape) {
      if (told === source.textContent) return;
      told = source.textContent;
      fill(there.data, data);
      return there.update("none");
    }
    there?.destroy();
    drawn = shape;
    told = source.textContent;
    create(canvas, data);
  }

  function fill(into, data) {
    into.labels = data.labels;
    [data.now, data.before].forEach((values, index) => {
      into.datasets[index].data = values;
      into.datasets[index].label = data.names[index];
      into.datasets[index].pointRadius = values.length > 31 ? 0 : 2;
      into.datasets[index].hidden = !values.length;
    });
  }

  function create(canvas, data) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--nudge-${name}`).trim();
    const line = colour(`chart-${data.key}`);
    const money = data.currency && /^[A-Z]{3}$/.test(data.currency);
    const write = (value, short) => {
      const how = short ? { notation: "compact", maximumFractionDigits: 1 } : { maximumFractionDigits: 2 };
      const currency = money ? { style: "currency", currency: data.currency } : {};
      return new Intl.NumberFormat(document.documentElement.lang, { ...currency, ...how, ...(short ? { minimumFractionDigits: 0 } : {}) }).format(value);
    };
    const common = { borderWidth: 2, pointHoverRadius: 5, tension: 0.3, cubicInterpolationMode: "monotone", spanGaps: false };
    const made = {
      labels: [],
      datasets: [
        { ...common, borderColor: line, backgroundColor: `color-mix(in srgb, ${line} 14%, transparent)`, pointBackgroundColor: line, fill: "origin", order: 1 },
        { ...common, borderColor: colour("chart-before"), backgroundColor: "transparent", pointBackgroundColor: colour("chart-before"), borderDash: [5, 4], borderWidth: 1.5, pointStyle: "rectRot", order: 2 },
      ],
    };
    fill(made, data);
    const text = colour("quiet");
    new Chart(canvas, {
      type: "line",
      data: made,
      options: {
        responsive: true,
        maintainAspectRatio: false,
        animation: false,
        locale: document.documentElement.lang,
        interaction: { mode: "index", intersect: false },
        plugins: {
          legend: { rtl: data.rtl, align: "end", labels: { filter: (item) => !item.hidden, color: text, usePointStyle: true, boxHeight: 7, font: { family: "Inter" } } },
          tooltip: { rtl: data.rtl, textDirection: data.rtl ? "rtl" : "ltr", usePointStyle: true, callbacks: { label: (item) => `${item.dataset.label}: ${write(item.raw)}` } },
        },
        scales: {
          x: { reverse: data.rtl, grid: { display: false }, border: { color: colour("line") }, ticks: { color: text, maxTicksLimit: 8, maxRotation: 0 } },
          y: { position: data.rtl ? "right" : "left", beginAtZero: true, grid: { color: colour("line") }, border: { display: false }, ticks: { color: text, precision: money ? undefined : 0, maxTicksLimit: 6, callback: (value) => write(value, true) } },
        },
      },
    });
  }

  new MutationObserver(() => drawn && draw()).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });

  window.addEventListener("load", () => {
    draw();
    later();
  });
})();
