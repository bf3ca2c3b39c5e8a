/** Icons as one path each: what a list has many of is drawn sooner the fewer parts it has. */

export type Shape = [tag: string, attributes: Record<string, string | number | undefined>];

/** What draws all of these shapes (SVG 2, 9.3). Throws for a shape that no icon of ours has. */
export function outline(shapes: readonly Shape[]): string {
  return shapes.map(drawn).join("");
}

function drawn([tag, given]: Shape): string {
  const [x, y, width, height] = [at(given.x), at(given.y), at(given.width), at(given.height)];
  switch (tag) {
    case "path":
      return absolute(String(given.d));
    case "line":
      return `M${at(given.x1)} ${at(given.y1)}L${at(given.x2)} ${at(given.y2)}`;
    case "circle":
      return oval(at(given.cx), at(given.cy), at(given.r), at(given.r));
    case "ellipse":
      return oval(at(given.cx), at(given.cy), at(given.rx), at(given.ry));
    case "rect": {
      const r = at(given.rx ?? given.ry);
      const corner = (dx: number, dy: number) => `a${r} ${r} 0 0 1 ${dx} ${dy}`;
      const [across, down] = [width - 2 * r, height - 2 * r];
      return (
        `M${x + r} ${y}h${across}${corner(r, r)}v${down}${corner(-r, r)}` +
        `h${-across}${corner(-r, -r)}v${-down}${corner(r, -r)}z`
      );
    }
    default:
      throw new Error(`no outline for <${tag}>`);
  }
}

const at = (given: string | number | undefined): number => Number(given ?? 0);

function oval(cx: number, cy: number, rx: number, ry: number): string {
  const half = (dx: number) => `a${rx} ${ry} 0 1 0 ${dx} 0`;
  return `M${cx - rx} ${cy}${half(2 * rx)}${half(-2 * rx)}z`;
}

/** A path that begins where it says, whatever was drawn before: `m 1 2 3 4` is `M 1 2 l 3 4`. */
function absolute(d: string): string {
  const begun = /^m\s*(-?[\d.]+)[\s,]*(-?[\d.]+)[\s,]*(.*)$/s.exec(d);
  if (!begun) return d;
  const [, x, y, rest = ""] = begun;
  return `M${x} ${y}${/^[-\d.]/.test(rest) ? "l" : ""}${rest}`;
}
