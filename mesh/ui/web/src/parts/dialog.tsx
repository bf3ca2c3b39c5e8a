/** Dialogs: over the page, closed by Escape, given back the focus. */

import { X } from "./icons";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { words } from "../words";

export function Dialog({
  title,
  onClose,
  children,
  wide,
}: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  wide?: boolean;
}) {
  const element = useRef<HTMLDialogElement>(null);
  const pressed = useRef<EventTarget | null>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    const dialog = element.current;
    dialog?.showModal();
    dialog?.querySelector<HTMLElement>("input, select, textarea, footer .primary")?.focus();
    return () => {
      dialog?.close(); // As long as it is open nothing else can have the focus.
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? "wide" : ""}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClose={() => {
        // Browsers let Escape, pressed twice, close it whatever a page says to that.
        if (element.current && !element.current.open) onClose();
      }}
      onMouseDown={(event) => {
        pressed.current = event.target;
      }}
      onClick={(event) => {
        // Text that is selected by drawing out of the dialog shall not close it.
        const beside = pressed.current === element.current;
        if (beside && event.target === element.current) onClose();
      }}
    >
      <div class="dialog-body">
        <header>
          <h2 id={id}>{title}</h2>
          <button type="button" class="plain" title={words.shell.close} onClick={onClose}>
            <X size="1.2em" aria-hidden="true" />
            <span class="unseen">{words.shell.close}</span>
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
