// Media that stops arriving while the socket is well, and a client that moves.

import { assert, sleep, until } from "../expect.mjs";
import { callOfTwo, since } from "./house.mjs";

const HEALS_WITHIN = 45_000;

const isConnected = ({ iceConnectionState }) => /^(connected|completed)$/.test(iceConnectionState);

async function nothingWasLost(room, ann, bob) {
  for (const party of [ann, bob]) {
    for (const type of ["connectionDestroyed", "streamDestroyed", "sessionDisconnected"]) {
      assert.deepEqual(await party.events(type), [], `${party}: ${type}`);
    }
  }
  assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
  const shown = await room.shown(ann);
  assert.deepEqual(shown.publishers.map(({ streamId }) => streamId), [ann.streamId]);
  assert.deepEqual(shown.subscribers.map(({ streamId }) => streamId), [bob.streamId]);
}

const path = (stats) => stats && [stats.transport, stats.iceConnectionState, stats.protocol, stats.localType, stats.local, stats.ports];

const isIceTrouble = ({ name }) => /^ICE_CONNECTION_(FAILED|DISCONNECTED)$/.test(name);

// From 2.24 on clients make new transports by themselves. Older ones have the code for it, but nothing calls it: they
// tell the application, and what is broken stays so until a broken socket returns or the application asks for it.

async function isRepairedByTheSocket(ann, meanwhile) {
  await until("ann's application is told", async () => (await ann.events("exception")).some(isIceTrouble), { within: HEALS_WITHIN });
  await sleep(8_000);
  await meanwhile();
  ann.cord.cut();
  await ann.cord.mend();
  await ann.event("reconnected", {}, { within: 30_000 });
}

// No second cut: these clients, told of a reset on a socket that was itself a second one, open two, and use neither.
async function isRepairedByTheApplication(ann, bob) {
  await ann.event("reconnected", {}, { within: HEALS_WITHIN });
  await sleep(8_000);
  for (const [stats, streamId] of [[await ann.published(), ann.streamId], [await ann.subscribed(bob.streamId), bob.streamId]]) {
    if (!stats || !isConnected(stats)) await ann.reconnectStream(streamId);
  }
}

export const lost = [
  {
    name: "media lost for good while the socket is well",
    lane: "waits",
    needs: "veth",
    grace: 10,
    timeout: 240_000,
    async run(scene, cell) {
      // Chromium keeps a path on TCP at hand and would lose nothing.
      const { room, ann, bob } = await callOfTwo(scene, cell, { ann: { cord: true, udpOnly: cell.transport === "udp" } });
      const transports = () => Promise.all([ann.published(), ann.subscribed(bob.streamId)]);
      const before = await transports();
      const unsilence = await scene.rules.silence(before.flatMap(({ ports }) => ports));
      try {
        if (!since("2.24", cell)) {
          await isRepairedByTheSocket(ann, async () => {
            assert.deepEqual((await transports()).map(({ transport }) => transport), before.map(({ transport }) => transport), "nothing heals by itself");
            await nothingWasLost(room, ann, bob);
          });
        }
        await until("ann has other transports, and they work", async () => {
          const now = await transports();
          return now.every((stats, index) => stats && stats.transport !== before[index].transport && isConnected(stats))
            || assert.fail(JSON.stringify({ silenced: before.map(path), now: now.map(path) }));
        }, { within: HEALS_WITHIN });
        await Promise.all([bob.receives(ann), ann.receives(bob)]);
        await nothingWasLost(room, ann, bob);
      } finally {
        await unsilence();
      }
    },
  },
  {
    name: "change of the client's address",
    lane: "moves",
    needs: "veth",
    grace: 10,
    timeout: 240_000,
    async run(scene, cell) {
      const { room, ann, bob } = await callOfTwo(scene, cell);
      await scene.world.move();
      const began = Date.now();
      if (!since("2.24", cell)) await isRepairedByTheApplication(ann, bob);
      await Promise.all([bob.receives(ann, { limit: HEALS_WITHIN }), ann.receives(bob, { limit: HEALS_WITHIN })]);
      console.log(`     media is back ${((Date.now() - began) / 1000).toFixed(1)} s after the move`);
      await nothingWasLost(room, ann, bob);
      await bob.signal({ type: "chat", data: "moved" });
      await ann.event("signal", { data: "moved" }, { within: 30_000 });
    },
  },
];
