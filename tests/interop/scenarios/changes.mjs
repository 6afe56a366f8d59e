// What changes during a call: muting, unpublishing, unsubscribing, leaving, vanishing.

import { BROWSERS } from "../browsers.mjs";
import { assert, sleep, until } from "../expect.mjs";

async function callOfTwo(scene, browser, other = browser) {
  const room = await scene.room();
  const ann = await scene.join(room, "ann", { browser });
  const bob = await scene.join(room, "bob", { browser: other });
  await Promise.all([ann.publish(), bob.publish()]);
  await Promise.all([ann.receives(bob), bob.receives(ann)]);
  return { room, ann, bob };
}

export const changes = [
  ...BROWSERS.map((browser) => ({
    name: `muting is told to the other side and undone: ${browser}`,
    browsers: [browser],
    async run(scene) {
      const { room, ann, bob } = await callOfTwo(scene, browser);
      const streamId = ann.streamId;
      await ann.publishAudio(false);
      await bob.event("streamPropertyChanged", { streamId, changedProperty: "audioActive", newValue: false, reason: "publishAudio" });
      await ann.publishVideo(false);
      await bob.event("streamPropertyChanged", { streamId, changedProperty: "videoActive", newValue: false, reason: "publishVideo" });
      const shown = (await room.connections()).find(({ connectionId }) => connectionId === ann.connectionId);
      assert.equal(shown.publishers[0].mediaOptions.audioActive, false);
      assert.equal(shown.publishers[0].mediaOptions.videoActive, false);
      await ann.publishAudio(true);
      await bob.event("streamPropertyChanged", { streamId, changedProperty: "audioActive", newValue: true });
      await ann.publishVideo(true);
      await bob.event("streamPropertyChanged", { streamId, changedProperty: "videoActive", newValue: true });
      await bob.receives(ann);
      // The one who mutes hears of it from the own client only, and only once.
      assert.equal((await ann.events("streamPropertyChanged")).filter((event) => event.changedProperty === "audioActive").length, 2);
    },
  })),
  {
    name: "unpublishing ends the stream for everybody, and publishing again works",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      const { room, ann, bob } = await callOfTwo(scene, "chromium", "firefox");
      const first = ann.streamId;
      await ann.unpublish();
      await bob.event("streamDestroyed", { streamId: first, reason: "unpublish" });
      const shown = (await room.connections()).find(({ connectionId }) => connectionId === ann.connectionId);
      assert.deepEqual(shown.publishers, []);
      // The other direction goes on.
      await ann.receives(bob);
      await ann.publish();
      assert.notEqual(ann.streamId, first);
      await bob.receives(ann);
      assert.equal((await bob.events("connectionDestroyed")).length, 0);
    },
  },
  {
    name: "unsubscribing ends one subscription and leaves the stream alone",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      const { room, ann, bob } = await callOfTwo(scene, "firefox", "chromium");
      await bob.unsubscribe(ann.streamId);
      await until("REST shows no subscription", async () => {
        const shown = (await room.connections()).find(({ connectionId }) => connectionId === bob.connectionId);
        return shown.subscribers.length === 0;
      });
      await ann.receives(bob);
      assert.equal((await bob.events("streamDestroyed")).length, 0);
    },
  },
  ...BROWSERS.map((browser) => ({
    name: `leaving is told at once: ${browser}`,
    browsers: [browser],
    async run(scene) {
      const { room, ann, bob } = await callOfTwo(scene, browser);
      await ann.disconnect();
      await ann.event("sessionDisconnected", { reason: "disconnect" });
      await bob.event("streamDestroyed", { streamId: ann.streamId, reason: "disconnect" }, { within: 2000 });
      await bob.event("connectionDestroyed", { connectionId: ann.connectionId, reason: "disconnect" }, { within: 2000 });
      assert.deepEqual(await room.present(), [bob.connectionId]);
    },
  })),
  ...BROWSERS.map((browser) => ({
    name: `a closed tab is gone after the grace: ${browser}`,
    browsers: [browser],
    async run(scene) {
      const { room, ann, bob } = await callOfTwo(scene, browser);
      await ann.page.close();
      await sleep(1000);
      assert.equal((await bob.events("connectionDestroyed")).length, 0, "nobody is given up before the grace is over");
      await bob.event("streamDestroyed", { streamId: ann.streamId, reason: "networkDisconnect" });
      await bob.event("connectionDestroyed", { connectionId: ann.connectionId, reason: "networkDisconnect" });
      assert.deepEqual(await room.present(), [bob.connectionId]);
    },
  })),
];
