/** Signs, which are Lucide's. */

import * as lucide from "lucide";
import type { JSX } from "preact";
import { type Shape, outline } from "../logic/outline";

export interface IconProps {
  /** A CSS length; as high as the text if not given. */
  size?: string;
  class?: string;
  role?: "img";
  "aria-hidden"?: "true";
  "aria-label"?: string;
}

export type Icon = (props: IconProps) => JSX.Element;

function icon(shapes: readonly unknown[]): Icon {
  let path = "";
  return ({ size = "1em", class: more, ...rest }) => {
    path ||= outline(shapes as Shape[]);
    return (
      <svg
        class={more ? `icon ${more}` : "icon"}
        viewBox="0 0 24 24"
        width={size}
        height={size}
        {...rest}
      >
        <path d={path} />
      </svg>
    );
  };
}

export const Activity = icon(lucide.Activity);
export const ArrowDown = icon(lucide.ArrowDown);
export const ArrowUp = icon(lucide.ArrowUp);
export const Award = icon(lucide.Award);
export const Ban = icon(lucide.Ban);
export const Boxes = icon(lucide.Boxes);
export const Check = icon(lucide.Check);
export const ChevronRight = icon(lucide.ChevronRight);
export const CircleAlert = icon(lucide.CircleAlert);
export const CircleCheck = icon(lucide.CircleCheck);
export const CircleHelp = icon(lucide.CircleHelp);
export const CircleX = icon(lucide.CircleX);
export const Clock3 = icon(lucide.Clock3);
export const Copy = icon(lucide.Copy);
export const Database = icon(lucide.Database);
export const Download = icon(lucide.Download);
export const ExternalLink = icon(lucide.ExternalLink);
export const File = icon(lucide.File);
export const FlaskConical = icon(lucide.FlaskConical);
export const Folder = icon(lucide.Folder);
export const HardDrive = icon(lucide.HardDrive);
export const Info = icon(lucide.Info);
export const ListChecks = icon(lucide.ListChecks);
export const Megaphone = icon(lucide.Megaphone);
export const Menu = icon(lucide.Menu);
export const Network = icon(lucide.Network);
export const Pencil = icon(lucide.Pencil);
export const Plus = icon(lucide.Plus);
export const Search = icon(lucide.Search);
export const Server = icon(lucide.Server);
export const Settings = icon(lucide.Settings);
export const ShieldCheck = icon(lucide.ShieldCheck);
export const Timer = icon(lucide.Timer);
export const Trash2 = icon(lucide.Trash2);
export const TriangleAlert = icon(lucide.TriangleAlert);
export const Upload = icon(lucide.Upload);
export const WifiOff = icon(lucide.WifiOff);
export const Wrench = icon(lucide.Wrench);
export const X = icon(lucide.X);
export const Zap = icon(lucide.Zap);
