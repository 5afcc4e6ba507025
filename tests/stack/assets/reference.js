// Starts Swagger UI: collapsed, with a filter that finds routes and not only groups, signed in as the demo, asking the API through the console.

(() => {
  "use strict";

  const place = document.getElementById("swagger-ui");
  const said = document.getElementById("signed-in");
  const { api, through } = place.dataset;

  // A word fits a group by its name and a route by method, path and summary.
  const findRoutes = () => ({
    fn: {
      opsFilter: (groups, phrase) => {
        const words = phrase.toLowerCase().split(/\s+/).filter(Boolean);
        const fits = (text) => words.every((word) => text.toLowerCase().includes(word));
        return groups
          .map((group, name) =>
            group.update("operations", (operations) =>
              operations.filter((it) => fits(`${name} ${it.get("method")} ${it.get("path")} ${it.getIn(["operation", "summary"], "")}`)),
            ),
          )
          .filter((group) => group.get("operations").size > 0);
      },
    },
  });

  const signIn = async (ui) => {
    try {
      const answer = await fetch("/reference/token", { method: "POST" });
      const { token, email, problem, ingest_key: key } = await answer.json();
      if (key) ui.preauthorizeApiKey("edge", key);
      if (!answer.ok) throw new Error(problem);
      ui.preauthorizeApiKey("session", token);
      said.textContent = `Signed in as ${email}, the demo's owner. Open a route and choose “Try it out”.`;
    } catch (error) {
      said.textContent = `Not signed in: ${error.message}`;
    }
  };

  // A name of a route or group is no link within a button, and so no second stop for the keyboard.
  const plainNames = ({ React }) => ({ wrapComponents: { DeepLink: () => ({ text }) => React.createElement("span", null, text) } });

  // What Swagger UI leaves without a name, or out of the keyboard's reach.
  const name = () => {
    place.querySelector("main")?.setAttribute("role", "group");
    place.querySelector(".operation-filter-input")?.setAttribute("aria-label", "Filter routes");
    place.querySelector(".operation-filter-input")?.setAttribute("placeholder", "Filter routes by group, method, path or summary");
    for (const each of place.querySelectorAll("select:not([aria-label])")) each.setAttribute("aria-label", each.title || "Choice");
    for (const each of place.querySelectorAll("textarea:not([aria-label])")) each.setAttribute("aria-label", "Request body");
    for (const each of place.querySelectorAll("input:not([aria-label], [id])")) each.setAttribute("aria-label", each.placeholder || "Value");
    for (const each of place.querySelectorAll("pre:not([tabindex])")) each.tabIndex = 0;
  };

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", colour);
  colour();

  const ui = SwaggerUIBundle({
    url: "/openapi.json",
    domNode: place,
    deepLinking: true,
    docExpansion: "none",
    filter: true,
    defaultModelsExpandDepth: -1,
    defaultModelRendering: "example",
    displayRequestDuration: true,
    tryItOutEnabled: false,
    // The curl line shows the API's own address, which the page itself does not call.
    showMutatedRequest: false,
    requestInterceptor: (request) => {
      if (request.url.startsWith(api)) request.url = through + request.url.slice(api.length);
      return request;
    },
    plugins: [findRoutes, plainNames],
    onComplete: () => {
      name();
      new MutationObserver(name).observe(place, { childList: true, subtree: true });
      signIn(ui);
    },
  });
})();
