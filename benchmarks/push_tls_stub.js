// A push service over TLS that takes everything: `node benchmarks/push_tls_stub.js CERT_WITH_KEY h1|h2` prints its port.
"use strict";
const { readFileSync } = require("node:fs");
const [, , pem, version] = process.argv;
const keys = { cert: readFileSync(pem), key: readFileSync(pem) };

function answer(request, response) {
  request.resume();
  request.on("end", () => { response.writeHead(201); response.end(); });
}

const server = version === "h2"
  ? require("node:http2").createSecureServer(keys, answer)
  : require("node:https").createServer({ ...keys, keepAliveTimeout: 60_000 }, answer);
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
