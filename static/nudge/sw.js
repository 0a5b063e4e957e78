/*
 * Nudge's service worker: shows pushes and reports what happened to them. Served at /nudge-sw.js with scope /.
 * A site with a worker of its own calls importScripts('/nudge-sw.js') in it instead.
 */
(function () {
  'use strict';
  const RETRY_AFTER = [500, 2000]; // ms; a worker is stopped soon after its event, so later tries wait for the next one
  const KEEP = 7 * 864e5; // ms an unsent report is kept
  const MAX_STORED = 100;
  const NEUTRAL = () => ({title: self.location.hostname}); // a name needs no translation
  const API = new URL(self.location.href).searchParams.get('api') || self.location.origin;
  const clicked = new Set(); // some browsers also fire notificationclose for the close() of a click

  // Reports that could not be sent

  function stored(mode, work) {
    return new Promise((resolve, reject) => {
      const opening = indexedDB.open('nudge', 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore('reports', {autoIncrement: true});
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const transaction = opening.result.transaction('reports', mode);
        const result = work(transaction.objectStore('reports'));
        transaction.oncomplete = () => { opening.result.close(); resolve(result); };
        transaction.onabort = () => { opening.result.close(); reject(transaction.error); };
      };
    });
  }

  const keep = (report) => stored('readwrite', (reports) => {
    const counting = reports.count();
    counting.onsuccess = () => { if (counting.result < MAX_STORED) reports.add(report); };
  });

  // All stored reports with their keys.
  const kept = () => stored('readonly', (reports) => {
    const found = [];
    reports.openCursor().onsuccess = ({target: {result: cursor}}) => {
      if (!cursor) return;
      found.push([cursor.key, cursor.value]);
      cursor.continue();
    };
    return found;
  });

  const drop = (key) => stored('readwrite', (reports) => { reports.delete(key); });

  // True when the server has answered for good, false when the report is worth another try.
  async function send({url, body}) {
    // text/plain goes to another origin without a preflight request
    const type = new URL(url).origin === self.location.origin ? 'application/json' : 'text/plain';
    try {
      const response = await fetch(url, {method: 'POST', body, headers: {'Content-Type': type}, credentials: 'omit'});
      return response.ok || (response.status < 500 && response.status !== 429 && response.status !== 408);
    } catch (error) {
      return false;
    }
  }

  async function deliver(url, content) {
    const report = {url, body: JSON.stringify(content), at: Date.now()};
    for (const delay of [...RETRY_AFTER, null]) {
      if (await send(report)) return;
      if (delay !== null) await new Promise((resolve) => setTimeout(resolve, delay));
    }
    await keep(report);
  }

  // A worker may be stopped at any moment: a report goes when it has its answer. The server knows repeated ones.
  let sending = null;
  function sendStored() {
    sending = sending || sendKept().finally(() => { sending = null; });
    return sending;
  }

  async function sendKept() {
    for (const [key, report] of await kept()) {
      if (Date.now() - report.at >= KEEP || await send(report)) await drop(key);
    }
  }

  function report(data, kind) {
    const url = web(data && data.track);
    return url && data.token ? deliver(url, {token: data.token, kind, at: new Date().toISOString()}) : undefined;
  }

  // A failure of one part must not take the others with it, nor count as a broken push.
  const all = (...parts) => Promise.all(parts.map((part) => Promise.resolve(part).catch((error) => {
    console.warn('nudge:', error);
  })));

  // The address when it is one of the web (never javascript: or data:), else ''.
  function web(address) {
    try {
      const url = new URL(address, self.location.origin);
      return address && /^https?:$/.test(url.protocol) ? url.href : '';
    } catch (error) {
      return '';
    }
  }

  // Pushes

  function read(data) {
    try {
      const payload = data.json();
      return payload && typeof payload === 'object' && payload.title ? payload : NEUTRAL();
    } catch (error) {
      return NEUTRAL(); // empty, not JSON: browsers demand that every push shows something
    }
  }

  function optionsOf(payload) {
    const actions = (Array.isArray(payload.actions) ? payload.actions : []).filter((one) => one && one.action && one.title);
    const options = {
      data: {
        url: payload.url, token: payload.token, click: payload.click, track: payload.track, data: payload.data,
        actions: actions.map(({action, url}) => ({action, url})),
      },
      actions: actions.slice(0, self.Notification.maxActions || 0).map(({action, title, icon}) => ({action, title, icon})),
    };
    ['body', 'icon', 'image', 'badge', 'tag', 'dir', 'lang', 'silent', 'requireInteraction'].forEach((name) => {
      if (payload[name] !== undefined && payload[name] !== null) options[name] = payload[name];
    });
    if (options.tag && payload.renotify) options.renotify = true; // without a tag it is a TypeError
    return options;
  }

  async function show(payload) {
    const title = String(payload.title);
    const options = optionsOf(payload);
    try {
      await self.registration.showNotification(title, options);
    } catch (error) { // an option this browser refuses: the words still get through
      await self.registration.showNotification(title, {body: String(payload.body || ''), data: options.data});
    }
    await report(payload, 'shown');
  }

  // A page of this site is told by `token` whom the push was sent to; other sites are told nothing.
  async function open(address, token) {
    const url = new URL(web(address) || '/', self.location.origin);
    const windows = await self.clients.matchAll({type: 'window', includeUncontrolled: true});
    const same = windows.find((client) => client.url === url.href);
    if (same) return same.focus();
    if (token && url.origin === self.location.origin) url.search += (url.search ? '&' : '?') + 'nudge_c=' + token;
    return self.clients.openWindow(url.href);
  }

  self.addEventListener('push', (event) => {
    event.waitUntil(all(show(read(event.data)), sendStored()));
  });

  self.addEventListener('notificationclick', (event) => {
    const data = event.notification.data || {};
    const button = (data.actions || []).find((one) => event.action && one.action === event.action);
    if (data.token) clicked.add(data.token);
    event.notification.close();
    event.waitUntil(all(open((button && button.url) || data.url, data.click), report(data, 'clicked'), sendStored()));
  });

  self.addEventListener('notificationclose', (event) => {
    const data = event.notification.data || {};
    if (!clicked.has(data.token)) event.waitUntil(all(report(data, 'dismissed')));
  });

  // The browser replaced or ended the subscription. The old endpoint is the secret that proves whose it was.
  async function changed(old, current) {
    let next = current;
    const key = old && old.options && old.options.applicationServerKey;
    if (!next && key) {
      const options = {userVisibleOnly: true, applicationServerKey: key};
      next = await self.registration.pushManager.subscribe(options).catch(() => null);
    }
    // Without the old endpoint the server can't tell whose it is: the page's script posts it at the next visit.
    if (old) await deliver(API + '/t/push/changed/', {old_endpoint: old.endpoint, subscription: next && next.toJSON()});
  }

  self.addEventListener('pushsubscriptionchange', (event) => {
    event.waitUntil(all(changed(event.oldSubscription, event.newSubscription)));
  });

  self.addEventListener('install', () => self.skipWaiting());
  self.addEventListener('activate', (event) => {
    event.waitUntil(all(self.clients.claim(), sendStored()));
  });
})();
