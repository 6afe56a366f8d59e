// What happens between the two hosts.

import { BROWSERS } from "../browsers.mjs";
import { assert } from "../expect.mjs";

// Payload byte 0 is 22: a DTLS record with a handshake message in it. Browsers send their ClientHello in
// two datagrams; the counter of this rule lets exactly one of all datagrams be lost.
const handshakeDatagram = ({ keys }, number) =>
  `udp dport ${keys.HANOK_MEDIA_MIN_PORT}-${keys.HANOK_MEDIA_MAX_PORT} @th,64,8 22 numgen inc mod 1000000 == ${number}`;

export const network = BROWSERS.flatMap((browser) => [
  ["first", 0],
  ["second", 1],
].map(([half, number]) => ({
  name: `the ${half} half of a ClientHello is lost and the call comes up all the same: ${browser}`,
  needs: "veth",
  browsers: [browser],
  async run(scene) {
    const room = await scene.room();
    const ann = await scene.join(room, "ann", { browser });
    const bob = await scene.join(room, "bob", { browser });
    const lost = await scene.world.dropping(handshakeDatagram(room.daemon, number), async () => {
      await ann.publish();
      await bob.receives(ann, { limit: 8_000 });
    });
    assert.equal(lost, 1, "exactly one datagram was lost");
    const stats = await bob.subscribed(ann.streamId);
    assert.equal(stats.remote ?? scene.world.address, scene.world.address, "media crossed the cable");
  },
})));
