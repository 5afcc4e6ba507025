// What the pages of the console cannot say in HTML: copying, telling that it was copied, and whether the page still hears of news.

(() => {
  "use strict";

  // Parts that refresh themselves are morphed. Whoever types or chooses meanwhile keeps what they have.
  // What is marked to be kept came later than the page, and the page knows nothing of it.
  Idiomorph.defaults.ignoreActiveValue = true;
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (old) => !(old.dataset && "keep" in old.dataset);

  const toast = document.getElementById("toast");
  let hiding;
  const say = (text) => {
    toast.textContent = text;
    toast.classList.add("shown");
    clearTimeout(hiding);
    hiding = setTimeout(() => {
      toast.classList.remove("shown");
      toast.textContent = "";
    }, 2500);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say("Copied");
    } catch {
      getSelection().selectAllChildren(source);
      say("Selected: copy it with the keyboard");
    }
  });

  // A filter that asks nothing stays out of the address.
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (!detail.elt.matches("form[role=search]")) return;
    for (const name of [...detail.formData.keys()]) if (detail.formData.get(name) === "") detail.formData.delete(name);
  });

  // The stream of news: said in words, for a page that has stopped must not look alive.
  const state = document.getElementById("live-state");
  if (state) {
    const show = (on) => {
      state.classList.toggle("on", on);
      state.textContent = on ? "Live" : "Not connected; trying again";
    };
    document.addEventListener("htmx:sseOpen", () => show(true));
    document.addEventListener("htmx:sseError", () => show(false));
  }
})();
