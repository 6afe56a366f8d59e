// Runs in the browser: one participant, driven through `window.party`. The bundler puts one published
// version of openvidu-browser in place of "openvidu-browser". Only plain values go in and out.

import { OpenVidu } from "openvidu-browser";

const openVidu = new OpenVidu();
openVidu.enableProdMode();
const session = openVidu.initSession();
const events = [];
const streams = new Map();
const subscribers = new Map();
let publisher = null;
let autoSubscribe = true;
let damage = null;
let damagedAnswer = null;

const record = (type, fields) => events.push({ type, ...fields });

session.on("connectionCreated", ({ connection }) =>
  record("connectionCreated", { connectionId: connection.connectionId, data: connection.data }));
session.on("connectionDestroyed", ({ connection, reason }) =>
  record("connectionDestroyed", { connectionId: connection.connectionId, reason }));
session.on("streamCreated", ({ stream }) => {
  const { streamId, hasAudio, hasVideo, audioActive, videoActive, typeOfVideo } = stream;
  record("streamCreated", {
    streamId, hasAudio, hasVideo, audioActive, videoActive, typeOfVideo,
    connectionId: stream.connection.connectionId,
  });
  streams.set(stream.streamId, stream);
  if (autoSubscribe) subscribe(stream);
});
session.on("streamDestroyed", ({ stream, reason }) => {
  streams.delete(stream.streamId);
  subscribers.delete(stream.streamId);
  record("streamDestroyed", { streamId: stream.streamId, reason });
});
session.on("streamPropertyChanged", ({ stream, changedProperty, newValue, oldValue, reason }) =>
  record("streamPropertyChanged", { streamId: stream.streamId, changedProperty, newValue, oldValue, reason }));
session.on("sessionDisconnected", ({ reason }) => record("sessionDisconnected", { reason }));
session.on("signal", ({ type: signalType, data, from }) =>
  record("signal", { signalType, data, from: from ? from.connectionId : null }));
session.on("exception", ({ name, message }) => record("exception", { name, message }));
for (const type of ["reconnecting", "reconnected"]) session.on(type, () => record(type));

function subscribe(stream) {
  const subscriber = session.subscribe(stream, undefined);
  const video = document.createElement("video");
  video.autoplay = true;
  video.playsInline = true;
  video.muted = true;
  document.body.append(video);
  subscriber.addVideoElement(video);
  subscriber.on("streamPlaying", () => record("streamPlaying", { streamId: stream.streamId }));
  subscribers.set(stream.streamId, { subscriber, video });
}

// The SDP in requests of one method arrives as `damage` makes it: the client itself writes only good SDP.
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
  const request = damage ? JSON.parse(text) : null;
  if (request === null || request.method !== damage.method) return send.call(this, text);
  for (const key of ["sdpOffer", "sdpAnswer", "sdpString"]) {
    if (key in request.params) request.params[key] = request.params[key].replace(new RegExp(damage.pattern, "g"), damage.replacement);
  }
  this.addEventListener("message", function listen({ data }) {
    const answer = JSON.parse(data);
    if (answer.id !== request.id) return;
    damagedAnswer = { error: answer.error ?? null };
    this.removeEventListener("message", listen);
  });
  return send.call(this, JSON.stringify(request));
};

