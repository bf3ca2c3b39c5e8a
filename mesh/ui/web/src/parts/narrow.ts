import { useEffect, useState } from "preact/hooks";

const NARROW = "(max-width: 44rem)";

/** Whether the page is as narrow as on a phone, where what is wide is shown in another way. */
export function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const media = matchMedia(NARROW);
    const changed = () => setNarrow(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  return narrow;
}
