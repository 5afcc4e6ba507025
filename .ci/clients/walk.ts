// Logs in, creates a project, finds it in the list and is refused, with the types that openapi-typescript makes of openapi.json: no cast, no `any`.

import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

type Project = components["schemas"]["Project"];

const [baseUrl = "", email = "", password = ""] = process.argv.slice(2);
const api = createClient<paths, "application/json">({ baseUrl });

function fail(problem: string): never {
  throw new Error(problem);
}

const login = await api.POST("/api/v1/auth/login", { body: { email, password } });
if (!login.data) fail(`the login is answered with ${login.error.error.code}`);
const headers = { authorization: `Bearer ${login.data.data.token}` };

const created = await api.POST("/api/v1/projects", {
  headers,
  params: { header: { "Idempotency-Key": crypto.randomUUID() } },
  body: { name: "From TypeScript", settings: { board: "weekly", columns: 3 } },
});
if (!created.data) fail(`creating is answered with ${created.error.error.code}: ${created.error.error.message}`);
const project: Project = created.data.data;
if (project.settings["columns"] !== 3) fail(`the settings came back as ${JSON.stringify(project.settings)}`);

const list = await api.GET("/api/v1/projects", { headers, params: { query: { per_page: 50, sort: "created_at", direction: "desc" } } });
if (!list.data) fail(`the list is answered with ${list.error.error.code}`);
const found = list.data.data.find((one) => one.id === project.id) ?? fail("the new project is not in the list");
const age = Date.now() - new Date(found.created_at).getTime();
if (found.description !== null || list.data.meta.total < 1 || !(age < 600_000)) fail(`the list shows ${JSON.stringify(found)}`);

const refused = await api.POST("/api/v1/projects", { headers, body: { name: "" } });
if (refused.data) fail("a project without a name was created");
const problem = refused.error.error;
// The code tells which details there are.
if (problem.code !== "VALIDATION_ERROR") fail(`an empty name is answered with ${problem.code}`);
const reasons: string[] = problem.details["name"] ?? [];
if (reasons.length === 0) fail(`nothing is said of the name: ${problem.message}`);

const deleted = await api.DELETE("/api/v1/projects/{uuid}", { headers, params: { path: { uuid: project.id } } });
if (!deleted.data) fail(`deleting is answered with ${deleted.error.error.code}`);

console.log(`TypeScript: ${login.data.data.user.name} made "${found.name}"; an empty name hears "${reasons[0]}"`);
