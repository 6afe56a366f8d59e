// Hostile HTTP from a stranger, while two others have a call: they notice nothing, and what was sent reaches nobody.

import { Application } from "../application.mjs";
import { bombs, dial, floods, knock, listen, smuggling } from "../attacks.mjs";
import { assert, sleep, until } from "../expect.mjs";

// S28: the heads of requests take ten seconds at most, and so does a handshake.
const HEAD_WITHIN = 10_000;
// What a busy machine adds.
const GRACE = 5_000;
const MEMORY_MIB = 64;

const LANES = { short: { slow: 300, silent: 300, p99: 1000 }, full: { slow: 2000, silent: 2000, p99: 200 } };

// A percentile wants more than one.
const LEAST_SIGNALS = 20;

/** Ann says something every 100 ms and Bob looks at her, until the returned function is called, which tells how that went. */
async function watch(ann, bob) {
  let isOver = false;
  let longest = 0;
  await ann.beginSignals(100);
  const begun = performance.now();
  const looking = (async () => {
    const before = await bob.subscribed(ann.streamId);
    let { frames } = before.received.video;
    let moved = performance.now();
    while (!isOver || performance.now() - begun < 100 * LEAST_SIGNALS) {
      await sleep(100);
      const now = await bob.subscribed(ann.streamId);
      assert.equal(now.transport, before.transport, "the transport is the same");
      if (now.received.video.frames > frames) moved = performance.now();
      frames = now.received.video.frames;
      longest = Math.max(longest, performance.now() - moved);
    }
  })();
  // Whoever waits for it hears of a failure.
  looking.catch(() => {});
  return async () => {
    isOver = true;
    await looking;
    const times = (await ann.endSignals()).sort((one, other) => one - other);
    assert.ok(times.length >= LEAST_SIGNALS / 2, `${times.length} signals got through`);
    return { p99: times[Math.floor(times.length * 0.99)], longest, signals: times.length };
  };
}

const status = ({ bytes }) => Number(/^HTTP\/1\.[01] (\d{3})/.exec(bytes.toString("latin1"))?.[1] ?? 0);

async function smuggle(target, from) {
  const wrong = [];
  await Promise.all(Object.entries(smuggling).map(async ([name, { text, isHarmless, isRead }]) => {
    const socket = await dial(target, { from });
    socket.write(Buffer.from(text, "latin1"));
    const answer = await listen(socket);
    socket.destroy();
    const isRefused = (isRead || status(answer) === 0 || status(answer) >= 400) && answer.isClosed;
    if (!isHarmless && !isRefused) wrong.push(`${name}: ${status(answer)}${answer.isClosed ? "" : ", and the connection stays"}`);
    if (answer.bytes.toString("latin1").split(/^HTTP\/1\.1 (?!100)/m).length > 2) wrong.push(`${name}: two answers`);
  }));
  assert.deepEqual(wrong, []);
}

async function bomb(target, from) {
  for (const [name, text] of Object.entries(bombs)) {
    const socket = await dial(target, { from });
    socket.write(text());
    const answer = await listen(socket, 5000);
    socket.destroy();
    assert.ok(answer.isClosed, `${name}: the connection is closed`);
    assert.ok([0, 400, 414, 431].includes(status(answer)), `${name}: ${status(answer)}`);
  }
}

async function flood(target, from) {
  for (const [name, bytes] of Object.entries(floods)) {
    const socket = await dial(target, { from, protocol: "h2" });
    assert.equal(socket.alpnProtocol, "h2");
    const answered = listen(socket, 3000);
    socket.write(bytes());
    await answered;
    socket.destroy();
    // Whatever became of that connection, the next one is served.
    const next = await dial(target, { from });
    next.write("GET /openvidu/accept-certificate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert.equal(status(await listen(next, 5000)), 200, `after ${name}`);
  }
}

/** Connections that say little or nothing: all are closed in time. */
async function dawdle(target, from, { slow, silent }) {
  const begun = Date.now();
  const open = new Set();
  const note = (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket)).resume();
    return socket;
  };
  const many = async (count, begin) => {
    for (let started = 0; started < count; started += 50) {
      await Promise.all(Array.from({ length: Math.min(50, count - started) }, () => begin().then(note, () => null)));
    }
  };
  await many(silent, () => knock(target, { from }));
  await many(slow, () => dial(target, { from }));
  const opened = Date.now() - begun;
  const dripping = setInterval(() => {
    for (const socket of open) if (socket.encrypted) socket.write("X-Slow: x\r\n");
  }, 1000);
  for (const socket of open) if (socket.encrypted) socket.write("GET / HTTP/1.1\r\nHost: x\r\n");
  try {
    await until("all of them are closed", () => open.size === 0 || assert.fail(`${open.size} are open`), { within: HEAD_WITHIN + GRACE });
  } finally {
    clearInterval(dripping);
    for (const socket of open) socket.destroy();
  }
  return opened;
}

export const hostile = Object.entries(LANES).map(([lane, { p99: bound, ...counts }]) => ({
  name: `hostile HTTP while two have a call: smuggling, bombs, floods, ${counts.slow + counts.silent} slow connections`,
  needs: "veth",
  browsers: ["chromium", "firefox"],
  full: lane === "full",
  timeout: 180_000,
  async run(scene) {
    const application = scene.keep(await Application.start(scene.world));
    const daemon = await scene.ownDaemon({ environment: { HANOK_APP_UPSTREAM: application.url } });
    const target = { hostname: scene.world.address, port: daemon.keys.HTTPS_PORT };
    const room = await scene.room({}, daemon);
    const ann = await scene.join(room, "ann", { browser: "chromium" });
    const bob = await scene.join(room, "bob", { browser: "firefox" });
    await ann.publish();
    await bob.publish();
    await Promise.all([ann.receives(bob), bob.receives(ann)]);
    const before = await daemon.rss();
    await scene.world.withStranger(async (from) => {
      const attacks = {
        smuggling: () => smuggle(target, from),
        bombs: () => bomb(target, from),
        floods: () => flood(target, from),
        dawdling: () => dawdle(target, from, counts),
      };
      for (const [name, attack] of Object.entries(attacks)) {
        const stop = await watch(ann, bob);
        const failed = await attack().then(() => null, (error) => error);
        const { p99, longest, signals } = await stop();
        console.log(`     ${name}: signals of the others p99 ${p99.toFixed(0)} ms of ${signals}, longest still picture ${longest.toFixed(0)} ms`);
        if (failed) throw failed;
        assert.ok(p99 < bound, `${name}: signals take ${p99.toFixed(0)} ms`);
        assert.ok(longest < 1000, `${name}: the picture stood still for ${longest.toFixed(0)} ms`);
      }
    });
    const { smuggled } = JSON.parse((await daemon.rest("GET", "/told")).text);
    assert.deepEqual(smuggled, [], "nothing hidden reached the application");
    const cy = await scene.join(room, "cy", { browser: "chromium" });
    await Promise.all([cy.receives(ann), ann.receives(bob), bob.receives(ann)]);
    await until("memory is given back", async () => {
      const grown = (await daemon.rss()) - before;
      return grown < MEMORY_MIB || assert.fail(`${grown.toFixed(1)} MiB more`);
    });
  },
}));
