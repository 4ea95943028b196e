// Dark or light: as the system says, until the reader chooses. The choice stays in this browser.

const name = "bge-reranker-theme";
const themes = ["auto", "light", "dark"];

function stored() {
  try {
    return localStorage.getItem(name) ?? "auto";
  } catch {
    return "auto"; // storage is off
  }
}

/** @param {HTMLSelectElement} choice */
export function setUpTheme(choice) {
  const wanted = stored();
  choice.value = themes.includes(wanted) ? wanted : "auto";
  document.documentElement.dataset["theme"] = choice.value;
  choice.addEventListener("change", () => {
    document.documentElement.dataset["theme"] = choice.value;
    try {
      localStorage.setItem(name, choice.value);
    } catch {
      // It holds for this visit.
    }
  });
}
