// How much a publisher sends, and how its network is rated.

import { assert, sleep, until } from "../expect.mjs";

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
      await ann.publish({ source: "restless" });
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
  {
    // Without answers to our reference times nobody would know of the delay: nothing is lost, and it is even.
    name: "quality: a long way, then a lossy one, then a good one are told to everybody, of Chromium and of Firefox",
    town: "quality",
    browsers: ["chromium", "firefox"],
    timeout: 180_000,
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann");
      const fay = await scene.join(room, "fay", { browser: "firefox" });
      await ann.publish();
      await fay.publish();
      await Promise.all([ann.receives(fay, { limit: 20_000 }), fay.receives(ann, { limit: 20_000 })]);
      for (const [line, wanted] of [["clear", [4, 5]], ["delay 170", [3]], ["delay 20 loss 15%", [1, 2]], ["clear", [5]]]) {
        await scene.world.line(line);
        const began = Date.now();
        for (const listener of [ann, fay]) {
          for (const publisher of [ann, fay]) {
            await until(`${listener}: ${publisher} is rated ${wanted.join(" or ")} (${line})`, async () => {
              const events = await listener.events("networkQualityLevelChanged");
              const levels = events.filter(({ connectionId }) => connectionId === publisher.connectionId).map(({ newValue }) => newValue);
              return wanted.includes(levels.at(-1)) || assert.fail(JSON.stringify(levels));
            }, { within: 60_000 });
          }
        }
        console.log(`     ${line}: told after ${((Date.now() - began) / 1000).toFixed(1)} s`);
      }
    },
  },
];
