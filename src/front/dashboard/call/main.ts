// The page: a lobby with three fields, then the call. Everything about OpenVidu is in call.ts and rest.ts.

import { Call, describe } from "./call";
import { tokenFor } from "./rest";
import { Tile } from "./tiles";

const OWN = "own";
/** The secret of `hanok serve --dev`, suggested only where that can be meant. */
const DEVELOPMENT_SECRET = "MY_SECRET";

const lobby = element("lobby", HTMLElement);
const stage = element("call", HTMLElement);
const form = element("join-form", HTMLFormElement);
const nameInput = element("name", HTMLInputElement);
const roomInput = element("room", HTMLInputElement);
const secretInput = element("secret", HTMLInputElement);
const joinButton = element("join", HTMLButtonElement);
const tilesBox = element("tiles", HTMLElement);
const messages = element("messages", HTMLElement);
const chatText = element("chat-text", HTMLInputElement);
const micButton = element("toggle-mic", HTMLButtonElement);
const cameraButton = element("toggle-camera", HTMLButtonElement);
const chatButton = element("toggle-chat", HTMLButtonElement);

let call: Call | null = null;
const tiles = new Map<string, Tile>();

prefill();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void join();
});
element("chat-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void say();
});
micButton.addEventListener("click", () => void toggleDevice("mic"));
cameraButton.addEventListener("click", () => void toggleDevice("camera"));
chatButton.addEventListener("click", () => {
  const shown = !isPressed(chatButton);
  press(chatButton, shown);
  element("chat-panel", HTMLElement).hidden = !shown;
});
element("leave", HTMLButtonElement).addEventListener("click", () => call?.leave());
// Others should not have to wait for the server to notice that this window is gone.
addEventListener("pagehide", () => call?.leave());

function prefill(): void {
  const query = new URLSearchParams(location.search);
  nameInput.value = query.get("name") ?? "";
  roomInput.value = query.get("room") ?? "room";
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  secretInput.value = query.get("secret") ?? (local ? DEVELOPMENT_SECRET : "");
  if (query.has("secret")) {
    // A secret stays in neither the address bar nor the history.
    query.delete("secret");
    history.replaceState(null, "", `${location.pathname}${query.size > 0 ? `?${query}` : ""}`);
  }
  nameInput.focus();
}

async function join(): Promise<void> {
  const name = nameInput.value.trim();
  const room = roomInput.value.trim();
  joinButton.disabled = true;
  hush("lobby-message");
  const joining = new Call({
    joined: () => enter(room),
    streamAdded: (stream) => {
      const tile = addTile(stream.id, stream.name);
      tile.setState(stream.audio, stream.video);
      stream.show(tile.video);
    },
    streamRemoved: removeTile,
    streamChanged: (id, audio, video) => tiles.get(id)?.setState(audio, video),
    personJoined: (who, others) => {
      note(`${who} is here.`);
      count(others);
    },
    personLeft: (who, others) => {
      note(`${who} has left.`);
      count(others);
    },
    said: (who, text, own) => addMessage(own ? "You" : who, text),
    trouble: (text) => tell("call-message", text),
    calm: () => hush("call-message"),
    ended: (reason) => {
      exit();
      if (reason !== null) tell("lobby-message", reason);
    },
  });
  try {
    const token = await tokenFor(room, secretInput.value);
    call = joining;
    await joining.connect(token, name);
  } catch (error) {
    if (call === joining) joining.leave();
    exit();
    tell("lobby-message", describe(error));
    return;
  } finally {
    joinButton.disabled = false;
  }
  await publish(joining, name);
}

async function publish(joined: Call, name: string): Promise<void> {
  const tile = addTile(OWN, name);
  let sent = { audio: false, video: false };
  try {
    sent = await joined.publish(tile.video);
  } catch (error) {
    if (call !== joined) return;
    tell("call-message", describe(error));
  }
  press(micButton, sent.audio);
  press(cameraButton, sent.video);
  micButton.disabled = !sent.audio;
  cameraButton.disabled = !sent.video;
  showDevices();
}

/** Brings the words on the buttons and the own tile in line with what is sent. */
function showDevices(): void {
  const audio = isPressed(micButton);
  const video = isPressed(cameraButton);
  label(micButton, audio ? "Mute" : "Unmute");
  label(cameraButton, video ? "Stop video" : "Start video");
  tiles.get(OWN)?.setState(audio, video);
}

function enter(room: string): void {
  element("room-title", HTMLElement).textContent = room;
  count(0);
  messages.replaceChildren();
  hush("call-message");
  micButton.disabled = true;
  cameraButton.disabled = true;
  lobby.hidden = true;
  stage.hidden = false;
}

function exit(): void {
  call = null;
  for (const id of [...tiles.keys()]) removeTile(id);
  stage.hidden = true;
  lobby.hidden = false;
}

async function toggleDevice(which: "mic" | "camera"): Promise<void> {
  const button = which === "mic" ? micButton : cameraButton;
  const on = !isPressed(button);
  try {
    if (which === "mic") call?.setAudio(on);
    else await call?.setVideo(on);
  } catch (error) {
    tell("call-message", describe(error));
    return;
  }
  press(button, on);
  showDevices();
}

async function say(): Promise<void> {
  const text = chatText.value.trim();
  if (text === "" || call === null) return;
  chatText.value = "";
  try {
    await call.say(text);
  } catch (error) {
    chatText.value = text;
    tell("call-message", `The message was not sent: ${describe(error)}`);
  }
}

function addTile(id: string, name: string): Tile {
  const tile = new Tile(id, name, id === OWN).addTo(tilesBox);
  tiles.set(id, tile);
  return tile;
}

function removeTile(id: string): void {
  tiles.get(id)?.remove();
  tiles.delete(id);
}

function addMessage(who: string, text: string): void {
  const item = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = who;
  item.append(name, text);
  append(item);
}

function note(text: string): void {
  const item = document.createElement("li");
  item.className = "note";
  item.textContent = text;
  append(item);
}

function append(item: HTMLElement): void {
  messages.append(item);
  // A long call must not grow the page without end.
  while (messages.childElementCount > 500) messages.firstElementChild?.remove();
  item.scrollIntoView({ block: "end" });
}

function count(others: number): void {
  element("people", HTMLElement).textContent = others === 0 ? "Nobody else is here yet" : `${others + 1} people`;
}

function tell(id: "lobby-message" | "call-message", text: string): void {
  const box = element(id, HTMLElement);
  box.textContent = text;
  box.hidden = false;
}

function hush(id: "lobby-message" | "call-message"): void {
  element(id, HTMLElement).hidden = true;
}

function isPressed(button: HTMLElement): boolean {
  return button.getAttribute("aria-pressed") === "true";
}

function press(button: HTMLElement, on: boolean): void {
  button.setAttribute("aria-pressed", String(on));
}

function label(button: HTMLElement, text: string): void {
  const span = button.querySelector("span");
  if (span) span.textContent = text;
}

function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${id}`);
  return found;
}
