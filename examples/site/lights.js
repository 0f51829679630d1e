// Plays the rhythm of the chosen light on the lamp of the picture, and says how the page came.
// A pattern is a list of phases: w white, r red, - dark, each with its seconds: "w.5 -1.5 w.5 -7.5".

"use strict";

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const lamp = document.querySelector("[data-lamp]");
const buttons = document.querySelectorAll(".light");

function phases(pattern) {
  return pattern.split(" ").map((phase) => ({ colour: phase[0], seconds: Number(phase.slice(1)) }));
}

function colourAt(list, seconds) {
  const period = list.reduce((sum, phase) => sum + phase.seconds, 0);
  let rest = seconds % period;
  for (const phase of list) {
    if (rest < phase.seconds) return phase.colour;
    rest -= phase.seconds;
  }
  return "-";
}

function show(element, colour) {
  element.classList.toggle("dark", colour === "-");
  element.classList.toggle("red", colour === "r");
}

let playing = null;

function choose(button) {
  for (const other of buttons) {
    other.setAttribute("aria-pressed", String(other === button));
    show(other.querySelector(".lamp"), "w");
  }
  playing = { button, list: phases(button.dataset.pattern), since: performance.now() };
  document.querySelector("[data-now]").textContent = button.querySelector("b").textContent;
  document.querySelector("[data-now-name]").textContent = button.querySelector(".name").textContent.toLowerCase();
}

function tick(now) {
  if (playing) {
    // Whoever asks for calm gets a steady lamp: the strips tell the same in space that the lamp tells in time.
    const seconds = Math.max(0, now - playing.since) / 1000;
    const colour = calm.matches ? "w" : colourAt(playing.list, seconds);
    show(lamp, colour);
    show(playing.button.querySelector(".lamp"), colour);
    playing.button.style.setProperty("--played", calm.matches ? 0 : (seconds % 45) / 45);
  }
  requestAnimationFrame(tick);
}

if (lamp && buttons.length) {
  for (const button of buttons) button.addEventListener("click", () => choose(button));
  choose(document.querySelector('.light[aria-pressed="true"]') || buttons[0]);
  requestAnimationFrame(tick);
}

const names = { h2: "HTTP/2", "http/1.1": "HTTP/1.1", "http/1.0": "HTTP/1.0", h3: "HTTP/3" };

function tellHowItCame() {
  const [page] = performance.getEntriesByType("navigation");
  if (!page) return;
  const secure = location.protocol === "https:" ? " over TLS" : ", without TLS";
  const protocol = (names[page.nextHopProtocol] || page.nextHopProtocol || "HTTP") + secure;
  for (const place of document.querySelectorAll("[data-protocol]")) place.textContent = protocol;
  for (const place of document.querySelectorAll("[data-first-byte]")) {
    place.textContent = `${(page.responseStart - page.requestStart).toFixed(1)} ms`;
  }
  for (const place of document.querySelectorAll("[data-bytes]")) {
    place.textContent = `${page.encodedBodySize.toLocaleString("en")}, of ${page.transferSize.toLocaleString("en")} with the head`;
  }
}

addEventListener("load", () => setTimeout(tellHowItCame));
