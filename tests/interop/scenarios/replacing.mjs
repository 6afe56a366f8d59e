// A publisher that comes back on another transport (`stream.reconnect()`): viewers go on with what they have.

import { BROWSERS } from "../browsers.mjs";
import { assert, until } from "../expect.mjs";

// Each begins picture ids and clocks anew, at random: several make sure of steps in both directions.
const TIMES = 4;

async function inbound(viewer, ann) {
  const { transport, received } = await viewer.subscribed(ann.streamId);
  return { transport, audio: received.audio, video: received.video };
}

export const replacing = BROWSERS.map((browser) => ({
  name: `viewers stay on their transports while a publisher replaces its own, again and again: ${browser}`,
  browsers: ["chromium", "firefox"],
  timeout: 120_000,
  async run(scene) {
    const room = await scene.room();
    const ann = await scene.join(room, "ann", { browser });
    await ann.publish();
    const viewers = [
      await scene.join(room, "bob", { browser: "chromium", role: "SUBSCRIBER" }),
      await scene.join(room, "cy", { browser: "firefox", role: "SUBSCRIBER" }),
    ];
    await Promise.all(viewers.map((viewer) => viewer.receives(ann)));
    for (let time = 1; time <= TIMES; time += 1) {
      const before = await Promise.all(viewers.map((viewer) => inbound(viewer, ann)));
      await ann.reconnectStream(ann.streamId);
      await Promise.all(viewers.map(async (viewer, index) => {
        const first = before[index];
        const now = await until(`${viewer}: the picture after reconnection ${time}`, async () => {
          const later = await inbound(viewer, ann);
          assert.ok(later.video.frames >= first.video.frames + 20, JSON.stringify({ first, later }));
          assert.ok(later.audio.packets >= first.audio.packets + 50, JSON.stringify({ first, later }));
          return later;
        });
        assert.equal(now.transport, first.transport, `${viewer}: the same transport`);
        for (const kind of ["audio", "video"]) {
          assert.equal(now[kind].ssrc, first[kind].ssrc, `${viewer}: the same ${kind} source`);
          assert.equal(now[kind].packetsLost, first[kind].packetsLost, `${viewer}: no gap in ${kind}`);
        }
      }));
    }
  },
}));
