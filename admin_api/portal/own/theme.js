"use strict";
// Before anything is shown: `auto` follows the system.
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    if (root.dataset.theme === "auto") root.classList.toggle("pf-v6-theme-dark", dark.matches);
  };
  dark.addEventListener("change", follow);
  follow();
  root.classList.add("litemaas-has-script");
})();
