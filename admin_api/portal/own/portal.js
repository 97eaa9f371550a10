"use strict";
// Everything works without this file; it makes some of it quicker.
document.addEventListener("click", (event) => {
  const toggle = event.target.closest("#navigation-toggle");
  if (toggle) {
    const sidebar = document.getElementById("sidebar");
    const isOpen = toggle.getAttribute("aria-expanded") === "true";
    toggle.setAttribute("aria-expanded", String(!isOpen));
    sidebar.classList.toggle("pf-m-collapsed", isOpen);
    sidebar.classList.toggle("pf-m-expanded", !isOpen);
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent.trim());
    document.getElementById("announcements").textContent = copy.dataset.copied;
  }
});
