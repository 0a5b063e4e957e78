/*
 * Nudge for the web: one file, no build step, no global but `nudge`. docs/sdk.md describes every call.
 *
 * `worker` (data-worker): the path of a worker of the site's own that calls importScripts('/nudge-sw.js').
 */
(function () {
  'use strict';
  const stub = window.nudge || {};
  if (stub.anonymousId) return; // the script tag is on the page twice

  const ANONYMOUS = 'nudge.anonymous';
  const REFERENCE = 'nudge.reference';
  const EVENT = 'nudge.event.'; // one item per event: tabs do not rewrite each other's queue
  const CONSENT = 'nudge.consent.'; // one item per answer
  const OFF = 'nudge.off'; // the visitor does not want to be tracked
  const INBOX = 'nudge.inbox'; // the in-app messages as last fetched
  const WAIT = 'nudge.wait'; // no request before this time (ms), shared by all tabs
  const WANTED = 'nudge.push.wanted';
  const POSTED = 'nudge.push.posted';
  const GONE = 'nudge.push.gone';
  const MAX_QUEUE = 1000;
  const MAX_BATCH = 100;
  const MAX_BODY = 60000; // bytes; browsers allow 64 KiB of keepalive requests
  const MAX_WAIT = 3600e3;
  const ADOPT = 3000; // age (ms) at which another page's event counts as left behind
  const FETCH_EVERY = 60e3;
  const DAY = 864e5;

  const tag = document.currentScript;
  const config = {key: '', api: '', worker: '/nudge-sw.js'};
  const listeners = {};
  const memory = new Map();
  const own = new Set(); // queue items made by this page
  const inFlight = new Set();
  let attempt = 0;
  let count = 0;
  let timer = 0;
  let due = 0; // when the timer fires (ms)
  let offline = false;
  let renewed = false; // a lost subscription is renewed once per page
  let popped = false; // one in-app message a page view
  let asking = null; // the request for in-app messages under way
  let flushing = null;
  let syncing = Promise.resolve();

  const warn = (...args) => console.warn('nudge:', ...args);
  const bytes = (text) => new TextEncoder().encode(text).length;
  const uuid = () => '10000000-1000-4000-8000-100000000000'.replace(/[018]/g, (c) =>
    (c ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (c / 4)))).toString(16));

  // False when a listener says so.
  function emit(name, detail) {
    let answer;
    (listeners[name] || []).slice().forEach((fn) => {
      try { if (fn(detail) === false) answer = false; } catch (error) { warn(error); }
    });
    return answer;
  }

  // Storage: localStorage, and memory where it is blocked or full.

  let local = null;
  try { local = window.localStorage; } catch (error) { /* blocked by the browser's settings */ }

  const store = {
    get: (key) => (memory.has(key) ? memory.get(key) : local && local.getItem(key)),
    json: (key) => {
      try { return JSON.parse(store.get(key)); } catch (error) { return null; }
    },
    set: (key, value) => {
      try {
        local.setItem(key, value);
        memory.delete(key);
      } catch (error) {
        memory.set(key, value);
      }
    },
    put: (key, value) => store.set(key, JSON.stringify(value)),
    remove: (key) => {
      memory.delete(key);
      if (local) local.removeItem(key);
    },
    list: (prefix) => [...new Set([...memory.keys(), ...(local ? Object.keys(local) : [])])]
      .filter((key) => key.startsWith(prefix)).sort(),
    events: () => store.list(EVENT),
  };

  // Identity

  function setAnonymous(id) {
    store.set(ANONYMOUS, id);
    try { // a cookie carries the id to the next page where localStorage is blocked
      if (!local) document.cookie = 'nudge_id=' + id + ';path=/;max-age=31536000;samesite=lax';
    } catch (error) { /* then it lives as long as the page */ }
    return id;
  }

  function anonymousId() {
    let id = store.get(ANONYMOUS);
    try {
      if (!id && !local) id = (/(?:^|; )nudge_id=([\w-]+)/.exec(document.cookie) || [])[1];
    } catch (error) { /* no cookies either */ }
    return id || setAnonymous(uuid());
  }

  const profile = (more) => ({anonymous_id: anonymousId(), ...store.json(REFERENCE), ...more});

  function identify(reference, traits) {
    const known = {...store.json(REFERENCE)};
    const given = {};
    ['external_id', 'email', 'proof'].forEach((kind) => {
      if (reference && reference[kind]) given[kind] = String(reference[kind]);
    });
    if (!given.external_id && !given.email) return warn('identify() needs an external_id or an email');
    // Another person on the same device: a new anonymous id keeps the server from merging the two.
    const shared = ['external_id', 'email'].find((kind) => known[kind] && given[kind]);
    if (shared && known[shared] !== given[shared]) reset();
    store.put(REFERENCE, {...store.json(REFERENCE), ...given});
    emit('identify', given);
    track('identified', {traits: traits || {}});
  }

  function reset() {
    [REFERENCE, INBOX].forEach(store.remove);
    setAnonymous(uuid());
    emit('reset');
    schedule(300); // moves the push subscription to the new visitor
  }

  // Tells of something that happened once; what gets lost is not asked for again.
  function tell(what, content) {
    const body = JSON.stringify(content);
    fetch(config.api + '/t/' + what + '/', {method: 'POST', body, keepalive: true, credentials: 'omit'}).catch(warn);
  }

  // Whoever comes by a link of a message is whom it was sent to, unless known by a name. The token is seen once.
  function arrive() {
    const found = /[?&]nudge_c=([^&]+)/.exec(location.search);
    if (!found) return;
    const clean = location.href.replace(/([?&])nudge_c=[^&#]*&?/, '$1').replace(/[?&](#|$)/, '$1');
    history.replaceState(history.state, '', clean);
    tell('landed', {click: found[1]});
    if (!store.get(REFERENCE)) queue('identified', {via: 'message'}, {click: found[1]});
  }

  // Events

  function queue(name, properties, more) {
    if (!name || typeof name !== 'string') return warn('track() needs a name');
    if (store.get(OFF)) return;
    const now = new Date();
    const event = {
      id: uuid(), name, profile: profile(more), occurred_at: now.toISOString(), properties: properties || {},
    };
    let text;
    try { text = JSON.stringify(event); } catch (error) { return warn(name + ' dropped: ' + error.message); }
    const queued = store.events();
    if (queued.length >= MAX_QUEUE) {
      queued.slice(0, queued.length - MAX_QUEUE + 1).forEach(store.remove);
      warn('the queue is full, the oldest event was dropped');
    }
    // Sorting by name gives the order in which events happened.
    const key = EVENT + now.getTime() + '.' + String(1e6 + count++).slice(1) + '.' + event.id;
    own.add(key);
    store.set(key, text);
    emit('track', event);
    schedule(300);
    return event.id;
  }

  const track = (name, properties) => queue(name, properties);

  function page(properties) {
    popped = false;
    return track('page_viewed', {
      url: location.href.split('#')[0], path: location.pathname, title: document.title, referrer: document.referrer,
      ...properties,
    });
  }

  // false: tell nothing about this visitor any more; true: tell again; an object: an answer about a channel or topic.
  function consent(answer) {
    if (answer === true) store.remove(OFF);
    else if (!answer) {
      store.set(OFF, 1);
      store.events().forEach(store.remove);
    } else {
      const {state, wording} = answer;
      const changed_at = new Date().toISOString();
      const consents = ['channel', 'topic'].filter((kind) => answer[kind])
        .map((kind) => ({kind, key: answer[kind], state, wording, changed_at}));
      store.put(CONSENT + Date.now() + uuid(), {profile: profile(), consents});
    }
    emit('consent', answer);
    return flush();
  }

  // Requests

  async function request(method, path, body) {
    const abort = new AbortController();
    const limit = setTimeout(() => abort.abort(), 30000);
    const headers = {Authorization: 'Bearer ' + config.key};
    if (body) headers['Content-Type'] = 'application/json';
    const failure = new Error(method + ' ' + path + ': no answer');
    failure.status = 0;
    failure.wait = Math.min(1000 * 2 ** attempt, 300e3) * (0.5 + Math.random() / 2);
    try {
      const response = await fetch(config.api + path, {
        method, body, headers, credentials: 'omit', signal: abort.signal, keepalive: !!body && bytes(body) <= MAX_BODY,
      });
      const text = await response.text();
      if (response.ok) return text ? JSON.parse(text) : null;
      failure.status = response.status;
      failure.message = method + ' ' + path + ': ' + response.status + ' ' + text.slice(0, 300);
      const after = response.headers.get('Retry-After');
      const asked = after ? (after - 0 || (Date.parse(after) - Date.now()) / 1000) * 1000 : 0;
      if (asked > 0) failure.wait = Math.min(asked, MAX_WAIT);
    } catch (error) {
      failure.message += ' (' + error.message + ')';
    } finally {
      clearTimeout(limit);
    }
    failure.retry = !failure.status || failure.status === 408 || failure.status === 429 || failure.status >= 500;
    throw failure;
  }

  const waiting = () => {
    const left = store.get(WAIT) - Date.now();
    return left > 0 && left <= MAX_WAIT ? left : 0;
  };

  function backOff(failure) {
    attempt += 1;
    offline = !failure.status;
    store.set(WAIT, Date.now() + failure.wait);
    emit('retry', {reason: failure.message, wait: failure.wait});
    schedule(failure.wait);
  }

  function batch(keys) {
    const taken = [];
    const texts = [];
    let size = 51;
    for (const key of keys) {
      const text = inFlight.has(key) ? null : store.get(key);
      if (!text) continue;
      size += bytes(text) + 1;
      if (taken.length === MAX_BATCH || (taken.length && size > MAX_BODY)) break;
      taken.push(key);
      texts.push(text);
    }
    // By our clock, as the events' times: the server corrects them together when it is wrong.
    return {keys: taken, body: '{"sent_at":"' + new Date().toISOString() + '","events":[' + texts.join(',') + ']}'};
  }

  // True when the batch is done with: stored, or refused for good.
  async function send({keys, body}) {
    const done = () => keys.forEach((key) => { store.remove(key); own.delete(key); });
    keys.forEach((key) => inFlight.add(key));
    try {
      const answer = await request('POST', '/api/v1/events/', body) || {};
      done();
      attempt = 0;
      (answer.rejected || []).forEach((item) => {
        warn('event refused:', item.code, item.field || '', item.detail || '');
        emit('drop', {count: 1, reason: item.code});
      });
      emit('sent', {count: keys.length});
      return true;
    } catch (failure) {
      if (failure.retry) {
        backOff(failure);
        return false;
      }
      done();
      warn(keys.length + ' event(s) dropped, ' + failure.message);
      emit('drop', {count: keys.length, reason: failure.message});
      return true;
    } finally {
      keys.forEach((key) => inFlight.delete(key));
    }
  }

  async function drain(adopt) {
    const old = Date.now() - ADOPT;
    const ours = (key) => own.has(key) || (adopt && parseInt(key.slice(EVENT.length), 10) < old);
    for (;;) {
      const next = batch(store.events().filter(ours));
      if (waiting()) return;
      if (!next.keys.length) break;
      if (!(await send(next))) return;
    }
    for (const key of store.list(CONSENT)) { // said twice, it is still one answer
      try {
        await request('POST', '/api/v1/consents/', store.get(key));
      } catch (failure) {
        if (failure.retry) return backOff(failure);
        warn(failure.message);
      }
      store.remove(key);
    }
  }

  // A page sends its own events and those an earlier page left. One tab sends at a time; a tab that had to wait takes
  // no other's, for tabs hear of a removal a moment late.
  async function flushNow() {
    if (config.key) {
      const locks = navigator.locks;
      let busy = false;
      if (!locks) await drain(true);
      else await locks.request('nudge', {ifAvailable: true}, (lock) => (lock ? drain(true) : void (busy = true)));
      if (busy) await locks.request('nudge', () => drain(false));
      if (!waiting()) await sync(false).catch((failure) => warn(failure.message));
      if (!waiting()) await visit().catch((failure) => warn(failure.message));
    }
  }

  function flush() {
    if (!flushing) {
      flushing = flushNow().catch(warn).then(() => {
        flushing = null;
        const left = [...store.events(), ...store.list(CONSENT)];
        if (waiting() || left.length) schedule(left.some((key) => own.has(key)) ? 300 : ADOPT);
      });
    }
    return flushing;
  }

  function schedule(delay) {
    const at = Date.now() + Math.max(delay, waiting());
    if (!config.key || (timer && due <= at)) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(() => {
      timer = 0;
      flush();
    }, at - Date.now());
  }

  // The page may never run again: send what it made now, without waiting for another tab.
  function leave() {
    const next = batch([...own]);
    if (!config.key || waiting() || !next.keys.length) return;
    if ('keepalive' in Request.prototype) send(next);
    // It has no answer: whoever adopts them sends the same once more, which the server knows by the ids.
    else if (navigator.sendBeacon(config.api + '/api/v1/events/beacon/?key=' + config.key, next.body)) {
      next.keys.forEach((key) => own.delete(key));
    }
  }

  // In-app messages

  // Canvas follows the page's color-scheme.
  const STYLE = ':host{all:initial;color-scheme:inherit}' +
    'dialog{font:16px/1.5 system-ui,sans-serif;color:CanvasText;background:Canvas;border:1px solid #8886;' +
    'border-radius:12px;box-shadow:0 8px 32px #0005;padding:20px;box-sizing:border-box;width:min(420px,100vw - 32px);' +
    'overflow-wrap:anywhere}' +
    'dialog:not(:modal){position:fixed;z-index:2147483647;inset-block:auto 16px;inset-inline:auto 16px}' +
    '::backdrop{background:#0009}' +
    'img{max-width:100%;border-radius:8px}' +
    'h2{font-size:18px;margin:0;padding-inline-end:32px}' +
    'p{margin:4px 0;white-space:pre-line}' +
    'a{display:inline-block;margin-top:8px;padding:10px 20px;border-radius:8px;text-decoration:none;' +
    'background:var(--nudge-accent,#4338ca);color:#fff}' +
    'button{position:absolute;inset-block-start:4px;inset-inline-end:4px;width:44px;height:44px;border:0;' +
    'border-radius:22px;background:Canvas;color:inherit;font-size:24px}';

  const visitor = () => JSON.stringify({profile: profile()});

  async function ask() {
    if (store.get(OFF)) return [];
    const body = visitor();
    let kept = store.json(INBOX) || {};
    if (kept.body !== body || !(Date.now() - kept.at < FETCH_EVERY)) {
      kept = {body, at: Date.now(), messages: []};
      try {
        kept.messages = (await request('POST', '/api/v1/inbox/', body)).messages;
      } finally { // a refusal is not asked for again at once
        if (body === visitor()) store.put(INBOX, kept);
        else kept.messages = [];
      }
    }
    return kept.messages.filter(({state}) => state !== 'dismissed');
  }

  // The visitor's messages, newest first.
  function inbox() {
    asking = asking || ask().finally(() => { asking = null; });
    return asking;
  }

  // kind: 'shown', 'clicked' or 'dismissed'
  function report({token}, kind) {
    const kept = store.json(INBOX) || {messages: []};
    kept.messages.forEach((one) => { if (one.token === token) one.state = kind; });
    store.put(INBOX, kept);
    tell('push', {token, kind, at: new Date().toISOString()});
  }

  async function visit() {
    if (popped) return;
    const next = (await inbox()).find(({state, style}) => style !== 'inbox' && state !== 'clicked');
    if (!next || popped) return;
    popped = true;
    if (emit('inapp', next) !== false) show(next);
  }

  function show(message) {
    const make = (name, fields) => Object.assign(document.createElement(name), fields);
    const before = document.activeElement;
    const host = make('div', {ariaLive: 'polite', lang: message.locale});
    const root = host.attachShadow({mode: 'open'});
    const sheet = new CSSStyleSheet(); // no <style>: the site's policy may forbid it
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const box = make('dialog', {dir: 'auto', ariaLabel: message.title});
    const end = (kind) => {
      if (!host.isConnected) return;
      const inside = document.activeElement === host;
      host.remove();
      if (inside) before.focus();
      report(message, kind);
    };
    const link = make('a', {href: message.url, textContent: message.button, onclick: () => end('clicked')});
    root.append(box);
    document.body.append(host); // first empty: a live region speaks of what comes into it
    if (message.image) box.append(make('img', {src: message.image, alt: ''}));
    box.append(make('h2', {textContent: message.title}), make('p', {textContent: message.text}));
    if (message.button && /^http/.test(link.protocol)) box.append(link);
    box.append(make('button', {textContent: '×', ariaLabel: message.close, onclick: () => end('dismissed')}));
    root.querySelectorAll('*').forEach((one) => one.setAttribute('part', one.localName));
    box.onclose = () => end('dismissed');
    box.onkeydown = ({key}) => { if (key === 'Escape') end('dismissed'); };
    if (message.style === 'modal') box.showModal();
    else box.open = true;
    if (message.state === 'waiting') report(message, 'shown');
  }

  // Web push

  const toKey = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
  const fromKey = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');

  async function registration() {
    const url = new URL(config.worker, location.href);
    if (new URL(config.api).origin !== location.origin) url.searchParams.set('api', config.api);
    const found = await navigator.serviceWorker.register(url.href, {updateViaCache: 'none'});
    const worker = found.installing || found.waiting;
    if (!found.active && worker) {
      await new Promise((resolve, reject) => worker.addEventListener('statechange', () => {
        if (worker.state === 'activated') resolve();
        if (worker.state === 'redundant') reject(new Error('the service worker could not be installed'));
      }));
    }
    return found;
  }

  async function subscription() {
    const found = await navigator.serviceWorker.getRegistration(config.worker);
    return found ? found.pushManager.getSubscription() : null;
  }

  // A subscription made with the server's present key.
  async function renew(current) {
    const key = (await request('GET', '/api/v1/push/config/')).public_key.replace(/=+$/, '');
    const used = current && current.options.applicationServerKey;
    if (current && (!used || fromKey(used) === key)) return current;
    if (current) await current.unsubscribe();
    const options = {userVisibleOnly: true, applicationServerKey: toKey(key)};
    return (await registration()).pushManager.subscribe(options);
  }

  // Tells the server what the person chose: until it answers, and again when key or person change.
  async function syncNow(asked) {
    const gone = store.get(GONE);
    if (gone) {
      try {
        await request('DELETE', '/api/v1/subscriptions/', JSON.stringify({endpoint: gone}));
      } catch (failure) {
        if (failure.retry) return backOff(failure);
        warn(failure.message);
      }
      store.remove(GONE);
    }
    const wanted = store.json(WANTED);
    if (!wanted || push.permission() !== 'granted') return;
    const posted = store.json(POSTED) || {};
    let current = await subscription();
    let body;
    try {
      if (asked || !(Date.now() - posted.checked < DAY) || (!current && !renewed)) {
        renewed = true;
        current = await renew(current);
        posted.checked = Date.now();
      }
      if (!current) return;
      body = JSON.stringify({
        profile: profile(), subscription: current.toJSON(), language: navigator.language,
        timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, topics: wanted.topics,
      });
      // How old the yes is, by one clock: told again, it must not outdo a no that was given elsewhere since.
      const age = {agreed_seconds_ago: Math.max(0, (Date.now() - (wanted.at || Date.now())) / 1000)};
      const told = JSON.stringify({...JSON.parse(body), ...age});
      if (asked || body !== posted.body) await request('POST', '/api/v1/subscriptions/', told);
    } catch (failure) {
      if (asked && !(failure.retry && current)) { // the page must not say that it is on
        store.remove(WANTED);
        if (current) await current.unsubscribe();
        throw failure;
      }
      if (failure.retry) return backOff(failure);
      posted.checked = Date.now(); // refused: not repeated before tomorrow
      warn(failure.message);
    }
    posted.body = body;
    store.put(POSTED, posted);
  }

  function sync(asked) {
    syncing = syncing.catch(() => {}).then(() => syncNow(asked));
    return syncing;
  }

  const push = {
    supported: () => window.isSecureContext && 'serviceWorker' in navigator && 'PushManager' in window &&
      'Notification' in window,
    permission: () => (push.supported() ? Notification.permission : 'unsupported'),

    // 'unsupported', 'denied', 'unsubscribed' or 'subscribed'
    async state() {
      const permission = push.permission();
      if (permission === 'unsupported' || permission === 'denied') return permission;
      return (await subscription()) ? 'subscribed' : 'unsubscribed';
    },

    // For a click: nothing else here asks the person. Resolves to the state.
    async subscribe(options) {
      if (!push.supported()) throw new Error('this browser has no web push');
      if (!config.key) throw new Error('nudge.init() comes first');
      if (await Notification.requestPermission() === 'granted') {
        store.remove(GONE);
        store.put(WANTED, {topics: (options || {}).topics, at: Date.now()});
        await sync(true);
      }
      const state = await push.state();
      emit('push', state);
      return state;
    },

    async unsubscribe() {
      store.remove(WANTED);
      store.remove(POSTED);
      const current = push.supported() ? await subscription() : null;
      if (current) {
        store.set(GONE, current.endpoint);
        await current.unsubscribe();
        await sync(false);
      }
      const state = await push.state();
      emit('push', state);
      return state;
    },
  };

  function init(options) {
    Object.keys(config).forEach((name) => { if (options[name]) config[name] = options[name]; });
    config.api = (config.api || location.origin).replace(/\/+$/, '');
    if (!config.key) return warn('init() needs the browser key');
    emit('ready');
    schedule(0);
  }

  const nudge = {
    init, identify, track, page, consent, reset, anonymousId, flush, push, inbox, report,
    // ready, identify, track, consent, reset, sent, retry, drop, push, inapp; returns what stops listening.
    on(name, fn) {
      (listeners[name] = listeners[name] || []).push(fn);
      if (name === 'ready' && config.key) fn();
      return () => { listeners[name] = listeners[name].filter((one) => one !== fn); };
    },
  };
  window.nudge = nudge;

  window.addEventListener('pagehide', leave);
  document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'hidden') leave(); });
  window.addEventListener('online', () => {
    if (offline) store.remove(WAIT); // a wait that the server asked for stays
    schedule(0);
  });

  const call = ([name, ...args]) => nudge[name](...args);
  arrive();
  if (tag && tag.dataset.key) init({api: new URL(tag.src).origin, ...tag.dataset});
  (stub.q || []).forEach(call);
  if (stub.q) stub.q.push = call; // for code that kept a reference to the stub
})();