// What getStats tells about one peer connection, without what a test never looks at.
async function readStats(stream) {
  const connection = stream.getRTCPeerConnection();
  const report = [...(await connection.getStats()).values()];
  const byId = new Map(report.map((entry) => [entry.id, entry]));
  const tracks = (type) =>
    Object.fromEntries(report.filter((entry) => entry.type === type).map((entry) => [entry.kind, {
      ssrc: entry.ssrc,
      codec: byId.get(entry.codecId)?.mimeType,
      packets: entry.packetsReceived ?? entry.packetsSent ?? 0,
      packetsLost: entry.packetsLost,
      bytes: entry.bytesReceived ?? entry.bytesSent ?? 0,
      headerBytes: entry.headerBytesReceived ?? entry.headerBytesSent ?? 0,
      frames: entry.framesDecoded ?? entry.framesEncoded ?? 0,
      width: entry.frameWidth,
      energy: entry.totalAudioEnergy,
      nackCount: entry.nackCount,
      pliCount: entry.pliCount,
    }]));
  const transport = report.find((entry) => entry.type === "transport");
  const pair = report.find((entry) => entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded");
  return {
    at: performance.now(),
    iceConnectionState: connection.iceConnectionState,
    connectionState: connection.connectionState,
    received: tracks("inbound-rtp"),
    sent: tracks("outbound-rtp"),
    srtpCipher: transport?.srtpCipher,
    dtlsCipher: transport?.dtlsCipher,
    dtlsState: transport?.dtlsState,
    available: pair?.availableOutgoingBitrate,
    remote: pair && byId.get(pair.remoteCandidateId)?.address,
    local: pair && (({ candidateType, relayProtocol, protocol }) => ({ candidateType, relayProtocol, protocol }))(byId.get(pair.localCandidateId) ?? {}),
  };
}

// A camera whose pictures have little in common, so that they need all the bits that there are.
function restless() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
  const context = canvas.getContext("2d");
  setInterval(() => {
    for (let tile = 0; tile < 60; tile += 1) {
      context.fillStyle = `hsl(${Math.random() * 360} 80% ${Math.random() * 100}%)`;
      context.fillRect(Math.random() * 640, Math.random() * 480, 80, 80);
    }
  }, 1000 / 15);
  return canvas.captureStream(15).getVideoTracks()[0];
}

// Errors cross to the test as text with name and code, whatever the client threw.
const told = (action) => async (...args) => {
  try {
    return { value: await action(...args) };
  } catch (error) {
    return { error: { name: error?.name, code: error?.code, message: error?.message ?? String(error) } };
  }
};

window.party = {
  events: () => events,
  configure: (advanced) => openVidu.setAdvancedConfiguration(advanced),
  connect: told(async (token, data) => {
    await session.connect(token, data);
    return session.connection.connectionId;
  }),
  // A video element as in a real application: without it some browsers do not start the camera.
  publish: told(async (options) => {
    publisher = await openVidu.initPublisherAsync(undefined, {
      audioSource: options.audio === false ? false : undefined,
      videoSource: options.video === false ? false : options.restless ? restless() : undefined,
      publishAudio: options.audioActive ?? true,
      publishVideo: options.videoActive ?? true,
      resolution: "320x240",
      frameRate: 15,
    });
    const video = document.createElement("video");
    video.muted = true;
    document.body.append(video);
    publisher.addVideoElement(video);
    await session.publish(publisher);
    return publisher.stream.streamId;
  }),
  unpublish: told(async () => {
    await session.unpublish(publisher);
    publisher = null;
  }),
  publishAudio: told(async (on) => publisher.publishAudio(on)),
  publishVideo: told(async (on) => publisher.publishVideo(on)),
  // `null` ends it.
  setDamage: (value) => {
    damage = value;
    damagedAnswer = null;
  },
  damagedAnswer: () => damagedAnswer,
  setAutoSubscribe: (on) => {
    autoSubscribe = on;
  },
  unsubscribe: told(async (streamId) => {
    await session.unsubscribe(subscribers.get(streamId).subscriber);
    subscribers.delete(streamId);
  }),
  subscribe: told(async (streamId) => {
    subscribe(streams.get(streamId));
  }),
  signal: told(async (signal) => {
    const to = signal.to?.map((connectionId) => ({ connectionId }));
    await session.signal({ ...signal, to });
  }),
  disconnect: told(async () => session.disconnect()),
  // null while a subscription is still being made.
  subscribed: async (streamId) => {
    const entry = subscribers.get(streamId);
    if (!entry?.subscriber.stream.getWebRtcPeer()) return null;
    return readStats(entry.subscriber.stream);
  },
  published: async () => (publisher ? readStats(publisher.stream) : null),
};
