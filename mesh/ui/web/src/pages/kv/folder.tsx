/** A folder of keys: what is in it, and what can be made and deleted there. */

import { File, Folder as FolderIcon, Plus, Trash2 } from "../../parts/icons";
import { useMemo, useState } from "preact/hooks";
import { api, ask, query, reason } from "../../live/api";
import { refresh, useLive } from "../../live/live";
import { go, useParam } from "../../live/place";
import { type Entry, entries, jump, leaf, parent, search } from "../../logic/keys";
import { ActDialog, commandLine } from "../../parts/act";
import { Empty, Failure, Loading } from "../../parts/basics";
import { Page } from "../../parts/page";
import { SearchBox, Toolbar } from "../../parts/search";
import { type Column, Table } from "../../parts/table";
import { words } from "../../words";
import { at, crumbs, putCommand, title, write } from "./common";

const w = words.kv;

function listing(prefix: string, whole = false): string {
  return query(api`/v1/kv/${prefix}`, { keys: true, separator: whole ? undefined : "/" });
}

const COLUMNS: Column<Entry>[] = [
  {
    key: "name",
    title: w.name,
    width: "minmax(0, 1fr)",
    cell: (row) => (
      <span class="kv-name">
        {row.folder ? (
          <FolderIcon size="1.1em" aria-hidden="true" class="kv-folder" />
        ) : (
          <File size="1.1em" aria-hidden="true" />
        )}
        <bdi>{row.name}</bdi>
      </span>
    ),
    order: (row) => row.name,
  },
  {
    key: "kind",
    title: w.kind,
    width: "6rem",
    cell: (row) => <span class="quiet">{row.folder ? w.folder : w.key}</span>,
    order: (row) => (row.folder ? 0 : 1),
    yields: 3,
  },
];

export function Folder({ folder }: { folder: string }) {
  const live = useLive<string[]>(listing(folder));
  const [wanted] = useParam("q");
  const [creating, setCreating] = useParam("new");
  const [deleting, setDeleting] = useState(false);
  const rows = useMemo(() => entries(live.value ?? [], folder), [live.value, folder]);
  const found = useMemo(() => search(rows, wanted), [rows, wanted]);
  const missing = live.status === 404;
  return (
    <Page
      title={title(folder)}
      crumbs={crumbs(folder)}
      actions={
        <>
          {folder && !missing && (
            <button type="button" class="ghost" onClick={() => setDeleting(true)}>
              <Trash2 size="1.1em" aria-hidden="true" />
              {w.deleteFolder}
            </button>
          )}
          <button type="button" class="primary" onClick={() => setCreating("yes")}>
            <Plus size="1.1em" aria-hidden="true" />
            {w.newKey}
          </button>
        </>
      }
    >
      <Toolbar said={live.value && rows.length ? w.keys(found.length, rows.length) : ""}>
        {rows.length > 0 && <SearchBox label={w.searchHere} />}
        <Jump />
      </Toolbar>
      {live.error && !missing && <Failure title={words.shell.failed} error={live.error} />}
      {!live.loaded && <Loading />}
      {rows.length > 0 && (
        <Table
          rows={found}
          columns={COLUMNS}
          id={(row) => row.path}
          href={(row) => at(row.path)}
          label={w.list(folder)}
        />
      )}
      {live.loaded && (live.value || missing) && !rows.length && (
        <Empty
          title={!folder ? w.emptyRoot : missing ? w.noFolder : w.emptyFolder}
          command={commandLine("meshctl kv put", [folder ? `${folder}color` : "app/color", "blue"])}
        >
          <p>{w.emptyRootText}</p>
        </Empty>
      )}
      {creating === "yes" && <NewKey folder={folder} onClose={() => setCreating("")} />}
      {deleting && <DeleteFolder folder={folder} onClose={() => setDeleting(false)} />}
    </Page>
  );
}

/** Where to go, typed; what could follow is offered. */
function Jump() {
  const [typed, setTyped] = useState("");
  const [error, setError] = useState("");
  const offers = useLive<string[]>(typed ? listing(parent(`${typed}x`)) : null).value ?? [];
  const leap = async (event: Event) => {
    event.preventDefault();
    setError("");
    try {
      const found = await ask<string[] | "">(listing(typed)).catch((failed) => {
        if (failed.status === 404) return [];
        throw failed;
      });
      const next = jump(typed, found || []);
      go(at(next.path) + (next.search ? `?${new URLSearchParams({ q: next.search })}` : ""));
    } catch (failed) {
      setError(reason(failed));
    }
  };
  return (
    <form class="kv-jump" onSubmit={leap}>
      <input
        type="text"
        aria-label={w.jump}
        placeholder={w.jump}
        list="kv-jump-list"
        autocomplete="off"
        spellcheck={false}
        value={typed}
        onInput={(event) => setTyped(event.currentTarget.value)}
      />
      <datalist id="kv-jump-list">
        {offers
          .filter((offer) => offer.startsWith(typed))
          .slice(0, 50)
          .map((offer) => (
            <option key={offer} value={offer} />
          ))}
      </datalist>
      <button type="submit">{w.go}</button>
      {error && <p class="error">{error}</p>}
    </form>
  );
}

function NewKey({ folder, onClose }: { folder: string; onClose: () => void }) {
  return (
    <ActDialog
      onClose={onClose}
      action={{
        title: w.newTitle,
        text: w.newText,
        verb: w.create,
        fields: [
          { name: "key", label: w.newName, usual: folder, required: true },
          { name: "value", label: w.newValue, kind: "area", hint: w.newValueHint },
        ],
        command: ({ key = "", value = "" }) =>
          putCommand(key || "KEY", key.endsWith("/") ? "" : value, "0", 0),
        run: async ({ key = "", value = "" }) => {
          if (!key || key === folder) throw new Error(w.needsName);
          await write(key, key.endsWith("/") ? "" : value, "0", 0);
          refresh(listing(folder));
          go(at(key));
          return w.created(key);
        },
      }}
    />
  );
}

function DeleteFolder({ folder, onClose }: { folder: string; onClose: () => void }) {
  const keys = useLive<string[]>(listing(folder, true));
  return (
    <ActDialog
      onClose={onClose}
      action={{
        title: w.deleteFolder,
        danger: true,
        verb: w.delete,
        text: (
          <>
            <p>
              <strong>
                <bdi>
                  {keys.loaded ? w.deleteFolderText(keys.value?.length ?? 0, folder) : w.counting}
                </bdi>
              </strong>
            </p>
            <p>{w.deleteFolderUndo}</p>
          </>
        ),
        fields: [{ name: "typed", label: w.typeFolder(folder), exact: folder }],
        command: () => commandLine("meshctl kv delete --recurse", [folder]),
        run: async () => {
          await ask(query(api`/v1/kv/${folder}`, { recurse: true }), { method: "DELETE" });
          go(at(parent(folder)));
          return w.deleted(leaf(folder));
        },
      }}
    />
  );
}
