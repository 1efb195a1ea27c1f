// A file and not an inline script: the page's Content-Security-Policy allows scripts of this server only.
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.classList.toggle("dark-mode", dark);

/**
 * The key that was given stays for as long as this tab, and comes back when the page is loaded again. Swagger UI's own
 * `persistAuthorization` would leave it in the browser for whoever uses it next.
 */
const KEPT = "aioapp-authorization";
const keep = system => sessionStorage.setItem(KEPT, JSON.stringify(system.authSelectors.authorized().toJS()));
const kept = (action, system) => given => {
  action(given);
  keep(system);
};
const keptForThisTab = {statePlugins: {auth: {wrapActions: {
  authorizeWithPersistOption: kept, logoutWithPersistOption: kept}}}};

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayOperationId: false,
  tryItOutEnabled: true,
  validatorUrl: null, // its badge would tell swagger.io where this server is
  plugins: [keptForThisTab],
  onComplete: () => {
    const authorized = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    if (authorized) ui.authActions.restoreAuthorization({authorized});
  },
});
