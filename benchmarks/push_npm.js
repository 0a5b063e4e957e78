// Sends with npm's web-push: `node push_npm.js ORIGIN COUNT FOLDER` prints messages per second of its own processor time.
"use strict";
const crypto = require("node:crypto");
const https = require("node:https");
const { createRequire } = require("node:module");
const [, , origin, count, folder] = process.argv;
const webpush = createRequire(`${folder}/`)("web-push");

const { publicKey, privateKey } = webpush.generateVAPIDKeys();
const agent = new https.Agent({ keepAlive: true, maxSockets: 100 });
const options = { vapidDetails: { subject: "mailto:a@example.com", publicKey, privateKey }, agent, TTL: 86_400 };
const payload = JSON.stringify({ title: "Hello Ann", body: "Your cart waits for you. ".repeat(8), url: "/cart", tag: "t" });
const subscriptions = Array.from({ length: 500 }, (_unused, number) => ({
  endpoint: `${origin}/push/${number}`,
  keys: {
    p256dh: crypto.createECDH("prime256v1").generateKeys("base64url"),
    auth: crypto.randomBytes(16).toString("base64url"),
  },
}));

async function send(total) {
  let next = 0;
  const one = async () => {
    while (next < total) await webpush.sendNotification(subscriptions[next++ % subscriptions.length], payload, options);
  };
  await Promise.all(Array.from({ length: 100 }, one));
}

(async () => {
  await send(500); // warms up
  const before = process.cpuUsage();
  await send(Number(count));
  const { user, system } = process.cpuUsage(before);
  console.log(Number(count) / ((user + system) / 1e6));
  process.exit(0);
})();
