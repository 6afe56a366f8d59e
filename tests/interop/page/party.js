// Runs in the browser: participants, driven through `window.parties`. The bundler puts one published
// version of openvidu-browser in place of "openvidu-browser". Only plain values go in and out.

import { OpenVidu } from "openvidu-browser";

// What must not appear in any log, as it passes by: credentials, RPC session ids, ICE passwords.
const secrets = new Set();
const SECRETS = [/"(?:credential|turnCredential|sessionId)":"([^"]{10,})"/g, /a=ice-pwd:([^\\\s]{10,})/g];
const overhear = (text) => {
  for (const pattern of SECRETS) for (const [, secret] of String(text).matchAll(pattern)) secrets.add(secret);
};

// The SDP in requests of one method arrives as `damage` makes it: the client itself writes only good SDP.
let damage = null;
let damagedAnswer = null;
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
  if (!this.overheard) {
    this.overheard = true;
    this.addEventListener("message", ({ data }) => overhear(data));
  }
  overhear(text);
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

// The codecs of video that this browser admits to when it publishes, best first; null for all that it has.
let admitted = null;
const addTransceiver = RTCPeerConnection.prototype.addTransceiver;
RTCPeerConnection.prototype.addTransceiver = function (track, init) {
  const transceiver = addTransceiver.call(this, track, init);
  if (admitted && (track === "video" || track.kind === "video")) {
    const { codecs } = RTCRtpReceiver.getCapabilities("video");
    const rank = ({ mimeType }) => admitted.indexOf(mimeType.slice("video/".length));
    const wanted = codecs.filter((codec) => rank(codec) >= 0).sort((one, other) => rank(one) - rank(other));
    transceiver.setCodecPreferences([...wanted, ...codecs.filter(({ mimeType }) => mimeType === "video/rtx")]);
  }
  return transceiver;
};

// Without the candidates and relays on TCP a browser has nothing to fall back on when UDP breaks.
let udpOnly = false;
const isOverTcp = (url) => /^turns:|transport=tcp/.test(url);
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(configuration = {}) {
    const { iceServers = [], ...others } = configuration;
    const kept = iceServers.map(({ urls, ...server }) => ({ ...server, urls: [urls].flat().filter((url) => !isOverTcp(url)) }));
    super(udpOnly ? { ...others, iceServers: kept.filter(({ urls }) => urls.length > 0) } : configuration);
  }
};
const setRemoteDescription = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }, ...more) {
  const kept = udpOnly ? sdp.replace(/a=candidate:.* tcptype .*\r\n/g, "") : sdp;
  return setRemoteDescription.call(this, { type, sdp: kept }, ...more);
};

// As browsers do it with tabs that nobody looks at: once slowed down, timers run at the next full minute only.
const MINUTE = 60_000;
let slow = false;
let minutes = 0;
const delayed = new Map();
const everySoOften = window.setInterval.bind(window);
for (const kind of ["Timeout", "Interval"]) {
  const [start, stop] = [window[`set${kind}`], window[`clear${kind}`]];
  window[`set${kind}`] = (callback, delay, ...args) => {
    const id = start(() => {
      if (!slow) callback(...args);
      else delayed.set(id, () => callback(...args));
    }, delay);
    return id;
  };
  window[`clear${kind}`] = (id) => {
    delayed.delete(id);
    stop(id);
  };
}
function slowDown() {
  slow = true;
  everySoOften(() => {
    minutes += 1;
    const due = [...delayed.values()];
    delayed.clear();
    for (const callback of due) callback();
  }, MINUTE);
}

// Firefox has no screen to share where there is none: a canvas takes its place, and only the picture is made up.
if (navigator.userAgent.includes("Firefox")) navigator.mediaDevices.getDisplayMedia = async () => painted(800, 450);

