// The operator's application behind the daemon's HTTPS port: everything that reaches it reaches it whole, and what
// happens to it happens to nobody else.

import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:http2";
import { Agent, request } from "node:https";
import { Application } from "../application.mjs";
import { BROWSERS } from "../browsers.mjs";
import { assert, sleep, until, within } from "../expect.mjs";

const MIB = 1024 * 1024;
const MOST = 200;
// R21.
const DOWN_WITHIN = 1000;

/** A scenario with an application and a daemon in front of it, both of its own. */
function withApplication(play, explained) {
  return async (scene) => {
    const application = scene.keep(await Application.start(scene.world));
    const daemon = await scene.ownDaemon({ explained, environment: { HANOK_APP_UPSTREAM: application.url } });
    await play(scene, daemon, application);
  };
}

/** One request by HTTP/1.1; `write` gives it its body. Returns status, headers and body. */
function ask(daemon, path, { method = "GET", headers, agent = false, write = (outgoing) => outgoing.end() } = {}) {
  return new Promise((resolve, reject) => {
    const outgoing = request(daemon.url + path, { method, headers, agent, rejectUnauthorized: false }, (incoming) => {
      const chunks = [];
      incoming.on("data", (chunk) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () => resolve({ status: incoming.statusCode, headers: incoming.headers, text: Buffer.concat(chunks).toString() }));
    });
    outgoing.on("error", reject);
    write(outgoing);
  });
}

const told = async (daemon) => JSON.parse((await ask(daemon, "/told")).text);

/** Writes so many MiB that all differ, no faster than they are taken; returns their digest. `note` hears after each. */
async function pour(outgoing, mib, note = async () => {}) {
  const hash = createHash("sha256");
  for (let number = 1; number <= mib; number += 1) {
    const chunk = Buffer.alloc(MIB, `${number} of ${mib} `);
    hash.update(chunk);
    if (!outgoing.write(chunk)) await once(outgoing, "drain");
    await note(number);
  }
  outgoing.end();
  return hash.digest("hex");
}

/** How much the application has of the upload with this number. */
const arrived = async (daemon, number) => JSON.parse((await ask(daemon, `/upload?number=${number}`)).text).bytes;

// In the middle of an upload the application has nearly all of what was sent: bodies are not collected on the way.
const streams = (daemon, number) => async (sent) => {
  if (sent === MOST / 2) await until("half an upload has arrived", async () => (await arrived(daemon, number)) > 0.4 * MOST * MIB);
};

const uploads = {
  "HTTP/1.1": async (daemon, number, mib) => {
    let digest;
    const answer = await ask(daemon, `/upload?number=${number}`, {
      method: "POST",
      headers: { "content-length": mib * MIB },
      write: (outgoing) => {
        digest = pour(outgoing, mib, streams(daemon, number));
        digest.catch(() => outgoing.destroy());
      },
    });
    return { status: answer.status, text: answer.text, digest: await digest };
  },
  "HTTP/2": async (daemon, number, mib) => {
    const session = connect(daemon.url, { rejectUnauthorized: false });
    try {
      const stream = session.request({ ":method": "POST", ":path": `/upload?number=${number}` });
      const chunks = [];
      stream.on("data", (chunk) => chunks.push(chunk));
      const [[headers], digest] = await Promise.all([once(stream, "response"), pour(stream, mib, streams(daemon, number)), once(stream, "end")]);
      return { status: headers[":status"], text: Buffer.concat(chunks).toString(), digest };
    } finally {
      session.destroy();
    }
  },
};

