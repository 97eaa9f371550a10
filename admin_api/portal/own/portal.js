"use strict";
// Everything works without this file; it makes some of it quicker.

const announce = (text) => { document.getElementById("announcements").textContent = text; };

// The navigation: beside the page on a large screen, over it on a small one.
const wide = window.matchMedia("(min-width: 75rem)");
const isNavigationOpen = () => document.getElementById("navigation-toggle").getAttribute("aria-expanded") === "true";
const showNavigation = (isOpen) => {
  const sidebar = document.getElementById("sidebar");
  document.getElementById("navigation-toggle").setAttribute("aria-expanded", String(isOpen));
  sidebar.classList.toggle("pf-m-expanded", isOpen);
  sidebar.classList.toggle("pf-m-collapsed", !isOpen);
  // Out of sight is out of reach of the keyboard too.
  sidebar.inert = !isOpen;
};
const fitNavigation = () => showNavigation(wide.matches);

// Dialogs: the button within <details> opens them without a script; here they are shown modally instead.
const openDialog = (details) => {
  const dialog = details.querySelector("dialog");
  details.open = true;
  dialog.removeAttribute("open");
  dialog.showModal();
  // Into the first field, or where nothing happens.
  const field = dialog.querySelector(".pf-v6-c-modal-box__body :is(input:not([type=hidden]), select, textarea)");
  (field ?? dialog.querySelector("footer [data-closes]")).focus();
  dialog.addEventListener("close", () => {
    details.open = false;
    dialog.setAttribute("open", "");
    details.querySelector("summary").focus();
  }, { once: true });
};

// One that is shown again with messages.
const openRefused = () => {
  for (const details of document.querySelectorAll(".litemaas-dialog[open]:not(:has(dialog:modal))")) openDialog(details);
};

const closeMenus = (except) => {
  for (const menu of document.querySelectorAll(".litemaas-menu[open]")) if (menu !== except) menu.open = false;
};

const copy = async (button) => {
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
  announce(button.dataset.copied);
  const use = button.querySelector("use");
  const [sprite, icon] = use.getAttribute("href").split("#");
  use.setAttribute("href", `${sprite}#check`);
  setTimeout(() => use.setAttribute("href", `${sprite}#${icon}`), 1500);
};

document.addEventListener("click", (event) => {
  const target = event.target;
  const summary = target.closest(".litemaas-dialog > summary");
  if (summary) {
    event.preventDefault();
    openDialog(summary.parentElement);
  }
  if (target.closest("#navigation-toggle")) showNavigation(!isNavigationOpen());
  else if (!wide.matches && isNavigationOpen() && !target.closest("#sidebar")) showNavigation(false);
  closeMenus(target.closest(".litemaas-menu"));
  if (target.closest("[data-closes]")) target.closest("dialog").close();
  // A click beside the box.
  if (target.matches("dialog:modal")) target.close();
  const copied = target.closest("[data-copy]");
  if (copied) copy(copied);
  const removed = target.closest("[data-removes]");
  if (removed) removed.closest(removed.dataset.removes).remove();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector(".litemaas-menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  } else if (!wide.matches && isNavigationOpen()) {
    showNavigation(false);
    document.getElementById("navigation-toggle").focus();
  }
  for (const tip of document.querySelectorAll(".litemaas-tooltip:is(:hover, :focus-within)")) {
    tip.dataset.hidden = "";
    tip.addEventListener("pointerleave", () => delete tip.dataset.hidden, { once: true });
    tip.addEventListener("focusout", () => delete tip.dataset.hidden, { once: true });
  }
});

// A long list of checks gets a field that hides those that do not match.
const searchLists = () => {
  for (const list of document.querySelectorAll("[data-search-label]:not([data-has-search])")) {
    list.dataset.hasSearch = "";
    if (list.children.length < 10) continue;
    const field = document.createElement("input");
    field.type = "search";
    field.placeholder = list.dataset.searchLabel;
    field.setAttribute("aria-label", list.dataset.searchLabel);
    const control = document.createElement("span");
    control.className = "pf-v6-c-form-control";
    control.append(field);
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase();
      for (const one of list.children) one.hidden = !one.textContent.toLowerCase().includes(wanted);
    });
    list.before(control);
  }
};

// What a page says for once is read out, and a success leaves by itself unless someone is at it.
const sayMessages = () => {
  const messages = document.querySelector("#main > #toasts li");
  if (!messages) return;
  setTimeout(() => announce(messages.querySelector(".pf-v6-c-alert__title").textContent.trim()), 100);
  if (messages.querySelector(".pf-m-success")) {
    const leave = () => (messages.matches(":hover, :focus-within") ? setTimeout(leave, 4000) : messages.remove());
    setTimeout(leave, 8000);
  }
};