// Pictures that move. Where `tiles` is high they have little in common and need all the bits that there are.
function painted(width, height, tiles = 3) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  setInterval(() => {
    for (let tile = 0; tile < tiles; tile += 1) {
      context.fillStyle = `hsl(${Math.random() * 360} 80% ${Math.random() * 100}%)`;
      context.fillRect(Math.random() * width, Math.random() * height, 80, 80);
    }
  }, 1000 / 15);
  return canvas.captureStream(15);
}

const videoOf = (stream) => stream.getVideoTracks()[0];

// `undefined` is the browser's camera.
const SOURCES = {
  camera: () => undefined,
  screen: () => "screen",
  canvas: () => videoOf(painted(400, 300)),
  restless: () => videoOf(painted(640, 480, 60)),
};

// Peer connections by number, so that a test can tell a new one from the old one.
const transports = new WeakMap();
let made = 0;

// What getStats tells about one peer connection, without what a test never looks at.
async function readStats(stream) {
  const connection = stream.getRTCPeerConnection();
  if (!transports.has(connection)) transports.set(connection, (made += 1));
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
      keyFrames: entry.keyFramesDecoded ?? entry.keyFramesEncoded,
      freezes: entry.freezeCount,
      framesSent: entry.framesSent,
      target: entry.targetBitrate,
      retransmitted: entry.retransmittedPacketsSent ?? entry.retransmittedPacketsReceived,
    }]));
  const camera = report.find((entry) => entry.type === "media-source" && entry.kind === "video");
  const transport = report.find((entry) => entry.type === "transport");
  const pair = report.find((entry) => entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded");
  const local = pair && byId.get(pair.localCandidateId);
  const remote = pair && byId.get(pair.remoteCandidateId);
  return {
    at: performance.now(),
    transport: transports.get(connection),
    iceConnectionState: connection.iceConnectionState,
    connectionState: connection.connectionState,
    received: tracks("inbound-rtp"),
    sent: tracks("outbound-rtp"),
    captured: camera?.frames,
    srtpCipher: transport?.srtpCipher,
    dtlsCipher: transport?.dtlsCipher,
    dtlsState: transport?.dtlsState,
    available: pair?.availableOutgoingBitrate,
    remote: remote?.address,
    // Through a relay, how the browser reaches it.
    protocol: local?.relayProtocol ?? remote?.protocol,
    ports: report.filter((entry) => entry.type === "local-candidate").map((entry) => entry.port).filter((port) => port > 9),
    local: local?.port,
    localType: local?.candidateType,
  };
}

// Errors cross to the test as text with name and code, whatever the client threw.
const told = (action) => async (...args) => {
  try {
    return { value: await action(...args) };
  } catch (error) {
    return { error: { name: error?.name, code: error?.code, message: error?.message ?? String(error) } };
  }
};

function showing(manager) {
  const video = document.createElement("video");
  video.autoplay = true;
  video.playsInline = true;
  video.muted = true;
  document.body.append(video);
  manager.addVideoElement(video);
  return video;
}

