// SIGTERM in the middle of a call.

import { Daemon } from "../daemon.mjs";
import { assert } from "../expect.mjs";

export const shutdown = [
  {
    name: "a stop tells everybody, and the daemon exits with 0",
    browsers: ["chromium"],
    async run(scene) {
      const daemon = await Daemon.start(scene.world);
      try {
        const room = await scene.room({}, daemon);
        const ann = await scene.join(room, "ann");
        const bob = await scene.join(room, "bob");
        await ann.publish();
        await bob.receives(ann);
        assert.equal(await daemon.stop(), 0);
        for (const party of [ann, bob]) await party.event("sessionDisconnected", {}, { within: 3000 });
        assert.deepEqual(daemon.complaints(), []);
      } finally {
        daemon.kill();
        await daemon.remove();
      }
    },
  },
];
