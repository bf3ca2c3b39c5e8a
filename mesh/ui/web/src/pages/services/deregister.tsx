/** Removing an instance for good: by this agent, by the one of its node, or out of the catalog. */

import { useState } from "preact/hooks";
import { api, ask, isHere } from "../../live/api";
import { useOnce } from "../../live/once";
import { type Entry, remover } from "../../logic/services";
import { ActButton, type Action, fed, quoted } from "../../parts/act";
import { Command } from "../../parts/basics";
import { Dialog } from "../../parts/dialog";
import { words } from "../../words";

const w = words.services.deregister;

export function DeregisterButton({
  entry,
  done,
  class: given = "small ghost",
}: {
  entry: Entry;
  done?: () => void;
  class?: string;
}) {
  const self = useOnce<{ Config: { NodeName: string } }>("/v1/agent/self");
  const [open, setOpen] = useState(false);
  if (!self) return null;
  const by = remover(entry, isHere() ? self.Config.NodeName : "");
  if (by !== "agent")
    return (
      <ActButton action={removal(entry, by === "here", done)} class={given}>
        {w.button}
      </ActButton>
    );
  return (
    <>
      <button type="button" class={given} onClick={() => setOpen(true)}>
        {w.button}
      </button>
      {open && (
        <Dialog title={w.title(entry.Service.ID)} onClose={() => setOpen(false)}>
          <p>{w.agent(entry.Node.Node)}</p>
          <Command
            label={w.on(entry.Node.Node)}
            text={`meshctl services deregister --id ${quoted(entry.Service.ID)}`}
          />
          <p class="quiet">{w.agentInstead}</p>
        </Dialog>
      )}
    </>
  );
}

function removal(entry: Entry, here: boolean, done?: () => void): Action {
  const { ID: id } = entry.Service;
  const node = entry.Node.Node;
  const body = { Node: node, ServiceID: id };
  const operation = JSON.stringify([
    { Service: { Verb: "delete", Node: node, Service: { ID: id } } },
  ]);
  return {
    title: w.title(id),
    text: here ? w.here(node) : w.catalog(node),
    verb: w.verb,
    danger: true,
    command: () =>
      here ? `meshctl services deregister --id ${quoted(id)}` : fed(operation, "meshctl txn -"),
    run: async () => {
      if (here) await ask(api`/v1/agent/service/deregister/${id}`, { method: "PUT" });
      else await ask("/v1/catalog/deregister", { method: "PUT", body });
      done?.();
      return w.done(id);
    },
  };
}
