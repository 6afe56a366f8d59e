// A real client whose SDP arrives damaged: an error for the one who sent it, nothing left, nobody disturbed.

import { assert, until } from "../expect.mjs";

// `pattern` is replaced in what the browser wrote.
const DAMAGES = {
  "nothing at all": { pattern: "[^]+", replacement: "" },
  "no SDP": { pattern: "[^]+", replacement: "\u0000\ufffd{\"sdp\": [1e999]}" },
  "an end in the middle of a line": { pattern: "a=fingerprint:sha-[^]*", replacement: "a=fingerpr" },
  "no fingerprint": { pattern: "a=fingerprint:.*\r\n", replacement: "" },
  "no ICE credentials": { pattern: "a=ice-(ufrag|pwd):.*\r\n", replacement: "" },
  "a password of one character": { pattern: "a=ice-pwd:.*", replacement: "a=ice-pwd:x" },
  "no codec that anybody knows": { pattern: "a=rtpmap:(\\d+) .*", replacement: "a=rtpmap:$1 nonesuch/90000" },
  "thousands of media sections": { pattern: "$(?![^])", replacement: "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(5000) },
  "a port that is no number": { pattern: "m=(audio|video) \\d+", replacement: "m=$1 99999999999999999999" },
};

async function shown(room, party) {
  return (await room.connections()).find(({ connectionId }) => connectionId === party.connectionId);
}

export const damaged = [
  {
    name: "a damaged offer publishes nothing and leaves nothing behind",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", { browser: "chromium" });
      const bob = await scene.join(room, "bob", { browser: "firefox" });
      await bob.publish();
      await ann.receives(bob);
      for (const [name, damage] of Object.entries(DAMAGES)) {
        await ann.setDamage({ method: "publishVideo", ...damage });
        await assert.rejects(ann.publish(), ({ told }) => told !== undefined, `an error for ann: ${name}`);
        assert.ok((await ann.damagedAnswer()).error, name);
        assert.deepEqual((await shown(room, ann)).publishers, [], name);
      }
      await ann.setDamage(null);
      await ann.receives(bob);
      assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
      await ann.publish();
      await bob.receives(ann);
      const created = (await bob.events("streamCreated")).map(({ streamId }) => streamId);
      assert.deepEqual(created, [ann.streamId], "bob heard of no other stream");
    },
  },
  ...["client", "server"].map((offer) => ({
    name: `damaged SDP of a viewer subscribes to nothing, and the stream goes on: ${offer} offers`,
    browsers: ["chromium"],
    offer,
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann");
      await ann.publish();
      const bob = await scene.join(room, "bob");
      await bob.receives(ann);
      const eve = await scene.party("eve");
      await eve.setAutoSubscribe(false);
      await eve.connect(await room.token());
      for (const [name, damage] of Object.entries(DAMAGES)) {
        await eve.setDamage({ method: "receiveVideoFrom", ...damage });
        await eve.subscribe(ann.streamId);
        const { error } = await until(`an answer to eve: ${name}`, () => eve.damagedAnswer());
        assert.ok(error, `an error for eve: ${name}`);
        assert.deepEqual((await shown(room, eve)).subscribers, [], name);
      }
      await eve.setDamage(null);
      await eve.subscribe(ann.streamId);
      await Promise.all([eve.receives(ann), bob.receives(ann)]);
      assert.deepEqual((await shown(room, eve)).subscribers.map(({ streamId }) => streamId), [ann.streamId]);
    },
  })),
];
