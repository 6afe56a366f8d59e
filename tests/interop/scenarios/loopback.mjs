// Publishers that see and hear what the server got of them (`publisher.subscribeToRemote()`).

import { BROWSERS } from "../browsers.mjs";
import { assert, until } from "../expect.mjs";
import { VERSIONS } from "../pages.mjs";

export const loopback = BROWSERS.flatMap((browser) => [...VERSIONS].map((version, index) => ({
  name: `a publisher gets its own media back and so does a viewer: ${browser} ${version}`,
  browsers: [browser],
  full: index > 0 && version !== "2.20.0",
  async run(stage) {
    const room = await stage.room();
    const ann = await stage.join(room, "ann", { browser, version });
    const bob = await stage.join(room, "bob", { browser, version, role: "SUBSCRIBER" });
    await ann.publish({ loopback: true });
    const first = await until(`${ann}: its own media`, async () => {
      const { received } = await ann.published();
      assert.ok(received.audio?.packets > 0 && received.video?.frames > 0, JSON.stringify(received));
      return received;
    });
    await until(`${ann}: its own media go on`, async () => {
      const { received } = await ann.published();
      assert.ok(received.audio.packets >= first.audio.packets + 50, JSON.stringify(received));
      assert.ok(received.video.frames >= first.video.frames + 20, JSON.stringify(received));
      assert.equal(received.video.packetsLost, 0);
      return true;
    });
    // What it shows is what came back, and not its camera.
    await until(`${ann}: the picture that came back`, () => ann.showsRemote());
    await bob.receives(ann);
  },
})));
