import { Dialog } from "../parts/dialog";
import { ROUTES } from "../routes";
import { words } from "../words";
import { helpOpen } from "./keys";

/** What the keys do. */
export function Help() {
  const w = words.shell.keys;
  const rows: [string[], string][] = [
    [["Ctrl", "K"], w.palette],
    [["/"], w.search],
    [["j"], w.rows],
    [["k"], w.rows],
    [["Esc"], w.close],
    [["?"], w.help],
    ...ROUTES.map((route): [string[], string] => [["g", route.letter], w.go(route.text)]),
  ];
  return (
    <Dialog
      title={w.title}
      onClose={() => {
        helpOpen.value = false;
      }}
    >
      <dl class="keys">
        {rows.map(([keys, text]) => (
          <div key={keys.join()}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
