import type { Signal } from "@preact/signals";
import { density, theme } from "../live/settings";
import { Dialog } from "../parts/dialog";
import { words } from "../words";

function Choice({
  title,
  value,
  choices,
}: {
  title: string;
  value: Signal<string>;
  choices: [string, string][];
}) {
  return (
    <fieldset class="choices">
      <legend>{title}</legend>
      {choices.map(([key, text]) => (
        <label key={key}>
          <input
            type="radio"
            name={title}
            checked={value.value === key}
            onChange={() => {
              value.value = key;
            }}
          />{" "}
          {text}
        </label>
      ))}
    </fieldset>
  );
}

/** What the reader prefers, in this browser. */
export function Settings({ onClose }: { onClose: () => void }) {
  const w = words.shell;
  return (
    <Dialog title={w.settings} onClose={onClose}>
      <Choice
        title={w.theme}
        value={theme}
        choices={[
          ["system", w.themeSystem],
          ["light", w.themeLight],
          ["dark", w.themeDark],
        ]}
      />
      <Choice
        title={w.density}
        value={density}
        choices={[
          ["cosy", w.densityCosy],
          ["dense", w.densityDense],
        ]}
      />
    </Dialog>
  );
}
