// Who sees and hears whom.

import { BROWSERS } from "../browsers.mjs";
import { assert, until } from "../expect.mjs";

const OFFERS = ["client", "server"];

const groups = OFFERS.flatMap((offer) => [
  {
    name: `a third party joins late and everybody sees everybody, ${offer} offers`,
    browsers: ["chromium", "firefox"],
    offer,
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", { browser: "chromium" });
      const bob = await scene.join(room, "bob", { browser: "firefox" });
      await Promise.all([ann.publish(), bob.publish()]);
      await Promise.all([ann.receives(bob), bob.receives(ann)]);
      const cy = await scene.join(room, "cy", { browser: "chromium" });
      // Whoever was here is announced with the answer to the join, before anything else happens.
      const announced = (await cy.events()).slice(0, 5).map(({ type }) => type);
      assert.deepEqual(announced, ["connectionCreated", "connectionCreated", "connectionCreated", "streamCreated", "streamCreated"]);
      await cy.publish();
      await Promise.all([cy.receives(ann), cy.receives(bob), ann.receives(cy), bob.receives(cy)]);
      await Promise.all([ann.receives(bob), bob.receives(ann)]);
    },
  },
  {
    name: `one publishes to four viewers, ${offer} offers`,
    browsers: ["chromium", "firefox"],
    offer,
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann");
      await ann.publish();
      const viewers = [];
      for (const [name, browser] of [["bob", "chromium"], ["cy", "firefox"], ["dan", "chromium"], ["eve", "firefox"]]) {
        viewers.push(await scene.join(room, name, { browser, role: "SUBSCRIBER" }));
      }
      await Promise.all(viewers.map((viewer) => viewer.receives(ann)));
      const [connection] = (await room.connections()).filter(({ connectionId }) => connectionId === ann.connectionId);
      assert.equal(connection.publishers.length, 1);
      for (const viewer of viewers) {
        const shown = (await room.connections()).find(({ connectionId }) => connectionId === viewer.connectionId);
        assert.equal(shown.role, "SUBSCRIBER");
        assert.deepEqual(shown.subscribers.map(({ streamId }) => streamId), [ann.streamId]);
      }
    },
  },
]);

const kinds = BROWSERS.flatMap((browser) => [
  {
    name: `audio only from ${browser}`,
    browsers: [browser],
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", { browser });
      const bob = await scene.join(room, "bob", { browser });
      await ann.publish({ video: false });
      await bob.event("streamCreated", { streamId: ann.streamId, hasAudio: true, hasVideo: false });
      await bob.receives(ann, { video: false });
    },
  },
  {
    name: `video only from ${browser}`,
    browsers: [browser],
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", { browser });
      const bob = await scene.join(room, "bob", { browser });
      await ann.publish({ audio: false });
      await bob.event("streamCreated", { streamId: ann.streamId, hasAudio: false, hasVideo: true });
      await bob.receives(ann, { audio: false });
    },
  },
]);

// What `forcedVideoCodec` of the session makes of a call.
const FORCED = [
  { forced: "MEDIA_SERVER_PREFERRED", offer: "client", codec: "video/VP8", viewers: ["chromium", "firefox"] },
  { forced: "NONE", offer: "client", codec: "video/VP8", viewers: ["chromium", "firefox"] },
  { forced: "VP9", offer: "client", codec: "video/VP9", viewers: ["chromium", "firefox"] },
  { forced: "VP9", offer: "server", codec: "video/VP9", viewers: ["chromium", "firefox"] },
  { forced: "H264", offer: "client", codec: "video/H264", viewers: ["chromium"] },
  { forced: "H264", offer: "server", codec: "video/H264", viewers: ["chromium"] },
];

const codecs = FORCED.map(({ forced, offer, codec, viewers }) => ({
  name: `a session that forces ${forced} carries ${codec}, ${offer} offers`,
  browsers: ["chromium", ...viewers],
  offer,
  async run(scene) {
    const room = await scene.room({ forcedVideoCodec: forced });
    const ann = await scene.join(room, "ann", { browser: "chromium" });
    await ann.publish();
    for (const browser of viewers) {
      const viewer = await scene.join(room, `viewer-${browser}`, { browser, role: "SUBSCRIBER" });
      const { received } = await viewer.receives(ann);
      assert.equal(received.video.codec, codec);
      assert.equal(received.audio.codec, "audio/opus");
    }
  },
}));

const withoutCodec = {
  name: "a viewer without the forced codec is told so with 800, and the others see on",
  browsers: ["chromium", "firefox"],
  async run(scene) {
    const room = await scene.room({ forcedVideoCodec: "H264" });
    const ann = await scene.join(room, "ann", { browser: "chromium" });
    const bob = await scene.join(room, "bob", { browser: "chromium", role: "SUBSCRIBER" });
    // Debian's Firefox has no H264. A damage that changes nothing keeps the answer.
    const cy = await scene.join(room, "cy", { browser: "firefox", role: "SUBSCRIBER" });
    await cy.setDamage({ method: "receiveVideoFrom", pattern: "nothing of this", replacement: "" });
    await ann.publish();
    const answer = await until("the answer to cy", () => cy.damagedAnswer());
    assert.equal(answer.error?.code, 800);
    assert.match(answer.error.message, /^Error forcing codec: 'H264', for PARTICIPANT: .*Is Subscriber: 'true'[^]*\. Code: 800$/);
    await bob.receives(ann);
  },
};

export const calls = [...groups, ...kinds, ...codecs, withoutCodec];