// Many rows are sent a few at a time, and the page says how far it is. What is sent at once without this file has the same
// fields, and the same table of results.
const CHUNK = 10;
const showProgress = (box, done, all) => {
  const bar = box.querySelector("[role=progressbar]");
  const measure = box.dataset.measure.replace("{done}", done).replace("{all}", all);
  const percent = Math.round((done * 100) / all);
  box.hidden = false;
  box.querySelector(".pf-v6-c-progress__measure").textContent = measure;
  bar.setAttribute("aria-valuenow", percent);
  bar.setAttribute("aria-valuetext", measure);
  bar.firstElementChild.setAttribute("width", `${percent}%`);
  announce(measure);
};

const showMain = (page) => {
  const main = page.getElementById("main");
  if (!main) location.reload();
  else document.getElementById("main").replaceChildren(...main.childNodes);
  openRefused();
  searchLists();
};

const sendInChunks = async (form, ids, body) => {
  const box = document.querySelector(`[data-chunks="${form.id}"]`);
  const results = [];
  let page = null;
  let done = 0;
  for (const name of ["all", "listed"]) body.delete(name);
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  showProgress(box, 0, ids.length);
  while (done < ids.length) {
    body.delete("ids");
    for (const id of ids.slice(done, done + CHUNK)) body.append("ids", id);
    const answer = await fetch(form.action, { method: "POST", body }).then((got) => got.text(), () => "");
    const next = new DOMParser().parseFromString(answer, "text/html");
    const table = next.querySelector("#results tbody");
    // Refused, as without a reason: that page says why. What was decided before it stays decided, and is shown.
    if (!table && page === null && answer !== "") return showMain(next);
    if (!table) break;
    results.push(...table.rows);
    page = next;
    done = Math.min(done + CHUNK, ids.length);
    showProgress(box, done, ids.length);
  }
  if (page !== null) {
    page.querySelector("#results tbody").replaceChildren(...results);
    page.querySelector(`[data-chunks="${form.id}"]`)?.remove();
    showMain(page);
    document.getElementById("results").before(box);
    document.getElementById("results-title").scrollIntoView();
  }
  if (done < ids.length) announce(document.getElementById("announcements").dataset.unreachable);
  for (const button of form.querySelectorAll("button")) button.disabled = false;
};

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!document.querySelector(`[data-chunks="${form.id}"]`)) return;
  const body = new URLSearchParams(new FormData(form, event.submitter));
  const ids = body.getAll(body.has("all") ? "listed" : "ids");
  if (ids.length <= CHUNK) return;
  event.preventDefault();
  sendInChunks(form, ids, body);
});

// Parts that change by themselves are read again while somebody looks at them, for an hour at most. Elements stay: so do the
// focus, and what was opened (morphIgnore in layout.html).
const REFRESH_MS = 30000;
let rounds = 120;
// What is being read again, and what it said before.
const isRead = new WeakMap();
const refresh = () => {
  const parts = document.querySelectorAll("[data-refresh]");
  if (document.visibilityState !== "visible" || parts.length === 0 || rounds === 0) return;
  rounds -= 1;
  const focused = document.activeElement;
  for (const part of parts) {
    // Nothing changes under a person's hands; to open a part is not to hold it.
    if (part.contains(focused) && !focused.matches("summary")) continue;
    isRead.set(part, part.textContent);
    part.dispatchEvent(new Event("refresh"));
  }
};
const sayChange = (part) => {
  if (isRead.get(part) !== part.textContent) announce(document.getElementById("announcements").dataset.changed);
  isRead.delete(part);
};

// Addresses say only what is filtered.
document.addEventListener("htmx:config:request", (event) => {
  const { request } = event.detail.ctx;
  if (request.method === "GET" && request.body) {
    for (const [name, value] of [...request.body]) if (value === "") request.body.delete(name);
  }
});

document.addEventListener("htmx:after:swap", (event) => {
  const part = event.detail.ctx.sourceElement.closest("[data-refresh]");
  if (part && isRead.has(part)) return sayChange(part);
  announce(document.title);
  openRefused();
  searchLists();
  sayMessages();
});
document.addEventListener("htmx:error", () => announce(document.getElementById("announcements").dataset.unreachable));
wide.addEventListener("change", fitNavigation);
fitNavigation();
openRefused();
searchLists();
sayMessages();

// What the browser kept whole may be of a session that has ended.
window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });

setInterval(refresh, REFRESH_MS);
