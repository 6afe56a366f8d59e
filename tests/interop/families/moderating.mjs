// Moderators end streams and connections of others; nobody else may.

import { assert } from "../expect.mjs";
import { first, second } from "./house.mjs";

const isDenied = (error) => error.told?.name === "OPENVIDU_PERMISSION_DENIED";

export const moderating = [
  {
    name: "moderator actions",
    async run(scene, cell) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", first(cell, { role: "MODERATOR" }));
      const bob = await scene.join(room, "bob", second(cell));
      // Once more the version under test, on the receiving end.
      const cy = await scene.join(room, "cy", first(cell));
      const everybody = [ann, bob, cy];
      for (const party of everybody) await party.publish();
      await Promise.all([ann.receives(bob), bob.receives(cy), cy.receives(ann)]);

      await assert.rejects(cy.forceUnpublish(bob.streamId), isDenied);
      await assert.rejects(bob.forceDisconnect(ann.connectionId), isDenied);
      await Promise.all([ann.receives(bob), bob.receives(ann)]);

      const gone = cy.streamId;
      await ann.forceUnpublish(gone);
      const unpublished = { streamId: gone, reason: "forceUnpublishByUser" };
      await cy.event("ownStreamDestroyed", unpublished);
      for (const party of [ann, bob]) {
        await party.event("streamDestroyed", unpublished);
        assert.equal((await party.events("streamDestroyed")).length, 1);
      }
      assert.deepEqual((await room.shown(cy)).publishers, []);
      await cy.publish();
      assert.notEqual(cy.streamId, gone);
      await Promise.all([bob.receives(cy), cy.receives(bob)]);

      await ann.forceDisconnect(cy.connectionId);
      const reason = "forceDisconnectByUser";
      await cy.event("sessionDisconnected", { reason });
      for (const party of [ann, bob]) {
        await party.event("streamDestroyed", { streamId: cy.streamId, reason });
        await party.event("connectionDestroyed", { connectionId: cy.connectionId, reason });
      }
      assert.equal((await cy.events("reconnecting")).length, 0);
      assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
      await Promise.all([ann.receives(bob), bob.receives(ann)]);
    },
  },
];
