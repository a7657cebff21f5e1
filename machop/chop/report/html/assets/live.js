"use strict";
// The frame of a running search: asks for the version of its log, and shows a newer page behind the one in sight.
(() => {
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const query = `?token=${encodeURIComponent(token)}`;
  const note = document.getElementById("note");
  let shown = null, frame = null;

  function load(version) {
    const next = document.createElement("iframe");
    next.title = "report";
    next.className = "behind";
    next.src = `/report${query}&version=${encodeURIComponent(version)}`;
    next.addEventListener("load", () => {
      const window = next.contentWindow;
      if (typeof window.restoreState === "function" && typeof frame?.contentWindow.savedState === "function")
        window.restoreState(frame.contentWindow.savedState());
      next.className = "";
      frame?.remove();
      frame = next;
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
      if (found.version !== null && found.version !== shown) load(found.version);
    } catch {
      note.textContent = "The server does not answer: start `ch report RUN --live` again.";
      note.hidden = false;
    }
    setTimeout(follow, 2000);
  }
  follow();
})();
