// Who sees and hears whom.

import { BROWSERS } from "../browsers.mjs";
import { assert, until } from "../expect.mjs";
import { VERSIONS } from "../pages.mjs";

const OFFERS = ["client", "server"];

// Every pair of browsers with every pair of versions and both offer directions would be 20 calls. These
// are the ones in which each browser, version and direction meets each other one.
const EVERY_DAY = [
  "chromium 2.32.2, chromium 2.32.2, client",
  "chromium 2.32.2, chromium 2.32.2, server",
  "firefox 2.32.2, firefox 2.32.2, client",
  "firefox 2.32.2, firefox 2.32.2, server",
  "chromium 2.32.2, firefox 2.32.2, client",
  "chromium 2.32.2, firefox 2.32.2, server",
  "chromium 2.20.0, chromium 2.32.2, client",
  "chromium 2.20.0, firefox 2.20.0, client",
  "chromium 2.32.2, firefox 2.20.0, server",
  "chromium 2.20.0, chromium 2.20.0, server",
];

function pairs() {
  const kinds = BROWSERS.flatMap((browser) => [...VERSIONS].map((version) => ({ browser, version })));
  const found = [];
  for (const [index, first] of kinds.entries()) {
    for (const second of kinds.slice(index)) {
      for (const offer of OFFERS) {
        const key = `${first.browser} ${first.version}, ${second.browser} ${second.version}, ${offer}`;
        const mirrored = `${second.browser} ${second.version}, ${first.browser} ${first.version}, ${offer}`;
        found.push({ first, second, offer, full: !EVERY_DAY.includes(key) && !EVERY_DAY.includes(mirrored) });
      }
    }
  }
  return found;
}

const twoParties = pairs().map(({ first, second, offer, full }) => ({
  name: `two parties see and hear each other: ${first.browser} ${first.version}, ${second.browser} ${second.version}, ${offer} offers`,
  browsers: [first.browser, second.browser],
  offer,
  full,
  async run(stage) {
    const room = await stage.room();
    const ann = await stage.join(room, "ann", first);
    await ann.publish();
    const bob = await stage.join(room, "bob", second);
    await bob.publish();
    await Promise.all([ann.receives(bob), bob.receives(ann)]);
    assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
  },
}));

const groups = OFFERS.flatMap((offer) => [
  {
    name: `a third party joins late and everybody sees everybody, ${offer} offers`,
    browsers: ["chromium", "firefox"],
    offer,
    async run(stage) {
      const room = await stage.room();
      const ann = await stage.join(room, "ann", { browser: "chromium" });
      const bob = await stage.join(room, "bob", { browser: "firefox" });
      await Promise.all([ann.publish(), bob.publish()]);
      await Promise.all([ann.receives(bob), bob.receives(ann)]);
      const cy = await stage.join(room, "cy", { browser: "chromium" });
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
    async run(stage) {
      const room = await stage.room();
      const ann = await stage.join(room, "ann");
      await ann.publish();
      const viewers = [];
      for (const [name, browser] of [["bob", "chromium"], ["cy", "firefox"], ["dan", "chromium"], ["eve", "firefox"]]) {
        viewers.push(await stage.join(room, name, { browser, role: "SUBSCRIBER" }));
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
    async run(stage) {
      const room = await stage.room();
      const ann = await stage.join(room, "ann", { browser });
      const bob = await stage.join(room, "bob", { browser });
      await ann.publish({ video: false });
      await bob.event("streamCreated", { streamId: ann.streamId, hasAudio: true, hasVideo: false });
      await bob.receives(ann, { video: false });
    },
  },
  {
    name: `video only from ${browser}`,
    browsers: [browser],
    async run(stage) {
      const room = await stage.room();
      const ann = await stage.join(room, "ann", { browser });
      const bob = await stage.join(room, "bob", { browser });
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
  async run(stage) {
    const room = await stage.room({ forcedVideoCodec: forced });
    const ann = await stage.join(room, "ann", { browser: "chromium" });
    await ann.publish();
    for (const browser of viewers) {
      const viewer = await stage.join(room, `viewer-${browser}`, { browser, role: "SUBSCRIBER" });
      const { received } = await viewer.receives(ann);
      assert.equal(received.video.codec, codec);
      assert.equal(received.audio.codec, "audio/opus");
    }
  },
}));

const withoutCodec = {
  name: "a viewer without the forced codec is told so with 800, and the others see on",
  browsers: ["chromium", "firefox"],
  async run(stage) {
    const room = await stage.room({ forcedVideoCodec: "H264" });
    const ann = await stage.join(room, "ann", { browser: "chromium" });
    const bob = await stage.join(room, "bob", { browser: "chromium", role: "SUBSCRIBER" });
    // Debian's Firefox has no H264. A damage that changes nothing keeps the answer.
    const cy = await stage.join(room, "cy", { browser: "firefox", role: "SUBSCRIBER" });
    await cy.setDamage({ method: "receiveVideoFrom", pattern: "nothing of this", replacement: "" });
    await ann.publish();
    const answer = await until("the answer to cy", () => cy.damagedAnswer());
    assert.equal(answer.error?.code, 800);
    assert.match(answer.error.message, /^Error forcing codec: 'H264', for PARTICIPANT: .*Is Subscriber: 'true'[^]*\. Code: 800$/);
    await bob.receives(ann);
  },
};

export const calls = [...twoParties, ...groups, ...kinds, ...codecs, withoutCodec];
