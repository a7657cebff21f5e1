"use strict";
// The frame of a running search: asks for the version of its log, and shows a newer page behind the one in sight.
(() => {
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const query = `?token=${encodeURIComponent(token)}`;
  const note = document.getElementById("note");
  const QUIET = 700, CHOOSING = 10000;
  let shown = null, frame = null, isDown = false, touched = 0;
  /** Whether the user is dragging, typing or choosing from a list: then the page stays as it is. */
  function isBusy() {
    const since = performance.now() - touched, isList = frame?.contentDocument?.activeElement?.tagName === "SELECT";
    return isDown || since < (isList ? CHOOSING : QUIET);
  }
  function watch(window) {
    for (const event of ["pointerdown", "pointerup", "pointercancel", "keydown", "input"]) window.addEventListener(event, (own) => {
      if (event.startsWith("pointer")) isDown = event === "pointerdown";
      touched = own.type === "input" && own.target.tagName === "SELECT" ? -CHOOSING : performance.now();
    }, true);
  }

  function load(version) {
    const next = document.createElement("iframe");
    next.title = "report";
    next.className = "behind";
    next.src = `/report${query}&version=${encodeURIComponent(version)}`;
    next.addEventListener("load", function exchange() {
      if (isBusy()) { setTimeout(exchange, 200); return; }
      const window = next.contentWindow;
      if (typeof window.restoreState === "function" && typeof frame?.contentWindow.savedState === "function")
        window.restoreState(frame.contentWindow.savedState());
      next.className = "";
      frame?.remove();
      frame = next;
      watch(window);
      document.title = next.contentDocument?.title || document.title;
    });
    document.body.append(next);
    shown = version;
  }
  async function follow() {
    try {
      const answer = await fetch(`/version${query}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      note.textContent = found.note;
      note.hidden = !found.note;
      if (found.version !== null && found.version !== shown && !document.querySelector(".behind")) load(found.version);
    } catch {
      note.textContent = "The server does not answer: start `ch report RUN --live` again.";
      note.hidden = false;
    }
    setTimeout(follow, 2000);
  }
  follow();
})();
