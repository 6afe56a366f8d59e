// What can be published: kinds, sources, codecs, and one's own media back.

import { assert, until } from "../expect.mjs";
import { first, second } from "./house.mjs";

export const kinds = [
  {
    name: "audio only, video only, a canvas",
    async run(scene, cell) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", first(cell));
      const bob = await scene.join(room, "bob", second(cell));
      const published = [
        [{ video: false }, "MIC", { hasAudio: true, hasVideo: false }],
        [{ audio: false }, "CAM", { hasAudio: false, hasVideo: true, typeOfVideo: "CAMERA" }],
        [{ source: "canvas" }, "CUS", { hasAudio: true, hasVideo: true, typeOfVideo: "CUSTOM" }],
      ];
      for (const [options, type, created] of published) {
        const streamId = await ann.publish(options);
        assert.match(streamId, new RegExp(`^str_${type}_[A-Z][A-Za-z0-9]{3}_${ann.connectionId}$`));
        await bob.event("streamCreated", { streamId, ...created });
        await bob.receives(ann, { audio: created.hasAudio, video: created.hasVideo });
        await ann.unpublish();
        await bob.event("streamDestroyed", { streamId, reason: "unpublish" });
      }
    },
  },
  {
    name: "one's own media back",
    async run(scene, cell) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", first(cell));
      const bob = await scene.join(room, "bob", second(cell));
      await ann.publish({ loopback: true });
      const received = async () => (await ann.published()).received;
      const before = await until("ann's own media", async () => {
        const now = await received();
        return now.audio?.packets > 0 && now.video?.frames > 0 ? now : assert.fail(JSON.stringify(now));
      });
      await until("ann's own media goes on", async () => {
        const { audio, video } = await received();
        return audio.packets >= before.audio.packets + 20 && video.frames >= before.video.frames + 8;
      });
      await bob.receives(ann);
    },
  },
  {
    name: "forced codecs",
    timeout: 90_000,
    async run(scene, cell) {
      // Debian's Firefox has no H264.
      const isEverywhere = [cell.browser, cell.other].every((browser) => browser === "chromium");
      const forced = { VP8: "VP8", VP9: "VP9", NONE: "VP8", ...(isEverywhere ? { H264: "H264" } : {}) };
      let [ann, bob] = [await scene.party("ann", first(cell)), await scene.party("bob", second(cell))];
      for (const [forcedVideoCodec, codec] of Object.entries(forced)) {
        const room = await scene.room({ forcedVideoCodec });
        [ann, bob] = [await scene.joinAgain(room, ann, `ann-${forcedVideoCodec}`), await scene.joinAgain(room, bob, `bob-${forcedVideoCodec}`)];
        await ann.publish();
        const { received } = await bob.receives(ann);
        assert.equal(received.video.codec, `video/${codec}`, `forced ${forcedVideoCodec}`);
        assert.equal(received.audio.codec, "audio/opus");
        await Promise.all([ann.disconnect(), bob.disconnect()]);
      }
    },
  },
  {
    name: "codecs that the publisher prefers, and a viewer without them",
    fits: ({ browser }) => browser === "chromium",
    async run(scene, cell) {
      const room = await scene.room({ forcedVideoCodec: "NONE" });
      const ann = await scene.join(room, "ann", first(cell));
      const bob = await scene.join(room, "bob", second(cell));
      for (const codec of ["AV1", "VP9"]) {
        await ann.admit([codec, "VP8"]);
        await ann.publish();
        assert.equal((await bob.receives(ann)).received.video.codec, `video/${codec}`);
        await ann.unpublish();
      }
      // The forced codec is missing: only with `allowTranscoding` may the publisher come all the same.
      const strict = await scene.room({ forcedVideoCodec: "VP8", allowTranscoding: false });
      const eve = await scene.joinAgain(strict, ann, "eve");
      await eve.admit(["H264"]);
      await assert.rejects(eve.publish(), ({ told }) => /Code: 800\b/.test(told?.message));
      const lenient = await scene.room({ forcedVideoCodec: "VP8", allowTranscoding: true });
      const cy = await scene.joinAgain(lenient, ann, "cy");
      const [dan, fay] = [
        await scene.join(lenient, "dan", { browser: "chromium", role: "SUBSCRIBER" }),
        await scene.join(lenient, "fay", { browser: "firefox", role: "SUBSCRIBER" }),
      ];
      // A damage that changes nothing keeps the answer.
      await fay.setDamage({ method: "receiveVideoFrom", pattern: "nothing of this", replacement: "" });
      await cy.publish();
      assert.equal((await dan.receives(cy)).received.video.codec, "video/H264");
      const { error } = await until("fay's answer", () => fay.damagedAnswer());
      assert.equal(error?.code, 800);
      assert.match(error.message, /Code: 800$/);
      assert.deepEqual(await lenient.present(), [cy, dan, fay].map(({ connectionId }) => connectionId).sort());
    },
  },
];
