// Two browsers without any client of OpenVidu's: each may only use our relay, and they talk to each other, so that
// what leaves one allocation arrives at another of the same server.

import { assert, until } from "../expect.mjs";

const BROWSERS = ["chromium", "firefox"];

/** One end: a picture of its own, and a data channel on which it sends back what it gets. */
class End {
  constructor(page, name) {
    this.page = page;
    this.name = name;
  }

  /** Makes the connection; once its channel is open, it counts aloud and sends back what the other one says. */
  open(server) {
    return this.page.evaluate((iceServer) => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [160, 120];
      const drawing = canvas.getContext("2d");
      let hue = 0;
      setInterval(() => {
        hue = (hue + 7) % 360;
        drawing.fillStyle = `hsl(${hue} 80% 50%)`;
        drawing.fillRect(0, 0, canvas.width, canvas.height);
      }, 50);
      const connection = new RTCPeerConnection({ iceServers: [iceServer], iceTransportPolicy: "relay" });
      for (const track of canvas.captureStream(20).getTracks()) connection.addTrack(track);
      const channel = connection.createDataChannel("echo", { negotiated: true, id: 1 });
      window.end = { connection, channel, echoed: 0 };
      channel.onmessage = ({ data }) => {
        const [kind, text] = data.split(" ");
        if (kind === "say") channel.send(`back ${text}`);
        else window.end.echoed = Math.max(window.end.echoed, Number(text));
      };
      channel.onopen = () => {
        let said = 0;
        setInterval(() => channel.readyState === "open" && channel.send(`say ${(said += 1)}`), 50);
      };
    }, server);
  }

  /** Takes the other's description, if there is one, and returns its own with every candidate in it. */
  describe(remote = null) {
    return this.page.evaluate(async (description) => {
      const { connection } = window.end;
      if (description) await connection.setRemoteDescription(description);
      await connection.setLocalDescription();
      const isGathered = () => connection.iceGatheringState === "complete";
      await new Promise((resolve) => {
        connection.onicegatheringstatechange = () => isGathered() && resolve();
        if (isGathered()) resolve();
      });
      return { type: connection.localDescription.type, sdp: connection.localDescription.sdp };
    }, remote);
  }

  accept(answer) {
    return this.page.evaluate((description) => window.end.connection.setRemoteDescription(description), answer);
  }

  stats() {
    return this.page.evaluate(async () => {
      const { connection, echoed } = window.end;
      const report = [...(await connection.getStats()).values()];
      const byId = (id) => report.find((entry) => entry.id === id);
      // Firefox marks the selected pair, Chromium's transport names it.
      const transport = report.find(({ type }) => type === "transport");
      const pair = report.find(({ type, selected }) => type === "candidate-pair" && selected) ?? byId(transport?.selectedCandidatePairId);
      const frames = report.find(({ type, kind }) => type === "inbound-rtp" && kind === "video")?.framesDecoded ?? 0;
      return { state: connection.connectionState, local: byId(pair?.localCandidateId), remote: byId(pair?.remoteCandidateId), echoed, frames };
    });
  }

  async close() {
    await this.page.evaluate(() => window.end.connection.close());
  }
}

export const hairpins = ["udp", "tcp"].map((protocol) => ({
  name: `network: two browsers that may only use our relay, over ${protocol}, reach each other`,
  town: "roads",
  browsers: BROWSERS,
  async run(scene) {
    const { address } = scene.world;
    if (protocol === "tcp") await scene.world.cut('iifname "wire0" meta l4proto udp', 'oifname "wire0" meta l4proto udp');
    const { urls, username, credential } = await scene.turnCredential();
    const url = urls.find((one) => one.endsWith("?transport=tcp") === (protocol === "tcp"));
    const ends = await Promise.all(BROWSERS.map(async (browser) => new End(await scene.tab(browser), browser)));
    for (const end of ends) await end.open({ urls: url, username, credential });

    const [first, second] = ends;
    const offer = await first.describe();
    const answer = await second.describe(offer);
    await first.accept(answer);
    for (const { sdp } of [offer, answer]) {
      const types = [...sdp.matchAll(/^a=candidate:.* typ (\w+)/gm)].map(([, type]) => type);
      assert.deepEqual([...new Set(types)], ["relay"], "nothing but relayed addresses is told");
    }

    await Promise.all(ends.map(async (end) => {
      const flows = (since) => until(`${end.name} gets a picture and its own words back`, async () => {
        const stats = await end.stats();
        const goesOn = stats.echoed >= since.echoed + 10 && stats.frames >= since.frames + 10;
        return goesOn ? stats : assert.fail(JSON.stringify(stats));
      });
      const { local, remote } = await flows(await flows({ echoed: 0, frames: 0 }));
      assert.equal(local.candidateType, "relay", `${end.name}: local`);
      assert.equal(local.relayProtocol, protocol, `${end.name}: the way to the relay`);
      assert.equal(remote.candidateType, "relay", `${end.name}: remote`);
      assert.equal(remote.address, address, `${end.name}: the peer is a relayed address of the same server`);
    }));
    for (const end of ends) await end.close();
  },
}));
