// What all pictures have in common.

/** Pixels left of the axis that goes across, for names. */
export const GUTTER = 150;
const FONT = "11px system-ui, sans-serif";

/** Common to all pictures: a canvas with a name that fits its width to the page. */
export class Picture {
  constructor(parent, label, height) {
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    this.height = height;
    parent.append(this.canvas);
    this.isSeen = true;
  }

  start(view) {
    const ratio = window.devicePixelRatio || 1;
    const { canvas, height } = this;
    const [across, down] = [Math.round(view.width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) {
      canvas.width = across;
      canvas.height = down;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, view.width, height);
    context.font = FONT;
    context.textBaseline = "middle";
    return context;
  }

  markSelected(context, view, selected, theme) {
    const scale = view.scale();
    const [from, to] = [scale(selected), scale(selected + 1)];
    if (to < GUTTER || from > view.width) return;
    context.strokeStyle = theme.wrong;
    context.lineWidth = 1.5;
    const left = Math.max(from, GUTTER);
    context.strokeRect(left, 0.75, Math.max(1.5, to - left), this.height - 1.5);
  }

  clip(context, view) {
    context.save();
    context.beginPath();
    context.rect(GUTTER, 0, view.width - GUTTER, this.height);
    context.clip();
  }
}
