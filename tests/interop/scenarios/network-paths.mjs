// Calls come up whatever lies between browser and server: loss and delay, translated addresses on either
// side, two addresses, IPv6, a relay.

import { assert } from "../expect.mjs";
import { hairpins } from "./network-hairpin.mjs";

const OLD = { browser: "chromium", version: "2.20.0" };
const CHROMIUM = { browser: "chromium", version: "2.32.2" };
const FIREFOX = { browser: "firefox", version: "2.32.2" };

/** Both see and hear each other; returns them with what their transports tell. */
async function call(room, ann, bob) {
  await ann.publish();
  await bob.publish();
  const [seenByAnn, seenByBob] = await Promise.all([ann.receives(bob, { limit: 20_000 }), bob.receives(ann, { limit: 20_000 })]);
  assert.deepEqual(await room.present(), [ann.connectionId, bob.connectionId].sort());
  return [seenByAnn, seenByBob];
}

async function callOfTwo(scene, first, second) {
  const room = await scene.room();
  const ann = await scene.join(room, "ann", first);
  const bob = await scene.join(room, "bob", second);
  return call(room, ann, bob);
}

// Of what the browser tells about the server's address; Firefox tells less than Chromium.
function cameFrom(stats, address) {
  for (const { remote } of stats) if (remote !== undefined) assert.equal(remote, address);
  assert.ok(stats.some(({ remote }) => remote === address), "somebody tells the server's address");
}

const translated = ["port-restricted", "symmetric"].flatMap((kind) => [
  [CHROMIUM, FIREFOX, kind === "symmetric" ? "server" : "client"],
].map(([first, second, offer]) => ({
  name: `network: both behind a ${kind} translation, ${offer} offers`,
  town: "roads",
  browsers: ["chromium", "firefox"],
  offer,
  async run(scene) {
    await scene.world.nat(kind);
    await callOfTwo(scene, first, second);
  },
})));

const lossy = [
  [CHROMIUM, OLD, "client"],
  [FIREFOX, CHROMIUM, "server"],
].map(([first, second, offer]) => ({
  name: `network: 5 % are lost each way and 40 ms pass there and back: ${first.browser} ${first.version}, ${second.browser} ${second.version}, ${offer} offers`,
  town: "roads",
  browsers: [first.browser, second.browser],
  offer,
  async run(scene) {
    await scene.world.line("delay 20 loss 5%");
    await callOfTwo(scene, first, second);
    const { up, down } = await scene.world.lineStats();
    assert.ok(up.lost > 0 && down.lost > 0, "the line did lose packets");
  },
}));

export const paths = [
  ...translated,
  ...lossy,
  {
    name: "network: the server is asked at its second address and answers from it",
    town: "roads",
    browsers: ["chromium", "firefox"],
    // A name that nobody resolves: the addresses of the interfaces are told, both of them.
    environment: () => ({ DOMAIN_OR_PUBLIC_IP: "hanok.invalid" }),
    async run(scene) {
      const { address, secondAddress } = scene.world;
      await scene.world.cut(`ip daddr ${address} meta l4proto udp`);
      const room = await scene.room();
      const parties = [];
      for (const [name, kind] of [["ann", CHROMIUM], ["bob", FIREFOX]]) {
        const party = await scene.party(name, kind);
        parties.push(await party.connect((await room.token()).replace("hanok.invalid", secondAddress)));
      }
      cameFrom(await call(room, ...parties), secondAddress);
    },
  },
  {
    name: "network: the server's public address is translated 1:1 and the private one cannot be reached",
    town: "roads",
    browsers: ["chromium", "firefox"],
    environment: ({ publicAddress }) => ({ DOMAIN_OR_PUBLIC_IP: publicAddress, HANOK_EXTERNAL_IP: publicAddress }),
    async run(scene) {
      const { publicAddress, address } = scene.world;
      await scene.world.cut(`iifname "wire0" ct status ! dnat ip daddr ${address}`);
      cameFrom(await callOfTwo(scene, CHROMIUM, FIREFOX), publicAddress);
    },
  },
  {
    name: "network: the server has nothing but IPv6",
    town: "six",
    browsers: ["chromium", "firefox"],
    environment: ({ serverName }) => ({ DOMAIN_OR_PUBLIC_IP: serverName }),
    async run(scene) {
      cameFrom(await callOfTwo(scene, CHROMIUM, FIREFOX), scene.world.address);
    },
  },
  {
    name: "network: browsers that may only use a relay",
    town: "roads",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      const { address, ...server } = await scene.world.relay();
      await scene.world.cut(`ip daddr ${scene.world.address} iifname "wire0" meta l4proto udp`);
      const room = await scene.room();
      const parties = [];
      for (const [name, kind] of [["ann", CHROMIUM], ["bob", FIREFOX]]) {
        const party = await scene.party(name, kind);
        await party.configure({ rtcConfiguration: { iceServers: [server], iceTransportPolicy: "relay" } });
        parties.push(await party.connect(await room.token()));
      }
      for (const { localType } of await call(room, ...parties)) assert.equal(localType ?? "relay", "relay");
    },
  },
  ...["udp", "tcp"].map((protocol) => ({
    name: `network: browsers that may only use our relay, over ${protocol}`,
    town: "roads",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      if (protocol === "tcp") await scene.world.cut('iifname "wire0" meta l4proto udp', 'oifname "wire0" meta l4proto udp');
      const room = await scene.room();
      const parties = [];
      for (const [name, kind] of [["ann", CHROMIUM], ["bob", FIREFOX]]) {
        const party = await scene.party(name, kind);
        party.protocol = protocol;
        // The servers are those of joinRoom.
        await party.configure({ rtcConfiguration: { iceTransportPolicy: "relay" } });
        parties.push(await party.connect(await room.token()));
      }
      for (const { localType } of await call(room, ...parties)) assert.equal(localType ?? "relay", "relay");
    },
  })),
  ...hairpins,
  {
    name: "network: UDP is blocked and media takes TCP",
    town: "roads",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      await scene.world.cut('iifname "wire0" meta l4proto udp', 'oifname "wire0" meta l4proto udp');
      const room = await scene.room();
      const parties = [await scene.join(room, "ann", CHROMIUM), await scene.join(room, "bob", FIREFOX)];
      for (const party of parties) party.protocol = "tcp";
      await call(room, ...parties);
    },
  },
];