const everything = BROWSERS.map((browser) => ({
  name: `application: SockJS with STOMP, socket.io, WebSocket, events, its API and uploads from ${browser}`,
  needs: "veth",
  browsers: [browser],
  run: withApplication(async (scene, daemon) => {
    const page = await scene.tab(browser);
    await page.goto(`${daemon.url}/`, { waitUntil: "load", timeout: 15_000 });
    const inPage = (name, ...args) => within(25_000, `${name} ${args}`, page.evaluate((method, values) => window.application[method](...values), name, args));

    for (const transport of ["websocket", "xhr-streaming", "xhr-polling", "eventsource"]) {
      const { isTheSame, url, transport: used } = await inPage("stomp", transport);
      assert.ok(isTheSame, `STOMP over ${transport}: the text comes back as it was`);
      assert.equal(used, transport);
      assert.match(url, /^\/chat\//);
    }
    assert.deepEqual(await inPage("socketIo"), { transport: "websocket", isTheSame: true });
    assert.deepEqual(await inPage("socketIo", ["polling"]), { transport: "polling", isTheSame: true });

    const { handshake, ...rest } = await inPage("webSocket");
    assert.deepEqual(rest, { code: 4001, reason: "as you wish", protocol: "second", isTheSame: true });
    assert.equal(handshake.url, "/group-call?room=hall");
    assert.equal(handshake.headers["x-forwarded-proto"], "https");
    assert.equal(handshake.headers.origin, daemon.url);

    // They come one by one, and none waits for the next.
    const events = await inPage("events", 4);
    assert.deepEqual(events.map(({ id }) => id), [1, 2, 3, 4]);
    assert.ok(Math.min(...events.map(({ late }) => late)) < 250, `events are not held back: ${JSON.stringify(events)}`);

    // None of these is the server's own, though older versions had some of them.
    for (const path of ["/api/v1/sessions?page=2&sort=a%20b", "/api/v1/%ED%95%9C%EC%98%A5", "/api/v1/a//b/..;/c"]) {
      for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
        const text = method === "GET" ? undefined : "안녕";
        const { status, told: heard } = await inPage("ask", method, path, { headers: { "x-own": "kept", "content-type": "text/plain" }, text });
        assert.equal(status, method === "POST" ? 201 : 200);
        assert.equal(heard.method, method);
        assert.equal(heard.url, path);
        assert.equal(heard.bytes, text ? Buffer.byteLength(text) : 0);
        assert.equal(heard.headers["x-own"], "kept");
        assert.equal(heard.headers["x-forwarded-proto"], "https");
        assert.ok(heard.headers["x-real-ip"] && heard.headers["x-forwarded-for"]?.endsWith(heard.headers["x-real-ip"]), JSON.stringify(heard.headers));
      }
    }
    const redirected = await inPage("ask", "GET", "/redirect");
    assert.deepEqual([redirected.isRedirected, redirected.url, redirected.told.url], [true, `${daemon.url}/api/v1/arrived?by=redirect`, "/api/v1/arrived?by=redirect"]);
    assert.equal((await inPage("ask", "GET", "/nowhere")).status, 404);
    // What browsers send is also told to whoever drives them, so it cannot be much.
    assert.deepEqual(await inPage("upload", 3 * MIB), { status: 200, bytes: 3 * MIB, isTheSame: true });
  }),
}));

const sizes = Object.entries(uploads).map(([protocol, upload]) => ({
  name: `application: an upload of ${MOST} MB arrives whole and while it is sent, by ${protocol}`,
  needs: "veth",
  browsers: [],
  timeout: 90_000,
  run: withApplication(async (_, daemon) => {
    const before = await daemon.rss();
    const { status, text, digest } = await upload(daemon, "large", MOST);
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(text), { bytes: MOST * MIB, sha256: digest });
    const grown = (await daemon.rss()) - before;
    assert.ok(grown < 40, `${grown.toFixed(1)} MiB stay in memory`);
  }),
}));

const limits = {
  name: "application: a download streams at its reader's pace, and more than 200 MB up are refused",
  needs: "veth",
  browsers: [],
  run: withApplication(async (_, daemon) => {
    const before = await daemon.rss();
    const hash = createHash("sha256");
    const { bytes, trailers } = await new Promise((resolve, reject) => {
      request(`${daemon.url}/download?mib=${MOST}`, { agent: false, rejectUnauthorized: false }, async (incoming) => {
        let count = 0;
        // At first nobody reads: all of it would be in memory if it were not for that.
        await sleep(1000);
        const grown = (await daemon.rss()) - before;
        if (grown > 40) reject(new Error(`${grown.toFixed(1)} MiB wait in memory`));
        for await (const chunk of incoming) {
          hash.update(chunk);
          count += chunk.length;
        }
        resolve({ bytes: count, trailers: incoming.trailers });
      }).on("error", reject).end();
    });
    assert.equal(bytes, MOST * MIB);
    if (trailers["x-sha256"]) assert.equal(trailers["x-sha256"], hash.digest("hex"));
    const { asked } = await told(daemon);
    const refused = await ask(daemon, "/upload?number=more", {
      method: "POST",
      headers: { "content-length": MOST * MIB + 1, expect: "100-continue" },
      write: (outgoing) => outgoing.flushHeaders(),
    });
    assert.equal(refused.status, 413);
    assert.equal((await told(daemon)).asked, asked, "the application is not bothered with it");
  }),
};

