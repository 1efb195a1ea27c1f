// A file and not an inline script: the page's Content-Security-Policy allows scripts of this server only.
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.classList.toggle("dark-mode", dark);

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayOperationId: false,
  tryItOutEnabled: true,
  validatorUrl: null, // its badge would tell swagger.io where this server is
});
