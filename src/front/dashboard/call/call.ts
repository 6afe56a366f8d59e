// One call, on the published openvidu-browser: connect, publish, subscribe to everybody, chat by signals.

import {
  type Connection,
  OpenVidu,
  OpenViduError,
  OpenViduErrorName,
  type Publisher,
  type Session,
  type Stream,
  type StreamManager,
} from "openvidu-browser";

const CHAT = "chat";

/** What the page wants to be told. Streams are known by their id, people by their connection's id. */
export interface CallEvents {
  joined(): void;
  streamAdded(stream: RemoteStream): void;
  streamRemoved(streamId: string): void;
  streamChanged(streamId: string, audio: boolean, video: boolean): void;
  personJoined(name: string, people: number): void;
  personLeft(name: string, people: number): void;
  said(name: string, text: string, own: boolean): void;
  /** The call goes on, but this went wrong. */
  trouble(message: string): void;
  /** All is well again after `trouble`. */
  calm(): void;
  /** The call is over; `null` when the user left on purpose. */
  ended(reason: string | null): void;
}

export interface RemoteStream {
  id: string;
  name: string;
  audio: boolean;
  video: boolean;
  show(element: HTMLVideoElement): void;
}

export class Call {
  readonly #session: Session;
  readonly #openVidu: OpenVidu;
  readonly #events: CallEvents;
  #publisher: Publisher | null = null;
  /** People by the id of their connection, without ourselves. */
  readonly #people = new Map<string, string>();

  constructor(events: CallEvents) {
    this.#events = events;
    this.#openVidu = new OpenVidu();
    this.#openVidu.enableProdMode();
    this.#session = this.#openVidu.initSession();
    this.#listen();
  }

  async connect(token: string, name: string): Promise<void> {
    await this.#session.connect(token, { clientData: name });
  }

  /** Opens camera and microphone and shows them in `element`. A device that is missing is left out. */
  async publish(element: HTMLVideoElement): Promise<{ audio: boolean; video: boolean }> {
    const { audio, video } = await devices(this.#openVidu);
    if (!audio && !video) throw new Error("No camera and no microphone was found. You can watch and chat.");
    const publisher = await this.#openVidu.initPublisherAsync(undefined, {
      audioSource: audio ? undefined : false,
      videoSource: video ? undefined : false,
      resolution: "1280x720",
      frameRate: 30,
    });
    publisher.addVideoElement(element);
    await this.#session.publish(publisher);
    this.#publisher = publisher;
    return { audio, video };
  }

  setAudio(on: boolean): void {
    this.#publisher?.publishAudio(on);
  }

  async setVideo(on: boolean): Promise<void> {
    await this.#publisher?.publishVideo(on);
  }

  async say(text: string): Promise<void> {
    await this.#session.signal({ type: CHAT, data: JSON.stringify({ text }) });
  }

  leave(): void {
    this.#session.disconnect();
  }

  #listen(): void {
    const session = this.#session;
    session.on("connectionCreated", ({ connection }) => {
      // Our own connection is the first to be announced, before everybody who was here.
      if (connection.connectionId === session.connection.connectionId) {
        this.#events.joined();
        return;
      }
      this.#people.set(connection.connectionId, nameOf(connection));
      this.#events.personJoined(nameOf(connection), this.#people.size);
    });
    session.on("connectionDestroyed", ({ connection }) => {
      if (!this.#people.delete(connection.connectionId)) return;
      this.#events.personLeft(nameOf(connection), this.#people.size);
    });
    session.on("streamCreated", ({ stream }) => this.#subscribe(stream));
    session.on("streamDestroyed", ({ stream }) => this.#events.streamRemoved(stream.streamId));
    session.on("streamPropertyChanged", ({ stream }) => {
      if (stream.connection.connectionId === session.connection.connectionId) return;
      this.#events.streamChanged(stream.streamId, stream.audioActive, stream.videoActive);
    });
    session.on(`signal:${CHAT}`, ({ from, data }) => {
      if (!from) return;
      this.#events.said(nameOf(from), textOf(data), from.connectionId === session.connection.connectionId);
    });
    session.on("reconnecting", () => this.#events.trouble("The connection was lost. Trying again …"));
    session.on("reconnected", () => this.#events.calm());
    session.on("sessionDisconnected", ({ reason }) => this.#events.ended(wordsFor(reason)));
    session.on("exception", (event) => {
      if (event.name === "ICE_CONNECTION_FAILED") {
        this.#events.trouble("Video and sound cannot get through: a firewall may be in the way.");
      }
    });
  }

  #subscribe(stream: Stream): void {
    const subscriber: StreamManager = this.#session.subscribe(stream, undefined);
    this.#events.streamAdded({
      id: stream.streamId,
      name: nameOf(stream.connection),
      audio: stream.hasAudio && stream.audioActive,
      video: stream.hasVideo && stream.videoActive,
      show: (element) => void subscriber.addVideoElement(element),
    });
  }
}

/** Turns whatever was thrown into a sentence. */
export function describe(error: unknown): string {
  if (error instanceof OpenViduError || hasName(error)) {
    switch (error.name) {
      case OpenViduErrorName.DEVICE_ACCESS_DENIED:
        return "The browser was not allowed to use camera and microphone. You can watch and chat.";
      case OpenViduErrorName.DEVICE_ALREADY_IN_USE:
        return "Another program holds the camera or the microphone. You can watch and chat.";
      case OpenViduErrorName.NO_INPUT_SOURCE_SET:
        return "No camera and no microphone was found. You can watch and chat.";
    }
  }
  if (hasMessage(error)) return error.message;
  return String(error);
}

function hasName(value: unknown): value is { name: string } {
  return typeof value === "object" && value !== null && "name" in value && typeof value.name === "string";
}

function hasMessage(value: unknown): value is { message: string } {
  return typeof value === "object" && value !== null && "message" in value && typeof value.message === "string";
}

async function devices(openVidu: OpenVidu): Promise<{ audio: boolean; video: boolean }> {
  const found = await openVidu.getDevices();
  return {
    audio: found.some((device) => device.kind === "audioinput"),
    video: found.some((device) => device.kind === "videoinput"),
  };
}

/** Other clients of the room may have sent anything as their data, so nothing is taken for granted. */
function nameOf(connection: Connection): string {
  const data = connection.data ?? "";
  try {
    // The part behind `%/%` is what the server's application added.
    const parsed: unknown = JSON.parse(data.split("%/%")[0] ?? "");
    if (typeof parsed === "object" && parsed !== null && "clientData" in parsed) return String(parsed.clientData);
  } catch {
    // Not ours; its text is the best name there is.
  }
  return data.slice(0, 60) || "Guest";
}

function textOf(data: string | undefined): string {
  try {
    const parsed: unknown = JSON.parse(data ?? "");
    if (typeof parsed === "object" && parsed !== null && "text" in parsed) return String(parsed.text);
  } catch {
    // Plain text from another client.
  }
  return data ?? "";
}

function wordsFor(reason: string): string | null {
  switch (reason) {
    case "disconnect":
      return null;
    case "networkDisconnect":
      return "The connection was lost.";
    case "forceDisconnectByUser":
    case "forceDisconnectByServer":
      return "Somebody ended your part in the call.";
    case "sessionClosedByServer":
      return "The call was closed.";
    default:
      return `The call ended: ${reason}.`;
  }
}
