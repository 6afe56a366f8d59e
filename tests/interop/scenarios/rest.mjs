// The published openvidu-node-client, as an application's server uses it.

import { globalAgent } from "node:https";
import { OpenVidu, OpenViduRole } from "openvidu-node-client";
import { assert } from "../expect.mjs";

// The daemon's certificate is of its own making.
globalAgent.options.rejectUnauthorized = false;

function client(url, secret) {
  const openVidu = new OpenVidu(url, secret);
  openVidu.enableProdMode();
  return openVidu;
}

export const rest = [
  {
    name: "openvidu-node-client creates, fetches, lists and closes",
    browsers: ["chromium"],
    async run(scene) {
      const daemon = await scene.daemon();
      for (const url of [daemon.url, daemon.plainUrl]) {
        const openVidu = client(url, daemon.secret);
        const session = await openVidu.createSession({ customSessionId: "from-node" });
        assert.equal(session.sessionId, "from-node");
        // Creating it again is how another process of the application gets at it.
        const elsewhere = client(url, daemon.secret);
        assert.equal((await elsewhere.createSession({ customSessionId: "from-node" })).sessionId, "from-node");

        const connection = await session.createConnection({ role: OpenViduRole.MODERATOR, data: "server says Ünïcode" });
        assert.match(connection.token, new RegExp(`^wss://${scene.world.address}:\\d+\\?sessionId=from-node&token=tok_[A-Z][A-Za-z0-9]{15}$`));
        assert.equal(connection.status, "pending");
        assert.equal(connection.role, OpenViduRole.MODERATOR);
        // The client orders the properties of a session differently once it has fetched them.
        await session.fetch();
        assert.equal(await session.fetch(), false, "nothing has changed since");

        const ann = await scene.party("ann");
        await ann.connect(connection.token);
        const [created] = await ann.events("connectionCreated");
        assert.ok(created.data.endsWith("%/%server says Ünïcode"), created.data);
        await ann.publish();
        assert.equal(await session.fetch(), true, "somebody joined");
        assert.equal(session.activeConnections.length, 1);
        assert.equal(session.activeConnections[0].connectionId, ann.connectionId);
        assert.equal(session.activeConnections[0].publishers[0].streamId, ann.streamId);
        assert.equal(await openVidu.fetch(), false, "what session.fetch() brought is known already");
        assert.deepEqual(openVidu.activeSessions.map(({ sessionId }) => sessionId), ["from-node"]);

        await session.close();
        await ann.event("sessionDisconnected", { reason: "sessionClosedByServer" });
        assert.deepEqual(await daemon.sessions(), []);
        assert.equal(await openVidu.fetch(), false, "this client has closed it itself");
        assert.equal(await elsewhere.fetch(), true, "the other one hears of it now");
        assert.deepEqual([openVidu.activeSessions, elsewhere.activeSessions], [[], []]);
      }
    },
  },
  {
    name: "openvidu-node-client removes a participant",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", { browser: "firefox" });
      const bob = await scene.join(room, "bob");
      await Promise.all([ann.publish(), bob.publish()]);
      await Promise.all([ann.receives(bob), bob.receives(ann)]);
      const openVidu = client(room.daemon.url, room.daemon.secret);
      await openVidu.fetch();
      const session = openVidu.activeSessions.find(({ sessionId }) => sessionId === room.id);
      await session.forceDisconnect(ann.connectionId);
      await ann.event("sessionDisconnected", { reason: "forceDisconnectByServer" });
      await bob.event("connectionDestroyed", { connectionId: ann.connectionId, reason: "forceDisconnectByServer" });
      assert.deepEqual(await room.present(), [bob.connectionId]);
    },
  },
  {
    name: "a wrong secret opens nothing",
    async run(scene) {
      const daemon = await scene.daemon();
      const { status, headers } = await daemon.rest("GET", "/openvidu/api/sessions", undefined, { secret: "wrong" });
      assert.equal(status, 401);
      assert.match(headers["www-authenticate"], /^Basic/);
      const openVidu = client(daemon.url, "wrong");
      await assert.rejects(openVidu.createSession(), /401/);
    },
  },
];