const outages = {
  name: "application: its end is a 502 within a second, its return is found, and OpenVidu goes on",
  needs: "veth",
  browsers: ["chromium"],
  timeout: 90_000,
  run: withApplication(async (scene, daemon, first) => {
    let application = first;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const room = await scene.room({}, daemon);
    const ann = await scene.join(room, "ann");
    const bob = await scene.join(room, "bob");
    await ann.publish();
    await bob.receives(ann);
    assert.equal((await ask(daemon, "/api/v1/x", { agent })).status, 200);
    for (let round = 0; round < 2; round += 1) {
      application.kill();
      for (const method of ["GET", "POST"]) {
        const begun = Date.now();
        const { status, headers, text } = await until("the application is gone", async () => {
          const answer = await ask(daemon, "/api/v1/x", { method, agent });
          return answer.status < 300 ? null : answer;
        }, { within: DOWN_WITHIN, every: 10 });
        assert.ok(Date.now() - begun < DOWN_WITHIN, `${Date.now() - begun} ms`);
        assert.equal(status, 502);
        assert.match(headers["content-type"], /^text\/html/);
        assert.match(text, /502/);
      }
      assert.equal((await daemon.sessions()).length, 1, "the API goes on");
      await ann.signal({ type: "chat", data: `round ${round}` });
      await bob.event("signal", { data: `round ${round}` });
      application = scene.keep(await Application.start(scene.world, application.port));
      await until("its return is found", async () => (await ask(daemon, "/api/v1/x", { agent })).status === 200, { within: 2000, every: 20 });
    }
    await bob.receives(ann);
    agent.destroy();
  }, /application|upstream/i),
};

// More than any one of: connections of a pool, requests of an HTTP/2 connection.
const WAITING = 400;

const slowness = {
  name: `application: ${WAITING} requests that it sits on starve nobody`,
  needs: "veth",
  browsers: ["chromium"],
  run: withApplication(async (scene, daemon) => {
    const room = await scene.room({}, daemon);
    const ann = await scene.join(room, "ann");
    const agent = new Agent({ keepAlive: true, maxSockets: WAITING });
    const session = connect(daemon.url, { rejectUnauthorized: false });
    const open = [];
    try {
      for (let number = 0; number < WAITING - 50; number += 1) {
        const outgoing = request(`${daemon.url}/slow?${number}`, { agent, rejectUnauthorized: false });
        outgoing.on("error", () => {}).end();
        open.push(outgoing);
      }
      for (let number = 0; number < 50; number += 1) open.push(session.request({ ":path": `/slow?${number}` }).on("error", () => {}));
      // The clients' own part is done when all of it has arrived.
      await until("all of them wait", async () => {
        const { waiting } = await told(daemon);
        return waiting === WAITING || assert.fail(`${waiting} wait`);
      }, { within: 20_000 });
      const slowest = { application: 0, api: 0, signal: 0 };
      const timed = async (kind, action) => {
        const begun = performance.now();
        await action();
        slowest[kind] = Math.max(slowest[kind], performance.now() - begun);
      };
      for (let round = 0; round < 20; round += 1) {
        await timed("application", async () => assert.equal((await ask(daemon, "/api/v1/x")).status, 200));
        await timed("api", () => daemon.sessions());
        await timed("signal", () => ann.signal({ type: "chat", data: `${round}` }));
      }
      for (const [kind, ms] of Object.entries(slowest)) assert.ok(ms < 1000, `${kind}: ${ms.toFixed(0)} ms`);
      // Whoever gives up is not asked for any longer.
      for (const one of open) one.destroy();
      session.destroy();
      await until("nobody waits any more", async () => (await told(daemon)).waiting === 0);
    } finally {
      agent.destroy();
      session.destroy();
    }
  }),
};

const idleness = BROWSERS.map((browser) => ({
  name: `application: a WebSocket on which nothing is said for 75 s lives on in ${browser}`,
  needs: "veth",
  browsers: [browser],
  full: true,
  lane: "waits",
  timeout: 120_000,
  run: withApplication(async (scene, daemon) => {
    const page = await scene.tab(browser);
    await page.goto(`${daemon.url}/`, { waitUntil: "load", timeout: 15_000 });
    const told = await until("it was idle", () => page.evaluate((ms) => {
      window.idled ??= window.application.idle(ms).then(() => true);
      return Promise.race([window.idled, new Promise((resolve) => setTimeout(resolve, 1000, false))]);
    }, 75_000), { within: 100_000 });
    assert.equal(told, true);
  }),
}));

export const application = [...everything, ...sizes, limits, outages, slowness, ...idleness];
