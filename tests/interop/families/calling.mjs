// Calls in which nothing goes wrong.

import { assert } from "../expect.mjs";
import { callOfTwo, first, hasShape, second } from "./house.mjs";

const CHAT = ["안녕, Grüße 👩‍👩‍👧", JSON.stringify({ text: 'a "quoted" \\ text' })];

export const calling = [
  {
    name: "a call with chat",
    async run(scene, cell) {
      const { room, ann, bob } = await callOfTwo(scene, cell);
      for (const data of CHAT) await ann.signal({ type: "chat", data });
      for (const data of CHAT) await bob.signal({ type: "chat", data, to: [ann.connectionId] });
      await ann.event("signal", { from: bob.connectionId, data: CHAT.at(-1) });
      const heard = async (party) => (await party.events("signal")).map(({ signalType, data, from }) => [signalType, data, from]);
      const said = CHAT.map((data) => ["signal:chat", data, ann.connectionId]);
      assert.deepEqual(await heard(bob), said);
      assert.deepEqual(await heard(ann), [...said, ...CHAT.map((data) => ["signal:chat", data, bob.connectionId])]);
      assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
      await ann.unpublish();
      await bob.event("streamDestroyed", { streamId: ann.streamId, reason: "unpublish" });
      await ann.publish();
      await Promise.all([bob.receives(ann), ann.receives(bob)]);
      await ann.disconnect();
      await ann.event("sessionDisconnected", { reason: "disconnect" });
      await bob.event("connectionDestroyed", { connectionId: ann.connectionId, reason: "disconnect" }, { within: 2000 });
    },
  },
  {
    name: "screen share",
    async run(scene, cell) {
      const { room, ann, bob } = await callOfTwo(scene, cell);
      const screen = await scene.joinAgain(room, ann, "ann's screen");
      await screen.setAutoSubscribe(false);
      await screen.publish({ audio: false, source: "screen" });
      assert.match(screen.streamId, new RegExp(`^str_SCR_[A-Z][A-Za-z0-9]{3}_${screen.connectionId}$`));
      const created = await bob.event("streamCreated", { streamId: screen.streamId, typeOfVideo: "SCREEN", hasAudio: false });
      assert.equal(created.connectionId, screen.connectionId);
      const { shown } = await bob.receives(screen, { audio: false });
      assert.ok(hasShape(shown, 16, 9), `not the camera: ${JSON.stringify(shown)}`);
      await Promise.all([bob.receives(ann), ann.receives(bob)]);
      assert.equal((await room.shown(screen)).publishers[0].mediaOptions.typeOfVideo, "SCREEN");
      await screen.disconnect();
      await bob.event("streamDestroyed", { streamId: screen.streamId, reason: "disconnect" });
      // The camera of the same user goes on.
      await bob.receives(ann);
      assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
    },
  },
  {
    name: "session closed by REST",
    async run(scene, cell) {
      const { room, ann, bob } = await callOfTwo(scene, cell);
      const viewer = await scene.join(room, "viewer", first(cell, { role: "SUBSCRIBER" }));
      await viewer.receives(bob);
      const unused = await room.token();
      assert.equal(await room.close(), 204);
      for (const party of [ann, bob, viewer]) {
        await party.event("sessionDisconnected", { reason: "sessionClosedByServer" }, { within: 3000 });
        assert.equal((await party.events("sessionDisconnected")).length, 1);
        assert.equal((await party.events("reconnecting")).length, 0, `${party}: nobody takes it for an accident`);
      }
      assert.equal(await room.close(), 404);
      assert.equal((await room.daemon.rest("GET", room.path)).status, 404);
      const late = await scene.party("late", first(cell));
      await assert.rejects(late.connect(unused), ({ told }) => told !== undefined);
      // The name is free again, and a call in it is a new one.
      const again = await scene.room({ customSessionId: room.id });
      assert.equal(again.id, room.id);
      const [cy, dan] = [await scene.join(again, "cy", first(cell)), await scene.join(again, "dan", second(cell))];
      await cy.publish();
      await dan.receives(cy);
    },
  },
];
