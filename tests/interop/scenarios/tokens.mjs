// A token opens one door once.

import { assert } from "../expect.mjs";

async function isRefused(party, token) {
  await assert.rejects(party.connect(token), (error) => {
    assert.ok(error.told, `the client itself is told: ${error.message}`);
    return true;
  });
  assert.equal((await party.events("connectionCreated")).length, 0);
}

export const tokens = [
  {
    name: "a wrong, a reused and a foreign token join nothing",
    browsers: ["chromium"],
    async run(scene) {
      const room = await scene.room();
      const other = await scene.room();
      const ann = await scene.party("ann");
      const token = await room.token();
      await ann.connect(token);

      const wrong = token.replace(/token=tok_.*$/, "token=tok_Aaaaaaaaaaaaaaaaa");
      assert.notEqual(wrong, token);
      await isRefused(await scene.party("mallory-wrong"), wrong);
      await isRefused(await scene.party("mallory-reused"), token);
      const foreign = (await other.token()).replace(`sessionId=${other.id}`, `sessionId=${room.id}`);
      assert.ok(foreign.includes(`sessionId=${room.id}`));
      await isRefused(await scene.party("mallory-foreign"), foreign);

      assert.deepEqual(await room.present(), [ann.connectionId]);
      assert.deepEqual(await other.present(), []);
      assert.equal((await ann.events("connectionCreated")).length, 1, "ann heard of nobody but herself");
      await other.daemon.rest("DELETE", other.path);
    },
  },
  {
    name: "a token of a closed session joins nothing",
    browsers: ["firefox"],
    async run(scene) {
      const room = await scene.room();
      const token = await room.token();
      assert.equal((await room.daemon.rest("DELETE", room.path)).status, 204);
      await isRefused(await scene.party("late", { browser: "firefox" }), token);
      assert.equal((await room.daemon.rest("GET", room.path)).status, 404);
    },
  },
  {
    name: "a viewer cannot publish",
    browsers: ["chromium"],
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", { role: "SUBSCRIBER" });
      await assert.rejects(ann.publish());
      const [shown] = await room.connections();
      assert.deepEqual(shown.publishers, []);
    },
  },
];
