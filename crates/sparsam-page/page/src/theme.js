// Light and dark.

/** What the theme says, read anew when it changes. */
export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(
    ["paper", "ink", "soft", "line", "panel", "wrong", "write", "read", "wanted", "accent"].map((name) => [
      name,
      colour(name),
    ]),
  );
}

/** Lets a button, named by its id, choose between light and dark, which otherwise are as the system has them. */
export function followTheme(id, changed) {
  const button = document.getElementById(id);
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => button.setAttribute("aria-pressed", `${isDark()}`);
  show();
  system.addEventListener("change", () => {
    show();
    changed();
  });
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    show();
    changed();
  });
}
