// Drop-down menus: mouse, and arrow keys as in any desktop program.

import { h } from "./dom.js";

export function menuBar(menus) {
  const buttons = [];
  let open = null;

  function close(focus = false) {
    if (!open) return;
    open.menu.remove();
    open.button.setAttribute("aria-expanded", "false");
    if (focus) open.button.focus();
    open = null;
  }

  function show(index, focusFirst) {
    close();
    const button = buttons[index];
    const menu = h("div", { class: "menu", role: "menu", "aria-label": menus[index].name });
    for (const item of menus[index].items()) {
      if (!item) {
        menu.append(h("hr"));
        continue;
      }
      const isCheck = item.checked !== undefined;
      const entry = h(
        "button",
        { type: "button", role: isCheck ? "menuitemcheckbox" : "menuitem", tabindex: "-1", "data-what": item.what },
        isCheck ? h("span", { class: "check", "aria-hidden": "true" }, item.checked ? "✓" : "") : null,
        item.name,
      );
      if (isCheck) entry.setAttribute("aria-checked", String(item.checked));
      if (item.why) {
        entry.setAttribute("aria-disabled", "true");
        entry.title = item.why;
        entry.append(h("small", { class: "soft" }, item.why));
      }
      entry.addEventListener("click", () => {
        if (item.why) return;
        close(true);
        item.act();
      });
      menu.append(entry);
    }
    document.body.append(menu);
    const place = button.getBoundingClientRect();
    menu.style.left = `${Math.max(4, Math.min(place.left, innerWidth - menu.offsetWidth - 8))}px`;
    menu.style.top = `${place.bottom + 2}px`;
    button.setAttribute("aria-expanded", "true");
    open = { index, button, menu };
    if (focusFirst) menu.querySelector("button")?.focus();
    menu.addEventListener("keydown", onKey);
  }

  function onKey(event) {
    const entries = [...open.menu.querySelectorAll("button")];
    const at = entries.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const side = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) entries[(at + step + entries.length) % entries.length].focus();
    else if (side) show((open.index + side + menus.length) % menus.length, true);
    else if (event.key === "Escape") close(true);
    else if (event.key === "Tab") return close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  menus.forEach((menu, index) => {
    const button = h(
      "button",
      { type: "button", class: "menu-button", role: "menuitem", "aria-haspopup": "menu", "aria-expanded": "false", "data-what": menu.what },
      menu.name,
    );
    button.addEventListener("click", (event) => {
      if (open?.index === index) close();
      else show(index, event.detail === 0);
    });
    button.addEventListener("keydown", (event) => {
      const side = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "ArrowDown") show(index, true);
      else if (side) buttons[(index + side + buttons.length) % buttons.length].focus();
      else if (event.key === "Escape") close(true);
      else return;
      event.preventDefault();
    });
    button.addEventListener("pointerenter", () => open && open.index !== index && show(index, false));
    buttons.push(button);
  });

  document.addEventListener("pointerdown", (event) => {
    if (open && !open.menu.contains(event.target) && !open.button.contains(event.target)) close();
  });
  addEventListener("resize", () => close());
  addEventListener("scroll", () => close(), true);
  return h("div", { class: "row", role: "menubar", "aria-label": "Menus" }, buttons);
}
