// The help page: its words are in help.html.

import { startShell } from "./shell.js";

startShell();
