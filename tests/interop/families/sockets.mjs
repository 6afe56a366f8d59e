// What happens to the WebSocket while media goes its own way.

import { assert, sleep } from "../expect.mjs";
import { callOfTwo, joinsAnew, second } from "./house.mjs";

const GRACE = 10;
// Where who is away comes back in time: a busy machine may be slow about it.
const LONG_GRACE = 25;

/** What a party was told, without what was there before number `from`. */
async function toldSince(party, from, types) {
  return (await party.events()).slice(from).filter(({ type }) => types.includes(type));
}

// bob speaks and somebody joins while ann's socket is away for `seconds`; then she is back.
async function whileAway(scene, cell, { room, ann, bob }, away, seconds) {
  const before = (await ann.events()).length;
  // Whoever comes meanwhile is at the door already: the grace does not wait for a page to load.
  const [cy, token] = await Promise.all([scene.party("cy", second(cell)), room.token({ role: "SUBSCRIBER" })]);
  await away();
  const back = sleep(1000 * seconds).then(() => ann.cord.mend());
  await bob.signal({ type: "chat", data: "one" });
  await cy.connect(token);
  await bob.signal({ type: "chat", data: "two" });
  // Media goes on, both ways.
  await Promise.all([back, bob.receives(ann), ann.receives(bob), cy.receives(ann)]);
  await ann.event("reconnected", {}, { within: 20_000 });
  await bob.signal({ type: "chat", data: "three" });
  await ann.event("signal", { data: "three" });
  const told = await toldSince(ann, before, ["signal", "connectionCreated", "connectionDestroyed", "streamCreated", "streamDestroyed", "sessionDisconnected"]);
  assert.deepEqual(told.map(({ type, data, connectionId }) => (type === "signal" ? data : `${type} ${connectionId}`)),
    ["one", `connectionCreated ${cy.connectionId}`, "two", "three"], "each once and in order");
  await ann.event("reconnecting");
  for (const party of [bob, cy]) {
    for (const type of ["connectionDestroyed", "streamDestroyed"]) assert.equal((await party.events(type)).length, 0, `${party}: ${type}`);
  }
  await ann.signal({ type: "chat", data: "back" });
  await Promise.all([bob, cy].map((party) => party.event("signal", { data: "back", from: ann.connectionId })));
  assert.deepEqual(await room.present(), [ann, bob, cy].map(({ connectionId }) => connectionId).sort());
  await Promise.all([bob.receives(ann), ann.receives(bob), cy.receives(ann)]);
}

async function isGone(room, ann, bob) {
  await bob.event("streamDestroyed", { streamId: ann.streamId, reason: "networkDisconnect" }, { within: 25_000 });
  await bob.event("connectionDestroyed", { connectionId: ann.connectionId, reason: "networkDisconnect" });
  assert.deepEqual(await room.present(), [bob.connectionId]);
}

export const sockets = [
  {
    name: "reset of the socket",
    lane: "waits",
    grace: LONG_GRACE,
    timeout: 240_000,
    async run(scene, cell) {
      const call = await callOfTwo(scene, cell, { ann: { cord: true } });
      // Clients try again at once and then every 3 s.
      await whileAway(scene, cell, call, () => call.ann.cord.cut(), 2.5);
    },
  },
  {
    name: "silence of the socket for 20 s",
    lane: "waits",
    grace: LONG_GRACE,
    timeout: 240_000,
    async run(scene, cell) {
      const call = await callOfTwo(scene, cell, { ann: { cord: true } });
      await whileAway(scene, cell, call, () => call.ann.cord.silence(), 20);
    },
  },
  {
    name: "away for longer than the grace",
    lane: "waits",
    grace: GRACE,
    timeout: 240_000,
    async run(scene, cell) {
      const { room, ann, bob } = await callOfTwo(scene, cell, { ann: { cord: true } });
      ann.cord.cut();
      await sleep(8000);
      assert.equal((await bob.events("connectionDestroyed")).length, 0, "nobody is given up before the grace is over");
      await sleep(4000);
      await isGone(room, ann, bob);
      await ann.cord.mend();
      await ann.event("sessionDisconnected", { reason: "networkDisconnect" }, { within: 20_000 });
      await ann.reload();
      await joinsAnew(room, ann, bob);
      assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
    },
  },
  {
    name: "publisher reload",
    lane: "waits",
    grace: GRACE,
    timeout: 240_000,
    async run(scene, cell) {
      const { room, ann, bob } = await callOfTwo(scene, cell);
      const [ghost, stream] = [ann.connectionId, ann.streamId];
      await ann.reload();
      // The ghost stays for the grace, and the new one does not mind.
      await joinsAnew(room, ann, bob);
      await bob.event("streamDestroyed", { streamId: stream, reason: "networkDisconnect" }, { within: 20_000 });
      for (const party of [ann, bob]) await party.event("connectionDestroyed", { connectionId: ghost, reason: "networkDisconnect" });
      assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
      await Promise.all([bob.receives(ann), ann.receives(bob)]);
    },
  },
];
