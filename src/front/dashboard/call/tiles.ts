// The pictures of a call: one tile per stream.

export class Tile {
  readonly video = document.createElement("video");
  readonly #root = document.createElement("figure");

  constructor(id: string, name: string, own: boolean) {
    this.#root.className = own ? "tile own" : "tile";
    this.#root.dataset.stream = id;
    this.video.autoplay = true;
    this.video.playsInline = true;
    this.video.muted = own;
    const initial = document.createElement("span");
    initial.className = "initial";
    initial.textContent = [...name][0]?.toUpperCase() ?? "?";
    const caption = document.createElement("figcaption");
    caption.textContent = own ? `${name} (you)` : name;
    this.#root.append(initial, this.video, caption);
  }

  addTo(parent: HTMLElement): this {
    parent.append(this.#root);
    return this;
  }

  setState(audio: boolean, video: boolean): void {
    this.#root.classList.toggle("no-audio", !audio);
    this.#root.classList.toggle("no-video", !video);
  }

  remove(): void {
    this.video.srcObject = null;
    this.#root.remove();
  }
}
