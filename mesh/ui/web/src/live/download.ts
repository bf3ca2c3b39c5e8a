/** Files of the API, saved where the browser saves files. */

import { words } from "../words";
import { ApiError, reaches, scoped } from "./api";

const KEPT_MS = 60_000;

/**
 * Save the answer to a GET, whole or not at all. Throws ApiError in the server's words, or with
 * `cut` when it came incomplete.
 */
export async function download(
  path: string,
  name: (headers: Headers) => string,
  cut: string,
): Promise<{ name: string; size: number }> {
  if (!reaches(path)) throw new ApiError(0, words.parts.dots);
  const response = await fetch(scoped(path), { credentials: "same-origin", cache: "no-store" });
  if (!response.ok) throw new ApiError(response.status, (await response.text()).trim());
  let content: Blob;
  try {
    content = await response.blob();
  } catch {
    throw new ApiError(0, cut);
  }
  const link = document.createElement("a");
  link.download = name(response.headers);
  link.href = URL.createObjectURL(content);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
  return { name: link.download, size: content.size };
}
