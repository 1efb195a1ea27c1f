// A file and not an inline script: the page's Content-Security-Policy allows scripts of this server only.
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.classList.toggle("dark-mode", dark);

// A key is kept for this tab, through a reload, until the tab is closed or somebody logs out. Swagger UI's own
// `persistAuthorization` would write it to localStorage, where it outlives the browser on a machine that others use.
const KEPT = "aioapp.authorized";

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null; // it is not ours, or the browser keeps nothing
  }
}

function keep(authorized) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(authorized));
  } catch {
    // the browser keeps nothing: then the key is shown again after a reload
  }
}

// It calls this after each login and logout.
const keptForTheTab = {
  statePlugins: {auth: {wrapActions: {
    persistAuthorizationIfNeeded: (original, system) => () => keep(system.authSelectors.authorized().toJS()),
  }}},
};

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayOperationId: false,
  tryItOutEnabled: true,
  validatorUrl: null, // its badge would tell swagger.io where this server is
  plugins: [() => keptForTheTab],
  onComplete: () => {
    const authorized = kept();
    if (authorized) ui.authActions.restoreAuthorization({authorized});
  },
});
