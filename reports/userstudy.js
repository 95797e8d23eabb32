"use strict";
// The user study: three screens (start, trial, done), answers kept in this browser, and a file to download. Nothing is sent.
// All text of the study enters the page through textContent, never as markup.
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SETTLE = 250; // ms after a pair appears in which no answer is taken, so that one press never answers two pairs
const KEYS = { ArrowLeft: "left", 1: "left", ArrowDown: "tie", 2: "tie", ArrowRight: "right", 3: "right" };
const WORDS = { left: "A is better", tie: "No difference", right: "B is better" };

let session = null; // { participant, started, finished, answers: { trial: { choice, ms } } }
let at = 1; // number of the trial on the screen, from 1
let shownAt = 0; // when it appeared
let kept = true; // whether the last state is in the browser's storage, or exported
let exported = false;

// --- storage ---------------------------------------------------------------------------------------------------------

const slot = (participant) => `editfrontier-user-study/${data.design}/${participant}`;
const storage = (() => {
  try {
    const store = window.localStorage;
    store.setItem("editfrontier-user-study/test", "1");
    store.removeItem("editfrontier-user-study/test");
    return store;
  } catch {
    return null;
  }
})();

function read(participant) {
  try {
    const found = JSON.parse(storage?.getItem(slot(participant)) ?? "null");
    return found && typeof found.answers === "object" && found.answers !== null ? found : null;
  } catch {
    return null;
  }
}

function save() {
  kept = false;
  try {
    if (storage) {
      storage.setItem(slot(session.participant), JSON.stringify(session));
      kept = true;
    }
  } catch {
    warn("This browser has no room left to keep your answers. Download them before you close the page.");
  }
}

function warn(text) {
  $("warning").textContent = text;
  $("warning").hidden = false;
}

if (!storage) {
  warn("This browser does not let the page keep your answers. You can take part, but do not close or reload the page before you have downloaded them.");
}
addEventListener("beforeunload", (event) => {
  if (session && Object.keys(session.answers).length && !kept && !exported) event.preventDefault();
});

// --- screens ---------------------------------------------------------------------------------------------------------

function show(screen) {
  for (const name of ["start", "trial", "done"]) $(name).hidden = name !== screen;
  scrollTo(0, 0);
  if (screen !== "trial") $(screen).querySelector("h1").focus();
}

const trials = () => data.trials[session.participant - 1];
const answered = () => Object.keys(session.answers).length;
const uri = (index) => `data:image/webp;base64,${data.images[index]}`;

function firstOpen() {
  for (let number = 1; number <= trials().length; number++) if (!session.answers[number]) return number;
  return trials().length + 1;
}

async function showTrial(number) {
  at = number;
  shownAt = Infinity;
  const [index, left, right] = trials()[number - 1];
  const [source, instruction] = data.cases[index];
  $("instruction").textContent = instruction;
  $("count").textContent = `Pair ${number} of ${trials().length}`;
  $("progress").max = trials().length;
  $("progress").value = answered();
  document.title = `Pair ${number} of ${trials().length}: which edit is better?`;
  $("back").disabled = number === 1;
  const choice = session.answers[number]?.choice;
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.choice === choice));
  }
  for (const side of ["left", "right"]) $(side).closest("figure").classList.toggle("chosen", side === choice);
  for (const [id, image] of [["source", source], ["left", left], ["right", right]]) $(id).src = uri(image);
  if ($("trial").hidden) show("trial");
  $("live").textContent = `Pair ${number} of ${trials().length}. Instruction: ${instruction}. ${choice ? `You chose: ${WORDS[choice]}.` : "Which attempt is better, A or B?"}`;
  await Promise.allSettled(["source", "left", "right"].map((id) => $(id).decode()));
  // Another pair may have come up while these images were decoded.
  if (at === number) shownAt = performance.now();
}

