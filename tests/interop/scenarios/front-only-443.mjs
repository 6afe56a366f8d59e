// Networks that let nothing pass but HTTPS, and TURN over TLS beside it or on the same port.

import { Authority } from "../authority.mjs";
import { assert } from "../expect.mjs";

const reaches = ({ page }, host) => page.evaluate(
  (url) => fetch(url, { mode: "no-cors" }).then(() => true, () => false),
  `https://${host}/openvidu/accept-certificate`,
);

const TURN_TLS_PORT = 5349;

export const only443 = [
  { name: "network: nothing passes but TCP to port 443, and a call takes TURN over TLS there", ports: [443] },
  {
    name: "network: TURN over TLS has a port of its own, and a call that may use nothing else takes it",
    ports: [443, TURN_TLS_PORT],
    environment: { HANOK_TURN_TLS_LISTEN: `:${TURN_TLS_PORT}` },
    // Those of joinRoom name port 443 too.
    choose: (url) => url.startsWith("turns:") && url.includes(`:${TURN_TLS_PORT}`),
  },
].map(({ name, ports, environment, choose }) => ({
  name,
  town: "roads",
  browsers: ["chromium", "firefox"],
  timeout: 120_000,
  async run(scene) {
    const { world } = scene;
    const authority = scene.keep(await Authority.make());
    await world.trust(authority);
    const files = await authority.issue(world.serverName);
    const daemon = await scene.ownDaemon({
      environment: {
        DOMAIN_OR_PUBLIC_IP: world.serverName,
        HTTPS_PORT: 443,
        HTTP_PORT: 80,
        CERTIFICATE_TYPE: "owncert",
        HANOK_CERTIFICATE_FILE: files.certificate,
        HANOK_CERTIFICATE_KEY_FILE: files.key,
        ...environment,
      },
    });
    await world.cut('iifname "wire0" meta l4proto udp', `iifname "wire0" tcp dport != { ${ports.join(", ")} }`);
    const room = await scene.room({}, daemon);
    const parties = [];
    for (const [name, browser] of [["ann", "chromium"], ["bob", "firefox"]]) {
      // Nothing is forgiven: both look at the certificate, for signalling and for TURN.
      const own = await scene.ownBrowser(browser, { authority });
      const party = await scene.party(name, { browser, own });
      party.protocol = "tls";
      assert.equal(await reaches(party, world.serverName), true, `${browser} trusts the name`);
      assert.equal(await reaches(party, world.address), false, `${browser} trusts nothing else`);
      if (choose) {
        const { urls, username, credential } = await scene.turnCredential(daemon);
        const iceServers = [{ urls: urls.filter(choose), username, credential }];
        assert.equal(iceServers[0].urls.length, 1);
        await party.configure({ rtcConfiguration: { iceServers, iceTransportPolicy: "relay" } });
      }
      parties.push(await party.connect(await room.token()));
    }
    const [ann, bob] = parties;
    await ann.publish();
    await bob.publish();
    const seen = await Promise.all([ann.receives(bob), bob.receives(ann)]);
    for (const { localType, protocol } of [...seen, await ann.published(), await bob.published()]) {
      assert.deepEqual({ localType, protocol }, { localType: "relay", protocol: "tls" });
    }
  },
}));
