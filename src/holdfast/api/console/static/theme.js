// Before anything is painted: the theme that this person chose in this browser, if they did.
const chosen = localStorage.getItem("holdfast-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