function answer(choice) {
  const spent = performance.now() - shownAt;
  if (!(spent >= SETTLE)) return;
  const before = session.answers[at];
  session.answers[at] = { choice, ms: Math.round(spent + (before?.ms ?? 0)) };
  exported = false;
  const next = before ? at + 1 : firstOpen();
  if (answered() === trials().length) session.finished = new Date().toISOString();
  save();
  if (next > trials().length) finish();
  else showTrial(next);
}

function back() {
  if (!$("done").hidden) showTrial(trials().length);
  else if (at > 1) showTrial(at - 1);
}

function finish() {
  if (answered() < trials().length) return showTrial(firstOpen());
  $("total").textContent = trials().length;
  $("exported").hidden = true;
  document.title = "Done: which edit is better?";
  $("live").textContent = "All pairs are answered. Download your responses now.";
  show("done");
}

// --- start -----------------------------------------------------------------------------------------------------------

function chosen() {
  const number = Number($("participant").value);
  return Number.isInteger(number) && number >= 1 && number <= data.trials.length ? number : null;
}

function tellSaved() {
  const found = chosen() && read(chosen());
  const count = found ? Object.keys(found.answers).length : 0;
  const total = chosen() ? data.trials[chosen() - 1].length : 0;
  $("saved").hidden = $("forget").hidden = !count;
  $("go").textContent = count ? "Go on" : "Begin";
  if (count) $("saved").textContent = `This browser holds ${count} of ${total} answers of participant ${chosen()}. You go on where you stopped.`;
}

$("participant").addEventListener("change", tellSaved);
$("forget").addEventListener("click", () => {
  if (!confirm(`Delete all answers of participant ${chosen()} from this browser?`)) return;
  storage?.removeItem(slot(chosen()));
  tellSaved();
  $("participant").focus();
});
$("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(chosen());
});

function begin(participant) {
  if (!participant) return;
  session = read(participant) ?? { participant, started: new Date().toISOString(), finished: null, answers: {} };
  save();
  // So that a reload, or a bookmark, comes back to this participant.
  location.hash = `participant=${participant}`;
  const open = firstOpen();
  if (open > trials().length) finish();
  else showTrial(open);
}

// --- keys and buttons ------------------------------------------------------------------------------------------------

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || $("trial").hidden) return;
  if (event.key in KEYS) answer(KEYS[event.key]);
  else if (event.key === "ArrowUp" || event.key === "Backspace") back();
  else return;
  event.preventDefault();
});
for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => answer(button.dataset.choice));
}
$("back").addEventListener("click", back);
$("review").addEventListener("click", back);

// --- download --------------------------------------------------------------------------------------------------------

function responses() {
  const answers = Object.entries(session.answers).map(([number, { choice, ms }]) => {
    const [, left, right] = trials()[number - 1];
    return { trial: Number(number), choice, left: data.names[left], right: data.names[right], ms };
  });
  return {
    format: data.format,
    version: data.version,
    design: data.design,
    participant: session.participant,
    started: session.started,
    finished: answers.length === trials().length ? session.finished : null,
    trials: trials().length,
    answers: answers.sort((a, b) => a.trial - b.trial),
  };
}

function download() {
  const content = responses();
  const state = content.finished ? "complete" : `${content.answers.length}-of-${content.trials}`;
  const name = `participant-${String(session.participant).padStart(2, "0")}-${state}.json`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  exported = true;
  return name;
}

$("export").addEventListener("click", () => {
  $("exported").textContent = `Saved as ${download()}, usually in your folder of downloads. Please hand this file over.`;
  $("exported").hidden = false;
});
$("export-part").addEventListener("click", () => {
  $("live").textContent = `Saved as ${download()}.`;
});

// --- first screen ----------------------------------------------------------------------------------------------------

const wanted = /participant=(\d+)/.exec(location.hash)?.[1];
if (wanted && Number(wanted) >= 1 && Number(wanted) <= data.trials.length) $("participant").value = String(Number(wanted));
tellSaved();
// Who has begun agreed before: a reload goes on at once.
if (chosen() && read(chosen())) begin(chosen());
else show("start");
})();
