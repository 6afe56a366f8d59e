// Those who have kept their own nginx in front of OpenVidu put the daemon behind it and change nothing in its file.

import { execFile } from "node:child_process";
import { request as plainRequest } from "node:http";
import { request } from "node:https";
import { promisify } from "node:util";
import { OpenVidu, OpenViduRole } from "openvidu-node-client";
import { Application } from "../application.mjs";
import { Authority } from "../authority.mjs";
import { assert } from "../expect.mjs";
import { Nginx } from "../nginx.mjs";

const run = promisify(execFile);

// What the file says.
const APPLICATION_PORT = 8080;
const KEYS = { HANOK_FRONT: "off", HTTPS_PORT: 443, HANOK_PLAIN_LISTEN: "127.0.0.1:5443" };

function ask(url, headers = {}) {
  const begin = url.startsWith("https:") ? request : plainRequest;
  return new Promise((resolve, reject) => {
    begin(url, { agent: false, rejectUnauthorized: false, headers }, (incoming) => {
      const chunks = [];
      incoming.on("data", (chunk) => chunks.push(chunk));
      incoming.on("end", () => resolve({ status: incoming.statusCode, headers: incoming.headers, text: Buffer.concat(chunks).toString() }));
    }).on("error", reject).end();
  });
}

/** The ports on which this process listens. */
async function listening({ process: { pid }, world }) {
  const { stdout } = await run(world.prefix[0], [...world.prefix.slice(1), "ss", "-Hltnp"]);
  return stdout.split("\n").filter((line) => line.includes(`pid=${pid},`)).map((line) => Number(/:(\d+)\s/.exec(line)[1]));
}

/** What the plain listener says to whoever asks on the daemon's own machine. */
async function atHome({ world }, path) {
  const { stdout } = await run(world.prefix[0], [...world.prefix.slice(1), "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", `http://127.0.0.1:5443${path}`]);
  return Number(stdout);
}

export const behindNginx = [
  {
    name: "nginx in front: REST, openvidu-node-client and a call, with the file that was written for OpenVidu",
    needs: "veth",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      const { world } = scene;
      const authority = scene.keep(await Authority.make());
      scene.keep(await Application.start(world, APPLICATION_PORT));
      scene.keep(await Nginx.start(world, { name: world.address, application: APPLICATION_PORT, ...(await authority.issue(world.address)) }));
      const daemon = await scene.ownDaemon({ environment: KEYS });
      const own = `https://${world.address}`;

      const openVidu = new OpenVidu(own, daemon.secret);
      openVidu.enableProdMode();
      const session = await openVidu.createSession({ customSessionId: "behind-nginx" });
      const connection = await session.createConnection({ role: OpenViduRole.MODERATOR });
      assert.match(connection.token, new RegExp(`^wss://${world.address}(:443)?\\?sessionId=behind-nginx&`), "clients are sent to nginx");
      await session.close();

      const room = await scene.room({}, daemon);
      const ann = await scene.join(room, "ann", { browser: "chromium" });
      const bob = await scene.join(room, "bob", { browser: "firefox" });
      const cy = await scene.join(room, "cy", { browser: "chromium", version: "2.20.0" });
      await ann.publish();
      await bob.publish();
      await Promise.all([ann.receives(bob), bob.receives(ann), cy.receives(ann), cy.receives(bob)]);
      await cy.signal({ type: "chat", data: "through nginx" });
      await bob.event("signal", { data: "through nginx" });

      const { status, text } = await ask(`${own}/api/v1/x`);
      assert.equal(status, 200);
      assert.equal(JSON.parse(text).url, "/api/v1/x", "`/` is the application");
      const unknown = await ask(`${own}/openvidu/api/sessions/none`, { authorization: `Basic ${btoa(`OPENVIDUAPP:${daemon.secret}`)}` });
      assert.equal(unknown.status, 404);
      assert.doesNotMatch(unknown.text, /operator's/, "the daemon's own answers pass");
      assert.equal((await ask(`${own}/openvidu/api/sessions`)).status, 401);
      for (const path of ["/dashboard", "/dashboard/"]) {
        const answer = await ask(own + path);
        assert.equal(answer.status, await atHome(daemon, path), path);
        // The daemon does not know how it is called outside.
        if (answer.headers.location) assert.match(answer.headers.location, new RegExp(`^(/[^/]|${own}(:443)?/)`), path);
      }
      const redirected = await ask(`http://${world.address}/some/where?a=b`);
      assert.deepEqual([redirected.status, redirected.headers.location], [301, `${own}/some/where?a=b`]);

      const ports = await listening(daemon);
      assert.ok(ports.includes(5443), `${ports}`);
      for (const port of [80, 443, Number(daemon.keys.HTTP_PORT)]) assert.ok(!ports.includes(port), `${port} is not the daemon's`);
    },
  },
];
