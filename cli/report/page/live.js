"use strict";
// Asks for the page again while the run goes on, and changes what differs: focus, scroll position, selection
// and what the reader opened stay. The new page is parsed and never run.
(() => {
  const PAUSE = 2000;
  const own = (id) => document.getElementById(id);
  const proof = (of) => of.querySelector("meta[name=proof]").content;
  const pause = own("pause");
  let tag = "", over = false, busy = false;

  // The child of the page that a fresh one continues: of its kind, and with its name.
  const called = (one) => ({ SECTION: () => one.id, FIGURE: () => one.querySelector("figcaption").textContent, DETAILS: () => one.querySelector("summary").textContent }[one.nodeName] || (() => one.className))();
  const alike = (one, other) => one.nodeName === other.nodeName && (one.nodeType !== Node.ELEMENT_NODE || called(one) === called(other));

  function become(one, fresh) {
    if (one.nodeType !== Node.ELEMENT_NODE) {
      if (one.nodeValue !== fresh.nodeValue) one.nodeValue = fresh.nodeValue;
      return;
    }
    if (one === pause || one.id === "lost") return;
    for (const { name } of [...one.attributes]) if (!fresh.hasAttribute(name) && name !== "open" && name !== "data-drawn") one.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (one.getAttribute(name) !== value) one.setAttribute(name, value);
    if (one.classList.contains("plot")) return; // report.js draws in it
    let at = one.firstChild;
    for (const child of fresh.childNodes) {
      let found = at;
      if (child.nodeType === Node.ELEMENT_NODE) while (found && !alike(found, child)) found = found.nextSibling;
      if (!found || !alike(found, child)) { one.insertBefore(document.importNode(child, true), at); continue; }
      while (at !== found) { const gone = at; at = at.nextSibling; gone.remove(); }
      at = found.nextSibling;
      become(found, child);
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  }

  function say(text) { if (own("lost").textContent !== text) own("lost").textContent = text; }

  function end(text) { over = true; say(text); pause.disabled = true; }

  async function look() {
    let answer, text;
    try {
      answer = await fetch(location.pathname, { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {}, signal: AbortSignal.timeout(20000) });
      text = await answer.text();
    } catch {
      return say("murmur watch does not answer: this is the last that it said. The page goes on asking.");
    }
    // Another program may listen at this address by now: it knows the address, which it was asked for, but not the proof.
    if (answer.headers.get("Proof") !== proof(document)) return end("murmur watch has ended, or was started anew with another address: this is the last that it said.");
    say("");
    if (answer.status !== 200) return;
    tag = answer.headers.get("ETag");
    const fresh = new DOMParser().parseFromString(text, "text/html");
    document.title = fresh.title;
    for (const part of ["header", "main"]) become(document.querySelector(`body > ${part}`), fresh.querySelector(`body > ${part}`));
    own("data").textContent = fresh.getElementById("data").textContent;
    window.redraw();
  }

  async function once() {
    if (busy || over || document.hidden || pause.getAttribute("aria-pressed") === "true") return;
    busy = true;
    try { await look(); } finally { busy = false; }
  }

  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
    once();
  });
  document.addEventListener("visibilitychange", once);
  setInterval(once, PAUSE);
})();
