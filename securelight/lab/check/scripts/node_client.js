// GETs with Node's own HTTPS client: a question a line on stdin, an answer a line on stdout.
//
// A question is {"id", "url", "ca", "cert", "key"}, an answer {"id", "ok", "words"}, both JSON.
"use strict";
const fs = require("fs");
const https = require("https");
const readline = require("readline");

const MILLISECONDS = 4000;
const read = (path) => (path ? fs.readFileSync(path) : undefined);

function ask({ id, url, ca, cert, key }) {
  let over = false;
  const end = (ok, words) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    request.destroy();
    console.log(JSON.stringify({ id, ok, words }));
  };
  const fail = (error) => end(false, `${error.code || error.name}: ${error.message}`);
  const request = https.get(url, {
    ca: read(ca),
    cert: read(cert),
    key: read(key),
    agent: new https.Agent({ maxCachedSessions: 0 }),
    // *.localhost is loopback (RFC 6761), which many C libraries do not know.
    lookup: (host, options, done) =>
      options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4),
  }, (answer) => {
    answer.on("error", fail);
    answer.on("end", () => end(answer.complete, answer.complete ? "" : "incomplete"));
    answer.resume();
  });
  const timer = setTimeout(() => fail(new Error("timed out")), MILLISECONDS);
  request.on("error", fail);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => ask(JSON.parse(line)));
