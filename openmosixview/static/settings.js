// The view's own settings, kept by this browser once they are saved (Config, save conf).

const NAME = "openmosixview";
const DEFAULTS = { ssh: true, user: "root", statusbar: true };

function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(NAME) ?? "{}");
    return { ...DEFAULTS, ...(typeof found === "object" ? found : {}) };
  } catch {
    return { ...DEFAULTS };
  }
}

export const settings = stored();

export function save() {
  localStorage.setItem(NAME, JSON.stringify(settings));
}

// What to type for a command on another node.
export function onNode(address, command, options = "") {
  if (!settings.ssh) return command || "";
  const user = /^[A-Za-z0-9._-]{1,64}$/.test(settings.user) ? settings.user : "root";
  const words = ["ssh", options, `${user}@${address}`, command].filter(Boolean);
  return words.join(" ");
}
