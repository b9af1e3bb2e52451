// The live log: clicks become events of a named user, and the next answer knows them.

import { post, token } from "../api.js";
import { announce, el } from "../dom.js";
import { state } from "../store.js";

/** A part of the user's panel that is there where the service takes events; `onChange` is called when answers may differ. */
export function liveLog(onChange) {
  let isOn = false;
  const name = el("input", { type: "text", value: "page-visitor", maxLength: 100, "aria-label": "Name of the user in the live log", on: { change: onChange } });
  const said = el("p", { class: "muted tiny", role: "status" });
  const box = el("label", { class: "switch small" }, el("input", { type: "checkbox", on: { change: (event) => {
    isOn = event.target.checked;
    name.hidden = !isOn;
    said.textContent = isOn ? (token.get() ? "Each click is written to the log of this service, which undo does not take back." : "Writing needs the write token: give it by the lock above.") : "";
    onChange();
  } } }), "Write to the live log");
  name.hidden = true;
  const node = el("div", { class: "stack", hidden: !(state.info.events && state.info.writes) }, box, name, said);
  return {
    node,
    user: () => (isOn ? name.value.trim() : ""),
    async tell(hit, weight) {
      if (!isOn || !name.value.trim()) return;
      try {
        await post("events", { user_id: name.value.trim(), item_id: hit.item_id, type: weight > 0 ? "like" : "hide", event_id: crypto.randomUUID() });
        said.textContent = `Written: ${weight > 0 ? "like" : "hide"} of ${hit.title || hit.item_id}.`;
        onChange();
      } catch (error) {
        said.textContent = `Not written: ${error.message}. ${error.hint}`;
        announce(said.textContent);
      }
    },
  };
}
