/** Intentions: who may call whom. */

import { Plus } from "../parts/icons";
import { useLive } from "../live/live";
import { go } from "../live/place";
import type { Listed } from "../logic/intentions";
import type { Matrix } from "../logic/matrix";
import { Page } from "../parts/page";
import type { PageProps } from "../routes";
import { words } from "../words";
import "./intentions.css";
import { Editor } from "./intentions/editor";
import { List } from "./intentions/list";
import { MatrixView } from "./intentions/matrix";
import { LIST, MATRIX, opening } from "./intentions/places";
import { Report } from "./intentions/report";
import { Try } from "./intentions/try";

const w = words.intentions;
const VIEWS = { matrix: MatrixView, list: List, try: Try, report: Report };

export default function Intentions({ rest }: PageProps) {
  const present = rest[0] !== undefined && Object.hasOwn(VIEWS, rest[0]) ? rest[0] : "matrix";
  const View = VIEWS[present as keyof typeof VIEWS];
  // The list is long, and its length stands in the matrix too, which all views but it follow.
  const list = useLive<Listed[]>(present === "list" ? LIST : null).value;
  const matrix = useLive<Matrix>(present === "list" ? null : MATRIX).value;
  return (
    <Page
      title={words.shell.pages.intentions}
      actions={
        <button type="button" class="primary" onClick={() => go(opening({}))}>
          <Plus size="1.1em" aria-hidden="true" />
          {w.make}
        </button>
      }
      tabs={{
        at: ["intentions"],
        present,
        tabs: [
          { key: "matrix", text: w.tabs.matrix },
          { key: "list", text: w.tabs.list, count: list?.length ?? matrix?.Intentions },
          { key: "try", text: w.tabs.try },
          { key: "report", text: w.tabs.report },
        ],
      }}
    >
      <View />
      <Editor />
    </Page>
  );
}