function party() {
  const openVidu = new OpenVidu();
  openVidu.enableProdMode();
  const session = openVidu.initSession();
  const events = [];
  const streams = new Map();
  const subscribers = new Map();
  const signals = {};
  let publisher = null;
  let autoSubscribe = true;

  const record = (type, fields) => events.push({ type, ...fields });

  session.on("connectionCreated", ({ connection }) =>
    record("connectionCreated", { connectionId: connection.connectionId, data: connection.data }));
  session.on("connectionDestroyed", ({ connection, reason }) =>
    record("connectionDestroyed", { connectionId: connection.connectionId, reason }));
  session.on("streamCreated", ({ stream }) => {
    const { streamId, hasAudio, hasVideo, audioActive, videoActive, typeOfVideo, videoDimensions } = stream;
    record("streamCreated", {
      streamId, hasAudio, hasVideo, audioActive, videoActive, typeOfVideo, videoDimensions,
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
  session.on("networkQualityLevelChanged", ({ newValue, oldValue, connection }) =>
    record("networkQualityLevelChanged", { newValue, oldValue, connectionId: connection.connectionId }));
  session.on("connectionPropertyChanged", ({ changedProperty, newValue, oldValue }) =>
    record("connectionPropertyChanged", { changedProperty, newValue, oldValue }));
  for (const type of ["reconnecting", "reconnected"]) session.on(type, () => record(type));

  function subscribe(stream) {
    const subscriber = session.subscribe(stream, undefined);
    const video = showing(subscriber);
    subscriber.on("streamPlaying", () => record("streamPlaying", { streamId: stream.streamId }));
    subscribers.set(stream.streamId, { subscriber, video });
  }

  return {
    events: () => events,
    configure: told((advanced) => openVidu.setAdvancedConfiguration(advanced)),
    connect: told(async (token, data) => {
      await session.connect(token, data);
      return session.connection.connectionId;
    }),
    // A video element as in a real application: without it some browsers do not start the camera.
    publish: told(async (options) => {
      const made = await openVidu.initPublisherAsync(undefined, {
        audioSource: options.audio === false ? false : undefined,
        videoSource: options.video === false ? false : SOURCES[options.source ?? "camera"](),
        publishAudio: options.audioActive ?? true,
        publishVideo: options.videoActive ?? true,
        resolution: options.resolution ?? "320x240",
        frameRate: options.frameRate ?? 15,
      });
      if (options.loopback) made.subscribeToRemote();
      made.on("streamDestroyed", ({ reason }) => record("ownStreamDestroyed", { streamId: made.stream.streamId, reason }));
      showing(made);
      publisher = made;
      await session.publish(made);
      return made.stream.streamId;
    }),
    unpublish: told(async () => {
      await session.unpublish(publisher);
      publisher = null;
    }),
    publishAudio: told(async (...how) => publisher.publishAudio(...how)),
    publishVideo: told(async (...how) => publisher.publishVideo(...how)),
    replaceVideo: told(async (width, height) => publisher.replaceTrack(videoOf(painted(width, height)))),
    reconnectStream: told(async (streamId) => (streams.get(streamId) ?? publisher.stream).reconnect()),
    forceUnpublish: told(async (streamId) => session.forceUnpublish(streams.get(streamId) ?? { streamId })),
    forceDisconnect: told(async (connectionId) => session.forceDisconnect({ connectionId })),
    setAutoSubscribe: told((on) => {
      autoSubscribe = on;
    }),
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
    // Says something to itself again and again, until it is asked how many milliseconds each took.
    beginSignals: told((every) => {
      signals.times = [];
      signals.timer = setInterval(async () => {
        const begun = performance.now();
        await session.signal({ type: "self", data: "", to: [session.connection] });
        signals.times.push(performance.now() - begun);
      }, every);
    }),
    endSignals: told(() => {
      clearInterval(signals.timer);
      return signals.times;
    }),
    disconnect: told(async () => session.disconnect()),
    // null while a subscription is still being made.
    subscribed: told(async (streamId) => {
      const entry = subscribers.get(streamId);
      if (!entry?.subscriber.stream.getWebRtcPeer()) return null;
      const shown = { width: entry.video.videoWidth, height: entry.video.videoHeight };
      return { ...(await readStats(entry.subscriber.stream)), shown };
    }),
    published: told(async () => (publisher?.stream.getWebRtcPeer() ? readStats(publisher.stream) : null)),
  };
}

window.parties = [party()];
// Another connection of the same user, as for sharing a screen; returns its number.
window.addParty = () => window.parties.push(party()) - 1;
window.settings = {
  secrets: () => [...secrets],
  // `null` ends it.
  setDamage: (value) => {
    damage = value;
    damagedAnswer = null;
  },
  damagedAnswer: () => damagedAnswer,
  admit: (codecs) => {
    admitted = codecs;
  },
  setUdpOnly: () => {
    udpOnly = true;
  },
  slowDown,
  slowMinutes: () => minutes,
};
