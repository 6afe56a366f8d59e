// Whole browsers and pages that stand still.

import { signalAll } from "../browsers.mjs";
import { assert, sleep } from "../expect.mjs";
import { callOfTwo, joinsAnew } from "./house.mjs";

const ASLEEP = 60_000;
const GRACE = 10;

async function chatArrives(from, to, texts) {
  await to.event("signal", { data: texts.at(-1), from: from.connectionId });
  assert.deepEqual((await to.events("signal")).map(({ data }) => data), texts, "each once and in order");
}

export const standing = [
  {
    name: "sleep of 60 s",
    lane: "stands",
    grace: GRACE,
    timeout: 240_000,
    async run(scene, cell) {
      const own = await scene.ownBrowser(cell.browser);
      const { room, ann, bob } = await callOfTwo(scene, cell, { ann: { own } });
      const sleeper = own.browser.process().pid;
      signalAll(sleeper, "SIGSTOP");
      const since = Date.now();
      try {
        // The socket's watchdog and the grace, as the reference has it, with some seconds to spare.
        await bob.event("connectionDestroyed", { connectionId: ann.connectionId, reason: "networkDisconnect" }, { within: 40_000 });
        assert.equal((await bob.events("streamDestroyed")).length, 1);
        assert.ok(Date.now() - since > 1000 * GRACE, "nobody is given up before the grace is over");
        assert.deepEqual(await room.present(), [bob.connectionId]);
        await sleep(since + ASLEEP - Date.now());
      } finally {
        signalAll(sleeper, "SIGCONT");
      }
      await ann.event("sessionDisconnected", { reason: "networkDisconnect" }, { within: 30_000 });
      await ann.reload();
      await joinsAnew(room, ann, bob);
    },
  },
  {
    name: "timers slowed to one tick a minute",
    lane: "stands",
    grace: GRACE,
    timeout: 240_000,
    async run(scene, cell) {
      const { room, ann, bob } = await callOfTwo(scene, cell);
      await ann.slowDown();
      for (const data of ["one", "two"]) {
        await sleep(35_000);
        await bob.signal({ type: "chat", data });
        await Promise.all([bob.receives(ann), ann.receives(bob)]);
      }
      assert.ok(await ann.slowMinutes() > 0, "more than a minute has passed");
      for (const type of ["connectionDestroyed", "streamDestroyed"]) assert.equal((await bob.events(type)).length, 0, type);
      await chatArrives(bob, ann, ["one", "two"]);
      await ann.signal({ type: "chat", data: "still here" });
      await bob.event("signal", { data: "still here", from: ann.connectionId });
      assert.equal((await ann.events("sessionDisconnected")).length, 0);
      assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
    },
  },
  {
    name: "frozen by the browser for 60 s",
    lane: "stands",
    long: true,
    grace: GRACE,
    timeout: 240_000,
    fits: ({ browser }) => browser === "chromium",
    async run(scene, cell) {
      // Other pages of the same browser would freeze too, those that share a process with this one.
      const own = await scene.ownBrowser(cell.browser);
      const { room, ann, bob } = await callOfTwo(scene, cell, { ann: { own } });
      const tools = await ann.page.createCDPSession();
      await tools.send("Page.setWebLifecycleState", { state: "frozen" });
      for (const data of ["one", "two"]) {
        await sleep(ASLEEP / 2);
        await bob.signal({ type: "chat", data });
      }
      assert.equal((await bob.events("connectionDestroyed")).length, 0);
      await tools.send("Page.setWebLifecycleState", { state: "active" });
      await chatArrives(bob, ann, ["one", "two"]);
      await Promise.all([bob.receives(ann), ann.receives(bob)]);
      assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
    },
  },
];
