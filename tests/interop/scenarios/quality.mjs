// How much a publisher sends.

import { assert, sleep } from "../expect.mjs";

// OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH by default.
const MAXIMUM_KBPS = 1000;
// What the browser may send of everything: audio and headers come on top.
const MAXIMUM_OF_ALL_KBPS = 1110;
const ENOUGH_KBPS = 800;
// Without a fast start, which a busy machine may spoil, the estimate grows from 300 kbit/s by 8 % a second.
const WITHIN_S = 40;

export const quality = [
  {
    name: "Chromium climbs to the configured maximum of video, and no further",
    browsers: ["chromium"],
    timeout: 75_000,
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann");
      const bob = await scene.join(room, "bob", { role: "SUBSCRIBER" });
      await ann.publish({ restless: true });
      await bob.receives(ann);
      const rates = [];
      let before = await ann.published();
      while (rates.length < WITHIN_S && !(rates.at(-1) > ENOUGH_KBPS)) {
        await sleep(1000);
        const now = await ann.published();
        const video = now.sent.video;
        rates.push(Math.round((video.bytes - before.sent.video.bytes) * 8 / (now.at - before.at)));
        assert.ok(now.available <= MAXIMUM_OF_ALL_KBPS * 1000, `the browser may send ${now.available} bit/s`);
        before = now;
      }
      console.log(`     kbit/s, second by second: ${rates.join(" ")}`);
      assert.ok(rates.at(-1) > ENOUGH_KBPS, `it sends ${rates.join(" ")} kbit/s`);
    },
  },
];
