// Windows: modal dialogs with a title, a body and buttons; the browser keeps focus inside and closes them on Escape.

import { h, icon } from "./dom.js";

export function openWindow(title, { small = false, onclose = () => {} } = {}) {
  const heading = h("h2", {}, title);
  const body = h("div", { class: "window-body" });
  const foot = h("div", { class: "window-foot", hidden: true });
  const dialog = h(
    "dialog",
    { class: small ? "small" : "" },
    h(
      "div",
      { class: "window" },
      h(
        "div",
        { class: "window-head" },
        heading,
        h("button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close")),
      ),
      body,
      foot,
    ),
  );
  dialog.setAttribute("aria-label", title);
  dialog.addEventListener("close", () => {
    dialog.remove();
    onclose();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, heading, body, foot, close: () => dialog.close(), isOpen: () => dialog.open };
}

// Ask before something that cannot be taken back; true when the user agrees.
export function confirmed(title, words, action, isDangerous = false) {
  return new Promise((resolve) => {
    let agreed = false;
    const made = openWindow(title, { small: true, onclose: () => resolve(agreed) });
    made.body.append(h("p", {}, words));
    made.foot.hidden = false;
    const yes = h("button", { type: "button", class: isDangerous ? "danger" : "main" }, action);
    yes.addEventListener("click", () => {
      agreed = true;
      made.close();
    });
    const no = h("button", { type: "button", onclick: () => made.close() }, "Cancel");
    made.foot.append(no, yes);
    no.focus();
  });
}

export function copyLine(command, label) {
  const button = h("button", { type: "button", "aria-label": `Copy: ${label}` }, icon("copy"), "Copy");
  const code = h("code", { tabindex: "0" }, command);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.lastChild.textContent = "Copied";
    } catch {
      // Without permission for the clipboard the text is selected, for the user's own copy key.
      getSelection().selectAllChildren(code);
      button.lastChild.textContent = "Selected";
    }
    setTimeout(() => (button.lastChild.textContent = "Copy"), 1500);
  });
  return h("div", { class: "copy" }, code, button);
}

export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

// A button that is disabled with a reason stays readable: the reason is its tooltip and its description.
export function forbid(control, why) {
  control.disabled = Boolean(why);
  if (why) control.title = why;
  else control.removeAttribute("title");
}
